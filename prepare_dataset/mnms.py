"""Prepare M&Ms (short-axis cine MR of the heart, scanners of four vendors), challenge of 2020.

Origin: https://www.ub.edu/mnms/ (registration needed; mind the terms given there).

RAW_ROOT holds the unpacked ``OpenDataset``, in any nesting:

* ``<code>/<code>_sa.nii.gz`` and ``<code>/<code>_sa_gt.nii.gz``, (X, Y, Z, T), label values 0 to 3
* the information sheet ``*Information*.csv`` (or ``.xlsx``) with the columns ``External code`` and
  ``Vendor``; where it has ``ED`` and ``ES``, the labelled frames must be these
* in a folder ``Unlabeled``, subjects without label map, which are not used

Each labelled frame becomes a case ``<code>_sa_<t>``: its labelled slices without the last one, the
middle two thirds within the slices, resized to ``--shape`` (Z, Y, X) with scipy's rule for nearest
voxels. ``--2d`` makes a case ``<code>_sa_<t>_<k>`` of each labelled slice instead, resized so that
its shorter side has ``--short-side`` pixels. Mask ids: 0 background, 1 left ventricle,
2 myocardium, 3 right ventricle. The cut uses the labels of all cases, as the published code does.

Splits are by subject and vendor: for each unseen vendor V and labelled share R, a share of the
subjects of each other vendor (rounded up, at random) is labelled.
"""

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from common import (
    Problems,
    bounded,
    check_raw_root,
    command_line,
    image_size,
    new_folder,
    note,
    prepare_parser,
    progress,
    write_annotations,
)
from mnms_layout import Subject, find_subjects, in_plane_box, long_side, make_splits
from resizing import resize_floor, resize_linear, zoom_nearest
from volume_sets import (
    affine_option,
    check_shape,
    print_volume_summary,
    relative_name,
    rounded_affine,
    shape_option,
    split_records,
    splits_option,
    store_case,
)
from volumes import Volume, orient, read_volume

from mmjoint.utils.cli import run_cli
from mmjoint.utils.errors import UserError
from mmjoint.utils.volume_grid import VolumeGrid

CLASSES = ('background', 'left ventricle', 'myocardium', 'right ventricle')
SHAPE = (32, 144, 144)
SHORT_SIDE = 288
RATIOS = (0.02, 0.05)
OFFICIAL_CASES = 320
AXES = (2, 1, 0)  # files store X first, arrays Z
FLIPS = (False, False, False)

Box = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]


def frame_box(label: np.ndarray, *, inclusive: bool = False) -> Box:
    """Find what is kept of a frame.

    Args:
        label: Class ids (Z, Y, X), not all 0.
        inclusive: Keep the last labelled slice, which the published code drops.

    Returns:
        (start, stop) per axis.
    """
    (slices,) = np.nonzero(label.any(axis=(1, 2)))
    depth = (int(slices[0]), int(slices[-1]) + int(inclusive))
    return depth, in_plane_box(label.shape[1]), in_plane_box(label.shape[2])


def cut(volume: np.ndarray, box: Box) -> np.ndarray:
    """Cut a box out of a volume."""
    return volume[tuple(slice(*bounds) for bounds in box)]


def resize_slice(
    image: np.ndarray, label: np.ndarray, short_side: int = SHORT_SIDE
) -> tuple[np.ndarray, np.ndarray]:
    """Resize a slice so that its shorter side has ``short_side`` pixels.

    Args:
        image: Array (Y, X).
        label: Class ids of the same shape.
        short_side: Wanted length.

    Returns:
        float32 image (bilinear) and class ids (torch's floor rule).
    """
    height, width = image.shape
    if height < width:
        shape = (short_side, long_side(height, width, short_side))
    else:
        shape = (long_side(width, height, short_side), short_side)
    return resize_linear(image, shape), resize_floor(label, shape)


def frame_cases(
    image: np.ndarray,
    label: np.ndarray,
    *,
    two_d: bool = False,
    shape: Sequence[int] = SHAPE,
    short_side: int = SHORT_SIDE,
    inclusive: bool = False,
) -> list[tuple[str, np.ndarray, np.ndarray, Box]]:
    """Cut and resize one labelled frame.

    Args:
        image: Array (Z, Y, X).
        label: Class ids of the same shape, not all 0.
        two_d: Give slices.
        shape: Wanted shape of a volume.
        short_side: Wanted length of the shorter side of a slice.
        inclusive: Keep the last labelled slice of a volume; slices are always all kept.

    Returns:
        What is added to the id of the frame (nothing or ``_<k>``), float32 image, class ids, and
        the box of the frame that they show. Slices whose image is all 0 are left out. Nothing is
        left of a volume with one labelled slice unless ``inclusive``.
    """
    box = frame_box(label, inclusive=inclusive or two_d)
    (first, last), rows, columns = box
    if not two_d:
        if first == last:
            return []
        return [
            ('', zoom_nearest(cut(image, box), shape), zoom_nearest(cut(label, box), shape), box)
        ]
    cases = []
    for number, place in enumerate(range(first, last)):
        plane = ((place, place + 1), rows, columns)
        if cut(image, plane).any():
            resized = resize_slice(cut(image, plane)[0], cut(label, plane)[0], short_side)
            cases.append((f'_{number}', *resized, plane))
    return cases


def check_phases(subject: Subject, frames: Sequence[int]) -> None:
    """Refuse a label map whose labelled frames are not those of the sheet.

    Args:
        subject: The subject; a sheet without ED and ES says nothing.
        frames: The labelled frames.

    Raises:
        UserError: They differ.
    """
    if subject.phases and set(subject.phases) != set(frames):
        raise UserError(
            f'{subject.label}: expected labels in the frames {sorted(set(subject.phases))} that '
            f'the sheet calls ED and ES, found them in {list(frames)}; use the original files'
        )


def convert_subject(
    subject: Subject,
    root: Path,
    *,
    raw_root: Path,
    two_d: bool = False,
    shape: Sequence[int] = SHAPE,
    short_side: int = SHORT_SIDE,
    inclusive: bool = False,
    ignore_affine: bool = False,
) -> dict[str, dict[str, Any]]:
    """Check one subject and write the arrays of its labelled frames.

    Args:
        subject: What to convert.
        root: Folder of the prepared set.
        raw_root: Folder of the raw files.
        two_d: See :func:`frame_cases`.
        shape: See :func:`frame_cases`.
        short_side: See :func:`frame_cases`.
        inclusive: See :func:`frame_cases`.
        ignore_affine: See :func:`read_volume`.

    Returns:
        Case id -> record.

    Raises:
        UserError: A file is damaged, image and label do not fit together, or nothing of a frame
            is left.
    """
    raw: Volume = read_volume(
        subject.image,
        subject.label,
        range(len(CLASSES)),
        num_axes=4,
        ignore_affine=ignore_affine,
    )
    frames = np.flatnonzero(raw.label.any(axis=(0, 1, 2))).tolist()
    check_phases(subject, frames)
    records = {}
    for frame in frames:
        cases = frame_cases(
            orient(raw.image[..., frame], AXES, FLIPS),
            orient(raw.label[..., frame], AXES, FLIPS),
            two_d=two_d,
            shape=shape,
            short_side=short_side,
            inclusive=inclusive,
        )
        if not cases:
            raise UserError(
                f'{subject.label}: expected at least two labelled slices in frame {frame}, because '
                'the last one is dropped, found one; keep it with --inclusive'
            )
        for ending, image, label, box in cases:
            grid = VolumeGrid(
                raw_path=relative_name(subject.image, raw_root),
                raw_shape=raw.image.shape[:3],
                affine=rounded_affine(raw.affine),
                axes=AXES,
                flips=FLIPS,
                crop=box,
                shape=(1, *image.shape)[-3:],
                alignment='starts' if two_d else 'corners',
                frame=frame,
            )
            case_id = f'{subject.code}_sa_{frame}{ending}'
            records[case_id] = store_case(
                root,
                case_id,
                image,
                label,
                grid=grid,
                patient_id=subject.code,
                domain=subject.vendor,
            )
    return records


def prepare(
    raw_root: Path,
    out_root: Path,
    *,
    two_d: bool = False,
    shape: Sequence[int] = SHAPE,
    short_side: int = SHORT_SIDE,
    inclusive: bool = False,
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
        two_d: Make slices instead of volumes.
        shape: Voxels of a prepared volume along Z, Y, X.
        short_side: Shorter side of a slice in pixels.
        inclusive: Keep the last labelled slice of a volume.
        ratios: Labelled shares of the subjects of a vendor.
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
        subjects = find_subjects(raw_root)
        codes = {subject.code: subject.code for subject in subjects}

        def subject_of(name: str) -> list[str]:
            code = re.sub(r'_sa(_\d+)?$', '', name)
            return [code] if code in codes else []

        # Once by subject before the long work, to find mistakes; then by case.
        make_splits(subjects, ratios, seed, splits, subject_of, codes)
        stored: dict[str, dict[str, Any]] = {}
        problems = Problems()
        for subject in progress(subjects, 'mnms'):
            with problems.collect():
                stored |= convert_subject(
                    subject,
                    root,
                    raw_root=raw_root,
                    two_d=two_d,
                    shape=shape,
                    short_side=short_side,
                    inclusive=inclusive,
                    ignore_affine=ignore_affine,
                )
        problems.raise_if_any()
        cases_of: dict[str, list[str]] = {}
        for case_id, record in stored.items():
            frame_id = f'{record["patient_id"]}_sa_{record["geometry"]["frame"]}'
            for name in {case_id, frame_id, f'{record["patient_id"]}_sa'}:
                cases_of.setdefault(name, []).append(case_id)
        divided = make_splits(
            subjects,
            ratios,
            seed,
            splits,
            lambda name: cases_of.get(name, []),
            {case_id: record['patient_id'] for case_id, record in stored.items()},
        )
        records = split_records(divided, stored)
        options = {
            '2d': two_d,
            **({'short_side': short_side} if two_d else {'shape': list(shape)}),
            'inclusive': inclusive,
            'ratios': list(ratios),
            'splits': splits and splits.name,
            'ignore_affine': ignore_affine,
            'seed': seed,
        }
        write_annotations(
            root,
            'mnms_2d' if two_d else 'mnms',
            raw_root=raw_root,
            classes=CLASSES,
            cls_classes=(),
            records=records,
            command=command_line('mnms.py', options),
            options=options,
        )
    if len(subjects) != OFFICIAL_CASES:
        note(f'{len(subjects)} labelled subjects; the official set has {OFFICIAL_CASES}')
    return records


def build_parser() -> argparse.ArgumentParser:
    """Make the parser of the command line."""
    parser = prepare_parser(__doc__)
    parser.add_argument(
        '--2d', dest='two_d', action='store_true', help='make slices instead of volumes'
    )
    shape_option(parser, SHAPE, 'Z, Y, X')
    parser.add_argument(
        '--short-side',
        type=image_size,
        default=SHORT_SIDE,
        help='with --2d, shorter side of a slice in pixels (default: 288)',
    )
    parser.add_argument(
        '--inclusive',
        action='store_true',
        help='keep the last labelled slice of a volume, which the published code drops',
    )
    parser.add_argument(
        '--ratios',
        type=bounded(float, 0.001, 1),
        nargs='+',
        default=list(RATIOS),
        help='labelled shares of the subjects of each vendor (default: 0.02 0.05)',
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
