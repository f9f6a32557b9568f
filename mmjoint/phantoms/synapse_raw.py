"""Abdominal CT phantoms with 13 organs, in the files in which Synapse (BTCV) is distributed."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .common import Track, case_rng, smooth_noise, untracked
from .volumes import (
    blurred,
    ellipsoid,
    look_up,
    paint,
    rotation,
    save_nifti,
    space,
    tube,
    turned,
)

REAL_SIZE, REAL_SPACING, REAL_DEPTH = 512, 0.75, 420.0  # pixels, mm, mm of the field of view
NUMBERS = (*range(1, 11), *range(21, 41))  # of the 30 real training cases

(SPLEEN, RIGHT_KIDNEY, LEFT_KIDNEY, GALLBLADDER, ESOPHAGUS, LIVER, STOMACH) = range(1, 8)
(AORTA, CAVA, PORTAL, PANCREAS, RIGHT_ADRENAL, LEFT_ADRENAL) = range(8, 14)
NUM_ORGANS = 13
AIR, FAT, MUSCLE, BONE, LUNG, BOWEL, GAS, FLUID = range(NUM_ORGANS + 1, NUM_ORGANS + 9)


@dataclass(frozen=True)
class AbdomenPhantom:
    """One volume with everything that is known about it.

    Args:
        image: int16 array (X, Y, Z), Hounsfield units.
        label: uint8 array (X, Y, Z), organs 1 to 13.
        enhancement: Brightness of the vessels relative to the usual, about 0.6 to 1.4.
    """

    image: np.ndarray
    label: np.ndarray
    enhancement: float


def draw_shape(rng: np.random.Generator, size: int) -> tuple[int, int, int]:
    """Draw the size of a volume: slices are ``size`` x ``size``, their number varies.

    Args:
        rng: Generator.
        size: Edge length of a slice in pixels.

    Returns:
        Voxels along X, Y, Z; at least 16.
    """
    return size, size, max(16, round(size * rng.uniform(0.4, 0.6)))


def render_abdomen(rng: np.random.Generator, shape: tuple[int, int, int]) -> AbdomenPhantom:
    """Draw one volume.

    X runs from the patient's right to the left, Y from front to back, Z from foot to head. The
    liver has about 500 times the volume of an adrenal gland.

    Args:
        rng: Generator; all that is random comes from it.
        shape: (X, Y, Z).

    Returns:
        The volume with label and known quantities.
    """

    def jitter(amount: float = 0.015) -> np.ndarray:
        return rng.normal(0, amount, 3)

    places = space(rng, shape, 0.014)
    places = turned(places, rotation((0, 0, rng.uniform(-8, 8))), (0.5, 0.5, 0.5))
    build = rng.uniform(0.88, 1.1, 3) * (
        1.12,
        1.25,
        1.0,
    )  # thin or broad, flat or deep, tall or short
    places = (places - 0.5) / np.reshape(build.astype(np.float32), (3, 1, 1, 1)) + 0.5
    places -= np.reshape(rng.uniform(-0.03, 0.03, 3).astype(np.float32), (3, 1, 1, 1))

    tissue = np.full(shape, AIR, np.uint8)
    outline = ellipsoid(places, (0.5, 0.5, 0.5), (0.42, 0.31, 9))
    inner = ellipsoid(places, (0.5, 0.48, 0.5), (0.37 * rng.uniform(0.92, 1.03), 0.255, 9))
    tissue[outline < 1] = FAT
    tissue[inner < 1] = MUSCLE
    cavity = ellipsoid(places, (0.5, 0.45, 0.5), (0.335, 0.215, 9))
    tissue[cavity < 1] = FAT
    lungs = ellipsoid(places, (0.5, 0.45, 1.08), (0.34, 0.22, 0.26 * rng.uniform(0.8, 1.2)))
    tissue[(lungs < 1) & (cavity < 1)] = LUNG
    paint(tissue, ellipsoid(places, (0.5, 0.68, 0.5), (0.055, 0.05, 9)), BONE)
    for side in (-0.07, 0.07):
        paint(tissue, ellipsoid(places, (0.5 + side, 0.72, 0.5), (0.07, 0.045, 9)), MUSCLE)
    for height in np.arange(0.3, 1.3, 0.14):  # ribs, falling towards the front
        ring = np.abs(ellipsoid(places, (0.5, 0.47, 0.5), (0.355, 0.235, 9)) - 1) * 12
        rib = np.hypot(ring, (places[2] - height - 0.9 * (places[1] - 0.5)) / 0.025)
        tissue[(rib < 1) & (places[1] > 0.28)] = BONE
    for _ in range(9):  # loops of bowel, some with gas
        at = rng.uniform((0.3, 0.3, 0.05), (0.72, 0.5, 0.45))
        way = at + rng.uniform(-0.12, 0.12, 3)
        paint(tissue, tube(places, (at, way), rng.uniform(0.025, 0.04)), BOWEL)
        if rng.random() < 0.4:
            paint(tissue, tube(places, (at, at * 0.6 + way * 0.4), 0.014), GAS)

    grown = {organ: rng.uniform(0.85, 1.18) for organ in range(NUM_ORGANS + 1)}
    liver = (0.34, 0.42, 0.68) + jitter()
    paint(
        tissue,
        np.minimum(
            ellipsoid(places, liver, grown[LIVER] * np.array([0.17, 0.17, 0.2]), (0, 20, 10)),
            ellipsoid(places, liver + (0.15, -0.08, 0.03), (0.14, 0.09, 0.09), (0, 15, 15)),
        ),
        LIVER,
    )
    spleen = (0.76, 0.55, 0.7) + jitter()
    paint(
        tissue,
        ellipsoid(
            places, spleen, grown[SPLEEN] * np.array([0.055, 0.085, 0.12]), rng.uniform(-15, 15, 3)
        ),
        SPLEEN,
    )
    stomach = (0.63, 0.36, 0.68) + jitter(0.02)
    full = grown[STOMACH] * rng.uniform(0.75, 1.15)
    paint(
        tissue,
        np.minimum(
            ellipsoid(places, stomach, full * np.array([0.09, 0.08, 0.11]), (0, -20, 10)),
            tube(places, (stomach, (0.54, 0.33, 0.55), (0.47, 0.36, 0.55)), full * 0.045),
        ),
        STOMACH,
    )
    kidneys = {}
    for organ, across in ((RIGHT_KIDNEY, 0.345), (LEFT_KIDNEY, 0.655)):
        height = 0.46 if organ == RIGHT_KIDNEY else 0.5
        kidneys[organ] = (across, 0.59, height) + jitter()
        tilt = 12 if organ == RIGHT_KIDNEY else -12
        radii = grown[organ] * np.array([0.05, 0.05, 0.11])
        distance = ellipsoid(places, kidneys[organ], radii, (0, tilt, 0))
        paint(tissue, distance, organ)
    aorta = (0.525, 0.575) + jitter()[:2]
    cava = (0.455, 0.57) + jitter()[:2]
    paint(tissue, tube(places, ((*aorta, -0.5), (*aorta, 1.5)), 0.026 * grown[AORTA]), AORTA)
    paint(
        tissue,
        tube(
            places,
            ((*cava, -0.5), (*cava, 0.6), (cava[0] - 0.01, cava[1] - 0.07, 0.85)),
            0.024 * grown[CAVA],
        ),
        CAVA,
    )
    fork = np.array([0.47, 0.47, 0.58]) + jitter()
    paint(
        tissue,
        tube(
            places,
            (liver + (0.03, 0.02, 0.02), fork, (0.6, 0.5, 0.62), spleen - (0.05, 0.01, 0)),
            0.014 * grown[PORTAL],
        ),
        PORTAL,
    )
    pancreas = tube(
        places,
        ((0.44, 0.43, 0.49) + jitter(), fork + (0.03, -0.03, 0), (0.66, 0.49, 0.6) + jitter()),
        0.023 * grown[PANCREAS],
    )
    paint(tissue, pancreas, PANCREAS)
    gullet = (0.535, 0.545) + jitter()[:2]
    paint(
        tissue,
        tube(
            places,
            ((*gullet, 1.5), (*gullet, 0.84), stomach + (-0.02, 0.03, 0.06)),
            0.017 * grown[ESOPHAGUS],
        ),
        ESOPHAGUS,
    )
    if rng.random() < 0.9:  # some patients have lost it
        paint(
            tissue,
            ellipsoid(
                places,
                liver + (0.04, -0.08, -0.17) + jitter(0.01),
                grown[GALLBLADDER] * np.array([0.03, 0.035, 0.05]),
                rng.uniform(-25, 25, 3),
            ),
            GALLBLADDER,
        )
    for organ, kidney, side in (
        (RIGHT_ADRENAL, RIGHT_KIDNEY, 1),
        (LEFT_ADRENAL, LEFT_KIDNEY, -1),
    ):
        at = kidneys[kidney] + (side * 0.035, -0.035, 0.115) + jitter(0.008)
        angles = (rng.uniform(-20, 20), rng.uniform(-20, 20), side * 30)
        radii = grown[organ] * np.array([0.0105, 0.032, 0.034])
        paint(tissue, ellipsoid(places, at, radii, angles), organ)
    # Organs that reach out of the body would be labelled air.
    tissue[(outline >= 1) & (tissue <= NUM_ORGANS)] = AIR
    label = np.where(tissue <= NUM_ORGANS, tissue, 0).astype(np.uint8)

    enhancement = rng.uniform(0.6, 1.4)
    late = rng.uniform(0, 1)  # from the arterial to the portal phase
    units = {
        AIR: -1000, FAT: rng.normal(-100, 8), MUSCLE: rng.normal(55, 6), BONE: rng.normal(420, 60),
        LUNG: -830, BOWEL: rng.normal(45, 20), GAS: -700, FLUID: 10,
        SPLEEN: 50 + 70 * enhancement, LIVER: 55 + (20 + 40 * late) * enhancement,
        RIGHT_KIDNEY: 40 + 120 * enhancement, LEFT_KIDNEY: 40 + 120 * enhancement,
        GALLBLADDER: rng.normal(12, 6), ESOPHAGUS: rng.normal(45, 8),
        STOMACH: rng.normal(45, 15), PANCREAS: 45 + 45 * enhancement,
        AORTA: 45 + (200 - 80 * late) * enhancement, CAVA: 45 + (40 + 60 * late) * enhancement,
        PORTAL: 45 + (50 + 70 * late) * enhancement,
        RIGHT_ADRENAL: 40 + 30 * enhancement, LEFT_ADRENAL: 40 + 30 * enhancement,
    }  # fmt: skip
    image = look_up(tissue, units)
    # What the stomach holds, gas above food: only its wall looks the same in all.
    inside = ellipsoid(places, stomach, full * np.array([0.075, 0.065, 0.095]), (0, -20, 10)) < 1
    inside &= tissue == STOMACH
    image[inside] = rng.normal(25, 20)
    image[inside & (places[1] < stomach[1] - rng.uniform(0, 0.06))] = -600
    texture = smooth_noise(rng, shape, max(shape) / 20)
    image += np.where((tissue != AIR) & (tissue != LUNG), 8 * texture, 0)
    image = blurred(image, max(shape) / 256 * rng.uniform(0.8, 1.6) + 0.15)
    image += blurred(rng.normal(0, 1, shape), 0.5) * rng.uniform(12, 40)
    image = np.clip(np.rint(image), -1024, 3071).astype(np.int16)
    return AbdomenPhantom(image, label, enhancement)


def write_synapse(
    root: Path, *, num_cases: int, seed: int, size: int = 128, track: Track = untracked
) -> list[dict[str, Any]]:
    """Write phantoms in the raw layout of Synapse.

    Args:
        root: Folder to write to.
        num_cases: Number of volumes. Up to 30 they have the numbers of the real cases, so that
            published splits fit them.
        seed: Same seed, same files.
        size: Edge length of a slice in pixels; 512 in Synapse.
        track: Shows progress.

    Returns:
        Per case its number, enhancement and voxels per organ.
    """
    numbers = [*NUMBERS, *range(41, 41 + num_cases)][:num_cases]
    truth: list[dict[str, Any]] = []
    for index, number in track(list(enumerate(numbers)), 'abdominal CT phantoms'):
        rng = case_rng(seed, index)
        phantom = render_abdomen(rng, draw_shape(rng, size))
        step = REAL_SPACING * REAL_SIZE / size * rng.uniform(0.85, 1.15)
        affine = np.diag([-step, -step, REAL_DEPTH / phantom.image.shape[2], 1.0])
        affine[:3, 3] = rng.uniform(-200, 200, 3).round(1)
        save_nifti(root / f'imagesTr/img{number:04d}.nii.gz', phantom.image, affine)
        save_nifti(root / f'labelsTr/label{number:04d}.nii.gz', phantom.label, affine)
        truth.append(
            {
                'id': f'{number:04d}',
                'enhancement': round(phantom.enhancement, 4),
                'organ_voxels': np.bincount(phantom.label.ravel(), minlength=NUM_ORGANS + 1)[
                    1:
                ].tolist(),
            }
        )
    return truth
