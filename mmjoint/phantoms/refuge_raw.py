"""Fundus phantoms in the files and folders in which REFUGE is distributed."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .common import Track, case_rng, divide, draw_labels, untracked, write_image, write_sheet
from .fundus import FundusPhantom, render_fundus
from .fundus_raw import write_truth
from .fundus_structures import StructuredFundus, render_structures

SPLITS = ('train', 'val', 'test')
ZEISS_WIDTH, ZEISS_HEIGHT, CANON_SIDE = 2124, 2056, 1634
GREY_OF_ID = np.array([255, 128, 0], np.uint8)  # background, rim, cup


def image_shape(split: str, size: int) -> tuple[int, int]:
    """Give height and width of a split's photographs.

    Args:
        split: ``'train'``, ``'val'`` or ``'test'``.
        size: Width of a training photograph in pixels (2124 in REFUGE); the others shrink alike.

    Returns:
        Height and width.
    """
    if split == 'train':
        return round(size * ZEISS_HEIGHT / ZEISS_WIDTH), size
    side = round(size * CANON_SIDE / ZEISS_WIDTH)
    return side, side


def _paths(split: str, case_id: str, glaucoma: int, nested: bool) -> tuple[str, str]:
    """Places of photograph and mask of a case."""
    if split == 'train':
        folder = 'Glaucoma' if glaucoma else 'Non-Glaucoma'
        return (
            f'Training400/{folder}/{case_id}.jpg',
            f'Annotation-Training400/Disc_Cup_Masks/{folder}/{case_id}.bmp',
        )
    if split == 'val':
        return (
            f'REFUGE-Validation400/{case_id}.jpg',
            f'REFUGE-Validation400-GT/Disc_Cup_Masks/{case_id}.bmp',
        )
    folder = ('G/' if glaucoma else 'N/') if nested else ''
    return f'Test400/{case_id}.jpg', f'REFUGE-Test-GT/Disc_Cup_Masks/{folder}{case_id}.bmp'


def _write_sheets(root: Path, rows: dict[str, list[tuple[str, int, tuple[float, float]]]]) -> None:
    """Write the three sheets, each with the columns that REFUGE gives it."""
    tables: dict[str, list[list[Any]]] = {split: [] for split in SPLITS}
    for split, cases in rows.items():
        for number, (case_id, glaucoma, at) in enumerate(sorted(cases, key=lambda c: c[0]), 1):
            fovea = [round(place, 2) for place in at]
            label = [] if split == 'train' else [glaucoma]
            place = [*label, *fovea] if split == 'test' else [*fovea, *label]
            tables[split].append([number, f'{case_id}.jpg', *place])
    write_sheet(
        root / 'Annotation-Training400' / 'Fovea_location.xlsx',
        ('ID', 'ImgName', 'Fovea_X', 'Fovea_Y'),
        tables['train'],
    )
    write_sheet(
        root / 'REFUGE-Validation400-GT' / 'Fovea_locations.xlsx',
        ('ID', 'ImgName', 'Fovea_X', 'Fovea_Y', 'Glaucoma Label'),
        tables['val'],
    )
    write_sheet(
        root / 'REFUGE-Test-GT' / 'Glaucoma_label_and_Fovea_location.xlsx',
        ('ID', 'ImgName', 'Label(Glaucoma=1)', 'Fovea_X', 'Fovea_Y'),
        tables['test'],
    )


def write_refuge(
    root: Path,
    *,
    num_cases: int,
    seed: int,
    size: int = 512,
    glaucoma_share: float = 0.1,
    split_ratio: Sequence[float] = (1, 1, 1),
    nested_test_masks: bool = False,
    track: Track = untracked,
) -> list[dict[str, Any]]:
    """Write phantoms in REFUGE's official raw layout.

    Training photographs come from another camera (Zeiss, 2124x2056) than the others (Canon,
    1634x1634), with other colours, contrast, blur and noise, as in the real set.

    Args:
        root: Folder to write to.
        num_cases: Number of photographs in all splits together.
        seed: Same seed, same files.
        size: Width of a training photograph; the real one is 2124.
        glaucoma_share: Share of glaucoma in each split; the real one is 0.1.
        split_ratio: Relative sizes of train, val and test.
        nested_test_masks: Put test masks into folders ``G`` and ``N``, as some archives do.
        track: Shows progress.

    Returns:
        Per case its split, id, label and vertical cup/disc ratio.
    """
    return _write(
        root,
        _plan(num_cases, seed, glaucoma_share, split_ratio),
        render=render_fundus,
        seed=seed,
        size=size,
        nested_test_masks=nested_test_masks,
        track=track,
    )


def write_refuge_tasks(
    root: Path,
    *,
    num_cases: int,
    seed: int,
    size: int = 512,
    glaucoma_share: float = 0.25,
    split_ratio: Sequence[float] = (1, 1, 1),
    nested_test_masks: bool = False,
    track: Track = untracked,
) -> list[dict[str, Any]]:
    """Write phantoms in REFUGE's official raw layout, with the truth of all tasks beside.

    The eyes are those of the other fundus sets: some have lesions, which REFUGE does not label.

    Args:
        root: Folder to write to.
        num_cases: Number of photographs in all splits together.
        seed: Same seed, same files.
        size: Width of a training photograph; the real one is 2124.
        glaucoma_share: Share of glaucoma in each split; the real one is 0.1.
        split_ratio: Relative sizes of train, val and test.
        nested_test_masks: Put test masks into folders ``G`` and ``N``, as some archives do.
        track: Shows progress.

    Returns:
        Per case its split, id, label, cup/disc ratio and shares of the structures.
    """

    def render(
        rng: np.random.Generator, shape: tuple[int, int], camera: str, glaucoma: bool
    ) -> StructuredFundus:
        return render_structures(rng, shape, camera, glaucoma=glaucoma)

    return _write(
        root,
        _plan(num_cases, seed, glaucoma_share, split_ratio),
        render=render,
        seed=seed,
        size=size,
        nested_test_masks=nested_test_masks,
        track=track,
    )


_Plan = list[tuple[str, str, int, tuple[int, int]]]


def _plan(num_cases: int, seed: int, glaucoma_share: float, split_ratio: Sequence[float]) -> _Plan:
    """Split, id, label and key of the generator of all cases."""
    plan: _Plan = []
    for place, (split, count) in enumerate(
        zip(SPLITS, divide(num_cases, split_ratio), strict=True)
    ):
        labels = draw_labels(case_rng(seed, place), count, glaucoma_share)
        seen = {0: 0, 1: 0}
        for index, label in enumerate(labels.tolist()):
            seen[label] += 1
            number = seen[label] if split == 'train' else index + 1
            initial = {'train': 'ng'[label], 'val': 'V', 'test': 'T'}[split]
            plan.append((split, f'{initial}{number:04d}', label, (place, index)))
    return plan


def _write(
    root: Path,
    plan: _Plan,
    *,
    render: Callable[..., FundusPhantom | StructuredFundus],
    seed: int,
    size: int,
    nested_test_masks: bool,
    track: Track,
) -> list[dict[str, Any]]:
    """Draw all cases and write them; gives what is known about them."""
    rows: dict[str, list[tuple[str, int, tuple[float, float]]]] = {split: [] for split in SPLITS}
    truth = []
    for split, case_id, label, key in track(plan, 'fundus phantoms'):
        camera = 'zeiss' if split == 'train' else 'canon'
        phantom = render(case_rng(seed, *key), image_shape(split, size), camera, bool(label))
        known = {'split': split, 'id': case_id, 'glaucoma': label}
        if isinstance(phantom, StructuredFundus):
            mask = phantom.odoc
            known |= write_truth(root, case_id, phantom)
        else:
            mask = phantom.mask
            known['vertical_cdr'] = round(phantom.vertical_cdr, 4)
        image_path, mask_path = _paths(split, case_id, label, nested_test_masks)
        write_image(root / image_path, phantom.image)
        write_image(root / mask_path, GREY_OF_ID[mask])
        rows[split].append((case_id, label, phantom.fovea))
        truth.append(known)
    _write_sheets(root, rows)
    return truth
