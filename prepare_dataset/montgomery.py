"""Prepare the Montgomery County chest X-rays (lung masks), MultiMix's cross-domain set.

Origin: U.S. National Library of Medicine, https://data.lhncbc.nlm.nih.gov/public/
Tuberculosis-Chest-X-ray-Datasets/Montgomery-County-CXR-Set/ (its terms apply). 138 images.

RAW_ROOT holds, in any nesting, ``MontgomerySet/CXR_png/MCUCXR_<4 digits>_{0,1}.png``,
``MontgomerySet/ManualMask/{leftMask,rightMask}/*.png`` of the same names and, not necessarily,
``MontgomerySet/ClinicalReadings/*.txt``. The last digit is 1 for tuberculosis.

Images become grey squares of ``--size`` pixels in PNG. Mask ids: 0 background, 1 lung; a pixel of
both lungs is lung once. Splits of 93 / 10 / 35 images, drawn by ``--seed``, in these proportions
for other numbers: the paper's own division is not published.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from chest_xrays import (
    Records,
    divide,
    read_binary,
    read_grey,
    resize_grey,
    resize_mask,
    size_option,
    store,
    unite,
)
from common import (
    Problems,
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
IMAGES = 'cxr_png'
MASKS = ('leftmask', 'rightmask')
READINGS = 'clinicalreadings'
OFFICIAL_CASES = {'train': 93, 'val': 10, 'test': 35}


@dataclass(frozen=True)
class Case:
    """One image with two masks and a reading, if any; the paths are those of the raw files."""

    case_id: str
    image: Path
    masks: tuple[Path, ...]
    reading: Path | None


def find_cases(raw_root: Path) -> list[Case]:
    """Pair images, masks and readings by name.

    Args:
        raw_root: Folder of the raw files.

    Returns:
        The cases, sorted by id.

    Raises:
        UserError: Something is missing or there twice; the first few are named.
    """
    problems = Problems()
    found: dict[str, dict[str, Path]] = {name: {} for name in (IMAGES, *MASKS, READINGS)}
    for path in list_files(raw_root):
        folder = path.parts[-2].casefold() if len(path.parts) > 1 else ''
        suffix = '.txt' if folder == READINGS else '.png'
        if folder not in found or path.suffix.lower() != suffix:
            continue
        if path.stem in found[folder]:
            problems.messages.append(
                f'{raw_root / path}: expected one file per case, found another for {path.stem} '
                f'({found[folder][path.stem]}); remove one of them'
            )
        found[folder][path.stem] = raw_root / path
    images = found[IMAGES]
    if not images:
        raise UserError(
            f'{raw_root}: expected images in MontgomerySet/CXR_png, found {contents(raw_root)}; '
            'unpack the archive there'
        )
    for case_id in sorted(images):
        for folder, name in zip(MASKS, ('leftMask', 'rightMask'), strict=True):
            if case_id not in found[folder]:
                problems.messages.append(
                    f'{images[case_id]}: expected a mask ManualMask/{name}/{case_id}.png, found '
                    'none; unpack the masks again'
                )
    for folder in (*MASKS, READINGS):
        for case_id in sorted(set(found[folder]) - set(images)):
            problems.messages.append(
                f'{found[folder][case_id]}: expected an image CXR_png/{case_id}.png, found none; '
                'unpack the images again'
            )
    problems.raise_if_any()
    return [
        Case(
            case_id,
            images[case_id],
            tuple(found[folder][case_id] for folder in MASKS),
            found[READINGS].get(case_id),
        )
        for case_id in sorted(images)
    ]


def read_finding(path: Path) -> str:
    """Read what a clinical reading says below sex and age.

    Args:
        path: Text file.

    Returns:
        The lines behind the first two, joined.

    Raises:
        UserError: The file is no such text.
    """
    try:
        lines = [line.strip() for line in path.read_text(encoding='utf-8').splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f'{path}: expected a text, found a file that cannot be read as one; unpack it again'
        ) from error
    lines = [line for line in lines if line]
    if len(lines) < 3 or 'Sex' not in lines[0] or 'Age' not in lines[1]:
        raise UserError(
            f"{path}: expected the lines Patient's Sex, Patient's Age and a finding, found "
            f'{len(lines)} lines{f" from {lines[0]!r} on" if lines else ""}; unpack it again'
        )
    return ' '.join(lines[2:])


def convert_case(case: Case, root: Path, size: int) -> dict[str, Any]:
    """Write image and mask of a case.

    Args:
        case: What to convert.
        root: Folder of the prepared set.
        size: Edge length of the result.

    Returns:
        The record for ``annotations/<split>.json``.

    Raises:
        UserError: A file is damaged, or image and masks do not fit together.
    """
    image = read_grey(case.image)
    mask = unite({path: read_binary(path) for path in case.masks})
    if mask.shape != image.shape:
        raise UserError(
            f'{case.masks[0]}: expected the size of its image, {image.shape[1]}x{image.shape[0]}, '
            f'found {mask.shape[1]}x{mask.shape[0]}; use the original files'
        )
    record = store(
        root,
        case.case_id,
        resize_grey(image, size),
        resize_mask(mask, size),
        patient_id=case.case_id,
        domain='montgomery',
        ori_shape=list(image.shape),
    )
    if case.reading is not None:
        record['finding'] = read_finding(case.reading)
    return record


def make_splits(records: Records, seed: int) -> dict[str, Records]:
    """Draw the splits.

    Args:
        records: All cases.
        seed: Same seed, same splits.

    Returns:
        Split -> records.
    """
    total = sum(OFFICIAL_CASES.values())
    rng = np.random.default_rng([seed])
    counts = {
        split: max(1, round(len(records) * OFFICIAL_CASES[split] / total))
        for split in ('val', 'test')
    }
    test, rest = divide(records, counts['test'], rng)
    val, train = divide(rest, counts['val'], rng)
    return {'train': train, 'val': val, 'test': test}


def prepare(
    raw_root: Path,
    out_root: Path,
    *,
    size: int = 256,
    seed: int = 0,
    overwrite: bool = False,
) -> dict[str, Records]:
    """Convert the raw files; nothing is left under ``out_root`` unless all is well.

    Args:
        raw_root: Folder with the raw files.
        out_root: Folder to make.
        size: Edge length of images and masks in pixels.
        seed: Seed of the splits.
        overwrite: Replace an earlier result.

    Returns:
        Per split the records that were written.

    Raises:
        UserError: Anything wrong with the raw files or the output folder.
    """
    check_raw_root(raw_root, out_root)
    with new_folder(out_root, overwrite=overwrite) as root:
        rows: Records = []
        problems = Problems()
        for case in progress(find_cases(raw_root), 'montgomery'):
            with problems.collect():
                rows.append(convert_case(case, root, size))
        problems.raise_if_any()
        records = make_splits(rows, seed)
        options = {'size': size, 'seed': seed}
        write_annotations(
            root,
            'montgomery',
            raw_root=raw_root,
            classes=CLASSES,
            cls_classes=(),
            records=records,
            command=command_line('montgomery.py', options),
            options=options,
        )
    if len(rows) != sum(OFFICIAL_CASES.values()):
        note(f'{len(rows)} cases; the whole set has {sum(OFFICIAL_CASES.values())}')
    return records


def build_parser() -> argparse.ArgumentParser:
    """Make the parser of the command line."""
    parser = prepare_parser(__doc__)
    size_option(parser)
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
