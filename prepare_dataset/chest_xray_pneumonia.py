"""Prepare the chest X-rays of children by Kermany et al. (normal or pneumonia).

Origin: Kermany, Zhang, Goldbaum, "Labeled Optical Coherence Tomography (OCT) and Chest X-Ray Images
for Classification", Mendeley Data, doi 10.17632/rscbjbr9sj (CC BY 4.0); the copy on Kaggle,
``paultimothymooney/chest-xray-pneumonia``, adds the folder ``val``. 5856 images.

RAW_ROOT holds, in any nesting, ``chest_xray/{train,val,test}/{NORMAL,PNEUMONIA}/*.jpeg``. The
archive of Kaggle holds a second copy of everything, which is read once.

Images become grey squares of ``--size`` pixels in lossless PNG, as the first steps of MultiMix's
pipelines do (grey by Pillow, bilinear with antialiasing, 8 bits). Labels: 0 normal, 1 pneumonia.
The official folder ``test`` is the split ``test``, the folder ``val`` is ``val_official``; the
split ``val`` is drawn from the folder ``train``.
"""

import argparse
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from chest_xrays import (
    Records,
    divide,
    label_budgets,
    labelled_option,
    read_grey,
    resize_grey,
    size_option,
    store,
)
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
from reading import contents, list_files

from mmjoint.utils.cli import run_cli
from mmjoint.utils.errors import UserError
from mmjoint.utils.io import sha256_file

CLS_CLASSES = ('normal', 'pneumonia')
FOLDERS = ('train', 'val', 'test')
CLASS_FOLDERS = {'normal': 0, 'pneumonia': 1}
SUFFIXES = ('.jpeg', '.jpg', '.png')
BUDGETS = (100, 1000)
OFFICIAL_CASES = {'train': 5216, 'val': 16, 'test': 624}
# Names of Kaggle's copy and of Mendeley's; what stands before the number of the image is the
# patient. Both kinds of pneumonia of a number count as one patient: the set does not tell.
NAMES = (
    re.compile(r'(?P<patient>person\d+)_(?P<kind>bacteria|virus)_\d+(_\d+)?'),
    re.compile(r'(?P<patient>(NORMAL2-)?IM-\d+)-\d+(-\d+)?'),
    re.compile(r'(?P<patient>(?P<kind>BACTERIA|VIRUS|NORMAL)-\d+)-\d+(-\d+)?'),
)


@dataclass(frozen=True)
class Case:
    """One image of a raw folder.

    Args:
        folder: ``train``, ``val`` or ``test``.
        label: 0 normal, 1 pneumonia.
        path: The file.
        patient: The patient, or the file's own name where it does not tell.
        kind: ``normal``, ``bacteria``, ``virus``, or ``unknown``.
        named: Whether the name tells the patient.
    """

    folder: str
    label: int
    path: Path
    patient: str
    kind: str
    named: bool


def parse_name(stem: str, label: int) -> tuple[str, str, bool]:
    """Read patient and kind from the name of a file.

    Args:
        stem: Name without suffix.
        label: 0 normal, 1 pneumonia, by its folder.

    Returns:
        Patient, kind, and whether the name tells them.
    """
    for pattern in NAMES:
        match = pattern.fullmatch(stem)
        if match:
            kind = match.groupdict().get('kind') or 'normal'
            return match['patient'], kind.lower(), True
    return stem, 'unknown' if label else 'normal', False


def find_cases(raw_root: Path) -> list[Case]:
    """Find the images of all folders, sorted by folder, class and name.

    Args:
        raw_root: Folder of the raw files.

    Returns:
        The cases.

    Raises:
        UserError: A folder is missing, two files have one name but not one content, or an image
            lies in the folder of the other class.
    """
    problems = Problems()
    cases: dict[tuple[str, int, str], Case] = {}
    copies = 0
    # Outer files first: they stand for their copies further down.
    for path in sorted(list_files(raw_root), key=lambda path: (len(path.parts), path)):
        if path.suffix.lower() not in SUFFIXES or len(path.parts) < 3:
            continue
        folder, label = path.parts[-3].casefold(), CLASS_FOLDERS.get(path.parts[-2].casefold())
        if folder not in FOLDERS or label is None:
            continue
        patient, kind, named = parse_name(path.stem, label)
        if (kind == 'normal') != (label == 0):
            problems.messages.append(
                f'{raw_root / path}: expected an image of the class {CLS_CLASSES[label]} by its '
                f'folder, found one of the kind {kind} by its name; restore the original folders'
            )
        key = (folder, label, path.stem)
        if key not in cases:
            cases[key] = Case(folder, label, raw_root / path, patient, kind, named)
        elif sha256_file(raw_root / path) == sha256_file(cases[key].path):
            copies += 1
        else:
            problems.messages.append(
                f'{raw_root / path}: expected one file per image, found another of this name '
                f'({cases[key].path}); remove one of them'
            )
    problems.raise_if_any()
    for folder in ('train', 'test'):
        for label, name in enumerate(('NORMAL', 'PNEUMONIA')):
            if not any(case.folder == folder and case.label == label for case in cases.values()):
                raise UserError(
                    f'{raw_root}: expected images (.jpeg) in {folder}/{name}, found none; below '
                    f'RAW_ROOT is {contents(raw_root)}; unpack the archive there'
                )
    if copies:
        note(f'{copies} images are there twice with the same content: read once')
    return [cases[key] for key in sorted(cases)]


def convert_case(case: Case, root: Path, size: int) -> dict[str, Any]:
    """Write one image.

    Args:
        case: What to convert.
        root: Folder of the prepared set.
        size: Edge length of the result.

    Returns:
        The record for ``annotations/<split>.json``.

    Raises:
        UserError: The file is damaged.
    """
    image = read_grey(case.path)
    return store(
        root,
        f'{case.folder}/{CLS_CLASSES[case.label]}/{case.path.stem}',
        resize_grey(image, size),
        None,
        gt_label=case.label,
        patient_id=case.patient,
        kind=case.kind,
        domain='kermany',
        ori_shape=list(image.shape),
    )


def make_splits(
    records: dict[str, Records],
    *,
    val_percent: float,
    labelled: Sequence[int] | None,
    seed: int,
    strict_patients: bool,
) -> dict[str, Records]:
    """Divide the images of the raw folders.

    Args:
        records: Raw folder -> records.
        val_percent: Share of the folder ``train`` that becomes ``val``, in percent, rounded.
        labelled: Numbers of labelled images; see :func:`chest_xrays.label_budgets`.
        seed: Same seed, same splits.
        strict_patients: Leave patients of the other folders out of ``train`` and ``val``.

    Returns:
        Split -> records.

    Raises:
        UserError: A split would be empty.
    """
    training = records['train']
    others = {row['patient_id'] for name in ('val', 'test') for row in records[name]}
    shared = [row for row in training if row['patient_id'] in others]
    if shared and strict_patients:
        training = [row for row in training if row['patient_id'] not in others]
    elif shared:
        count = len({row['patient_id'] for row in shared})
        note(
            f'{count} patients by number ({len(shared)} images) of the folder train are in val or '
            'test, too; --strict-patients leaves them out of train'
        )
    count = round(len(training) * val_percent / 100)
    if not 0 < count < len(training):
        raise UserError(
            f'--val-percent: expected a share that leaves images for train and val, found '
            f'{val_percent:g} for {len(training)} images; change it or give more cases'
        )
    val, train = divide(training, count, np.random.default_rng([seed]))
    splits = {'train': train, 'val': val, 'test': records['test']}
    if records['val']:
        splits['val_official'] = records['val']
    budgets = label_budgets(train, labelled, BUDGETS, seed)
    for name, rows in budgets.items():
        if name.startswith('labelled') and len({row['gt_label'] for row in rows}) == 1:
            note(f'{name} has one class alone; take another --seed or a larger number')
    return splits | budgets


def prepare(
    raw_root: Path,
    out_root: Path,
    *,
    size: int = 256,
    val_percent: float = 10.0,
    labelled: Sequence[int] | None = None,
    seed: int = 0,
    strict_patients: bool = False,
    overwrite: bool = False,
) -> dict[str, Records]:
    """Convert the raw files; nothing is left under ``out_root`` unless all is well.

    Args:
        raw_root: Folder with the unpacked archive.
        out_root: Folder to make.
        size: Edge length of the images in pixels.
        val_percent: See :func:`make_splits`.
        labelled: See :func:`make_splits`.
        seed: Seed of the splits.
        strict_patients: See :func:`make_splits`.
        overwrite: Replace an earlier result.

    Returns:
        Per split the records that were written.

    Raises:
        UserError: Anything wrong with the raw files or the output folder.
    """
    check_raw_root(raw_root, out_root)
    with new_folder(out_root, overwrite=overwrite) as root:
        cases = find_cases(raw_root)
        unknown = [case for case in cases if not case.named]
        if unknown:
            note(
                f'{len(unknown)} names do not tell the patient, e.g. {unknown[0].path.name}: '
                'each is taken for a patient of its own'
            )
        rows: dict[str, Records] = {folder: [] for folder in FOLDERS}
        problems = Problems()
        for case in progress(cases, 'chest_xray_pneumonia'):
            with problems.collect():
                rows[case.folder].append(convert_case(case, root, size))
        problems.raise_if_any()
        records = make_splits(
            rows,
            val_percent=val_percent,
            labelled=labelled,
            seed=seed,
            strict_patients=strict_patients,
        )
        options = {
            'size': size,
            'val_percent': val_percent,
            'labelled': None if labelled is None else list(labelled),
            'seed': seed,
            'strict_patients': strict_patients,
        }
        write_annotations(
            root,
            'chest_xray_pneumonia',
            raw_root=raw_root,
            classes=(),
            cls_classes=CLS_CLASSES,
            records=records,
            command=command_line('chest_xray_pneumonia.py', options),
            options=options,
        )
    counts = Counter(case.folder for case in cases)
    if counts != OFFICIAL_CASES:
        found = ', '.join(f'{folder} {counts[folder]}' for folder in FOLDERS)
        official = ', '.join(f'{folder} {count}' for folder, count in OFFICIAL_CASES.items())
        note(f'{found} images in the raw folders; the official set has {official}')
    return records


def build_parser() -> argparse.ArgumentParser:
    """Make the parser of the command line."""
    parser = prepare_parser(__doc__)
    size_option(parser)
    parser.add_argument(
        '--val-percent',
        type=bounded(float, 0, 100),
        default=10.0,
        help='share of the folder train that becomes val, rounded (default: 10)',
    )
    labelled_option(parser, BUDGETS)
    parser.add_argument(
        '--strict-patients',
        action='store_true',
        help='leave images out of train whose patients are in the folders val or test, too',
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
