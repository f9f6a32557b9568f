"""Prepare REFUGE (colour fundus photographs: glaucoma, optic disc and cup).

Origin: the REFUGE challenge of MICCAI 2018, https://refuge.grand-challenge.org (registration and
agreement to its terms of use needed; the files may not be passed on). 1200 photographs.

RAW_ROOT holds the unpacked archives in any nesting. Two layouts are known, split by split:

* official: ``Training400/{Glaucoma,Non-Glaucoma}/*.jpg``,
  ``Annotation-Training400/Disc_Cup_Masks/{Glaucoma,Non-Glaucoma}/*.bmp`` (label = folder);
  ``REFUGE-Validation400/*.jpg``, ``REFUGE-Validation400-GT/{Disc_Cup_Masks/*.bmp,
  Fovea_locations.xlsx}``; ``Test400/*.jpg``, ``REFUGE-Test-GT/{Disc_Cup_Masks/**/*.bmp,
  Glaucoma_label_and_Fovea_location.xlsx}``
* renamed by hand, as some repositories ask for: ``X/X400/*.jpg``,
  ``X/X400-GT/{Disc_Cup_Masks/*.bmp, Glaucoma_label_and_Fovea_location.xlsx}`` for X in Train,
  Valid, Test

Images and masks become squares of ``--size`` pixels (aspect not kept, as in the UML repository).
Mask ids: 0 background, 1 rim (disc without cup), 2 cup.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from common import (
    SPLITS,
    Problems,
    check_raw_root,
    command_line,
    image_size,
    new_folder,
    note,
    prepare_parser,
    print_summary,
    progress,
    write_annotations,
)
from reading import list_files, read_image, read_mask, write_image
from refuge_layout import Case, find_cases

from mmjoint.utils.cli import run_cli
from mmjoint.utils.errors import UserError

CLASSES = ('background', 'rim', 'cup')
CLS_CLASSES = ('non-glaucoma', 'glaucoma')
MASK_VALUES = (0, 128, 255)
OFFICIAL_CASES = 400
CAMERAS = {'train': 'zeiss', 'val': 'canon', 'test': 'canon'}


def mask_to_ids(mask: np.ndarray) -> np.ndarray:
    """Turn grey values of a resized REFUGE mask into class ids.

    Args:
        mask: uint8 array (H, W); 0 cup, 128 rim, 255 background, blends at the edges.

    Returns:
        uint8 array (H, W): 2 where below 10, 0 where above 245, else 1.
    """
    return np.where(mask < 10, 2, np.where(mask > 245, 0, 1)).astype(np.uint8)


def resize_mask(mask: np.ndarray, size: int, mode: str) -> np.ndarray:
    """Resize a raw mask to a square, before its values become class ids.

    Args:
        mask: uint8 array (H, W).
        size: Edge length in pixels.
        mode: ``'bilinear'`` blends edge pixels, which then fall to the rim (rim +1.5 %, cup
            -1.2 % in area), as in the UML repository. ``'nearest-exact'`` keeps the areas.

    Returns:
        uint8 array (size, size).
    """
    # OpenCV's plain INTER_NEAREST is not offered: it shifts by up to half an output pixel.
    flags = {'bilinear': cv2.INTER_LINEAR, 'nearest-exact': cv2.INTER_NEAREST_EXACT}
    return cv2.resize(mask, (size, size), interpolation=flags[mode])


def convert_case(
    case: Case, root: Path, *, size: int, mask_resize: str, image_format: str
) -> dict[str, Any]:
    """Write image and mask of one case.

    Args:
        case: What to convert.
        root: Folder of the prepared set.
        size: Edge length of the result in pixels.
        mask_resize: See :func:`resize_mask`.
        image_format: ``'jpg'`` (quality 95) or ``'png'``.

    Returns:
        The record for ``annotations/<split>.json``.

    Raises:
        UserError: A file is damaged, or image and mask do not fit together.
    """
    image, mask = read_image(case.image), read_mask(case.mask, MASK_VALUES)
    if image.shape[:2] != mask.shape:
        raise UserError(
            f'{case.mask}: expected the size of its image, {image.shape[1]}x{image.shape[0]}, '
            f'found {mask.shape[1]}x{mask.shape[0]}; use the original files'
        )
    img_path = f'images/{case.split}/{case.case_id}.{image_format}'
    seg_map_path = f'masks/{case.split}/{case.case_id}.png'
    write_image(root / img_path, cv2.resize(image, (size, size), interpolation=cv2.INTER_LINEAR))
    write_image(root / seg_map_path, mask_to_ids(resize_mask(mask, size, mask_resize)))
    return {
        'img_path': img_path,
        'seg_map_path': seg_map_path,
        'gt_label': case.label,
        'patient_id': case.case_id,
        'spacing': None,
        'domain': CAMERAS[case.split],
        'ori_shape': list(mask.shape),
    }


def prepare(
    raw_root: Path,
    out_root: Path,
    *,
    size: int = 256,
    mask_resize: str = 'bilinear',
    image_format: str = 'jpg',
    splits: Sequence[str] = SPLITS,
    overwrite: bool = False,
) -> dict[str, list[dict[str, Any]]]:
    """Convert the raw files; nothing is left under ``out_root`` unless all is well.

    Args:
        raw_root: Folder with the unpacked archives.
        out_root: Folder to make.
        size: Edge length of images and masks in pixels.
        mask_resize: See :func:`resize_mask`.
        image_format: ``'jpg'`` or ``'png'``.
        splits: The splits to prepare.
        overwrite: Replace an earlier result.

    Returns:
        Per split the records that were written.

    Raises:
        UserError: Anything wrong with the raw files or the output folder.
    """
    check_raw_root(raw_root, out_root)
    with new_folder(out_root, overwrite=overwrite) as root:
        files = list_files(raw_root)
        problems = Problems()
        cases: dict[str, list[Case]] = {split: [] for split in splits}
        for split in splits:
            with problems.collect():
                cases[split] = find_cases(raw_root, files, split)
        problems.raise_if_any()
        records: dict[str, list[dict[str, Any]]] = {split: [] for split in splits}
        for case in progress(sum(cases.values(), []), 'refuge'):
            with problems.collect():
                records[case.split].append(
                    convert_case(
                        case,
                        root,
                        size=size,
                        mask_resize=mask_resize,
                        image_format=image_format,
                    )
                )
        problems.raise_if_any()
        options = {
            'size': size,
            'mask_resize': mask_resize,
            'image_format': image_format,
            'splits': list(splits),
        }
        write_annotations(
            root,
            'refuge',
            raw_root=raw_root,
            classes=CLASSES,
            cls_classes=CLS_CLASSES,
            records=records,
            command=command_line('refuge.py', options),
            options=options,
        )
    counts = {split: len(rows) for split, rows in records.items()}
    if set(counts.values()) != {OFFICIAL_CASES}:
        found = ', '.join(f'{split} {count}' for split, count in counts.items())
        note(f'{found} cases; the official set has {OFFICIAL_CASES} in each split')
    return records


def build_parser() -> argparse.ArgumentParser:
    """Make the parser of the command line."""
    parser = prepare_parser(__doc__)
    parser.add_argument(
        '--size', type=image_size, default=256, help='edge length of the result in pixels'
    )
    parser.add_argument(
        '--mask-resize',
        choices=('bilinear', 'nearest-exact'),
        default='bilinear',
        help='bilinear is what the UML repository does; nearest-exact keeps rim and cup areas',
    )
    parser.add_argument('--image-format', choices=('jpg', 'png'), default='jpg')
    parser.add_argument(
        '--splits', nargs='+', choices=SPLITS, default=list(SPLITS), help='splits to prepare'
    )
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line.

    Args:
        argv: Its words; ``None`` means ``sys.argv[1:]``.
    """
    args = build_parser().parse_args(argv)
    records = prepare(
        args.raw_root,
        args.out_root,
        size=args.size,
        mask_resize=args.mask_resize,
        image_format=args.image_format,
        splits=[split for split in SPLITS if split in args.splits],
        overwrite=args.overwrite,
    )
    print_summary(args.out_root, records)


if __name__ == '__main__':
    run_cli(main)
