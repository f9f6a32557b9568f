"""Prepare JSRT (chest X-rays) with the lung masks of SCR.

Origin: the images are those of the Japanese Society of Radiological Technology,
http://db.jsrt.or.jp/eng.php, the masks the SCR database,
https://www.isi.uu.nl/Research/Databases/SCR/ (both: registration, research only). 247 images.

RAW_ROOT holds, in any nesting, one of

* raw: ``JPC{L,N}N<3 digits>.IMG``, 12 bits in big-endian words of 16 without header, high numbers
  dark; ``fold{1,2}/masks/{left lung,right lung}/<id>.gif``
* ``jsrt.mat``, as the MultiMix repository reads it: ``x_train`` (N, H, W[, 1]), ``y_train``
  (N, H, W, 2 or more), whose first two channels are the lungs, and so on for ``val`` and ``test``

Images become grey squares of ``--size`` pixels in PNG of 8 bits, bright where the body absorbs.
Mask ids: 0 background, 1 lung; a pixel of both lungs is lung once.
"""

import argparse
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io
from chest_xrays import (
    Records,
    divide,
    label_budgets,
    labelled_option,
    read_binary,
    resize_grey,
    resize_mask,
    size_option,
    store,
    unite,
)
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
from reading import contents, list_files

from mmjoint.utils.cli import run_cli
from mmjoint.utils.errors import UserError

CLASSES = ('background', 'lung')
LUNGS = ('left lung', 'right lung')
MAT_FILE = 'jsrt.mat'
BUDGETS = (10, 50)
OFFICIAL_CASES = {'train': 111, 'val': 13, 'test': 123}
HIGHEST = 4095


@dataclass(frozen=True)
class Case:
    """One image with its two masks and its fold; the paths are those of the raw files."""

    case_id: str
    image: Path
    masks: tuple[Path, ...]
    fold: int


def read_img(path: Path) -> np.ndarray:
    """Read a raw image of JSRT.

    Args:
        path: ``.IMG`` file.

    Returns:
        uint8 array (H, W), 0 for the highest of the 12 bits' numbers (dark), 255 for 0.

    Raises:
        UserError: The file is absent, no square of words, or holds numbers above 4095.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(
            f'{path}: expected a readable image, found: {error.strerror}; check the file'
        ) from error
    side = round((len(data) / 2) ** 0.5)
    if not data or 2 * side * side != len(data):
        raise UserError(
            f'{path}: expected a square of 16-bit words (8388608 bytes in JSRT), found '
            f'{len(data)} bytes; download or unpack it again'
        )
    values = np.frombuffer(data, '>u2').reshape(side, side).astype(np.float32)
    if values.max() > HIGHEST:
        raise UserError(
            f'{path}: expected big-endian numbers of 12 bits, 0 to {HIGHEST}, found '
            f'{int(values.max())}; use the original file'
        )
    return np.rint((HIGHEST - values) * (255 / HIGHEST)).astype(np.uint8)


def find_cases(raw_root: Path, files: Sequence[Path]) -> list[Case]:
    """Pair the raw images with their masks.

    Args:
        raw_root: Folder of the raw files.
        files: All files below it, relative.

    Returns:
        The cases, sorted by id.

    Raises:
        UserError: Something is missing or there twice; the first few are named.
    """
    problems = Problems()
    images: dict[str, Path] = {}
    masks: dict[str, dict[str, Path]] = {lung: {} for lung in LUNGS}
    for path in files:
        folder = path.parts[-2].casefold() if len(path.parts) > 1 else ''
        if path.suffix.lower() == '.img':
            index = images
        elif path.suffix.lower() == '.gif' and folder in masks:
            index = masks[folder]
        else:
            continue
        if path.stem in index:
            problems.messages.append(
                f'{raw_root / path}: expected one file per case, found another for {path.stem} '
                f'({index[path.stem]}); remove one of them'
            )
        index[path.stem] = raw_root / path
    if not images:
        raise UserError(
            f'{raw_root}: expected images JPC*.IMG and masks of SCR, or {MAT_FILE}, found '
            f'{contents(raw_root)}; unpack the archives there'
        )
    cases = []
    for case_id in sorted(images):
        missing = [lung for lung in LUNGS if case_id not in masks[lung]]
        if missing:
            problems.messages.append(
                f'{images[case_id]}: expected a mask fold*/masks/{missing[0]}/{case_id}.gif, '
                'found none; unpack the masks of SCR again'
            )
            continue
        paths = tuple(masks[lung][case_id] for lung in LUNGS)
        with problems.collect():
            cases.append(Case(case_id, images[case_id], paths, _fold(paths)))
    for case_id in sorted(set().union(*masks.values()) - set(images)):
        lung = next(lung for lung in LUNGS if case_id in masks[lung])
        problems.messages.append(
            f'{masks[lung][case_id]}: expected an image {case_id}.IMG, found none; unpack the '
            'images again'
        )
    problems.raise_if_any()
    return cases


def _fold(paths: Sequence[Path]) -> int:
    """The fold of SCR in which the masks of a case lie."""
    names = [part for path in paths for part in path.parts if re.fullmatch(r'fold[12]', part)]
    if len(names) != len(paths) or len(set(names)) != 1:
        raise UserError(
            f'{paths[0]}: expected both lungs in one of the folders fold1 and fold2, found '
            f'{", ".join(sorted(set(names))) or "neither"}; restore the original folders'
        )
    return int(names[0][-1])


def convert_case(case: Case, root: Path, size: int) -> dict[str, Any]:
    """Write image and mask of a case.

    Args:
        case: What to convert.
        root: Folder of the prepared set.
        size: Edge length of the result.

    Returns:
        The record for ``annotations/<split>.json``.

    Raises:
        UserError: A file is damaged or the masks do not fit together.
    """
    image = read_img(case.image)
    mask = unite({path: read_binary(path) for path in case.masks})
    if mask.shape[0] != mask.shape[1]:
        raise UserError(
            f'{case.masks[0]}: expected a square like its image, found '
            f'{mask.shape[1]}x{mask.shape[0]}; use the original files'
        )
    return _stored(root, case.case_id, image, mask, size)


def _stored(
    root: Path, case_id: str, image: np.ndarray, mask: np.ndarray, size: int
) -> dict[str, Any]:
    return store(
        root,
        case_id,
        resize_grey(image, size),
        resize_mask(mask, size),
        patient_id=case_id,
        domain='jsrt',
        ori_shape=list(image.shape),
    )


def read_mat(path: Path, highest: float | None) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Read ``jsrt.mat``.

    Args:
        path: The file.
        highest: The number that means white; ``None``: 255 for integers and 1 for floats.

    Returns:
        Split -> uint8 images (N, H, W) and bool lungs (N, H, W).

    Raises:
        UserError: The file is damaged, an array is missing or has another shape, or values lie
            out of range.
    """
    try:
        arrays = scipy.io.loadmat(path)
    except NotImplementedError as error:
        raise UserError(
            f'{path}: expected a MATLAB file up to version 7, found version 7.3; save it with -v7'
        ) from error
    except Exception as error:  # scipy raises almost anything on damaged files
        raise UserError(
            f'{path}: expected a MATLAB file, found content that cannot be read as one '
            f'({type(error).__name__}); get it again'
        ) from error
    parts = {}
    for split in SPLITS:
        for key in (f'x_{split}', f'y_{split}'):
            if key not in arrays:
                names = ', '.join(sorted(name for name in arrays if not name.startswith('__')))
                raise UserError(
                    f'{path}: expected an array {key}, found {names or "none"}; use the file of '
                    'the MultiMix repository'
                )
        x, y = arrays[f'x_{split}'], arrays[f'y_{split}']
        if x.ndim == 4 and x.shape[-1] == 1:
            x = x[..., 0]
        if x.ndim != 3 or y.ndim != 4 or y.shape[:3] != x.shape or y.shape[3] < 2:
            raise UserError(
                f'{path}: expected x_{split} (N, H, W[, 1]) and y_{split} (N, H, W, 2 or more), '
                f'found {arrays[f"x_{split}"].shape} and {y.shape}; use the original file'
            )
        white = highest or (255.0 if np.issubdtype(x.dtype, np.integer) else 1.0)
        if not np.isfinite(x).all() or (x.size and (x.min() < 0 or x.max() > white)):
            raise UserError(
                f'{path}: expected values of x_{split} in [0, {white:g}], found '
                f'{float(np.nanmin(x)):g} to {float(np.nanmax(x)):g} of type {x.dtype} '
                '(or NaN); say by --mat-max what white is'
            )
        wrong = np.setdiff1d(y[..., :2], (0, 1))
        if wrong.size:
            raise UserError(
                f'{path}: expected 0 and 1 in y_{split}, found {float(wrong[0]):g}; '
                'use the original file'
            )
        # The repository adds the two channels, which gives 2 where they overlap.
        parts[split] = (
            np.rint(x.astype(np.float64) * (255 / white)).astype(np.uint8),
            (y[..., :2] > 0).any(axis=-1),
        )
    return parts


def _from_mat(path: Path, root: Path, size: int, highest: float | None) -> dict[str, Records]:
    records: dict[str, Records] = {}
    for split, (images, masks) in read_mat(path, highest).items():
        records[split] = [
            _stored(root, f'{split}_{number:03d}', image, mask, size)
            for number, (image, mask) in enumerate(zip(images, masks, strict=True))
        ]
    return records


def _from_raw(
    raw_root: Path, files: Sequence[Path], root: Path, size: int, seed: int
) -> dict[str, Records]:
    folds: dict[int, Records] = {1: [], 2: []}
    problems = Problems()
    for case in progress(find_cases(raw_root, files), 'jsrt'):
        with problems.collect():
            folds[case.fold].append(convert_case(case, root, size))
    problems.raise_if_any()
    count = max(1, round(len(folds[1]) * 13 / 124))
    val, train = divide(folds[1], count, np.random.default_rng([seed]))
    return {'train': train, 'val': val, 'test': folds[2]}


def prepare(
    raw_root: Path,
    out_root: Path,
    *,
    size: int = 256,
    labelled: Sequence[int] | None = None,
    mat_max: float | None = None,
    seed: int = 0,
    overwrite: bool = False,
) -> dict[str, Records]:
    """Convert the raw files; nothing is left under ``out_root`` unless all is well.

    Args:
        raw_root: Folder with the raw files.
        out_root: Folder to make.
        size: Edge length of images and masks in pixels.
        labelled: Numbers of labelled images; see :func:`chest_xrays.label_budgets`.
        mat_max: See :func:`read_mat`.
        seed: Seed of the splits.
        overwrite: Replace an earlier result.

    Returns:
        Per split the records that were written.

    Raises:
        UserError: Anything wrong with the raw files or the output folder.
    """
    check_raw_root(raw_root, out_root)
    with new_folder(out_root, overwrite=overwrite) as root:
        files = list_files(raw_root)
        mats = [raw_root / path for path in files if path.name.casefold() == MAT_FILE]
        if len(mats) > 1 or (mats and any(path.suffix.lower() == '.img' for path in files)):
            raise UserError(
                f'{raw_root}: expected one {MAT_FILE} or the raw images, found more; keep one'
            )
        if mats:
            records = _from_mat(mats[0], root, size, mat_max)
        else:
            records = _from_raw(raw_root, files, root, size, seed)
        counts = {split: len(rows) for split, rows in records.items()}
        records |= label_budgets(records['train'], labelled, BUDGETS, seed)
        options = {
            'size': size,
            'labelled': None if labelled is None else list(labelled),
            'mat_max': mat_max,
            'seed': seed,
        }
        write_annotations(
            root,
            'jsrt',
            raw_root=raw_root,
            classes=CLASSES,
            cls_classes=(),
            records=records,
            command=command_line('jsrt.py', options),
            options=options,
        )
    if counts != OFFICIAL_CASES:
        found = ', '.join(f'{split} {count}' for split, count in counts.items())
        official = ', '.join(f'{split} {count}' for split, count in OFFICIAL_CASES.items())
        note(f'{found} cases; the whole set gives {official}')
    return records


def build_parser() -> argparse.ArgumentParser:
    """Make the parser of the command line."""
    parser = prepare_parser(__doc__)
    size_option(parser)
    labelled_option(parser, BUDGETS)
    parser.add_argument(
        '--mat-max',
        type=bounded(float, 1e-6),
        help='number that means white in jsrt.mat (default: 255 for integers, 1 for floats)',
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
