"""Prepare normal and pneumonia images of NIH ChestX-ray14, MultiMix's cross-domain set.

Origin: NIH Clinical Center, https://nihcc.app.box.com/v/ChestXray-NIHCC (its terms apply). 112120
images.

RAW_ROOT holds, in any nesting, ``Data_Entry_2017*.csv`` (columns Image Index, Finding Labels,
Patient ID) and ``<8 digits>_<3 digits>.png``. Pneumonia is every image whose findings name it (1431
in the first sheet), normal are ``--normals`` images of ``No Finding``, drawn by ``--seed``: 2754 as
in the paper, which does not tell which. There is one split, ``test``; the label classes and the
stored form are those of ``chest_xray_pneumonia.py``.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from chest_xrays import Records, read_grey, resize_grey, size_option, store
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
from reading import contents, list_files, read_sheet

from mmjoint.utils.cli import run_cli
from mmjoint.utils.errors import UserError

CLS_CLASSES = ('normal', 'pneumonia')
COLUMNS = ('Image Index', 'Finding Labels', 'Patient ID')
OFFICIAL_CASES = {'normal': 2754, 'pneumonia': 1431}


def find_cases(raw_root: Path, normals: int, seed: int) -> list[tuple[str, int, str, Path]]:
    """Choose images by the sheet.

    Args:
        raw_root: Folder of the raw files.
        normals: Number of normal images.
        seed: Of their choice.

    Returns:
        Name, label, patient and path, sorted by name.

    Raises:
        UserError: The sheet or an image is missing or there twice.
    """
    files = list_files(raw_root)
    sheets = [
        path
        for path in files
        if path.suffix.lower() == '.csv' and path.name.casefold().startswith('data_entry_2017')
    ]
    if len(sheets) != 1:
        raise UserError(
            f'{raw_root}: expected one sheet Data_Entry_2017*.csv, found {len(sheets)} below '
            f'{contents(raw_root)}; put one there'
        )
    labels: dict[str, int] = {}
    patients: dict[str, str] = {}
    for row in read_sheet(raw_root / sheets[0], COLUMNS):
        name, findings, patient = (row[column] for column in COLUMNS)
        where = f'{raw_root / sheets[0]}: row {row["row"]}'
        if not (name and findings and patient):
            raise UserError(
                f'{where}: expected {", ".join(COLUMNS)}, found an empty cell; correct the sheet'
            )
        if name in patients:
            raise UserError(
                f'{where}: expected one row per image, found another for {name}; correct the sheet'
            )
        patients[name] = patient
        if 'Pneumonia' in findings.split('|'):
            labels[name] = 1
        elif findings == 'No Finding':
            labels[name] = 0
    healthy = sorted(name for name, label in labels.items() if label == 0)
    order = np.random.default_rng([seed]).permutation(len(healthy))[:normals]
    if len(healthy) < normals:
        note(f'the sheet has {len(healthy)} images of No Finding: all are taken')
    chosen = {healthy[place] for place in order} | {n for n, label in labels.items() if label}
    if len({labels[name] for name in chosen}) < 2:
        raise UserError(
            f'{raw_root / sheets[0]}: expected images of No Finding and of Pneumonia, found one of '
            'them alone; use the sheet as it was distributed'
        )
    return _with_paths(raw_root, files, chosen, labels, patients)


def _with_paths(
    raw_root: Path,
    files: Sequence[Path],
    chosen: set[str],
    labels: dict[str, int],
    patients: dict[str, str],
) -> list[tuple[str, int, str, Path]]:
    """Find the files of the chosen images."""
    problems = Problems()
    paths: dict[str, Path] = {}
    for path in files:
        if path.name in chosen and path.name in paths:
            problems.messages.append(
                f'{raw_root / path}: expected one file per image, found another '
                f'({paths[path.name]}); remove one of them'
            )
        paths.setdefault(path.name, raw_root / path)
    for name in sorted(chosen - set(paths)):
        problems.messages.append(
            f'{raw_root}: expected an image {name} that the sheet names, found none; unpack all '
            'archives of images'
        )
    problems.raise_if_any()
    return [(name, labels[name], patients[name], paths[name]) for name in sorted(chosen)]


def convert_case(name: str, label: int, patient: str, path: Path, root: Path, size: int) -> Any:
    """Write one image; give the record."""
    image = read_grey(path)
    return store(
        root,
        f'test/{CLS_CLASSES[label]}/{Path(name).stem}',
        resize_grey(image, size),
        None,
        gt_label=label,
        patient_id=patient,
        domain='nih',
        ori_shape=list(image.shape),
    )


def prepare(
    raw_root: Path,
    out_root: Path,
    *,
    size: int = 256,
    normals: int = OFFICIAL_CASES['normal'],
    seed: int = 0,
    overwrite: bool = False,
) -> dict[str, Records]:
    """Convert the raw files; nothing is left under ``out_root`` unless all is well.

    Args:
        raw_root: Folder with the raw files.
        out_root: Folder to make.
        size: Edge length of the images in pixels.
        normals: Number of normal images.
        seed: Of their choice.
        overwrite: Replace an earlier result.

    Returns:
        Per split the records that were written.

    Raises:
        UserError: Anything wrong with the raw files or the output folder.
    """
    check_raw_root(raw_root, out_root)
    with new_folder(out_root, overwrite=overwrite) as root:
        problems = Problems()
        rows: Records = []
        for case in progress(find_cases(raw_root, normals, seed), 'nih_pneumonia'):
            with problems.collect():
                rows.append(convert_case(*case, root, size))
        problems.raise_if_any()
        options = {'size': size, 'normals': normals, 'seed': seed}
        write_annotations(
            root,
            'nih_pneumonia',
            raw_root=raw_root,
            classes=(),
            cls_classes=CLS_CLASSES,
            records={'test': rows},
            command=command_line('nih_pneumonia.py', options),
            options=options,
        )
    counts = {
        name: sum(row['gt_label'] == label for row in rows)
        for label, name in enumerate(CLS_CLASSES)
    }
    if counts != OFFICIAL_CASES:
        found = ', '.join(f'{count} {name}' for name, count in counts.items())
        note(f'{found} images; the paper has 2754 normal, 1431 pneumonia')
    return {'test': rows}


def build_parser() -> argparse.ArgumentParser:
    """Make the parser of the command line."""
    parser = prepare_parser(__doc__)
    size_option(parser)
    parser.add_argument(
        '--normals',
        type=bounded(int, 1),
        default=OFFICIAL_CASES['normal'],
        help='number of normal images (default: 2754)',
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
