"""Prepare Synapse (abdominal CT: 13 organs), the BTCV challenge "Beyond the Cranial Vault".

Origin: https://www.synapse.org/#!Synapse:syn3193805 (account needed; mind the terms given there).

RAW_ROOT holds, in any nesting:

* ``imagesTr/img<4 digits>.nii.gz``
* ``labelsTr/label<4 digits>.nii.gz`` with the values 0 to 13

Whole volumes become arrays (Z, Y, X) of ``--shape``, by default 1.25 times the patch that networks
see: images trilinearly, label maps by torch's floor rule for nearest voxels. Orientation is not
looked at and intensities stay as they are. Cases are divided by a seeded permutation, 20 / 4 / 6
for train / eval / test with 30 cases and in these proportions with others; int(n * R) of train are
labelled, for each labelled share R.
"""

import argparse
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
    progress,
    write_annotations,
)
from reading import list_files
from resizing import resize_floor, resize_linear
from volume_sets import (
    SplitFolder,
    Splits,
    affine_option,
    check_apart,
    check_shape,
    floor_share,
    need_cases,
    print_volume_summary,
    ratio_name,
    relative_name,
    rounded_affine,
    shape_option,
    share,
    shuffled,
    split_records,
    splits_option,
    store_case,
)
from volumes import index_files, orient, pair_files, read_volume

from mmjoint.utils.cli import run_cli
from mmjoint.utils.volume_grid import VolumeGrid

CLASSES = (
    'background',
    'spleen',
    'right kidney',
    'left kidney',
    'gallbladder',
    'esophagus',
    'liver',
    'stomach',
    'aorta',
    'inferior vena cava',
    'portal and splenic veins',
    'pancreas',
    'right adrenal gland',
    'left adrenal gland',
)
SHAPE = (80, 160, 160)
RATIOS = (0.2, 0.4)
OFFICIAL_CASES = 30
AXES = (2, 1, 0)  # files store X first, arrays Z


def find_cases(raw_root: Path) -> dict[str, tuple[Path, Path]]:
    """Pair images and label maps.

    Args:
        raw_root: Folder of the raw files.

    Returns:
        The 4 digits of a case -> image and label map, sorted.

    Raises:
        UserError: Something is missing or there twice.
    """
    files = list_files(raw_root)
    images = index_files(raw_root, files, r'img(\d{4})\.nii(?:\.gz)?', 'image')
    labels = index_files(raw_root, files, r'label(\d{4})\.nii(?:\.gz)?', 'label map')
    return pair_files(raw_root, images, labels, ('img<id>.nii.gz', 'label<id>.nii.gz'))


def make_splits(
    cases: Sequence[str], ratios: Sequence[float], seed: int, folder: Path | None
) -> Splits:
    """Divide the cases.

    Args:
        cases: All ids, sorted.
        ratios: Labelled shares.
        seed: Seed of the permutations. A larger share contains the smaller ones.
        folder: Published splits, or ``None``.

    Returns:
        Split -> ids.

    Raises:
        UserError: See :class:`SplitFolder`; or there are fewer than 4 cases.
    """
    need_cases('synapse', 'cases', len(cases), 4)
    known, rng = set(cases), np.random.default_rng(seed)
    published = SplitFolder(
        folder, 'synapse', ('train', 'eval', 'test'), lambda name: [name] if name in known else []
    )
    order = shuffled(cases, rng)
    splits = published.read('train', 'eval', 'test')
    if splits is None:
        test = min(share(len(order), 6 / 30), len(order) - 3)
        held_out = test + min(share(len(order) - test, 4 / 24), len(order) - test - 2)
        splits = {
            'train': order[held_out:],
            'eval': order[test:held_out],
            'test': order[:test],
        }
    need_cases('synapse', 'cases for training', len(splits['train']), 2)
    pairs = [('train', 'eval'), ('train', 'test'), ('eval', 'test')]
    train = shuffled(sorted(splits['train']), rng)
    for ratio in ratios:
        names = [f'{kind}_{ratio_name(ratio)}' for kind in ('labeled', 'unlabeled')]
        group = published.read(*names)
        if group is None:
            count = floor_share(len(train), ratio)
            group = dict(zip(names, (train[:count], train[count:]), strict=True))
        splits |= group
        pairs += [tuple(names), *((name, held) for name in names for held in ('eval', 'test'))]
    check_apart(splits, {case_id: case_id for case_id in cases}, pairs)
    return splits


def resize_case(
    image: np.ndarray, label: np.ndarray, shape: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Resize image and label map as the original code does with torch.

    Args:
        image: Array (Z, Y, X).
        label: Integer array of the same shape.
        shape: Wanted shape.

    Returns:
        float32 image and label map of ``shape``.
    """
    return resize_linear(image, shape), resize_floor(label, shape)


def convert_case(
    case_id: str,
    files: tuple[Path, Path],
    root: Path,
    *,
    raw_root: Path,
    shape: Sequence[int] = SHAPE,
    ignore_affine: bool = False,
) -> dict[str, Any]:
    """Check one case and write its arrays.

    Args:
        case_id: Its id.
        files: Image and label map.
        root: Folder of the prepared set.
        raw_root: Folder of the raw files.
        shape: Voxels along Z, Y, X.
        ignore_affine: See :func:`read_volume`.

    Returns:
        Its record.

    Raises:
        UserError: A file is damaged, or image and label do not fit together.
    """
    raw = read_volume(*files, range(len(CLASSES)), ignore_affine=ignore_affine)
    flips = (False, False, False)
    image, label = resize_case(
        orient(raw.image, AXES, flips), orient(raw.label, AXES, flips), shape
    )
    grid = VolumeGrid(
        raw_path=relative_name(files[0], raw_root),
        raw_shape=raw.image.shape,
        affine=rounded_affine(raw.affine),
        axes=AXES,
        flips=flips,
        crop=tuple((0, raw.image.shape[axis]) for axis in AXES),
        shape=tuple(shape),
        alignment='starts',
    )
    return store_case(root, case_id, image, label, grid=grid, patient_id=case_id, domain='ct')


def prepare(
    raw_root: Path,
    out_root: Path,
    *,
    shape: Sequence[int] = SHAPE,
    ratios: Sequence[float] = RATIOS,
    splits: Path | None = None,
    ignore_affine: bool = False,
    seed: int = 0,
    overwrite: bool = False,
) -> dict[str, list[dict[str, Any]]]:
    """Convert the raw files; nothing is left under ``out_root`` unless all is well.

    Args:
        raw_root: Folder with the unpacked data set.
        out_root: Folder to make.
        shape: Voxels of a prepared volume along Z, Y, X.
        ratios: Labelled shares.
        splits: Folder of published splits.
        ignore_affine: See :func:`read_volume`.
        seed: Seed of the splits.
        overwrite: Replace an earlier result.

    Returns:
        Per split the records that were written.

    Raises:
        UserError: Anything wrong with the raw files or the output folder.
    """
    check_raw_root(raw_root, out_root)
    check_shape(shape)
    with new_folder(out_root, overwrite=overwrite) as root:
        cases = find_cases(raw_root)
        divided = make_splits(list(cases), ratios, seed, splits)
        stored: dict[str, dict[str, Any]] = {}
        problems = Problems()
        for case_id, files in progress(list(cases.items()), 'synapse'):
            with problems.collect():
                stored[case_id] = convert_case(
                    case_id,
                    files,
                    root,
                    raw_root=raw_root,
                    shape=shape,
                    ignore_affine=ignore_affine,
                )
        problems.raise_if_any()
        records = split_records(divided, stored)
        options = {
            'shape': list(shape),
            'ratios': list(ratios),
            'splits': splits and splits.name,
            'ignore_affine': ignore_affine,
            'seed': seed,
        }
        write_annotations(
            root,
            'synapse',
            raw_root=raw_root,
            classes=CLASSES,
            cls_classes=(),
            records=records,
            command=command_line('synapse.py', options),
            options=options,
        )
    if len(cases) != OFFICIAL_CASES:
        note(f'{len(cases)} cases; the official set has {OFFICIAL_CASES}')
    return records


def build_parser() -> argparse.ArgumentParser:
    """Make the parser of the command line."""
    parser = prepare_parser(__doc__)
    shape_option(parser, SHAPE, 'Z, Y, X')
    parser.add_argument(
        '--ratios',
        type=bounded(float, 0.001, 1),
        nargs='+',
        default=list(RATIOS),
        help='labelled shares of the training cases (default: 0.2 0.4)',
    )
    splits_option(parser)
    affine_option(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line.

    Args:
        argv: Its words; ``None`` means ``sys.argv[1:]``.
    """
    args = vars(build_parser().parse_args(argv))
    out_root = args['out_root']
    print_volume_summary(out_root, prepare(args.pop('raw_root'), args.pop('out_root'), **args))


if __name__ == '__main__':
    run_cli(main)
