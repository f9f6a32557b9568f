"""Chest X-ray phantoms in the folders in which the two sets with pneumonia are distributed."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmjoint.utils.io import atomic_write_text

from .chest_xray import CAMERAS, Kind, draw_anatomy, render_chest_xray
from .common import Track, case_rng, divide, draw_labels, untracked, write_image

SPLITS = ('train', 'val', 'test')
BACTERIA_SHARE = 0.65
# Columns of the sheet of NIH ChestX-ray14, with its own spelling.
NIH_SHEET = 'Data_Entry_2017.csv'
NIH_COLUMNS = (
    'Image Index',
    'Finding Labels',
    'Follow-up #',
    'Patient ID',
    'Patient Age',
    'Patient Gender',
    'View Position',
    'OriginalImage[Width',
    'Height]',
    'OriginalImagePixelSpacing[x',
    'y]',
)
OTHER_FINDINGS = ('Infiltration', 'Effusion', 'Atelectasis')


def _group(rng: np.random.Generator, count: int, shares: Sequence[float]) -> list[int]:
    """Divide images among patients: the number of images of each, most having one."""
    sizes: list[int] = []
    while sum(sizes) < count:
        size = int(rng.choice(len(shares), p=shares)) + 1
        sizes.append(min(size, count - sum(sizes)))
    return sizes


def _kermany_names(
    rng: np.random.Generator, count: int, kind: Kind | None, used: dict[str, int]
) -> list[tuple[str, str]]:
    """Name the images of one class of a split.

    Args:
        rng: Generator.
        count: Number of images.
        kind: Kind of pneumonia; ``None`` for normal ones.
        used: Numbers given so far, per sort; goes on.

    Returns:
        Patient and file name without suffix, per image.
    """
    names = []
    for size in _group(rng, count, (0.92, 0.08) if kind is None else (0.6, 0.25, 0.15)):
        used['patient'] += 1
        if kind is None:
            prefix = 'NORMAL2-IM' if rng.random() < 0.6 else 'IM'
            patient = f'{prefix}-{used["patient"]:04d}'
            names += [(patient, f'{patient}-{number:04d}') for number in range(1, size + 1)]
        else:
            patient = f'person{used["patient"]}'
            for _ in range(size):
                used[kind] += 1
                names.append((patient, f'{patient}_{kind}_{used[kind]}'))
    return names


def write_chest_xray_pneumonia(
    root: Path,
    *,
    num_cases: int,
    seed: int,
    size: int = 384,
    pneumonia_share: float = 0.73,
    split_ratio: Sequence[float] = (8.0, 0.5, 2.0),
    track: Track = untracked,
) -> list[dict[str, Any]]:
    """Write phantoms in the raw layout of the chest X-rays of children by Kermany et al.

    ``chest_xray/{train,val,test}/{NORMAL,PNEUMONIA}/*.jpeg``, names as in the real set; a patient
    has one to three images, all in one folder.

    Args:
        root: Folder to write to.
        num_cases: Number of images.
        seed: Same seed, same files.
        size: Width of the largest images.
        pneumonia_share: Share of pneumonia in each split.
        split_ratio: Relative sizes of the folders train, val and test.
        track: Shows progress.

    Returns:
        Per image its split, file, patient, label, kind, and area and strength of the opacity.
    """
    used = {'patient': 0, 'bacteria': 0, 'virus': 0}
    plan = []
    for place, (split, count) in enumerate(
        zip(SPLITS, divide(num_cases, split_ratio), strict=True)
    ):
        rng = case_rng(seed, place)
        ill = int(draw_labels(rng, count, pneumonia_share).sum())
        by_bacteria = round(BACTERIA_SHARE * ill)
        for kind, number in (
            (None, count - ill),
            ('bacteria', by_bacteria),
            ('virus', ill - by_bacteria),
        ):
            for patient, name in _kermany_names(rng, number, kind, used):
                plan.append((split, kind, patient, name))
    truth = []
    numbers = {patient: at for at, patient in enumerate(sorted({row[2] for row in plan}))}
    for index, (split, kind, patient, name) in enumerate(track(plan, 'chest X-ray phantoms')):
        body = draw_anatomy(case_rng(seed, 10, numbers[patient]), child=True)
        rng = case_rng(seed, 11, index)
        width = round(size * rng.uniform(0.65, 1.0))
        shape = (max(16, round(width / rng.uniform(1.1, 1.55))), width)
        phantom = render_chest_xray(rng, shape, body, CAMERAS['kermany'], pneumonia=kind)
        folder = 'NORMAL' if kind is None else 'PNEUMONIA'
        path = f'chest_xray/{split}/{folder}/{name}.jpeg'
        write_image(root / path, np.rint(phantom.image * 255).astype(np.uint8))
        truth.append(
            {
                'split': split,
                'file': path,
                'patient': patient,
                'pneumonia': int(kind is not None),
                'kind': kind,
                'opacity_share': round(float(phantom.opacity.sum() / phantom.lungs.sum()), 4),
                'opacity_strength': round(phantom.opacity_strength, 4),
            }
        )
    return truth


def write_nih_pneumonia(
    root: Path,
    *,
    num_cases: int,
    seed: int,
    size: int = 256,
    pneumonia_share: float = 0.34,
    track: Track = untracked,
) -> list[dict[str, Any]]:
    """Write phantoms in the raw layout of NIH ChestX-ray14: adults, another device.

    ``images/<8 digits>_<3 digits>.png`` and ``Data_Entry_2017.csv``. A tenth of the images shows
    neither pneumonia nor ``No Finding`` by its sheet.

    Args:
        root: Folder to write to.
        num_cases: Number of images.
        seed: Same seed, same files.
        size: Edge length of the images.
        pneumonia_share: Share of pneumonia among the others.
        track: Shows progress.

    Returns:
        Per image its file, patient, findings, and area and strength of the opacity.
    """
    rng = case_rng(seed, 0)
    other = num_cases // 10
    ill = draw_labels(rng, num_cases - other, pneumonia_share).tolist() + [None] * other
    ill = [ill[at] for at in rng.permutation(num_cases)]
    plan = []
    for number, count in enumerate(_group(rng, num_cases, (0.6, 0.25, 0.15)), 1):
        plan += [(number, follow_up) for follow_up in range(count)]
    truth, rows = [], []
    for index, ((number, follow_up), label) in enumerate(
        track(list(zip(plan, ill, strict=True)), 'chest X-ray phantoms')
    ):
        body_rng = case_rng(seed, 10, number)
        body = draw_anatomy(body_rng)
        age, gender = int(body_rng.integers(18, 90)), str(body_rng.choice(['F', 'M']))
        rng = case_rng(seed, 11, index)
        kind: Kind | None = None
        if label:
            kind = 'bacteria' if rng.random() < BACTERIA_SHARE else 'virus'
        phantom = render_chest_xray(rng, (size, size), body, CAMERAS['nih'], pneumonia=kind)
        name = f'{number:08d}_{follow_up:03d}.png'
        write_image(root / 'images' / name, np.rint(phantom.image * 255).astype(np.uint8))
        finding = 'No Finding'
        if label is None:
            finding = str(rng.choice(OTHER_FINDINGS))
        elif label:
            more = str(rng.choice(OTHER_FINDINGS))
            finding = 'Pneumonia' if rng.random() < 0.5 else f'{more}|Pneumonia'
        view = 'AP' if rng.random() < 0.6 else 'PA'
        rows.append((name, finding, follow_up, number, age, gender, view, 2500, 2500, 0.168, 0.168))
        truth.append(
            {
                'file': f'images/{name}',
                'patient': number,
                'findings': finding,
                'opacity_share': round(float(phantom.opacity.sum() / phantom.lungs.sum()), 4),
                'opacity_strength': round(phantom.opacity_strength, 4),
            }
        )
    text = io.StringIO()
    writer = csv.writer(text, lineterminator='\n')
    writer.writerow(NIH_COLUMNS)
    writer.writerows(rows)
    atomic_write_text(root / NIH_SHEET, text.getvalue())
    return truth
