"""Shared by the scripts that prepare volumes: the stored cases, and splits from text files."""

import argparse
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from common import note
from reading import contents

from mmjoint.utils.errors import UserError
from mmjoint.utils.volume_grid import VolumeGrid

Splits = dict[str, list[str]]


def store_case(
    root: Path,
    case_id: str,
    image: np.ndarray,
    label: np.ndarray,
    *,
    grid: VolumeGrid,
    patient_id: str,
    domain: str,
) -> dict[str, Any]:
    """Write the arrays of a case and describe them.

    Args:
        root: Folder of the prepared set.
        case_id: Name of the files.
        image: Array of ``grid.shape``, or a slice of it with two axes; stored as float32.
        label: Class ids of the same shape; stored as uint8.
        grid: Where the arrays come from.
        patient_id: The patient.
        domain: Vendor or modality.

    Returns:
        The record for ``annotations/<split>.json``.
    """
    paths = {'img_path': f'images/{case_id}.npy', 'seg_map_path': f'masks/{case_id}.npy'}
    for name, array, dtype in zip(
        paths.values(), (image, label), (np.float32, np.uint8), strict=True
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        np.save(root / name, np.ascontiguousarray(array, dtype))
    return {
        **paths,
        'patient_id': patient_id,
        'domain': domain,
        'spacing': [round(step, 6) for step in grid.spacing[-image.ndim :]],
        'ori_shape': list(grid.raw_shape),
        'geometry': grid.to_dict(),
    }


def relative_name(path: Path, raw_root: Path) -> str:
    """Name of a raw file relative to the folder of the raw files, with ``/``."""
    return path.relative_to(raw_root).as_posix()


def rounded_affine(affine: np.ndarray) -> tuple[tuple[float, ...], ...]:
    """An affine as JSON keeps it: single precision is what NIfTI stores."""
    return tuple(tuple(round(float(value), 7) for value in row) for row in affine)


def ratio_name(ratio: float) -> str:
    """A labelled share as the published files write it: 0.05, 0.1."""
    return f'{ratio:g}'


def shape_option(parser: argparse.ArgumentParser, default: Sequence[int], what: str) -> None:
    """Add ``--shape``.

    Args:
        parser: Parser of a script.
        default: Three lengths.
        what: What the three axes are.
    """
    parser.add_argument(
        '--shape',
        type=int,
        nargs=3,
        default=list(default),
        metavar=('N0', 'N1', 'N2'),
        help=f'voxels of a prepared volume along {what} '
        f'(default: {" ".join(map(str, default))}); smaller ones for phantoms',
    )


def check_shape(shape: Sequence[int]) -> None:
    """Refuse volumes without extent.

    Raises:
        UserError: A length is below 4 or above 1024.
    """
    if min(shape) < 4 or max(shape) > 1024:
        raise UserError(
            f'--shape: expected three lengths of 4 to 1024, found {" ".join(map(str, shape))}; '
            'change them'
        )


def splits_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--splits``."""
    parser.add_argument(
        '--splits',
        type=Path,
        metavar='DIR',
        help='folder with published splits, one text file <split>.txt of ids each, or one that '
        'holds such a folder named like the set; without it, splits are drawn by --seed',
    )


def affine_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--ignore-affine``."""
    parser.add_argument(
        '--ignore-affine',
        action='store_true',
        help='pair voxels of image and label map even where their headers place them differently',
    )


def share(count: int, part: float, *, rounding: Callable[[float], int] = round) -> int:
    """A part of some cases that leaves at least one on both sides.

    Args:
        count: Number of cases, at least 2.
        part: Wanted share, 0..1.
        rounding: How the number becomes whole.

    Returns:
        A number in 1..count - 1.
    """
    # 50 * 0.14 is 7.000000000000001: what is almost whole is meant to be.
    return min(max(rounding(round(count * part, 9)), 1), count - 1)


def ceil_share(count: int, part: float) -> int:
    """``share`` rounded up."""
    return share(count, part, rounding=math.ceil)


def floor_share(count: int, part: float) -> int:
    """``share`` rounded down."""
    return share(count, part, rounding=math.floor)


def need_cases(dataset: str, what: str, found: int, needed: int) -> None:
    """Refuse too few cases to divide.

    Raises:
        UserError: ``found`` is below ``needed``.
    """
    if found < needed:
        raise UserError(
            f'{dataset}: expected at least {needed} {what}, found {found}; give more cases'
        )


def shuffled(items: Sequence[str], rng: np.random.Generator) -> list[str]:
    """Permute ids."""
    return [items[place] for place in rng.permutation(len(items))]


def find_split_folder(folder: Path, dataset: str, names: Sequence[str]) -> Path:
    """Find the folder that holds text files of splits.

    Args:
        folder: What the user gave: that folder, or one with a folder named ``dataset``.
        dataset: Name of the set.
        names: Split names, some of which must be there.

    Returns:
        The folder.

    Raises:
        UserError: It is absent or holds none of the names.
    """
    if not folder.is_dir():
        found = 'a file' if folder.exists() else 'nothing'
        raise UserError(
            f'{folder}: expected a folder of split files (--splits), found {found}; '
            'correct the path or draw splits without --splits'
        )
    for place in (folder, folder / dataset):
        if any((place / f'{name}.txt').is_file() for name in names):
            return place
    raise UserError(
        f'{folder}: expected split files such as {names[0]}.txt (--splits), found '
        f'{contents(folder)}; give the folder of {dataset}'
    )


def read_ids(path: Path) -> list[str]:
    """Read a text file with one id per line.

    Args:
        path: The file.

    Returns:
        The ids, in the file's order.

    Raises:
        UserError: It cannot be read, is empty or names an id twice.
    """
    try:
        lines = path.read_text(encoding='utf-8').splitlines()
    except OSError as error:
        raise UserError(
            f'{path}: expected a readable list of ids, found: {error.strerror}; check the file'
        ) from error
    except UnicodeDecodeError as error:
        raise UserError(
            f'{path}: expected a text file of ids, found other content; use the original file'
        ) from error
    ids = [line.strip() for line in lines if line.strip()]
    if not ids:
        raise UserError(f'{path}: expected an id per line, found none; use the original file')
    doubled = sorted({name for name in ids if ids.count(name) > 1})
    if doubled:
        raise UserError(
            f'{path}: expected each id once, found {doubled[0]} {ids.count(doubled[0])} times; '
            'correct the file'
        )
    return ids


class SplitFolder:
    """Published splits: text files, of which some groups belong together.

    Args:
        folder: What the user gave; see :func:`find_split_folder`. ``None``: nothing is published.
        dataset: Name of the set.
        names: Split names, some of which must be there.
        expand: ``expand(id)`` gives the cases that an id in a file stands for, none if unknown.

    Raises:
        UserError: The folder is absent or holds none of the names.
    """

    def __init__(
        self,
        folder: Path | None,
        dataset: str,
        names: Sequence[str],
        expand: Callable[[str], Sequence[str]],
    ) -> None:
        self.place = None if folder is None else find_split_folder(folder, dataset, names)
        self.expand = expand

    def read(self, *names: str) -> Splits | None:
        """Read a group of splits.

        Args:
            *names: Names of the group.

        Returns:
            Name -> case ids; ``None`` where the folder has none of the files, so that they are
            left to the seed.

        Raises:
            UserError: A part of the group is missing, a file is damaged or names an id that the
                raw files do not have.
        """
        if self.place is None:
            return None
        missing = [name for name in names if not (self.place / f'{name}.txt').is_file()]
        if len(missing) == len(names):
            note(f'{self.place} has no {", ".join(names)}: drawn by --seed')
            return None
        if missing:
            raise UserError(
                f'{self.place / missing[0]}.txt: expected this file beside those of '
                f'{", ".join(name for name in names if name not in missing)}, found none; '
                'complete the folder'
            )
        return {name: self._cases(self.place / f'{name}.txt') for name in names}

    def _cases(self, path: Path) -> list[str]:
        cases = []
        for name in read_ids(path):
            found = self.expand(name)
            if not found:
                raise UserError(
                    f'{path}: expected ids of the raw files, found {name}, which is not among '
                    'them; use the splits that belong to these files'
                )
            cases += found
        return cases


def check_apart(
    splits: Mapping[str, Sequence[str]],
    patient_of: Mapping[str, str],
    pairs: Sequence[tuple[str, str]],
) -> None:
    """Refuse splits that share patients.

    Args:
        splits: Name -> case ids.
        patient_of: Case id -> patient.
        pairs: Names of splits that may not overlap.

    Raises:
        UserError: A patient is in both splits of a pair.
    """
    for first, second in pairs:
        patients = {patient_of[case_id] for case_id in splits[first]}
        common = sorted(patients & {patient_of[case_id] for case_id in splits[second]})
        if common:
            raise UserError(
                f'{second}: expected other patients than in {first}, found {common[0]} in both '
                f'({len(common)} in all); correct the split files'
            )


def split_records(
    splits: Mapping[str, Sequence[str]], records: Mapping[str, dict[str, Any]]
) -> dict[str, list[dict[str, Any]]]:
    """Give the records of each split, sorted by id (the original sorts what it reads, too)."""
    return {name: [records[case_id] for case_id in sorted(ids)] for name, ids in splits.items()}


def print_volume_summary(out_root: Path, records: Mapping[str, Sequence[Mapping]]) -> None:
    """Say what was made, in one line."""
    images = {row['img_path']: row['patient_id'] for rows in records.values() for row in rows}
    parts = ', '.join(f'{name} {len(rows)}' for name, rows in list(records.items())[:6])
    parts += f' and {len(records) - 6} more' if len(records) > 6 else ''
    print(
        f'{out_root}: {len(images)} volumes or slices of {len(set(images.values()))} patients '
        f'in {len(records)} splits ({parts})'
    )
