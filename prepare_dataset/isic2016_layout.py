"""Finds the photographs and masks of ISIC 2016, Task 1 in the layouts in which they are kept."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from common import Problems
from reading import contents

from mmjoint.utils.errors import UserError

PARTS = ('train', 'test')
IMAGE_SUFFIXES = ('.jpg', '.jpeg', '.png')
MASK_SUFFIXES = ('.png', '.bmp')


@dataclass(frozen=True)
class Source:
    """Folders of the photographs and of the masks of one part."""

    images: str
    masks: str


OFFICIAL = {
    part: Source(f'ISBI2016_ISIC_Part1_{name}_Data', f'ISBI2016_ISIC_Part1_{name}_GroundTruth')
    for part, name in (('train', 'Training'), ('test', 'Test'))
}
RENAMED = {'train': Source('imgs', 'masks'), 'test': Source('imgs_test', 'masks_test')}


@dataclass(frozen=True)
class Case:
    """One photograph with its mask; the paths are those of the raw files."""

    case_id: str
    image: Path
    mask: Path


def _in_folder(files: Sequence[Path], folder: str) -> list[Path]:
    """The files somewhere below a folder of this name."""
    return [
        path for path in files if folder.casefold() in [name.casefold() for name in path.parts[:-1]]
    ]


def find_source(raw_root: Path, files: Sequence[Path], part: str) -> Source:
    """Decide in which layout a part lies.

    Args:
        raw_root: Folder of the raw files.
        files: All files below it, relative.
        part: ``'train'`` or ``'test'``.

    Returns:
        The layout's entry.

    Raises:
        UserError: No layout, or both, were found.
    """
    official, renamed = OFFICIAL[part], RENAMED[part]
    found = [
        source
        for source in (official, renamed)
        if _in_folder(files, source.images) or _in_folder(files, source.masks)
    ]
    if len(found) == 1:
        return found[0]
    if found:
        raise UserError(
            f'{raw_root}: expected one of the folders {official.images} and {renamed.images} for '
            f'the {part} part, found both layouts; keep one of them'
        )
    raise UserError(
        f'{raw_root}: expected the folders {official.images} and {official.masks} (or '
        f'{renamed.images} and {renamed.masks}) for the {part} part, found {contents(raw_root)}; '
        'unpack the archives there'
    )


def _by_id(
    paths: Sequence[Path], root: Path, problems: Problems, ending: str = ''
) -> dict[str, Path]:
    """Index files by case id, the name without suffix and ``ending``; doubled ids are mistakes."""
    index: dict[str, Path] = {}
    for path in paths:
        if not path.stem.endswith(ending):
            problems.messages.append(
                f'{root / path}: expected a mask called <id of the image>{ending}'
                f'{path.suffix}, found another name; rename it or set --mask-ending'
            )
            continue
        case_id = path.stem.removesuffix(ending)
        if case_id in index:
            problems.messages.append(
                f'{root / path}: expected one file per case, found another for {case_id} '
                f'({root / index[case_id]}); remove one of them'
            )
        index[case_id] = path
    return index


def find_part(
    raw_root: Path, files: Sequence[Path], part: str, *, mask_ending: str = '_Segmentation'
) -> list[Case]:
    """Pair photographs and masks of one part by case id.

    Args:
        raw_root: Folder of the raw files.
        files: All files below it, relative.
        part: ``'train'`` or ``'test'``.
        mask_ending: What the name of a mask has behind the id.

    Returns:
        The cases, sorted by id.

    Raises:
        UserError: Something is missing or there twice; the first few are named.
    """
    source = find_source(raw_root, files, part)
    image_paths = [
        path for path in _in_folder(files, source.images) if path.suffix.lower() in IMAGE_SUFFIXES
    ]
    mask_paths = [
        path for path in _in_folder(files, source.masks) if path.suffix.lower() in MASK_SUFFIXES
    ]
    for paths, folder, what, suffixes in (
        (image_paths, source.images, 'photographs', IMAGE_SUFFIXES),
        (mask_paths, source.masks, 'masks', MASK_SUFFIXES),
    ):
        if not paths:
            raise UserError(
                f'{raw_root}: expected {what} ({", ".join(suffixes)}) in a folder {folder} for the '
                f'{part} part, found none; unpack its archive again'
            )
    problems = Problems()
    images = _by_id(image_paths, raw_root, problems)
    masks = _by_id(mask_paths, raw_root, problems, mask_ending)
    for case_id in sorted(set(images) - set(masks)):
        problems.messages.append(
            f'{raw_root / images[case_id]}: expected a mask {case_id}{mask_ending}.png in '
            f'{source.masks}, found none; unpack the masks again'
        )
    for case_id in sorted(set(masks) - set(images)):
        problems.messages.append(
            f'{raw_root / masks[case_id]}: expected a photograph {case_id}.jpg in '
            f'{source.images}, found none; unpack the images again'
        )
    problems.raise_if_any()
    return [
        Case(case_id, raw_root / images[case_id], raw_root / masks[case_id])
        for case_id in sorted(images)
    ]


def find_cases(raw_root: Path, files: Sequence[Path], *, mask_ending: str) -> dict[str, list[Case]]:
    """Find the cases of both parts.

    Args:
        raw_root: Folder of the raw files.
        files: All files below it, relative.
        mask_ending: See :func:`find_part`.

    Returns:
        ``'train'`` and ``'test'`` -> cases, sorted by id.

    Raises:
        UserError: See :func:`find_part`; or an id is in both parts.
    """
    problems = Problems()
    cases: dict[str, list[Case]] = {}
    for part in PARTS:
        with problems.collect():
            cases[part] = find_part(raw_root, files, part, mask_ending=mask_ending)
    problems.raise_if_any()
    trained = {case.case_id: case for case in cases['train']}
    for case in cases['test']:
        if case.case_id in trained:
            problems.messages.append(
                f'{case.image}: expected other images than in the training part, found '
                f'{case.case_id} in both ({trained[case.case_id].image}); restore the official '
                'folders'
            )
    problems.raise_if_any()
    return cases
