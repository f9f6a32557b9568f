"""Finds the photographs, masks and labels of REFUGE in the layouts in which they are kept."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from common import SPLITS, Problems
from reading import binary_label, contents, read_sheet

from mmjoint.utils.errors import UserError

MASK_FOLDER = 'Disc_Cup_Masks'


@dataclass(frozen=True)
class Source:
    """Where one split lies in one layout.

    Args:
        images: Folder of the photographs.
        annotations: Folder above ``Disc_Cup_Masks``.
        sheet: File with the labels; ``None`` where the folders give them.
        label_column: Column of the label in the sheet.
        label_folders: Folders that tell the label, below ``images`` and ``Disc_Cup_Masks``.
    """

    images: str
    annotations: str
    sheet: str | None = None
    label_column: str | None = None
    label_folders: tuple[tuple[str, int], ...] = ()


OFFICIAL = {
    'train': Source(
        'Training400',
        'Annotation-Training400',
        label_folders=(('Glaucoma', 1), ('Non-Glaucoma', 0)),
    ),
    'val': Source(
        'REFUGE-Validation400',
        'REFUGE-Validation400-GT',
        'Fovea_locations.xlsx',
        'Glaucoma Label',
    ),
    'test': Source(
        'Test400',
        'REFUGE-Test-GT',
        'Glaucoma_label_and_Fovea_location.xlsx',
        'Label(Glaucoma=1)',
        label_folders=(('G', 1), ('N', 0)),
    ),
}
RENAMED = {
    split: Source(
        f'{name}400',
        f'{name}400-GT',
        'Glaucoma_label_and_Fovea_location.xlsx',
        'Glaucoma Label',
    )
    for split, name in zip(SPLITS, ('Train', 'Valid', 'Test'), strict=True)
}


@dataclass(frozen=True)
class Case:
    """One photograph with its mask and label; the paths are those of the raw files."""

    case_id: str
    split: str
    image: Path
    mask: Path
    label: int


def _below(path: Path, folder: str) -> tuple[str, ...] | None:
    """Parts of ``path`` after its last folder called ``folder``; ``None`` if it has none."""
    parents = [part.casefold() for part in path.parts[:-1]]
    if folder.casefold() not in parents:
        return None
    last = len(parents) - 1 - parents[::-1].index(folder.casefold())
    return path.parts[last + 1 :]


def find_source(raw_root: Path, files: Sequence[Path], split: str) -> Source:
    """Decide in which layout a split lies.

    Args:
        raw_root: Folder of the raw files.
        files: All files below it, relative.
        split: Name of the split.

    Returns:
        The layout's entry.

    Raises:
        UserError: No layout, or both, were found.
    """
    found = [
        source
        for source in (OFFICIAL[split], RENAMED[split])
        if any(_below(path, source.annotations) is not None for path in files)
    ]
    if len(found) == 1:
        return found[0]
    official, renamed = OFFICIAL[split].annotations, RENAMED[split].annotations
    if found:
        raise UserError(
            f'{raw_root}: expected one of the folders {official} and {renamed} for the {split} '
            'split, found both; keep one of them'
        )
    raise UserError(
        f'{raw_root}: expected the folder {official} (or {renamed}) for the {split} split, found '
        f'{contents(raw_root)}; unpack its archive there or choose others with --splits'
    )


def _folder_label(source: Source, path: Path, parts: tuple[str, ...], root: Path) -> int | None:
    """Label that the folder of a file tells, where the layout has such folders."""
    labels = {name.casefold(): label for name, label in source.label_folders}
    if len(parts) > 1 and labels:
        if parts[-2].casefold() in labels:
            return labels[parts[-2].casefold()]
        names = ' or '.join(name for name, _ in source.label_folders)
        raise UserError(
            f'{root / path}: expected it in a folder {names}, found {parts[-2]!r}; '
            'restore the official folders'
        )
    return None


def _by_id(paths: Sequence[Path], root: Path, problems: Problems) -> dict[str, Path]:
    """Index files by case id (the name before the first dot); two of one id are a mistake."""
    index: dict[str, Path] = {}
    for path in paths:
        case_id = path.name.split('.')[0]
        if case_id in index:
            problems.messages.append(
                f'{root / path}: expected one file per case, found another for {case_id} '
                f'({root / index[case_id]}); remove one of them'
            )
        index[case_id] = path
    return index


def _sheet_labels(raw_root: Path, files: Sequence[Path], source: Source) -> dict[str, int]:
    """Read case id -> label from the sheet of a split."""
    sheets = [
        path
        for path in files
        if path.name == source.sheet and _below(path, source.annotations) is not None
    ]
    if not sheets:
        raise UserError(
            f'{raw_root}: expected the sheet {source.annotations}/{source.sheet} with the labels, '
            'found no such file; unpack the annotations again'
        )
    sheet = raw_root / sheets[0]
    labels: dict[str, int] = {}
    problems = Problems()
    for row in read_sheet(sheet, ('ImgName', source.label_column)):
        where = f'{sheet}, row {row["row"]}'
        with problems.collect():
            case_id = str(row['ImgName'] or '').split('.')[0].strip()
            if not case_id:
                raise UserError(
                    f'{where}: expected an image name in the column ImgName, found an empty cell; '
                    'correct the sheet'
                )
            if case_id in labels:
                raise UserError(
                    f'{where}: expected each image once, found {case_id} again; correct the sheet'
                )
            labels[case_id] = binary_label(
                row[source.label_column], f'{where}, column {source.label_column!r}'
            )
    problems.raise_if_any()
    return labels


def find_cases(raw_root: Path, files: Sequence[Path], split: str) -> list[Case]:
    """Pair images, masks and labels of one split by case id.

    Args:
        raw_root: Folder of the raw files.
        files: All files below it, relative.
        split: Name of the split.

    Returns:
        The cases, sorted by id.

    Raises:
        UserError: Something is missing, there twice, or contradictory; the first few are named.
    """
    source = find_source(raw_root, files, split)
    problems = Problems()
    labels: dict[str, int] = {}
    image_paths, mask_paths = [], []
    for path in files:
        in_images, in_masks = _below(path, source.images), _below(path, source.annotations)
        suffix = path.suffix.lower()
        if suffix in ('.jpg', '.jpeg') and in_images is not None:
            image_paths.append(path)
        elif suffix == '.bmp' and in_masks is not None and _below(path, MASK_FOLDER):
            mask_paths.append(path)
    if not image_paths:
        raise UserError(
            f'{raw_root}: expected photographs (.jpg) in a folder {source.images} for the {split} '
            f'split, found none; unpack the images beside {source.annotations}'
        )
    if not mask_paths:
        raise UserError(
            f'{raw_root}: expected masks (.bmp) in {source.annotations}/{MASK_FOLDER} for the '
            f'{split} split, found none; unpack the annotations again'
        )
    images = _by_id(image_paths, raw_root, problems)
    masks = _by_id(mask_paths, raw_root, problems)
    if source.sheet:
        labels = _sheet_labels(raw_root, files, source)
    for case_id, path in images.items():
        with problems.collect():
            if case_id not in masks:
                raise UserError(
                    f'{raw_root / path}: expected a mask {case_id}.bmp in {source.annotations}/'
                    f'{MASK_FOLDER}, found none; unpack the annotations again'
                )
            if source.sheet and case_id not in labels:
                raise UserError(
                    f'{raw_root / path}: expected a row {case_id} in {source.sheet}, found none; '
                    'use the sheet as it was distributed'
                )
            told = {
                _folder_label(source, path, _below(path, source.images), raw_root),
                _folder_label(
                    source, masks[case_id], _below(masks[case_id], MASK_FOLDER), raw_root
                ),
                labels.get(case_id),
            } - {None}
            if len(told) != 1:
                raise UserError(
                    f'{raw_root / path}: expected one label for {case_id}, found '
                    f'{"contradictory ones" if told else "none"} in folders and sheet; '
                    'restore the official files'
                )
            labels[case_id] = told.pop()
    for case_id in sorted(set(masks) - set(images)):
        problems.messages.append(
            f'{raw_root / masks[case_id]}: expected a photograph {case_id}.jpg in '
            f'{source.images}, found none; unpack the images again'
        )
    for case_id in sorted(set(labels) - set(images) - set(masks)):
        problems.messages.append(
            f'{raw_root}: expected a photograph {case_id}.jpg in {source.images} because '
            f'{source.sheet} lists it, found none; unpack the images again'
        )
    problems.raise_if_any()
    return [
        Case(case_id, split, raw_root / images[case_id], raw_root / masks[case_id], labels[case_id])
        for case_id in sorted(images)
    ]
