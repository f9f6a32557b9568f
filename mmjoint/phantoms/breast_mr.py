"""Procedural breast DCE-MR volumes with a tumour whose look tells the response to chemotherapy."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from scipy import special

from .common import Track, case_rng, draw_labels, smooth_noise, untracked, write_sheet

REAL_SHAPE = (256, 256, 60)
REAL_SPACING = (0.70, 0.70, 2.0)
FIRST_ID = 1001


@dataclass(frozen=True)
class BreastPhantom:
    """One volume with everything that is known about it.

    Args:
        image: int16 array (X, Y, Z), first series after contrast agent, arbitrary units.
        mask: uint8 array (X, Y, Z), 1 in the tumour.
        spacing: Voxel size along X, Y, Z in mm.
        core: Enhancement of the tumour's core relative to its rim, in [0, 1].
    """

    image: np.ndarray
    mask: np.ndarray
    spacing: tuple[float, float, float]
    core: float


def volume_shape(size: int) -> tuple[int, int, int]:
    """Give the shape (X, Y, Z) of a volume whose slices have ``size`` x ``size`` pixels.

    There are at least 24 slices, so that a tumour spans more than ten.
    """
    return size, size, max(24, round(REAL_SHAPE[2] * size / REAL_SHAPE[0]))


def draw_core(rng: np.random.Generator, complete_response: bool) -> float:
    """Draw how strongly the core enhances relative to the rim.

    Tumours that respond completely enhance evenly, the others as a ring around a dark core. The
    two distributions overlap between 0.50 and 0.60, in some 8 % of the cases.

    Args:
        rng: Generator.
        complete_response: Label of the case (pCR).

    Returns:
        A ratio in 0.05..0.60 (no pCR) or 0.50..1.00 (pCR).
    """
    low, high, mean = (0.50, 1.0, 0.80) if complete_response else (0.05, 0.60, 0.30)
    while True:
        core = float(rng.normal(mean, 0.15))
        if low <= core <= high:
            return core


def render_breast(
    rng: np.random.Generator, shape: tuple[int, int, int], complete_response: bool
) -> BreastPhantom:
    """Draw one sagittal breast volume.

    X runs from the chest wall to the nipple, Y from head to foot, Z across the breast.

    Args:
        rng: Generator; all that is random comes from it.
        shape: (X, Y, Z).
        complete_response: Label (pCR); it sets the look of the tumour and, weakly, its size.

    Returns:
        The volume with mask and known quantities.
    """
    x, y, z = (
        axis.astype(np.float32) / length
        for axis, length in zip(np.indices(shape, sparse=True), shape, strict=True)
    )
    wall = 0.22 + 0.05 * np.cos((y - 0.5) * 3) + rng.uniform(-0.02, 0.02)
    centre_y, centre_z = 0.5 + rng.uniform(-0.04, 0.04), 0.5
    reach = rng.uniform(0.48, 0.62)
    half_y, half_z = rng.uniform(0.34, 0.42), 0.55
    across = ((y - centre_y) / half_y) ** 2 + ((z - centre_z) / half_z) ** 2
    outline = np.sqrt(np.clip(1 - across, 0, 1))
    surface = wall + reach * outline  # skin, as a position along X
    depth = surface - x
    breast = (depth > 0) & (x > wall) & (across < 1)
    body = x <= wall

    # Fat is dark under fat suppression, glandular tissue spreads from the nipple, muscle is even.
    image = np.zeros(shape, np.float32)
    image[breast] = 0.22
    texture = smooth_noise(rng, shape, shape[0] / 14) + 0.5 * smooth_noise(
        rng, shape, shape[0] / 40
    )
    from_skin = np.clip(depth / 0.18, 0, 1) * np.clip((x - wall) / 0.18, 0, 1)
    gland = special.expit(4 * (texture + rng.uniform(-0.7, 0.4))) * from_skin
    image += np.where(breast, 0.28 * gland, 0)
    image += np.where(breast & (depth < 0.02), 0.30, 0)
    image[np.broadcast_to(body, shape)] = 0.38
    image += np.where(body, 0.05 * texture, 0)
    for _ in range(rng.integers(3, 7)):  # bright vessels and foci that are no tumour
        spot = rng.uniform((0.35, 0.3, 0.3), (0.6, 0.7, 0.7))
        distance = ((x - spot[0]) / 0.015) ** 2 + ((y - spot[1]) / 0.015) ** 2
        image += 0.35 * np.exp(-distance - ((z - spot[2]) / 0.08) ** 2) * breast

    core = draw_core(rng, complete_response)
    axes = (
        rng.uniform(0.075, 0.125)
        * rng.uniform(0.85, 1.15, 3)
        * (0.95 if complete_response else 1.05)
    )
    axes[2] = max(axes[2] * 2.0, 7.5 / shape[2])  # at least ten slices with tumour
    at = np.array(
        [
            float(wall.mean()) + reach * rng.uniform(0.38, 0.55),
            centre_y + rng.uniform(-0.11, 0.11),
            centre_z + rng.uniform(-0.10, 0.10),
        ]
    )
    radius = np.sqrt(sum(((axis - at[i]) / axes[i]) ** 2 for i, axis in enumerate((x, y, z)))) * (
        1 + 0.06 * smooth_noise(rng, shape, shape[0] / 12)
    )
    tumour = (radius < 1) & breast
    ring = np.exp(-(((radius - 0.85) / 0.22) ** 2))
    enhancement = 0.62 * (core + (1 - core) * ring) * (1 + 0.08 * texture)
    inside = special.expit((1 - radius) / 0.05) * breast
    image += inside * (0.15 + enhancement - image * 0.8)

    bias = 1 + 0.18 * smooth_noise(rng, shape, shape[0] / 1.5) * 0.6 - 0.25 * (x - 0.4)
    image = np.clip(image * bias, 0, None)
    noise = rng.normal(0, 0.018, (2, *shape)).astype(np.float32)
    image = np.hypot(image + noise[0], noise[1]) * rng.uniform(900, 1500)  # Rician, scanner's gain
    spacing = tuple(
        step * real / length
        for step, real, length in zip(REAL_SPACING, REAL_SHAPE, shape, strict=True)
    )
    return BreastPhantom(np.rint(image).astype(np.int16), tumour.astype(np.uint8), spacing, core)


def write_ispy1(
    root: Path,
    *,
    num_cases: int,
    seed: int,
    size: int = 128,
    pcr_share: float = 43 / 157,
    track: Track = untracked,
) -> list[dict[str, Any]]:
    """Write phantoms in the raw layout of I-SPY1 as it lies on Kaggle.

    Args:
        root: Folder to write to.
        num_cases: Number of volumes, one per patient.
        seed: Same seed, same files.
        size: Edge length of a slice in pixels; the real one is 256.
        pcr_share: Share of complete responses; the real one is 43 of 157.
        track: Shows progress.

    Returns:
        Per case its id, label and core enhancement.
    """
    labels = draw_labels(case_rng(seed), num_cases, pcr_share)
    truth: list[dict[str, Any]] = []
    rows: list[Sequence[int]] = []
    for index, label in track(list(enumerate(labels.tolist())), 'breast MR phantoms'):
        number = FIRST_ID + index
        phantom = render_breast(case_rng(seed, index), volume_shape(size), bool(label))
        affine = np.diag([*phantom.spacing, 1.0])
        for name, data in (
            (f'Dataset ISPY/ISPY_{number}/DCEMRI_1.nii', phantom.image),
            (f'Tumor_segmentation_new/ISPY_{number}_tumor_mask.nii', phantom.mask),
        ):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            nibabel.save(nibabel.Nifti1Image(data, affine), root / name)
        rows.append((number, label))
        truth.append({'id': number, 'pcr': label, 'core': round(phantom.core, 4)})
    write_sheet(root / 'outcome_new.xlsx', ('SUBJECTID', 'PCR'), rows)
    return truth
