"""Shared by the scripts of the seven fundus sets: crop, padding, label maps of tasks, records."""

import argparse
import gzip
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
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
from fundus_maps import (
    LESIONS,
    REFUGE_VALUES,
    TASKS,
    fov_box,
    fov_mask,
    lesion_ids,
    optic_ids,
    vessel_ids,
)
from PIL import Image, UnidentifiedImageError
from reading import list_files, read_image, read_mask, write_image

from mmjoint.utils.errors import UserError
from mmjoint.utils.image_frame import ImageFrame
from mmjoint.utils.index_png import read_index_png, write_index_png

TRUTH = 'truth'
MAX_MASK_VALUES = 16
JPEG = ('.jpg', '.jpeg')


@dataclass(frozen=True)
class Case:
    """One photograph with its masks; the paths are those of the raw files.

    Args:
        case_id: Name of the prepared files.
        image: The photograph.
        masks: Task -> part of it -> file. Parts of ``lesion`` are those of ``LESIONS`` that there
            are; ``vessel``, ``odoc`` and ``od`` have one file, under any name.
        fov: Mask of the field of view, where the set has one.
    """

    case_id: str
    image: Path
    masks: Mapping[str, Mapping[str, Path]]
    fov: Path | None = None


Cases = dict[str, list[Case]]


@dataclass(frozen=True)
class Recipe:
    """How one set is prepared.

    Args:
        dataset: Name of the prepared set.
        domain: Name of the set in the records.
        find_cases: ``(raw_root, files, observer) -> {split: cases}``; files are relative paths.
        official: Split -> number of cases of the real set.
        crop: Whether to cut to the field of view.
        observers: Whose masks may be chosen; the first is the default.
    """

    dataset: str
    domain: str
    find_cases: Callable[[Path, Sequence[Path], str | None], Cases]
    official: Mapping[str, int]
    crop: bool = True
    observers: tuple[str, ...] = field(default=())


# --------------------------------------------------------------------------------- finding files


def index_files(
    files: Sequence[Path], key: Callable[[Path], str | None], raw_root: Path, problems: Problems
) -> dict[str, Path]:
    """Index files by id; two of one id are a mistake.

    Args:
        files: Paths relative to ``raw_root``.
        key: Gives the id of a file, ``None`` for files that do not count.
        raw_root: Folder of the raw files.
        problems: Takes the mistakes.

    Returns:
        Id -> path with ``raw_root``, sorted by id.
    """
    index: dict[str, Path] = {}
    for path in files:
        case_id = key(path)
        if case_id is None:
            continue
        if case_id in index:
            problems.messages.append(
                f'{raw_root / path}: expected one file per case, found another for {case_id} '
                f'({index[case_id]}); remove one of them'
            )
        index[case_id] = raw_root / path
    return dict(sorted(index.items()))


def has_parent(path: Path, *names: str) -> bool:
    """Whether a folder of ``path`` has one of these names, in any case."""
    return any(part.casefold() in names for part in path.parts[:-1])


def check_pairs(
    images: Mapping[str, Path], masks: Mapping[str, Path], what: str, problems: Problems
) -> None:
    """Note photographs without mask and masks without photograph.

    Args:
        images: Id -> photograph.
        masks: Id -> mask.
        what: What a mask is called, with ``{}`` for the id.
        problems: Takes the mistakes.
    """
    for case_id, path in images.items():
        if case_id not in masks:
            problems.messages.append(
                f'{path}: expected {what.format(case_id)}, found none; unpack the masks again'
            )
    check_images(images, masks, problems)


def check_images(images: Mapping[str, Path], masks: Mapping[str, Path], problems: Problems) -> None:
    """Note masks without photograph."""
    for case_id in sorted(set(masks) - set(images)):
        problems.messages.append(
            f'{masks[case_id]}: expected a photograph {case_id}, found none; unpack the images '
            'again'
        )


# --------------------------------------------------------------------------------- reading


def _open(path: Path) -> Image.Image:
    """Read an image by Pillow, which tells damaged TIFF, PPM and GIF files; ``.gz`` is unpacked."""
    try:
        data = path.read_bytes()
        if path.suffix.lower() == '.gz':
            data = gzip.decompress(data)
        image = Image.open(io.BytesIO(data))
        image.load()
    except UnidentifiedImageError as error:
        raise UserError(
            f'{path}: expected an image, found content that is none; download or unpack it again'
        ) from error
    except (OSError, EOFError, SyntaxError, ValueError) as error:
        raise UserError(
            f'{path}: expected a whole image, found it missing, damaged or cut off; '
            'download or unpack it again'
        ) from error
    return image


def read_photograph(path: Path) -> np.ndarray:
    """Read a photograph.

    Args:
        path: Image file; TIFF and PPM, too.

    Returns:
        uint8 array (H, W, 3), blue first.

    Raises:
        UserError: The file is absent, damaged, cut off or no image of 8 bits.
    """
    if path.suffix.lower() in (*JPEG, '.png', '.bmp'):
        return read_image(path)
    image = _open(path)
    if image.mode not in ('RGB', 'RGBA', 'P', 'L'):
        raise UserError(
            f'{path}: expected colours of 8 bits, found the mode {image.mode}; use the original '
            'file'
        )
    return np.ascontiguousarray(np.array(image.convert('RGB'))[..., ::-1])


def read_structure(path: Path) -> np.ndarray:
    """Read a mask that is above 0 where its structure is, in whatever colour.

    Args:
        path: Image file; grey, of colours or with a palette.

    Returns:
        bool array (H, W).

    Raises:
        UserError: The file is absent, damaged or has too many values for a mask.
    """
    image = _open(path)
    # Masks of IDRiD are red, some with a palette, some with an alpha channel.
    values = np.array(image.convert('L' if image.mode in ('1', 'L') else 'RGB'))
    values = values if values.ndim == 2 else values.max(axis=2)
    found = len(np.unique(values))
    if found > MAX_MASK_VALUES:
        raise UserError(
            f'{path}: expected a mask of two values, found {found}; use the original file (not a '
            'photograph, and not one saved as JPEG)'
        )
    return values > 0


def _same_size(path: Path, ids: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    if ids.shape != shape:
        raise UserError(
            f'{path}: expected the size of its image, {shape[1]}x{shape[0]}, found '
            f'{ids.shape[1]}x{ids.shape[0]}; use the original files'
        )
    return ids


def read_labels(task: str, files: Mapping[str, Path], shape: tuple[int, int]) -> np.ndarray:
    """Read the masks of a task as one label map.

    Args:
        task: ``'vessel'``, ``'lesion'``, ``'odoc'`` or ``'od'`` (1 where the disc is).
        files: Part -> file.
        shape: Height and width of the photograph.

    Returns:
        uint8 array (H, W).

    Raises:
        UserError: A file is damaged, of another size or holds unknown values.
    """
    if task == 'odoc':
        (path,) = files.values()
        return optic_ids(_same_size(path, read_mask(path, REFUGE_VALUES), shape))
    masks = {part: _same_size(path, read_structure(path), shape) for part, path in files.items()}
    if task == 'lesion':
        return lesion_ids(masks, shape)
    (mask,) = masks.values()
    return vessel_ids(mask)


def read_truth(raw_root: Path, task: str, case_id: str, shape: tuple[int, int]) -> np.ndarray:
    """Read what a phantom knows about a task.

    Args:
        raw_root: Folder of the raw files.
        task: Name of the task.
        case_id: The case.
        shape: Height and width of the photograph.

    Returns:
        uint8 array (H, W).

    Raises:
        UserError: The file is absent, damaged, of another size or holds unknown values.
    """
    path = raw_root / TRUTH / task / f'{case_id}.png'
    try:
        ids = read_index_png(path)
    except (OSError, ValueError) as error:
        raise UserError(
            f'{path}: expected the full truth that phantoms have, found no such label map; leave '
            '--truth out or make the phantoms again'
        ) from error
    known = {0, *(value for values in TASKS[task].values() for value in values)}
    unknown = set(np.unique(ids).tolist()) - known
    if unknown:
        raise UserError(
            f'{path}: expected the values {sorted(known)}, found {sorted(unknown)}; make the '
            'phantoms again'
        )
    return _same_size(path, ids, shape)


# --------------------------------------------------------------------------------- writing


def convert_case(
    case: Case, recipe: Recipe, raw_root: Path, root: Path, *, threshold: int, truth: bool
) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Write photograph, label maps and field of view of a case, cropped and padded alike.

    Args:
        case: What to convert.
        recipe: Settings of the set.
        raw_root: Folder of the raw files.
        root: Folder of the prepared set.
        threshold: Grey values above it belong to the field of view.
        truth: Whether to write the full truth of a phantom, too.

    Returns:
        The record of the split, and that of the split with the full truth.

    Raises:
        UserError: A file is damaged, or photograph and masks do not fit together.
    """
    image = read_photograph(case.image)
    shape = image.shape[:2]
    labels = {task: read_labels(task, files, shape) for task, files in case.masks.items()}
    if case.fov is None:
        fov = fov_mask(image, threshold)
    else:
        fov = _same_size(case.fov, vessel_ids(read_structure(case.fov)), shape)
    box = fov_box(image, threshold) if recipe.crop else (0, 0, shape[1], shape[0])
    frame = ImageFrame.square(box)

    # JPEG files stay such, of OpenCV's quality 95; what came without loss is kept without loss.
    suffix = '.jpg' if case.image.suffix.lower() in JPEG else '.png'
    record = {
        'img_path': f'images/{case.case_id}{suffix}',
        'task_map_paths': {
            task: f'{task}/{case.case_id}.png' for task in TASKS if task in case.masks
        },
        'fov_path': f'fov/{case.case_id}.png',
        'patient_id': case.case_id,
        'spacing': None,
        'domain': recipe.domain,
        'ori_shape': list(shape),
        'raw_path': case.image.relative_to(raw_root).as_posix(),
        'frame': frame.to_dict(),
    }
    write_image(root / record['img_path'], frame.apply(image))
    write_index_png(root / record['fov_path'], frame.apply(fov))
    for task, ids in labels.items():
        write_index_png(root / f'{task}/{case.case_id}.png', frame.apply(ids))
    if 'od' in labels:
        record['od_map_path'] = f'od/{case.case_id}.png'
    if not truth:
        return record, None
    known = {}
    for task in TASKS:
        known[task] = f'{TRUTH}/{task}/{case.case_id}.png'
        ids = read_truth(raw_root, task, case.case_id, shape)
        write_index_png(root / known[task], frame.apply(ids))
    return record, {**record, 'task_map_paths': known}


def prepare(
    recipe: Recipe,
    raw_root: Path,
    out_root: Path,
    *,
    threshold: int = 20,
    observer: str | None = None,
    truth: bool = False,
    overwrite: bool = False,
) -> dict[str, list[dict[str, Any]]]:
    """Convert the raw files; nothing is left under ``out_root`` unless all is well.

    Args:
        recipe: Settings of the set.
        raw_root: Folder with the unpacked archives.
        out_root: Folder to make.
        threshold: Grey values above it belong to the field of view.
        observer: Whose masks; ``None`` is the first of the recipe's.
        truth: Whether to prepare the full truth of phantoms, as splits ``<split>_truth``.
        overwrite: Replace an earlier result.

    Returns:
        Per split the records that were written.

    Raises:
        UserError: Anything wrong with the raw files or the output folder.
    """
    observer = observer or next(iter(recipe.observers), None)
    check_raw_root(raw_root, out_root)
    with new_folder(out_root, overwrite=overwrite) as root:
        files = [path for path in list_files(raw_root) if path.parts[0] != TRUTH]
        cases = recipe.find_cases(raw_root, files, observer)
        problems = Problems()
        _check_ids(cases, problems)
        problems.raise_if_any()
        records: dict[str, list[dict[str, Any]]] = {split: [] for split in cases}
        known: dict[str, list[dict[str, Any]]] = {f'{split}_{TRUTH}': [] for split in cases}
        plan = [(split, case) for split, rows in cases.items() for case in rows]
        for split, case in progress(plan, recipe.dataset):
            with problems.collect():
                record, whole = convert_case(
                    case, recipe, raw_root, root, threshold=threshold, truth=truth
                )
                records[split].append(record)
                if whole is not None:
                    known[f'{split}_{TRUTH}'].append(whole)
        problems.raise_if_any()
        options = {'threshold': threshold, 'truth': truth}
        if recipe.observers:
            options['observer'] = observer
        write_annotations(
            root,
            recipe.dataset,
            raw_root=raw_root,
            classes=(),
            cls_classes=(),
            records=records | known if truth else records,
            command=command_line(f'{recipe.dataset}.py', options),
            options=options,
            tasks=TASKS,
        )
    counts = {split: len(rows) for split, rows in records.items()}
    if counts != dict(recipe.official):
        found, wanted = (
            ', '.join(f'{split} {count}' for split, count in numbers.items())
            for numbers in (counts, recipe.official)
        )
        note(f'{found} cases; the official set has {wanted}')
    return records


def _check_ids(cases: Cases, problems: Problems) -> None:
    """Ids name the files of all splits, so none may be in two of them."""
    seen: dict[str, Case] = {}
    for rows in cases.values():
        for case in rows:
            if case.case_id in seen:
                problems.messages.append(
                    f'{case.image}: expected each case in one split, found {case.case_id} in '
                    f'another, too ({seen[case.case_id].image}); restore the official folders'
                )
            seen[case.case_id] = case


def build_parser(recipe: Recipe, docstring: str) -> argparse.ArgumentParser:
    """Make the parser of a script's command line.

    Args:
        recipe: Settings of the set.
        docstring: Of the script; its first line describes the command.
    """
    parser = prepare_parser(docstring)
    parser.add_argument(
        '--threshold',
        type=bounded(int, 0, 254),
        default=20,
        help='grey values above it belong to the field of view (default: 20)',
    )
    if recipe.observers:
        parser.add_argument(
            '--observer',
            choices=recipe.observers,
            default=recipe.observers[0],
            help=f'whose masks are used (default: {recipe.observers[0]})',
        )
    parser.add_argument(
        '--truth',
        action='store_true',
        help='for phantoms: write splits <split>_truth with the labels of all tasks, too',
    )
    return parser


def run(recipe: Recipe, docstring: str, argv: Sequence[str] | None) -> None:
    """Run a script's command line.

    Args:
        recipe: Settings of the set.
        docstring: Of the script.
        argv: The words; ``None`` means ``sys.argv[1:]``.
    """
    args = build_parser(recipe, docstring).parse_args(argv)
    records = prepare(
        recipe,
        args.raw_root,
        args.out_root,
        threshold=args.threshold,
        observer=getattr(args, 'observer', None),
        truth=args.truth,
        overwrite=args.overwrite,
    )
    print_summary(args.out_root, records)


def lesion_masks(found: Mapping[str, Mapping[str, Path]], case_id: str) -> dict[str, Path]:
    """The masks of a case, of the kinds that have one.

    Args:
        found: Kind -> id -> mask.
        case_id: The case.
    """
    return {kind: found[kind][case_id] for kind in LESIONS if case_id in found[kind]}
