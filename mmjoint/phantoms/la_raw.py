"""Late-enhancement MR phantoms of the left atrium, in the files in which UA-MT distributes LA."""

import string
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from .common import Track, case_rng, smooth_noise, untracked
from .volumes import bias_field, blurred, ellipsoid, look_up, paint, rician, space, tube, turned
from .volumes import rotation as rotation_matrix

FOLDER = '2018LA_Seg_Training Set'
TRAIN_SHARE = 0.8

# Tissues of the image; the atrium's cavity alone is labelled.
LUNG, REST, FAT, MUSCLE, BLOOD, ATRIUM, SCAR, WALL = range(8)


@dataclass(frozen=True)
class AtriumPhantom:
    """One volume with everything that is known about it.

    Args:
        image: float32 array (X, Y, Z), mean 0 and deviation 1 as in the distributed files.
        label: uint8 array (X, Y, Z), 1 in the left atrium with the roots of its veins.
        contrast: Brightness of blood above that of muscle.
    """

    image: np.ndarray
    label: np.ndarray
    contrast: float


def draw_shape(rng: np.random.Generator, size: int) -> tuple[int, int, int]:
    """Draw the size of a cut-out around the heart; it varies from case to case.

    Args:
        rng: Generator.
        size: Longest length along X; the real ones go up to 270.

    Returns:
        Voxels along X, Y, Z; at least 16.
    """
    length = size * rng.uniform(0.85, 1.0)
    lengths = length, length * rng.uniform(0.65, 0.85), size * rng.uniform(0.5, 0.6)
    return tuple(max(16, round(length)) for length in lengths)


def render_atrium(rng: np.random.Generator, shape: tuple[int, int, int]) -> AtriumPhantom:
    """Draw one volume.

    X runs from the patient's right to the left, Y from front to back, Z from foot to head.

    Args:
        rng: Generator; all that is random comes from it.
        shape: (X, Y, Z).

    Returns:
        The volume with label and known quantities.
    """
    places = space(rng, shape, 0.018)
    centre = np.array([0.53, 0.57, 0.55]) + rng.uniform(-0.06, 0.06, 3)
    heart = turned(places, rotation_matrix(rng.uniform(-18, 18, 3)), centre)
    size = rng.uniform(1.0, 1.4)
    radii = size * np.array([0.17, 0.15, 0.19]) * rng.uniform(0.85, 1.15, 3)

    atrium = ellipsoid(heart, centre, radii)
    parts = [atrium]
    for side in (-1, 1):  # two veins on each side, of which only the roots are labelled
        for height in (-1, 1):
            if rng.random() < 0.08:
                continue
            way = np.array([side, rng.uniform(0.1, 0.6), height * rng.uniform(0.25, 0.6)])
            root = centre + radii * way * 0.7
            end = centre + radii * way * rng.uniform(1.35, 1.7)
            parts.append(tube(heart, (root, end), size * rng.uniform(0.035, 0.055)))
    ear = centre + radii * np.array([0.85, -0.75, 0.25])
    parts.append(
        ellipsoid(heart, ear, size * np.array([0.06, 0.085, 0.06]), rng.uniform(-40, 40, 3))
    )
    whole = np.min(parts, axis=0)

    tissue = np.full(shape, LUNG, np.uint8)
    across = ellipsoid(places, (0.5, 0.55, 0.5), (0.62, 0.55, 0.9))
    tissue[across < 1] = REST
    paint(tissue, ellipsoid(places, (0.12, 0.6, 0.6), (0.16, 0.3, 0.5)), LUNG)
    paint(tissue, ellipsoid(places, (0.93, 0.55, 0.62), (0.14, 0.34, 0.5)), LUNG)
    paint(tissue, ellipsoid(heart, centre + (-0.02, -0.12, -0.14), (0.42, 0.36, 0.42)), FAT)
    # Neighbours as bright as the atrium itself: ventricles, right atrium, aorta.
    left = centre + radii * np.array([0.55, -1.35, -1.2])
    paint(tissue, ellipsoid(heart, left, (0.16, 0.19, 0.2), (20, 0, 0)), MUSCLE)
    paint(tissue, ellipsoid(heart, left, (0.11, 0.14, 0.15), (20, 0, 0)), BLOOD)
    right = centre + radii * np.array([-0.7, -1.5, -1.1])
    paint(tissue, ellipsoid(heart, right, (0.15, 0.13, 0.19)), BLOOD)
    side = centre + radii * np.array([-1.35, -0.75, -0.2])
    paint(tissue, ellipsoid(heart, side, (0.12, 0.13, 0.16)), BLOOD)
    aorta = centre + radii * np.array([-0.15, -1.15, 0.2])
    paint(tissue, tube(heart, (aorta, aorta + (0, 0.02, 0.5)), 0.06), BLOOD)
    descending = centre + radii * np.array([0.5, 1.3, 0])
    paint(tissue, tube(places, (descending - (0, 0, 0.7), descending + (0, 0, 0.7)), 0.05), BLOOD)
    paint(tissue, ellipsoid(places, (0.45, 0.98, 0.5), (0.15, 0.13, 0.9)), MUSCLE)
    for distance in parts[1:]:  # veins go on beyond their labelled roots, into the lung
        tissue[distance < 1] = BLOOD
    tissue[(whole >= 1) & (whole < 1.14)] = WALL
    tissue[whole < 1] = ATRIUM
    scar = smooth_noise(rng, shape, max(shape) / 7) > rng.uniform(0.4, 1.2)
    tissue[scar & (whole >= 1) & (whole < 1.2)] = SCAR

    contrast = rng.uniform(0.3, 0.55)
    muscle = rng.uniform(0.15, 0.35)
    brightness = {
        LUNG: rng.uniform(0.03, 0.12),
        REST: rng.uniform(0.2, 0.5),
        FAT: rng.uniform(0.2, 0.55),
        MUSCLE: muscle,
        BLOOD: muscle + contrast * rng.uniform(0.75, 1.0),
        ATRIUM: muscle + contrast,
        SCAR: muscle + contrast * rng.uniform(1.2, 1.8),
        WALL: muscle * rng.uniform(0.9, 1.3),
    }
    image = look_up(tissue, brightness)
    image *= 1 + 0.12 * smooth_noise(rng, shape, max(shape) / 9)
    image = blurred(image, max(shape) / 128 * rng.uniform(0.8, 1.5) + 0.2)
    image = rician(rng, image * bias_field(rng, shape, 0.18), rng.uniform(0.02, 0.055))
    image = (image - image.mean()) / image.std()
    return AtriumPhantom(image.astype(np.float32), (whole < 1).astype(np.uint8), contrast)


def write_la(
    root: Path, *, num_cases: int, seed: int, size: int = 112, track: Track = untracked
) -> list[dict[str, Any]]:
    """Write phantoms in the raw layout of LA as UA-MT distributes it.

    Args:
        root: Folder to write to.
        num_cases: Number of volumes; four fifths are for training, as 80 of 100 in LA.
        seed: Same seed, same files.
        size: Longest edge of a volume; up to 270 in LA.
        track: Shows progress.

    Returns:
        Per case its part, id, contrast and share of labelled voxels.
    """
    letters = np.array(list(string.ascii_uppercase + string.digits))
    rng = case_rng(seed)
    codes = [''.join(rng.choice(letters, 20)) for _ in range(num_cases)]
    num_train = min(max(round(TRAIN_SHARE * num_cases), 1), max(num_cases - 1, 1))
    truth: list[dict[str, Any]] = []
    for index, code in track(list(enumerate(codes)), 'left atrium phantoms'):
        rng = case_rng(seed, index)
        phantom = render_atrium(rng, draw_shape(rng, size))
        path = root / FOLDER / code / 'mri_norm2.h5'
        path.parent.mkdir(parents=True)
        with h5py.File(path, 'w') as stored:
            stored.create_dataset('image', data=phantom.image, compression='gzip')
            stored.create_dataset('label', data=phantom.label, compression='gzip')
        truth.append(
            {
                'split': 'train' if index < num_train else 'test',
                'id': code,
                'contrast': round(phantom.contrast, 4),
                'label_share': round(float(phantom.label.mean()), 5),
            }
        )
    for split in ('train', 'test'):
        lines = [case['id'] + '\n' for case in truth if case['split'] == split]
        (root / f'{split}.list').write_text(''.join(lines), encoding='utf-8')
    return truth
