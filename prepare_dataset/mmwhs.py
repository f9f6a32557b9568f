"""Prepare MMWHS (CT and MR of the heart: 4 structures), the challenge of 2017.

Origin: https://zmiclab.github.io/zxh/0/mmwhs/ (registration needed; mind the terms given there).

RAW_ROOT holds, in any nesting:

* ``{CT,MR}/imagesTr/{ct,mr}_train_<4 digits>_image.nii.gz``
* ``{CT,MR}/labelsTr/{ct,mr}_train_<4 digits>_label.nii.gz`` with the values 205, 420, 500, 550,
  600, 820, 850 and, in one case, 421

Each case is turned to the axes (Z, Y, X) = (towards the head, the back, the left), cut to the box
of its labels with a margin, clipped to 0 and its 98th percentile, z-scored and brought to
``--shape`` with scipy's rule for nearest voxels. Mask ids: 0 background, 1 myocardium of the left
ventricle (205), 2 left atrium (420), 3 left ventricle (500), 4 ascending aorta (820); all other
values are background. The cut uses the labels of all cases, also of those whose labels training
must not see, as the published code does.

The test cases are those of SIFA where these exist, else a fifth, at random. The others are divided
13 to 3 into train and eval (in this proportion) by a seeded permutation, per modality.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from common import (
    Problems,
    check_raw_root,
    command_line,
    new_folder,
    note,
    prepare_parser,
    progress,
    write_annotations,
)
from reading import list_files
from resizing import zoom_nearest
from volume_sets import (
    SplitFolder,
    Splits,
    affine_option,
    check_apart,
    check_shape,
    need_cases,
    print_volume_summary,
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
from mmjoint.utils.errors import UserError
from mmjoint.utils.volume_grid import VolumeGrid, body_axes

CLASSES = ('background', 'myocardium', 'left atrium', 'left ventricle', 'ascending aorta')
CLASS_OF = {205: 1, 420: 2, 500: 3, 820: 4}
RAW_VALUES = (0, 205, 420, 421, 500, 550, 600, 820, 850)
MODALITIES = ('ct', 'mr')
OFFICIAL_CASES = {'ct': 20, 'mr': 20}
TEST_CASES = {'ct': (1003, 1008, 1014, 1019), 'mr': (1007, 1009, 1018, 1019)}  # those of SIFA
SHAPE = (144, 144, 144)
MARGIN = 4
STRAY_CASE = 'mr_train_1002'  # has labels at the borders of its volume that are none


def find_cases(raw_root: Path) -> dict[str, tuple[Path, Path]]:
    """Pair images and label maps.

    Args:
        raw_root: Folder of the raw files.

    Returns:
        Case id such as ``ct_train_1001`` -> image and label map, sorted.

    Raises:
        UserError: Something is missing or there twice.
    """
    files, case_id = list_files(raw_root), r'((?:ct|mr)_train_\d{4})'
    images = index_files(raw_root, files, rf'{case_id}_image\.nii(?:\.gz)?', 'image')
    labels = index_files(raw_root, files, rf'{case_id}_label\.nii(?:\.gz)?', 'label map')
    names = ('<id>_image.nii.gz', '<id>_label.nii.gz')
    cases = pair_files(raw_root, images, labels, names)
    for modality in MODALITIES:
        count = sum(name.startswith(modality) for name in cases)
        need_cases('mmwhs', f'cases of {modality.upper()}', count, 3)
    return cases


def divide_modality(cases: Sequence[str], modality: str, rng: np.random.Generator) -> Splits:
    """Divide the cases of one modality.

    Args:
        cases: Their ids, sorted; at least 3.
        modality: ``'ct'`` or ``'mr'``.
        rng: Generator.

    Returns:
        ``'train'``, ``'eval'``, ``'test'`` -> ids.
    """
    test = [f'{modality}_train_{number}' for number in TEST_CASES[modality]]
    if not set(test) < set(cases):
        test = shuffled(cases, rng)[: min(share(len(cases), 4 / 20), len(cases) - 2)]
    others = shuffled([case_id for case_id in cases if case_id not in test], rng)
    count = share(len(others), 0.8)
    return {'train': others[:count], 'eval': others[count:], 'test': test}


def make_splits(cases: Sequence[str], seed: int, folder: Path | None) -> Splits:
    """Divide the cases for adaptation in both directions.

    Args:
        cases: All ids, sorted.
        seed: Seed of the permutations.
        folder: Published splits, or ``None``.

    Returns:
        Split -> ids: labelled are all cases of the source that are not for testing.

    Raises:
        UserError: See :class:`SplitFolder`.
    """
    known, rng = set(cases), np.random.default_rng(seed)
    parts = {
        modality: divide_modality(
            [case_id for case_id in cases if case_id.startswith(modality)], modality, rng
        )
        for modality in MODALITIES
    }
    splits: Splits = {}
    pairs = []
    for source, target in (('mr', 'ct'), ('ct', 'mr')):
        task = f'{source}2{target}'
        splits |= {
            f'train_{task}_labeled': parts[source]['train'] + parts[source]['eval'],
            f'train_{task}_unlabeled': parts[target]['train'],
            f'eval_{task}': parts[target]['eval'],
            f'test_{target}': parts[target]['test'],
        }
        pairs += [
            (f'train_{task}_unlabeled', f'eval_{task}'),
            (f'train_{task}_unlabeled', f'test_{target}'),
            (f'eval_{task}', f'test_{target}'),
            (f'train_{task}_labeled', f'test_{source}'),
        ]
    published = SplitFolder(
        folder, 'mmwhs', tuple(splits), lambda name: [name] if name in known else []
    )
    splits |= published.read(*splits) or {}
    check_apart(splits, {case_id: case_id for case_id in cases}, pairs)
    return splits


def class_ids(label: np.ndarray) -> np.ndarray:
    """Turn raw label values into class ids.

    Args:
        label: Integer array.

    Returns:
        uint8 array of the same shape; values without a class are 0.
    """
    ids = np.zeros(label.shape, np.uint8)
    for value, class_id in CLASS_OF.items():
        ids[label == value] = class_id
    return ids


def clear_stray_labels(label: np.ndarray) -> np.ndarray:
    """Remove the labels at the borders of :data:`STRAY_CASE`.

    Args:
        label: Class ids (Z, Y, X).

    Returns:
        A cleared copy. The last row along Y is kept, as in the published code.
    """
    label = label.copy()
    label[:4] = 0
    label[:, -10:-1] = 0
    label[:, :, :4] = 0
    return label


def label_box(label: np.ndarray) -> tuple[tuple[int, int], ...]:
    """Find the box of all labels with a margin of 4 voxels below and 3 above.

    The end is the last labelled index plus 4 and not part of the box, as in the published code.

    Args:
        label: Class ids, not all 0.

    Returns:
        (start, stop) per axis, within the volume.
    """
    box = []
    for axis, length in enumerate(label.shape):
        others = tuple(place for place in range(label.ndim) if place != axis)
        (found,) = np.nonzero(label.any(axis=others))
        box.append((max(int(found[0]) - MARGIN, 0), min(int(found[-1]) + MARGIN, length)))
    return tuple(box)


def normalise(image: np.ndarray) -> np.ndarray:
    """Clip to 0 and the 98th percentile, then subtract the mean and divide by the deviation.

    Args:
        image: Array; HU below 0 become 0.

    Returns:
        float32 array of the same shape.
    """
    image = image.astype(np.float64)
    image = np.clip(image, 0, np.percentile(image, 98))
    return ((image - image.mean()) / (image.std() + 1e-8)).astype(np.float32)


def prepare_arrays(
    case_id: str, image: np.ndarray, label: np.ndarray, shape: Sequence[int]
) -> tuple[np.ndarray, np.ndarray, tuple[tuple[int, int], ...]]:
    """Cut, normalise and resize a case.

    Args:
        case_id: Its id; one case has a step of its own.
        image: Array (Z, Y, X), turned to the body's axes.
        label: Raw label values of the same shape.
        shape: Wanted shape.

    Returns:
        float32 image and class ids of ``shape``, and the box that was cut out.

    Raises:
        UserError: No class has a voxel.
    """
    ids = class_ids(label)
    if case_id == STRAY_CASE:
        ids = clear_stray_labels(ids)
    if not ids.any():
        raise UserError(
            f'{case_id}: expected voxels of {", ".join(map(str, CLASS_OF))}, found none; '
            'use the original file'
        )
    box = label_box(ids)
    cut = tuple(slice(*bounds) for bounds in box)
    return zoom_nearest(normalise(image[cut]), shape), zoom_nearest(ids[cut], shape), box


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
    raw = read_volume(*files, RAW_VALUES, ignore_affine=ignore_affine)
    axes, flips = body_axes(raw.affine)
    image, label, box = prepare_arrays(
        case_id, orient(raw.image, axes, flips), orient(raw.label, axes, flips), shape
    )
    grid = VolumeGrid(
        raw_path=relative_name(files[0], raw_root),
        raw_shape=raw.image.shape,
        affine=rounded_affine(raw.affine),
        axes=axes,
        flips=flips,
        crop=box,
        shape=tuple(shape),
        alignment='corners',
    )
    return store_case(
        root, case_id, image, label, grid=grid, patient_id=case_id, domain=case_id[:2]
    )


def prepare(
    raw_root: Path,
    out_root: Path,
    *,
    shape: Sequence[int] = SHAPE,
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
        divided = make_splits(list(cases), seed, splits)
        stored: dict[str, dict[str, Any]] = {}
        problems = Problems()
        for case_id, files in progress(list(cases.items()), 'mmwhs'):
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
            'splits': splits and splits.name,
            'ignore_affine': ignore_affine,
            'seed': seed,
        }
        write_annotations(
            root,
            'mmwhs',
            raw_root=raw_root,
            classes=CLASSES,
            cls_classes=(),
            records=records,
            command=command_line('mmwhs.py', options),
            options=options,
        )
    counts = {name: sum(case_id.startswith(name) for case_id in cases) for name in MODALITIES}
    if counts != OFFICIAL_CASES:
        note(f'{counts["ct"]} CT and {counts["mr"]} MR cases; the official set has 20 of each')
    return records


def build_parser() -> argparse.ArgumentParser:
    """Make the parser of the command line."""
    parser = prepare_parser(__doc__)
    shape_option(parser, SHAPE, 'Z, Y, X')
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
