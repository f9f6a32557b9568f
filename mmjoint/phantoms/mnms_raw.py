"""Short-axis cine MR phantoms of four vendors, in the files in which M&Ms is distributed."""

import csv
import io
import string
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .common import Track, case_rng, divide, smooth_noise, untracked
from .volumes import (
    bias_field,
    blurred,
    ellipsoid,
    look_up,
    paint,
    rician,
    rotation,
    save_nifti,
    space,
    turned,
)

SHEET = '201014_M&Ms_Dataset_Information_-_opendataset.csv'
COLUMNS = ('', 'External code', 'VendorName', 'Vendor', 'Centre', 'ED', 'ES', 'Age', 'Sex')
# Vendor A to D with labels, and vendor C without: subjects of the real set.
GROUPS = (('A', True), ('B', True), ('C', True), ('D', True), ('C', False))
GROUP_SIZES = (95, 125, 50, 50, 25)

LEFT_VENTRICLE, MYOCARDIUM, RIGHT_VENTRICLE = 1, 2, 3
AIR, LUNG, FAT, MUSCLE, LIVER, PAPILLARY, RIGHT_WALL, POOL = range(4, 12)


@dataclass(frozen=True)
class Vendor:
    """How the scanners of one vendor see.

    Args:
        name: The vendor.
        centres: Hospitals that have its scanners.
        blood: Brightness of blood; muscle has 0.3.
        fat: Brightness of fat.
        gamma: Exponent of all brightness.
        bias: Strength of the bias field.
        blur: Deviation of the blur, in pixels of a slice 128 wide.
        noise: Deviation of the noise.
        field: Field of view relative to that of A.
        spacing: Edge of a pixel in mm at the real size.
        slices: Mean number of slices.
    """

    name: str
    centres: tuple[int, ...]
    blood: float
    fat: float
    gamma: float
    bias: float
    blur: float
    noise: float
    field: float
    spacing: float
    slices: float


VENDORS = {
    'A': Vendor('Siemens', (1, 6), 0.85, 0.95, 1.0, 0.15, 0.6, 0.025, 1.0, 1.32, 11),
    'B': Vendor('Philips', (2, 3), 0.7, 1.2, 0.65, 0.1, 1.0, 0.015, 0.85, 1.2, 10),
    'C': Vendor('GE', (4,), 0.62, 0.5, 1.5, 0.4, 0.8, 0.03, 1.15, 1.4, 9),
    'D': Vendor('Canon', (5,), 0.55, 0.75, 0.85, 0.25, 0.4, 0.075, 0.95, 1.25, 12),
}


@dataclass(frozen=True)
class CinePhantom:
    """One cine with everything that is known about it.

    Args:
        image: int16 array (X, Y, Z, T), arbitrary units.
        label: uint8 array of the same shape; only the frames ED and ES are labelled.
        end_diastole: Frame of the widest ventricle.
        end_systole: Frame of the narrowest ventricle.
        ejection_fraction: Share of the left ventricle's volume that is pumped out.
    """

    image: np.ndarray
    label: np.ndarray
    end_diastole: int
    end_systole: int
    ejection_fraction: float


def draw_shape(rng: np.random.Generator, vendor: Vendor, size: int) -> tuple[int, int, int]:
    """Draw the size of a frame; slices are no squares.

    Args:
        rng: Generator.
        vendor: Its scanners set the number of slices.
        size: Longer side of a slice.

    Returns:
        Voxels along X, Y, Z.
    """
    short = max(16, round(size * rng.uniform(0.8, 0.95)))
    depth = max(6, round(vendor.slices + rng.normal(0, 1)))
    return (size, short, depth) if rng.random() < 0.6 else (short, size, depth)


def contraction(num_frames: int, end_systole: int) -> np.ndarray:
    """Give how far the heart has contracted in each frame, 0 at ED (frame 0) and 1 at ES."""
    frames = np.arange(num_frames)
    rising = frames / end_systole
    falling = (num_frames - frames) / (num_frames - end_systole)
    return np.sin(np.pi / 2 * np.minimum(rising, falling)) ** 2


def render_cine(
    rng: np.random.Generator, shape: tuple[int, int, int], vendor: Vendor, num_frames: int
) -> CinePhantom:
    """Draw one cine.

    Z runs from the base to the apex. The first and last slices hold no ventricle.

    Args:
        rng: Generator; all that is random comes from it.
        shape: (X, Y, Z).
        vendor: How it is seen.
        num_frames: Frames T of one heartbeat, at least 2.

    Returns:
        The cine.
    """
    aspect = np.array(shape[:2]) / max(shape[:2])
    places = space(rng, shape, 0.012)
    for axis in range(2):  # equal lengths along X and Y, 0.5 in the middle
        places[axis] = (places[axis] - 0.5) * aspect[axis] * vendor.field + 0.5
    centre = np.array([0.53, 0.51]) + rng.uniform(-0.045, 0.045, 2)
    turn = rng.uniform(-35, 35)
    heart = turned(places, rotation((0, 0, turn)), (*centre, 0.5))
    shift = rng.normal(0, 0.006, (2, shape[2])).cumsum(axis=1)  # breathing between the slices
    for axis in range(2):
        heart[axis] += shift[axis][None, None].astype(np.float32)

    size = rng.uniform(0.85, 1.2)
    wide = size * rng.uniform(0.075, 0.11)  # radius of the cavity at ED
    thick = size * rng.uniform(0.028, 0.055)
    oval = rng.uniform(0.9, 1.1)
    pump = rng.uniform(0.25, 0.55)  # how much the radius shrinks
    base, apex = rng.uniform(0.1, 0.2), rng.uniform(0.82, 0.92)
    along = (heart[2] - base) / (apex - base)
    taper = np.sqrt(np.clip(1 - np.clip(along, 0, 1) ** 2.4, 0, 1))
    taper = np.where((along >= 0) & (along <= 1), taper, 0)
    off = (heart[0] - centre[0]) * oval, (heart[1] - centre[1]) / oval
    radius = np.hypot(*off).astype(np.float32)
    muscles = [(rng.uniform(0, 360), rng.uniform(0.55, 0.75)) for _ in range(2)]
    right_wide, right_far = size * rng.uniform(0.1, 0.14), size * rng.uniform(0.1, 0.13)
    right_end = rng.uniform(0.7, 0.9)

    still = np.full(shape, AIR, np.uint8)
    chest = ellipsoid(places, (0.5, 0.5, 0.5), (0.47, 0.4, 9), (0, 0, rng.uniform(-20, 20)))
    still[chest < 1] = FAT
    still[chest < 0.93] = MUSCLE
    lungs = ellipsoid(heart, (*centre, 0.5), (0.36 * size, 0.3, 9))
    still[(lungs < 1) & (chest < 0.88)] = LUNG
    paint(
        still, ellipsoid(heart, (centre[0] - 0.12, centre[1] + 0.3, 0.7), (0.22, 0.15, 0.5)), LIVER
    )
    around = ellipsoid(heart, (centre[0] - 0.06, centre[1], 0.5), size * np.array([0.25, 0.2, 9]))
    paint(still, around, FAT)
    paint(still, ellipsoid(heart, (centre[0] + 0.2, centre[1] + 0.2, 0.5), (0.03, 0.03, 9)), POOL)

    def frame(contracted: float) -> tuple[np.ndarray, np.ndarray]:
        """Tissues and labels of one frame."""
        inner = wide * (1 - pump * contracted) * taper
        outer = inner + thick * (1 + 0.45 * contracted) * (taper > 0) * (0.5 + 0.5 * taper)
        tissue = still.copy()
        above = along < 0
        tissue[above & (radius < 1.25 * wide)] = POOL  # atrium and aorta above the base
        side = np.hypot(
            (off[0] + right_far + 0.35 * thick) / (right_wide * (1 - 0.35 * pump * contracted)),
            off[1] / (1.25 * right_wide * (1 - 0.5 * pump * contracted)),
        )
        side = side / np.maximum(np.sqrt(np.clip(1 - (along / right_end) ** 2, 1e-4, 1)), 1e-2)
        valid = (along >= 0) & (along <= right_end)
        tissue[valid & (side < 1.12)] = RIGHT_WALL
        tissue[valid & (side < 1)] = RIGHT_VENTRICLE
        tissue[radius < outer] = MYOCARDIUM
        tissue[radius < inner] = LEFT_VENTRICLE
        label = np.where(tissue <= RIGHT_VENTRICLE, tissue, 0).astype(np.uint8)
        for angle, far in muscles:  # part of the cavity in the labels, dark in the image
            spot = inner * far * np.cos(np.deg2rad(angle)), inner * far * np.sin(np.deg2rad(angle))
            inside = np.hypot(off[0] - spot[0], off[1] - spot[1]) < 0.2 * inner
            tissue[inside & (along > 0.15) & (along < 0.75)] = PAPILLARY
        return tissue, label

    muscle = 0.3 * rng.uniform(0.85, 1.15)
    blood = vendor.blood * rng.uniform(0.88, 1.12)
    brightness = {
        AIR: 0.02, LUNG: rng.uniform(0.06, 0.12), FAT: vendor.fat * rng.uniform(0.8, 1.1),
        MUSCLE: muscle * 0.95, LIVER: muscle * rng.uniform(1.0, 1.5), PAPILLARY: muscle * 1.1,
        RIGHT_WALL: muscle * 1.1, MYOCARDIUM: muscle, POOL: blood,
        LEFT_VENTRICLE: blood, RIGHT_VENTRICLE: blood * rng.uniform(0.9, 1.05),
    }  # fmt: skip
    texture = 1 + 0.07 * smooth_noise(rng, shape, max(shape) / 14)
    bias = bias_field(rng, shape, vendor.bias * rng.uniform(0.7, 1.3))
    level = rng.uniform(300, 900)
    blur = vendor.blur * max(shape) / 128 + 0.15
    end_systole = min(max(round(num_frames * rng.uniform(0.3, 0.42)), 1), num_frames - 1)
    frames, labels, volumes = [], [], []
    for number, contracted in enumerate(contraction(num_frames, end_systole).tolist()):
        tissue, label = frame(contracted)
        image = blurred(look_up(tissue, brightness) * texture, (blur, blur, 0))
        image = rician(rng, image**vendor.gamma * bias, vendor.noise * rng.uniform(0.8, 1.2))
        frames.append(np.rint(image * level).astype(np.int16))
        volumes.append(np.count_nonzero(label == LEFT_VENTRICLE))
        labels.append(label if number in (0, end_systole) else np.zeros_like(label))
    return CinePhantom(
        np.stack(frames, -1),
        np.stack(labels, -1),
        0,
        end_systole,
        1 - volumes[end_systole] / max(volumes[0], 1),
    )


def draw_code(rng: np.random.Generator) -> str:
    """Draw a subject's code, three times a letter and a digit."""
    letters, digits = rng.choice(list(string.ascii_uppercase), 3), rng.integers(0, 10, 3)
    return ''.join(f'{letter}{digit}' for letter, digit in zip(letters, digits, strict=True))


def draw_codes(rng: np.random.Generator, count: int) -> list[str]:
    """Draw different codes."""
    codes: dict[str, None] = {}
    while len(codes) < count:
        codes[draw_code(rng)] = None
    return list(codes)


def part_of(index: int, count: int, labelled: bool) -> str:
    """Folder of a subject; the real set has 150, 34 and 136 labelled ones in three parts."""
    if not labelled:
        return 'Training/Unlabeled'
    bounds = (150 / 320 * count, 184 / 320 * count)
    return ('Training/Labeled', 'Validation', 'Testing')[sum(index >= bound for bound in bounds)]


def divide_subjects(num_cases: int) -> list[int]:
    """Divide subjects among :data:`GROUPS` as in the real set, if not too few.

    Args:
        num_cases: Number of subjects.

    Returns:
        Number per group. From 8 subjects on each vendor has two with labels; those without labels
        are the first to be missing.
    """
    counts = divide(num_cases, GROUP_SIZES)
    while num_cases >= 8 and min(counts[:-1]) < 2:
        giver = len(counts) - 1 if counts[-1] else int(np.argmax(counts))
        counts[giver] -= 1
        counts[int(np.argmin(counts[:-1]))] += 1
    return counts


def write_mnms(
    root: Path,
    *,
    num_cases: int,
    seed: int,
    size: int = 96,
    num_frames: int = 8,
    track: Track = untracked,
) -> list[dict[str, Any]]:
    """Write phantoms in the raw layout of M&Ms.

    Args:
        root: Folder to write to.
        num_cases: Number of subjects: 345 in M&Ms, of which 25 of vendor C have no labels.
        seed: Same seed, same files.
        size: Longer side of a slice in pixels; about 256 in M&Ms.
        num_frames: Frames of a cine; 25 to 30 in M&Ms.
        track: Shows progress.

    Returns:
        Per case its code, vendor, frames ED and ES, ejection fraction and whether it is labelled.
    """
    rng = case_rng(seed)
    counts = divide_subjects(num_cases)
    groups = [group for group, count in zip(GROUPS, counts, strict=True) for _ in range(count)]
    codes = draw_codes(rng, num_cases)
    order = rng.permutation(num_cases)
    truth: list[dict[str, Any]] = []
    rows = []
    for index, place in track(list(enumerate(order.tolist())), 'cine MR phantoms'):
        rng = case_rng(seed, index)
        (letter, labelled), code = groups[place], codes[index]
        vendor = VENDORS[letter]
        shape = draw_shape(rng, vendor, size)
        phantom = render_cine(rng, shape, vendor, num_frames)
        step = vendor.spacing * 256 / size * rng.uniform(0.92, 1.08)
        affine = np.diag([-step, -step, rng.choice([8.0, 9.2, 10.0]), 1.0])
        affine[:3, 3] = rng.uniform(-150, 150, 3).round(1)
        folder = root / part_of(index, num_cases, labelled) / code
        save_nifti(folder / f'{code}_sa.nii.gz', phantom.image, affine)
        if labelled:
            save_nifti(folder / f'{code}_sa_gt.nii.gz', phantom.label, affine)
        centre = int(rng.choice(vendor.centres))
        phases = (phantom.end_diastole, phantom.end_systole)
        age, sex = int(rng.integers(18, 85)), str(rng.choice(['F', 'M']))
        rows.append((index, code, vendor.name, letter, centre, *phases, age, sex))
        truth.append(
            {
                'id': code,
                'vendor': letter,
                'labelled': labelled,
                'ed': phases[0],
                'es': phases[1],
                'ejection_fraction': round(phantom.ejection_fraction, 4),
            }
        )
    text = io.StringIO()
    csv.writer(text, lineterminator='\n').writerows((COLUMNS, *rows))
    (root / SHEET).write_text(text.getvalue(), encoding='utf-8')
    return truth
