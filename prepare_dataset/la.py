"""Prepare LA (3-D late-enhancement MR: left atrium).

Origin: the 2018 Left Atrium Segmentation Challenge; this reads the copy that UA-MT distributes
(cropped, normalised, HDF5), https://github.com/yulequan/UA-MT. Mind the terms of the challenge.

RAW_ROOT holds, in any nesting:

* ``2018LA_Seg_Training Set/<id>/mri_norm2.h5`` with ``image`` and ``label`` (X, Y, Z), Z last
* ``train.list`` and ``test.list``, one id per line (not needed with ``--splits``)

Volumes are stored as they are, axes (X, Y, Z). Mask ids: 0 background, 1 left atrium. Of the
sorted training ids the first int(n * R) are labelled, for each labelled share R; ``eval_R`` is the
labelled set itself, as in the published code.
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
from reading import contents, list_files
from volume_sets import (
    SplitFolder,
    Splits,
    check_apart,
    floor_share,
    need_cases,
    print_volume_summary,
    ratio_name,
    read_ids,
    relative_name,
    split_records,
    splits_option,
    store_case,
)
from volumes import check_finite, check_label_values, check_same_shape, read_hdf5

from mmjoint.utils.cli import run_cli
from mmjoint.utils.errors import UserError
from mmjoint.utils.volume_grid import VolumeGrid

CLASSES = ('background', 'left atrium')
FILE = 'mri_norm2.h5'
LISTS = {'train': 'train.list', 'test': 'test.list'}
RATIOS = (0.05, 0.1)
OFFICIAL_CASES = {'train': 80, 'test': 20}
SPACING = 0.625  # mm, of all volumes of the challenge; the HDF5 files do not tell


def find_cases(raw_root: Path) -> dict[str, Path]:
    """Find the volumes.

    Args:
        raw_root: Folder of the raw files.

    Returns:
        Case id -> file, sorted by id.

    Raises:
        UserError: There are none, or an id is there twice.
    """
    cases: dict[str, Path] = {}
    for path in list_files(raw_root):
        if path.name != FILE:
            continue
        case_id = path.parent.name
        if case_id in cases:
            raise UserError(
                f'{raw_root / path}: expected one volume per id, found another for {case_id} '
                f'({cases[case_id]}); remove one of them'
            )
        cases[case_id] = raw_root / path
    if not cases:
        raise UserError(
            f'{raw_root}: expected volumes "<id>/{FILE}", found {contents(raw_root)}; '
            'unpack the data set there'
        )
    return dict(sorted(cases.items()))


def read_lists(raw_root: Path, cases: Sequence[str]) -> Splits:
    """Read which cases are for training and which for testing.

    Args:
        raw_root: Folder of the raw files.
        cases: The ids that there are.

    Returns:
        ``'train'`` and ``'test'`` -> ids, sorted.

    Raises:
        UserError: A list is absent or damaged, or names a case that is not there.
    """
    splits: Splits = {}
    for split, name in LISTS.items():
        found = [path for path in list_files(raw_root) if path.name == name]
        if len(found) != 1:
            count = f'{len(found)} of them' if found else 'none'
            raise UserError(
                f'{raw_root}: expected one file {name} (an id per line), found {count}; take it '
                'from the UA-MT repository, or give --splits'
            )
        splits[split] = sorted(read_ids(raw_root / found[0]))
        for case_id in splits[split]:
            if case_id not in cases:
                raise UserError(
                    f'{raw_root / found[0]}: expected a volume {case_id}/{FILE} for each id, found '
                    f'none for {case_id}; unpack the data set again'
                )
    return splits


def make_splits(
    raw_root: Path, cases: Sequence[str], ratios: Sequence[float], folder: Path | None
) -> Splits:
    """Divide the cases.

    Args:
        raw_root: Folder of the raw files, with the two lists.
        cases: All ids.
        ratios: Labelled shares.
        folder: Published splits, or ``None``.

    Returns:
        Split -> ids.

    Raises:
        UserError: See :class:`SplitFolder` and :func:`read_lists`.
    """
    known = set(cases)
    published = SplitFolder(
        folder, 'la', ('train', 'test'), lambda name: [name] if name in known else []
    )
    splits = published.read('train', 'test') or read_lists(raw_root, cases)
    need_cases('la', 'cases for training', len(splits['train']), 2)
    pairs = [('train', 'test')]
    for ratio in ratios:
        names = [f'{kind}_{ratio_name(ratio)}' for kind in ('labeled', 'unlabeled', 'eval')]
        group = published.read(*names)
        if group is None:
            ids = sorted(splits['train'])
            count = floor_share(len(ids), ratio)
            group = dict(zip(names, (ids[:count], ids[count:], ids[:count]), strict=True))
        splits |= group
        pairs += [(names[0], names[1]), (names[0], 'test'), (names[1], 'test')]
    check_apart(splits, {case_id: case_id for case_id in cases}, pairs)
    return splits


def convert_case(
    case_id: str, path: Path, root: Path, *, raw_root: Path, spacing: float = SPACING
) -> dict[str, Any]:
    """Check one case and write its arrays.

    Args:
        case_id: Its id.
        path: Its HDF5 file.
        root: Folder of the prepared set.
        raw_root: Folder of the raw files.
        spacing: Edge length of a voxel in mm.

    Returns:
        Its record.

    Raises:
        UserError: The file is damaged, or image and label do not fit together.
    """
    image, label = read_hdf5(path, ('image', 'label'))
    if image.ndim != 3:
        raise UserError(
            f'{path}: expected an image of 3 axes, found the shape {image.shape}; '
            'use the original file'
        )
    check_same_shape(path, image.shape, path, label.shape)
    check_finite(path, image)
    label = check_label_values(path, label, range(len(CLASSES)))
    affine = np.diag([spacing, spacing, spacing, 1.0]).tolist()
    grid = VolumeGrid(
        raw_path=relative_name(path, raw_root),
        raw_shape=image.shape,
        affine=tuple(map(tuple, affine)),
        axes=(0, 1, 2),
        flips=(False, False, False),
        crop=tuple((0, length) for length in image.shape),
        shape=image.shape,
    )
    return store_case(root, case_id, image, label, grid=grid, patient_id=case_id, domain='mr')


def prepare(
    raw_root: Path,
    out_root: Path,
    *,
    ratios: Sequence[float] = RATIOS,
    spacing: float = SPACING,
    splits: Path | None = None,
    seed: int = 0,
    overwrite: bool = False,
) -> dict[str, list[dict[str, Any]]]:
    """Convert the raw files; nothing is left under ``out_root`` unless all is well.

    Args:
        raw_root: Folder with the unpacked data set.
        out_root: Folder to make.
        ratios: Labelled shares.
        spacing: Edge length of a voxel in mm.
        splits: Folder of published splits.
        seed: Not used: the labelled cases are the first ones.
        overwrite: Replace an earlier result.

    Returns:
        Per split the records that were written.

    Raises:
        UserError: Anything wrong with the raw files or the output folder.
    """
    check_raw_root(raw_root, out_root)
    with new_folder(out_root, overwrite=overwrite) as root:
        cases = find_cases(raw_root)
        divided = make_splits(raw_root, list(cases), ratios, splits)
        stored: dict[str, dict[str, Any]] = {}
        problems = Problems()
        for case_id, path in progress(list(cases.items()), 'la'):
            with problems.collect():
                stored[case_id] = convert_case(
                    case_id, path, root, raw_root=raw_root, spacing=spacing
                )
        problems.raise_if_any()
        records = split_records(divided, stored)
        options = {'ratios': list(ratios), 'spacing': spacing, 'splits': splits and splits.name}
        options['seed'] = seed
        write_annotations(
            root,
            'la',
            raw_root=raw_root,
            classes=CLASSES,
            cls_classes=(),
            records=records,
            command=command_line('la.py', options),
            options=options,
        )
    counts = {split: len(records[split]) for split in OFFICIAL_CASES}
    if counts != OFFICIAL_CASES:
        note(
            f'{counts["train"]} train and {counts["test"]} test cases; the official set has 80, 20'
        )
    return records


def build_parser() -> argparse.ArgumentParser:
    """Make the parser of the command line."""
    parser = prepare_parser(__doc__)
    parser.add_argument(
        '--ratios',
        type=bounded(float, 0.001, 1),
        nargs='+',
        default=list(RATIOS),
        help='labelled shares of the training cases (default: 0.05 0.1)',
    )
    parser.add_argument(
        '--spacing',
        type=bounded(float, 0.001),
        default=SPACING,
        help='edge length of a voxel in mm, which the HDF5 files do not tell (default: 0.625)',
    )
    splits_option(parser)
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
