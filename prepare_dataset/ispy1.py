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
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from common import (
    SPLITS,
    Problems,
    bounded,
    check_raw_root,
    command_line,
    new_folder,
    note,
    prepare_parser,
    print_summary,
    progress,
    write_annotations,
)
from ispy1_layout import OFFICIAL_SPLIT, Case, divide_patients, find_cases
from matplotlib.image import imsave
from reading import write_image
from volumes import read_nifti

from mmjoint.utils.cli import run_cli
from mmjoint.utils.errors import UserError

CLASSES = ('background', 'tumour')
CLS_CLASSES = ('non-pCR', 'pCR')
JPEG_THRESHOLD = 50


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


def jpeg_bytes(plane: np.ndarray, limits: tuple[float, float]) -> bytes:
    """Encode a plane as the UML repository does: matplotlib's grey map and JPEG.

    Args:
        plane: Array (H, W).
        limits: Values that become black and white.

    Returns:
        Content of a JPEG file.
    """
    stream = io.BytesIO()
    imsave(stream, plane, vmin=limits[0], vmax=limits[1], cmap='gray', format='jpg')
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


def reading_order(record: Mapping[str, Any]) -> tuple[str, str]:
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
            rows.sort(key=reading_order)
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
            raw_root=raw_root,
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


def build_parser() -> argparse.ArgumentParser:
    """Make the parser of the command line."""
    parser = prepare_parser(__doc__)
    parser.add_argument('--keep', type=bounded(int, 1), default=10, help='slices per volume')
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
        type=bounded(float, 0.001),
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
