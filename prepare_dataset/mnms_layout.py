"""Finds the volumes of M&Ms, reads its information sheet and divides its subjects."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from common import Problems, note
from reading import contents, list_files, read_sheet
from volume_sets import (
    SplitFolder,
    Splits,
    ceil_share,
    check_apart,
    need_cases,
    ratio_name,
    shuffled,
)
from volumes import index_files

from mmjoint.utils.errors import UserError

VENDORS = ('A', 'B', 'C', 'D')
CODE, VENDOR = 'External code', 'Vendor'
PHASES = ('ED', 'ES')
UNLABELLED_FOLDER = 'unlabeled'


@dataclass(frozen=True)
class Subject:
    """One subject with labels.

    Args:
        code: Its ``External code``.
        vendor: Letter of the scanner's vendor.
        image: Raw file ``<code>_sa.nii.gz``.
        label: Raw file ``<code>_sa_gt.nii.gz``.
        phases: The frames ED and ES, as far as the sheet tells them.
    """

    code: str
    vendor: str
    image: Path
    label: Path
    phases: tuple[int, ...]


def find_sheet(raw_root: Path, files: Sequence[Path]) -> Path:
    """Find the information sheet.

    Args:
        raw_root: Folder of the raw files.
        files: All files below it, relative.

    Returns:
        Its path.

    Raises:
        UserError: There is none, or several, or it is in Excel's old format.
    """
    sheets = [
        raw_root / path
        for path in files
        if 'information' in path.name.lower() and path.suffix.lower() in ('.csv', '.xlsx', '.xls')
    ]
    if len(sheets) != 1:
        found = ', '.join(path.name for path in sheets) or contents(raw_root)
        raise UserError(
            f'{raw_root}: expected one information sheet (*information*.csv or .xlsx, with the '
            f'columns {CODE} and {VENDOR}), found {found}; unpack the data set there'
        )
    if sheets[0].suffix.lower() == '.xls':
        raise UserError(
            f'{sheets[0]}: expected a .csv or .xlsx file, found one in the old format .xls; open '
            'it in a spreadsheet program and save it as .xlsx'
        )
    return sheets[0]


def _frame(value: object) -> int | None:
    """A cell with a frame number; ``None`` if it holds none."""
    match = re.fullmatch(r'(\d+)(?:\.0+)?', str(value).strip())
    return None if match is None else int(match.group(1))


def read_information(sheet: Path) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Read vendors and phases.

    Args:
        sheet: The information sheet.

    Returns:
        Code -> vendor and frames ED, ES.

    Raises:
        UserError: A row is wrong; the first few are named.
    """
    subjects: dict[str, tuple[str, tuple[int, ...]]] = {}
    problems = Problems()
    for row in read_sheet(sheet, (CODE, VENDOR), optional=PHASES):
        where, code = f'{sheet}, row {row["row"]}', row[CODE]
        vendor = str(row[VENDOR]).strip().upper()
        with problems.collect():
            if code is None:
                raise UserError(f'{where}: expected a {CODE}, found an empty cell; correct it')
            if vendor not in VENDORS:
                raise UserError(
                    f'{where}: expected a vendor A, B, C or D in the column {VENDOR!r}, found '
                    f'{row[VENDOR]!r}; use the sheet as it was distributed'
                )
            if str(code) in subjects:
                raise UserError(
                    f'{where}: expected each subject once, found {code} again; correct the sheet'
                )
            frames = [_frame(row[phase]) for phase in PHASES if phase in row]
            known = tuple(frame for frame in frames if frame is not None)
            subjects[str(code)] = (vendor, known)
    problems.raise_if_any()
    return subjects


def find_subjects(raw_root: Path) -> list[Subject]:
    """Pair volumes, label maps and rows of the sheet.

    Args:
        raw_root: Folder of the raw files.

    Returns:
        The subjects with labels, sorted by code.

    Raises:
        UserError: Something is missing or there twice; the first few are named.
    """
    files = list_files(raw_root)
    sheet = find_sheet(raw_root, files)
    information = read_information(sheet)
    images = index_files(raw_root, files, r'(.+)_sa\.nii(?:\.gz)?', 'volume')
    labels = index_files(raw_root, files, r'(.+)_sa_gt\.nii(?:\.gz)?', 'label map')
    for found, name in ((images, '<code>_sa.nii.gz'), (labels, '<code>_sa_gt.nii.gz')):
        if not found:
            raise UserError(
                f'{raw_root}: expected files {name}, found {contents(raw_root)}; '
                'unpack the data set there'
            )
    problems, subjects, without = Problems(), [], 0
    for code in sorted(images.keys() | labels.keys()):
        with problems.collect():
            if code not in images:
                raise UserError(
                    f'{labels[code]}: expected {code}_sa.nii.gz beside it, found no such file; '
                    'unpack the data set again'
                )
            folders = [part.lower() for part in images[code].relative_to(raw_root).parts[:-1]]
            if code not in labels and UNLABELLED_FOLDER in folders:
                without += 1
                continue
            if code not in labels:
                raise UserError(
                    f'{images[code]}: expected {code}_sa_gt.nii.gz beside it, found no such file; '
                    'unpack the data set again'
                )
            if code not in information:
                raise UserError(
                    f'{images[code]}: expected a row {code} in {sheet.name}, found none; use the '
                    'sheet as it was distributed'
                )
            subjects.append(
                Subject(
                    code, *information[code][:1], images[code], labels[code], information[code][1]
                )
            )
    problems.raise_if_any()
    if without:
        note(f'{without} subjects of a folder Unlabeled have no label map and are not used')
    absent = len(information.keys() - images.keys())
    if absent:
        note(f'{sheet.name} lists {absent} subjects of which there are no files')
    return subjects


def split_names(target: str, ratio: float) -> tuple[str, str, str, str]:
    """Names of the labelled, unlabelled, eval and test split for an unseen vendor."""
    end = f'to{target}_{ratio_name(ratio)}'
    return (
        f'train_to{target}_labeled_{ratio_name(ratio)}',
        f'train_to{target}_unlabeled_{ratio_name(ratio)}',
        f'eval_{end}',
        f'test_{end}',
    )


def make_splits(
    subjects: Sequence[Subject],
    ratios: Sequence[float],
    seed: int,
    folder: Path | None,
    expand: Callable[[str], Sequence[str]],
    patient_of: Mapping[str, str],
) -> Splits:
    """Divide the subjects: labelled and unlabelled ones per vendor, one vendor left out.

    Args:
        subjects: All subjects with labels.
        ratios: Labelled shares of the subjects of each vendor, rounded up.
        seed: Seed of one permutation per vendor; a larger share contains the smaller ones.
        folder: Published splits, or ``None``.
        expand: ``expand(name)`` gives the cases of a subject (``<code>_sa``), of a frame
            (``<code>_sa_<t>``) or of a slice, none if there is no such thing.
        patient_of: Case -> subject.

    Returns:
        Split -> cases. ``eval`` is the labelled set, ``test`` all of the unseen vendor;
        ``vendor<letter>`` has all of a vendor.

    Raises:
        UserError: See :class:`SplitFolder`; or a vendor has too few subjects.
    """
    rng = np.random.default_rng(seed)
    order = {}
    for vendor in VENDORS:
        codes = [subject.code for subject in subjects if subject.vendor == vendor]
        if codes:
            need_cases('mnms', f'labelled subjects of vendor {vendor}', len(codes), 2)
            order[vendor] = shuffled(codes, rng)
    need_cases('mnms', 'vendors', len(order), 2)
    groups = {(target, ratio): split_names(target, ratio) for ratio in ratios for target in order}
    published = SplitFolder(
        folder, 'mnms', [name for names in groups.values() for name in names], expand
    )

    def cases_of(codes: Sequence[str]) -> list[str]:
        return [case_id for code in codes for case_id in expand(f'{code}_sa')]

    splits: Splits = {f'vendor{vendor}': cases_of(codes) for vendor, codes in order.items()}
    pairs = []
    for (target, ratio), names in groups.items():
        group = published.read(*names)
        if group is None:
            labelled, unlabelled = [], []
            for vendor, codes in order.items():
                if vendor != target:
                    count = ceil_share(len(codes), ratio)
                    labelled += codes[:count]
                    unlabelled += codes[count:]
            parts = (labelled, unlabelled, labelled, order[target])
            group = {name: cases_of(codes) for name, codes in zip(names, parts, strict=True)}
        splits |= group
        pairs += [(names[0], names[1]), (names[0], names[3]), (names[1], names[3])]
    check_apart(splits, patient_of, pairs)
    return splits


def in_plane_box(length: int) -> tuple[int, int]:
    """The part of an axis within a slice that is kept: about the middle two thirds.

    Args:
        length: Voxels along the axis.

    Returns:
        start and stop.
    """
    return length // 2 - length // 3, length // 2 + length // 3


def long_side(short: int, long: int, short_side: int) -> int:
    """Length of the longer side when the shorter becomes ``short_side``."""
    return math.floor(short_side / short * long)
