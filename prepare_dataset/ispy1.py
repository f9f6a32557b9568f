"""Prepare I-SPY1 (breast DCE-MR: tumour and pathological complete response, pCR).

Origin: the ACRIN 6657 / I-SPY 1 trial; this reads the copy on Kaggle,
``saarthakkapse/ispy1-trail-dataset`` (account needed; mind the terms given there).

RAW_ROOT holds, in any nesting:

* ``Dataset ISPY/ISPY_<id>/DCEMRI_1.nii`` (X, Y, Z), the only series that is used
* ``Tumor_segmentation_new/ISPY_<id>_tumor_mask.nii``
* ``outcome_new.xlsx`` with the columns SUBJECTID and PCR (0 or 1)

Of each volume ``--keep`` slices around the largest tumour area become grey images of (Y, X).
Patients are divided per class in the order of the sheet: 92/11/11 without and 35/4/4 with pCR, as
in the UML repository; other numbers of patients are divided in these proportions.
Mask ids: 0 background, 1 tumour.
"""

import argparse
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from common import (
    SPLITS,
    Problems,
    check_raw_root,
    command_line,
    new_folder,
    note,
    prepare_parser,
    print_summary,
    progress,
    write_annotations,
)
from matplotlib.image import imsave
from reading import binary_label, contents, list_files, read_sheet, write_image
from volumes import read_nifti

from mmjoint.utils.cli import run_cli
from mmjoint.utils.errors import UserError

CLASSES = ('background', 'tumour')
CLS_CLASSES = ('non-pCR', 'pCR')
SHEET = 'outcome_new.xlsx'
OFFICIAL_SPLIT = {0: (92, 11, 11), 1: (35, 4, 4)}  # train, val, test patients per class
JPEG_THRESHOLD = 50


@dataclass(frozen=True)
class Case:
    """One patient; the paths are those of the raw files."""

    case_id: int
    image: Path
    mask: Path
    label: int


def choose_slices(mask: np.ndarray, keep: int = 10) -> list[int]:
    """Choose the slices of a volume that are used.

    From half of ``keep`` before the slice of the largest area on, slices with tumour are taken
    upwards; if they do not suffice, from there downwards over ``keep - 1`` slices. Upstream lets
    a start below 0 wrap around to the end of the volume; here it is clamped.

    Args:
        mask: Array (X, Y, Z), non-zero in the tumour.
        keep: Number of slices.

    Returns:
        At most ``keep`` slice numbers, in the order in which they were taken.
    """
    area = np.count_nonzero(mask, axis=(0, 1))
    start = int(area.argmax()) - keep // 2
    upwards = range(max(start, 0), len(area))
    downwards = range(start - 1, max(start - keep, -1), -1)
    return [z for z in (*upwards, *downwards) if area[z] > 0][:keep]


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


def parse_id(value: Any, where: str) -> int:
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


def read_case(case: Case) -> tuple[np.ndarray, np.ndarray, tuple[float, float, float]]:
    """Read and check the volumes of a case.

    Args:
        case: The case.

    Returns:
        Image float32 (X, Y, Z), mask bool (X, Y, Z), spacing along X, Y, Z in mm.

    Raises:
        UserError: A file is damaged, or image and mask do not fit together.
    """
    image, spacing = read_nifti(case.image)
    mask, _ = read_nifti(case.mask)
    if image.shape != mask.shape:
        raise UserError(
            f'{case.mask}: expected the shape of its volume, {image.shape}, found {mask.shape}; '
            'use the original files'
        )
    values = np.unique(mask)
    if len(values) != 2 or values[0] != 0 or values[1] < 0:
        found = 'only ' if len(values) == 1 else ''
        found += ', '.join(f'{value:g}' for value in values[:5])
        raise UserError(
            f'{case.mask}: expected 0 and one positive value (tumour), found {found}; '
            'use the original file'
        )
    return image, mask > 0, spacing


def grey_image(plane: np.ndarray, limits: tuple[float, float]) -> np.ndarray:
    """Scale a plane to 0..255.

    Args:
        plane: Array (H, W).
        limits: Values that become 0 and 255.

    Returns:
        uint8 array (H, W).
    """
    low, high = limits
    scaled = (plane - low) * (255 / max(high - low, 1e-12))
    return np.rint(np.clip(scaled, 0, 255)).astype(np.uint8)


def jpeg_bytes(plane: np.ndarray, limits: tuple[float, float] | None = None) -> bytes:
    """Encode a plane as the UML repository does: matplotlib's grey map and JPEG.

    Args:
        plane: Array (H, W).
        limits: Values that become black and white; ``None`` takes minimum and maximum.

    Returns:
        Content of a JPEG file.
    """
    low, high = limits or (None, None)
    stream = io.BytesIO()
    imsave(stream, plane, vmin=low, vmax=high, cmap='gray', format='jpg')
    return stream.getvalue()


def convert_case(
    case: Case,
    split: str,
    root: Path,
    *,
    keep: int = 10,
    image_format: str = 'jpg',
    intensity: str = 'slice',
) -> list[dict[str, Any]]:
    """Write the slices of one case.

    Args:
        case: What to convert.
        split: Split of the patient.
        root: Folder of the prepared set.
        keep: Number of slices.
        image_format: ``'jpg'`` stores images as upstream does, and lets the masks go through the
            same lossy step before they are thresholded; ``'png'`` is lossless for both.
        intensity: Grey values run from minimum to maximum of each ``'slice'`` or of the whole
            ``'volume'``.

    Returns:
        Records for ``annotations/<split>.json``.

    Raises:
        UserError: A file is damaged, or there are too few slices with tumour.
    """
    image, mask, spacing = read_case(case)
    slices = choose_slices(mask, keep)
    if len(slices) < keep:
        raise UserError(
            f'{case.mask}: expected {keep} slices with tumour around the largest area, found '
            f'{len(slices)}; lower --keep'
        )
    volume_limits = (float(image.min()), float(image.max()))
    records = []
    for z in slices:
        plane, ids = image[:, :, z].T, mask[:, :, z].T.astype(np.uint8)
        limits = (
            volume_limits if intensity == 'volume' else (float(plane.min()), float(plane.max()))
        )
        name = f'ispy_{case.case_id}_s{z}'
        img_path = f'images/{split}/{name}.{image_format}'
        seg_map_path = f'masks/{split}/{name}.png'
        if image_format == 'jpg':
            (root / img_path).parent.mkdir(parents=True, exist_ok=True)
            (root / img_path).write_bytes(jpeg_bytes(plane, limits))
            stored = np.frombuffer(jpeg_bytes(ids, (0, 1)), np.uint8)
            ids = cv2.imdecode(stored, cv2.IMREAD_COLOR)[..., 0] >= JPEG_THRESHOLD
        else:
            write_image(root / img_path, grey_image(plane, limits))
        write_image(root / seg_map_path, ids.astype(np.uint8))
        records.append(
            {
                'img_path': img_path,
                'seg_map_path': seg_map_path,
                'gt_label': case.label,
                'patient_id': str(case.case_id),
                'slice': z,
                'spacing': [spacing[1], spacing[0]],
                'domain': 'ispy1',
                'ori_shape': list(plane.shape),
            }
        )
    return records


def _reading_order(record: Mapping[str, Any]) -> tuple[str, str]:
    """Sort key: upstream reads cases and slices in the order of their names (s10 before s9)."""
    return f'ispy_{record["patient_id"]}', f's{record["slice"]}_'


def prepare(
    raw_root: Path,
    out_root: Path,
    *,
    keep: int = 10,
    image_format: str = 'jpg',
    intensity: str = 'slice',
    split_order: str = 'sheet',
    fractions: Sequence[float] | None = None,
    skip_missing: bool = False,
    seed: int = 0,
    overwrite: bool = False,
) -> dict[str, list[dict[str, Any]]]:
    """Convert the raw files; nothing is left under ``out_root`` unless all is well.

    Args:
        raw_root: Folder with the unpacked data set.
        out_root: Folder to make.
        keep: Slices per volume.
        image_format: See :func:`convert_case`.
        intensity: See :func:`convert_case`.
        split_order: ``order`` of :func:`divide_patients`.
        fractions: See :func:`divide_patients`.
        skip_missing: See :func:`find_cases`.
        seed: Seed of a random division.
        overwrite: Replace an earlier result.

    Returns:
        Per split the records that were written.

    Raises:
        UserError: Anything wrong with the raw files or the output folder.
    """
    check_raw_root(raw_root, out_root)
    with new_folder(out_root, overwrite=overwrite) as root:
        cases = find_cases(raw_root, skip_missing=skip_missing)
        labels = {case.case_id: case.label for case in cases}
        split_of = divide_patients(labels, order=split_order, fractions=fractions, seed=seed)
        records: dict[str, list[dict[str, Any]]] = {split: [] for split in SPLITS}
        problems = Problems()
        for case in progress(cases, 'ispy1'):
            with problems.collect():
                records[split_of[case.case_id]] += convert_case(
                    case,
                    split_of[case.case_id],
                    root,
                    keep=keep,
                    image_format=image_format,
                    intensity=intensity,
                )
        problems.raise_if_any()
        for rows in records.values():
            rows.sort(key=_reading_order)
        options = {
            'keep': keep,
            'image_format': image_format,
            'intensity': intensity,
            'split_order': split_order,
            'fractions': None if fractions is None else list(fractions),
            'skip_missing': skip_missing,
            'seed': seed,
        }
        write_annotations(
            root,
            'ispy1',
            classes=CLASSES,
            cls_classes=CLS_CLASSES,
            records=records,
            command=command_line('ispy1.py', options),
            options=options,
        )
    official = sum(map(sum, OFFICIAL_SPLIT.values()))
    if len(cases) != official:
        note(f'{len(cases)} patients; the set that the official division fits has {official}')
    return records


def _share(text: str) -> float:
    """Parse a share of the patients."""
    value = float(text)
    if not 0 < value < float('inf'):
        raise argparse.ArgumentTypeError(f'expected a positive number, got {text}')
    return value


def _slices(text: str) -> int:
    """Parse the number of slices."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f'expected at least 1 slice, got {value}')
    return value


def build_parser() -> argparse.ArgumentParser:
    """Make the parser of the command line."""
    parser = prepare_parser(__doc__)
    parser.add_argument('--keep', type=_slices, default=10, help='slices per volume')
    parser.add_argument(
        '--image-format',
        choices=('jpg', 'png'),
        default='jpg',
        help='jpg (lossy) is what the UML repository does; png keeps what was measured',
    )
    parser.add_argument(
        '--intensity',
        choices=('slice', 'volume'),
        default='slice',
        help='range of the grey values; per slice as in the UML repository',
    )
    parser.add_argument(
        '--split-order',
        choices=('sheet', 'random'),
        default='sheet',
        help='divide the patients in the order of the sheet, or shuffled with --seed',
    )
    parser.add_argument(
        '--fractions',
        type=_share,
        nargs=3,
        metavar=('TRAIN', 'VAL', 'TEST'),
        help='shares of the patients per class (default: 92 11 11 and 35 4 4)',
    )
    parser.add_argument(
        '--skip-missing',
        action='store_true',
        help='leave out rows of the sheet without volume, mask or PCR',
    )
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line.

    Args:
        argv: Its words; ``None`` means ``sys.argv[1:]``.
    """
    args = vars(build_parser().parse_args(argv))
    out_root = args['out_root']
    print_summary(out_root, prepare(args.pop('raw_root'), args.pop('out_root'), **args))


if __name__ == '__main__':
    run_cli(main)
