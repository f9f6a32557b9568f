"""Finds volumes, masks and labels of I-SPY1 and divides its patients."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from common import SPLITS, Problems, note
from reading import binary_label, contents, list_files, read_sheet

from mmjoint.utils.errors import UserError

SHEET = 'outcome_new.xlsx'
OFFICIAL_SPLIT = {0: (92, 11, 11), 1: (35, 4, 4)}  # train, val, test patients per class


@dataclass(frozen=True)
class Case:
    """One patient; the paths are those of the raw files."""

    case_id: int
    image: Path
    mask: Path
    label: int


def divide_patients(
    labels: Mapping[int, int],
    *,
    order: str = 'sheet',
    fractions: Sequence[float] | None = None,
    seed: int = 0,
) -> dict[int, str]:
    """Assign each patient to a split, class by class.

    Args:
        labels: Patient id -> label, in the order of the sheet.
        order: ``'sheet'`` fills train, then val, then test in this order; ``'random'`` shuffles
            first.
        fractions: Shares of train, val and test; ``None`` takes the official numbers, in
            proportion where a class has another number of patients.
        seed: Seed of the shuffle.

    Returns:
        Patient id -> split.

    Raises:
        UserError: A class has too few patients for three splits.
    """
    rng = np.random.default_rng(seed)
    assigned: dict[int, str] = {}
    for label, official in OFFICIAL_SPLIT.items():
        ids = [case_id for case_id, value in labels.items() if value == label]
        if len(ids) < len(SPLITS):
            raise UserError(
                f'{SHEET}: expected at least 3 patients with PCR = {label} (one per split), found '
                f'{len(ids)}; give more cases'
            )
        if order == 'random':
            ids = [ids[place] for place in rng.permutation(len(ids))]
        parts = np.array(official if fractions is None else fractions, float)
        held_out = np.maximum(1, np.rint(parts[1:] / parts.sum() * len(ids)).astype(int))
        if held_out.sum() >= len(ids):
            raise UserError(
                f'--fractions: expected a share that leaves patients for train, found '
                f'{" ".join(f"{part:g}" for part in parts)} for {len(ids)} patients with PCR = '
                f'{label}; raise the first number'
            )
        bounds = len(ids) - np.array([held_out.sum(), held_out[1]])
        for place, case_id in enumerate(ids):
            assigned[case_id] = SPLITS[int(np.searchsorted(bounds, place, side='right'))]
    return assigned


def parse_id(value: object, where: str) -> int:
    """Turn a cell of SUBJECTID into a number (1001, 1001.0, '1001' and 'ISPY_1001' are one).

    Args:
        value: Content of the cell.
        where: File and row, for the message.

    Returns:
        The patient's number.

    Raises:
        UserError: The cell is no such number.
    """
    match = re.fullmatch(r'(?:ISPY1?_)?(\d+)(?:\.0+)?', str(value).strip(), re.IGNORECASE)
    if match is None:
        found = 'an empty cell' if value is None else repr(value)
        raise UserError(
            f'{where}: expected a whole number in the column SUBJECTID, found {found}; '
            'correct the sheet'
        )
    return int(match.group(1))


def read_labels(sheet: Path, *, skip_missing: bool) -> dict[int, int]:
    """Read patient id -> label.

    Args:
        sheet: The file ``outcome_new.xlsx``.
        skip_missing: Leave out patients with an empty PCR cell instead of stopping.

    Returns:
        The labels in the order of the sheet.

    Raises:
        UserError: A row is wrong; the first few are named.
    """
    labels: dict[int, int] = {}
    problems = Problems()
    for row in read_sheet(sheet, ('SUBJECTID', 'PCR')):
        where = f'{sheet}, row {row["row"]}'
        with problems.collect():
            case_id = parse_id(row['SUBJECTID'], where)
            if case_id in labels:
                raise UserError(
                    f'{where}: expected each patient once, found {case_id} again; correct the sheet'
                )
            if row['PCR'] is None and skip_missing:
                note(f'{where}: patient {case_id} has no PCR and is left out')
                continue
            labels[case_id] = binary_label(row['PCR'], f"{where}, column 'PCR'")
    problems.raise_if_any()
    return labels


def _index(raw_root: Path, files: Sequence[Path], pattern: str, what: str) -> dict[int, Path]:
    """Find the files whose path ends in ``pattern``; its group is the patient's number."""
    index: dict[int, Path] = {}
    for path in files:
        match = re.search(f'(?:^|/){pattern}$', path.as_posix(), re.IGNORECASE)
        if match is None:
            continue
        case_id = int(match.group(1))
        if case_id in index:
            raise UserError(
                f'{raw_root / path}: expected one {what} per patient, found another for {case_id} '
                f'({index[case_id]}); remove one of them'
            )
        index[case_id] = raw_root / path
    return index


def find_cases(raw_root: Path, *, skip_missing: bool = False) -> list[Case]:
    """Pair volumes, masks and labels by patient.

    Args:
        raw_root: Folder of the raw files.
        skip_missing: Leave out rows of the sheet without volume, mask or label instead of
            stopping.

    Returns:
        The cases in the order of the sheet.

    Raises:
        UserError: Something is missing or there twice; the first few are named.
    """
    files = list_files(raw_root)
    sheets = [path for path in files if path.name == SHEET]
    if len(sheets) != 1:
        found = f'{len(sheets)} of them' if sheets else contents(raw_root)
        raise UserError(
            f'{raw_root}: expected one file {SHEET}, found {found}; unpack the data set there'
        )
    images = _index(raw_root, files, r'ISPY1?_(\d+)/DCEMRI_1\.nii(?:\.gz)?', 'volume')
    masks = _index(raw_root, files, r'ISPY1?_(\d+)_tumor_mask\.nii(?:\.gz)?', 'mask')
    for found, name in (
        (images, 'volumes "Dataset ISPY/ISPY_<id>/DCEMRI_1.nii"'),
        (masks, 'masks "Tumor_segmentation_new/ISPY_<id>_tumor_mask.nii"'),
    ):
        if not found:
            raise UserError(
                f'{raw_root}: expected {name}, found {contents(raw_root)}; '
                'unpack the data set there'
            )
    cases, problems = [], Problems()
    labels = read_labels(raw_root / sheets[0], skip_missing=skip_missing)
    for case_id, label in labels.items():
        missing = [
            name
            for name, found in (
                (f'ISPY_{case_id}/DCEMRI_1.nii', images),
                (f'ISPY_{case_id}_tumor_mask.nii', masks),
            )
            if case_id not in found
        ]
        if not missing:
            cases.append(Case(case_id, images[case_id], masks[case_id], label))
        elif skip_missing:
            note(f'patient {case_id} has no {missing[0]} and is left out')
        else:
            problems.messages.append(
                f'{raw_root}: expected {missing[0]} because {SHEET} lists patient {case_id}, found '
                'no such file; unpack it again or leave such rows out with --skip-missing'
            )
    problems.raise_if_any()
    unlabelled = sorted(set(images) - set(labels))
    if unlabelled:
        note(f'{SHEET} does not list {len(unlabelled)} patients, e.g. {unlabelled[0]}: not used')
    return cases
