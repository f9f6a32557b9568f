"""Shared by the scripts that prepare chest X-rays: grey images, lung masks, few labels."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from common import bounded, image_size, note
from PIL import Image, UnidentifiedImageError
from reading import write_image

from mmjoint.utils.errors import UserError

Records = list[dict[str, Any]]
GREY_MODES = ('1', 'L', 'RGB', 'RGBA', 'P')


def read_grey(path: Path) -> np.ndarray:
    """Read an image file as grey values, colours weighted as Pillow does (ITU-R 601).

    Args:
        path: JPEG, PNG or GIF file of 8 bits or 1 bit.

    Returns:
        uint8 array (H, W).

    Raises:
        UserError: The file is absent, cut off, no image or has more bits.
    """
    kind = path.suffix[1:].upper()
    try:
        with Image.open(path) as image:
            if image.mode not in GREY_MODES:
                raise UserError(
                    f'{path}: expected grey or colour values of 8 bits, found the mode '
                    f'{image.mode}; use the original file'
                )
            image.load()
            if image.mode not in ('1', 'L'):
                image = image.convert('RGB')
            return np.array(image.convert('L'))
    except UnidentifiedImageError as error:
        raise UserError(
            f'{path}: expected a whole {kind} file, found content that is no image; '
            'download or unpack it again'
        ) from error
    except (OSError, SyntaxError, EOFError, ValueError) as error:
        raise UserError(
            f'{path}: expected a whole {kind} file, found it damaged or cut off '
            f'({path.stat().st_size if path.exists() else 0} bytes); download or unpack it again'
        ) from error


def read_binary(path: Path) -> np.ndarray:
    """Read a mask of two values.

    Args:
        path: Image file of 0 and 255.

    Returns:
        bool array (H, W).

    Raises:
        UserError: The file cannot be read or holds other values.
    """
    mask = read_grey(path)
    wrong = np.setdiff1d(mask, (0, 255))
    if wrong.size:
        shown = ', '.join(str(value) for value in wrong[:5]) + (', ...' if wrong.size > 5 else '')
        raise UserError(
            f'{path}: expected mask values 0, 255, found {shown} in '
            f'{int(np.isin(mask, wrong).sum())} pixels; use the original file'
        )
    return mask > 0


def unite(masks: Mapping[Path, np.ndarray]) -> np.ndarray:
    """Unite the masks of both lungs: a pixel of both is lung once.

    Args:
        masks: File -> bool array (H, W).

    Returns:
        bool array (H, W).

    Raises:
        UserError: The masks differ in size, or one is empty.
    """
    first = next(iter(masks.values()))
    for path, mask in masks.items():
        if mask.shape != first.shape:
            raise UserError(
                f'{path}: expected the size of the other lung, {first.shape[1]}x{first.shape[0]}, '
                f'found {mask.shape[1]}x{mask.shape[0]}; use the original files'
            )
        if not mask.any():
            raise UserError(f'{path}: expected a lung, found no pixel of it; use the original file')
    return np.logical_or.reduce(list(masks.values()))


def resize_grey(image: np.ndarray, size: int) -> np.ndarray:
    """Resize to a square as Pillow's antialiased bilinear rule does, aspect not kept.

    Args:
        image: uint8 array (H, W).
        size: Edge length.

    Returns:
        uint8 array (size, size).
    """
    return np.array(Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR))


def resize_mask(mask: np.ndarray, size: int) -> np.ndarray:
    """Resize a mask to a square of class ids: the value of the nearest pixel.

    Args:
        mask: bool array (H, W).
        size: Edge length.

    Returns:
        uint8 array (size, size) of 0 and 1.
    """
    ids = mask.astype(np.uint8)
    return cv2.resize(ids, (size, size), interpolation=cv2.INTER_NEAREST_EXACT)


def store(
    root: Path, name: str, image: np.ndarray, mask: np.ndarray | None, **record: Any
) -> dict[str, Any]:
    """Write an image and, if any, its mask; give the record.

    Args:
        root: Folder of the prepared set.
        name: Path below ``images/`` and ``masks/`` without suffix.
        image: uint8 array (H, W).
        mask: uint8 class ids (H, W), or ``None``.
        **record: Further keys of the record.

    Returns:
        The record for ``annotations/<split>.json``.
    """
    paths = {'img_path': f'images/{name}.png'}
    write_image(root / paths['img_path'], image)
    if mask is not None:
        paths['seg_map_path'] = f'masks/{name}.png'
        write_image(root / paths['seg_map_path'], mask)
    return {**paths, **record, 'spacing': None}


def take_patients(records: Records, count: int, rng: np.random.Generator) -> list[int]:
    """Draw images, all or none of a patient.

    Patients come in a random order; one that would make it too many is left out, so that the
    number is met exactly wherever patients of one image are among them.

    Args:
        records: To draw from.
        count: How many images.
        rng: Generator.

    Returns:
        Sorted places of the drawn ones, at most ``count``.
    """
    groups: dict[str, list[int]] = {}
    for place, record in enumerate(records):
        groups.setdefault(record['patient_id'], []).append(place)
    names = sorted(groups)
    chosen: list[int] = []
    for number in rng.permutation(len(names)):
        group = groups[names[number]]
        if len(chosen) + len(group) <= count:
            chosen += group
    return sorted(chosen)


def divide(records: Records, count: int, rng: np.random.Generator) -> tuple[Records, Records]:
    """Divide by patients into ``count`` drawn records and the rest, both in order."""
    chosen = set(take_patients(records, count, rng))
    return (
        [record for place, record in enumerate(records) if place in chosen],
        [record for place, record in enumerate(records) if place not in chosen],
    )


def label_budgets(
    records: Records, budgets: Sequence[int] | None, usual: Sequence[int], seed: int
) -> dict[str, Records]:
    """Make the splits for few labels: ``labelled_N`` and ``unlabelled_N`` of the training images.

    A larger ``labelled_N`` contains the smaller ones. No patient is on both sides.

    Args:
        records: The training images.
        budgets: Numbers N of labelled images; ``None`` are the usual ones that are small enough.
        usual: The numbers of the paper.
        seed: Same seed, same splits.

    Returns:
        Split -> records.

    Raises:
        UserError: A number leaves nothing on one side.
    """
    if budgets is None:
        budgets = [number for number in usual if number < len(records)]
        if len(budgets) < len(usual):
            left_out = ', '.join(f'labelled_{number}' for number in usual if number not in budgets)
            note(f'{len(records)} training images are too few for {left_out}: not made')
    splits: dict[str, Records] = {}
    labelled: Records = []
    for number in sorted(set(budgets)):
        if not 0 < number < len(records):
            raise UserError(
                f'--labelled: expected numbers from 1 to {len(records) - 1}, one less than there '
                f'are training images, found {number}; change it or give more cases'
            )
        known = {record['patient_id'] for record in labelled}
        free = [record for record in records if record['patient_id'] not in known]
        rng = np.random.default_rng([seed, number])
        more, _ = divide(free, number - len(labelled), rng)
        known |= {record['patient_id'] for record in more}
        labelled = [record for record in records if record['patient_id'] in known]
        if not labelled:
            raise UserError(
                f'--labelled: expected a number that whole patients can make up, found {number}; '
                'change it or give more cases'
            )
        if len(labelled) != number:
            note(f'labelled_{number} has {len(labelled)} images: patients are not divided')
        splits[f'labelled_{number}'] = labelled
        splits[f'unlabelled_{number}'] = [
            record for record in records if record['patient_id'] not in known
        ]
    return splits


def size_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--size``."""
    parser.add_argument(
        '--size',
        type=image_size,
        default=256,
        help='edge length of the result in pixels; the aspect is not kept (default: 256)',
    )


def labelled_option(parser: argparse.ArgumentParser, usual: Sequence[int]) -> None:
    """Add ``--labelled``."""
    parser.add_argument(
        '--labelled',
        type=bounded(int, 1),
        nargs='+',
        metavar='N',
        help='numbers of labelled training images, a pair of splits each (default: those of '
        f'{" ".join(map(str, usual))} that are smaller than the training part)',
    )
