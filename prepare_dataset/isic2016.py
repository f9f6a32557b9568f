"""Prepare ISIC 2016, Task 1 (dermoscopic photographs: outline of the skin lesion).

Origin: the challenge "Skin Lesion Analysis toward Melanoma Detection" of ISBI 2016,
https://challenge.isic-archive.com/data/#2016 (CC-0). 900 training and 379 test photographs.

RAW_ROOT holds the unpacked archives in any nesting. Two layouts are known, part by part:

* official: ``ISBI2016_ISIC_Part1_{Training,Test}_Data/ISIC_<7 digits>.jpg``,
  ``ISBI2016_ISIC_Part1_{Training,Test}_GroundTruth/ISIC_<7 digits>_Segmentation.png``
* renamed by hand, as the repository of the MC-dropout U-Net asks for: ``imgs``, ``masks``,
  ``imgs_test``, ``masks_test``, with the same file names

Photographs are copied byte for byte and masks keep their size: configs resize, and predictions are
judged at the original size. Mask ids: 0 background, 1 lesion. Validation images are drawn from the
training part; the published code does so by torch's generator over the order in which the file
system lists the files, which cannot be repeated elsewhere.
"""

import argparse
import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from common import (
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
from isic2016_layout import Case, find_cases
from PIL import Image, UnidentifiedImageError
from reading import list_files, read_image, read_mask, write_image

from mmjoint.utils.cli import run_cli
from mmjoint.utils.errors import UserError

CLASSES = ('background', 'lesion')
MASK_VALUES = (0, 255)
OFFICIAL_CASES = {'train': 765, 'val': 135, 'test': 379}


def divide_training(
    cases: Sequence[Case], val_percent: float, seed: int
) -> tuple[list[Case], list[Case]]:
    """Draw the validation cases from the training part.

    Args:
        cases: The training part, sorted by id.
        val_percent: Share of the validation cases in percent; their number is rounded down.
        seed: Same seed and same ids, same division.

    Returns:
        Training and validation cases, each in the order of ``cases``.

    Raises:
        UserError: Nothing is left for one of them.
    """
    count = math.floor(len(cases) * val_percent / 100)
    if not 0 < count < len(cases):
        raise UserError(
            f'--val-percent: expected a share that leaves cases for train and val, found '
            f'{val_percent:g} for {len(cases)} training cases; change it or give more cases'
        )
    chosen = set(np.random.default_rng(seed).permutation(len(cases))[:count].tolist())
    return (
        [case for place, case in enumerate(cases) if place not in chosen],
        [case for place, case in enumerate(cases) if place in chosen],
    )


def _check_grey(path: Path) -> None:
    """Refuse masks of several channels or with a palette, whose first channel may say nothing."""
    try:
        with Image.open(path) as header:
            mode = header.mode
    except (OSError, UnidentifiedImageError):
        return  # damaged: reading it tells how
    if mode not in ('L', '1'):
        raise UserError(
            f'{path}: expected a mask of one grey channel, found the mode {mode}; '
            'use the original file'
        )


def convert_case(case: Case, split: str, root: Path) -> dict[str, Any]:
    """Check one case, copy its photograph and write its mask as class ids.

    Args:
        case: What to convert.
        split: The split that it belongs to.
        root: Folder of the prepared set.

    Returns:
        The record for ``annotations/<split>.json``.

    Raises:
        UserError: A file is damaged, or photograph and mask do not fit together.
    """
    _check_grey(case.mask)
    image, mask = read_image(case.image), read_mask(case.mask, MASK_VALUES)
    if image.shape[:2] != mask.shape:
        raise UserError(
            f'{case.mask}: expected the size of its image, {image.shape[1]}x{image.shape[0]}, '
            f'found {mask.shape[1]}x{mask.shape[0]}; use the original files'
        )
    img_path = f'images/{split}/{case.case_id}{case.image.suffix.lower()}'
    seg_map_path = f'masks/{split}/{case.case_id}.png'
    (root / img_path).parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(case.image, root / img_path)
    write_image(root / seg_map_path, (mask > 0).astype(np.uint8))
    return {
        'img_path': img_path,
        'seg_map_path': seg_map_path,
        'patient_id': case.case_id,
        'spacing': None,
        'domain': 'isic2016',
        'ori_shape': list(mask.shape),
    }


def prepare(
    raw_root: Path,
    out_root: Path,
    *,
    val_percent: float = 15.0,
    seed: int = 0,
    mask_ending: str = '_Segmentation',
    overwrite: bool = False,
) -> dict[str, list[dict[str, Any]]]:
    """Convert the raw files; nothing is left under ``out_root`` unless all is well.

    Args:
        raw_root: Folder with the unpacked archives.
        out_root: Folder to make.
        val_percent: Share of validation cases in the training part, in percent.
        seed: Seed of their choice.
        mask_ending: What the name of a mask has behind the id of its photograph.
        overwrite: Replace an earlier result.

    Returns:
        Per split the records that were written.

    Raises:
        UserError: Anything wrong with the raw files or the output folder.
    """
    check_raw_root(raw_root, out_root)
    with new_folder(out_root, overwrite=overwrite) as root:
        parts = find_cases(raw_root, list_files(raw_root), mask_ending=mask_ending)
        train, val = divide_training(parts['train'], val_percent, seed)
        cases = {'train': train, 'val': val, 'test': parts['test']}
        records: dict[str, list[dict[str, Any]]] = {split: [] for split in cases}
        plan = [(split, case) for split, rows in cases.items() for case in rows]
        problems = Problems()
        for split, case in progress(plan, 'isic2016'):
            with problems.collect():
                records[split].append(convert_case(case, split, root))
        problems.raise_if_any()
        options = {'val_percent': val_percent, 'seed': seed, 'mask_ending': mask_ending}
        write_annotations(
            root,
            'isic2016',
            raw_root=raw_root,
            classes=CLASSES,
            cls_classes=(),
            records=records,
            command=command_line('isic2016.py', options),
            options=options,
        )
    counts = {split: len(rows) for split, rows in records.items()}
    if sum(counts.values()) != sum(OFFICIAL_CASES.values()):
        found = ', '.join(f'{split} {count}' for split, count in counts.items())
        note(f'{found} cases; the official set has 900 for train and val and 379 for test')
    return records


def build_parser() -> argparse.ArgumentParser:
    """Make the parser of the command line."""
    parser = prepare_parser(__doc__)
    parser.add_argument(
        '--val-percent',
        type=bounded(float, 0, 100),
        default=15.0,
        help='share of the training part that becomes val, rounded down (default: 15)',
    )
    parser.add_argument(
        '--mask-ending',
        default='_Segmentation',
        help='what the name of a mask has behind the id (default: _Segmentation)',
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
        val_percent=args.val_percent,
        seed=args.seed,
        mask_ending=args.mask_ending,
        overwrite=args.overwrite,
    )
    print_summary(args.out_root, records)


if __name__ == '__main__':
    run_cli(main)
