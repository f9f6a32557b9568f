"""CT and MR phantoms of the heart, in the files in which MMWHS is distributed."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from .common import Track, case_rng, smooth_noise, untracked
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
    tube,
    turned,
)

FIRST_NUMBER = 1001
STRAY_CASE = 'mr_train_1002'
# Further voxels at the right, the back and the foot of its volume: more than its preparation
# clears, so that no true label is lost.
STRAY_ROOM = (5, 12, 5)
NO_ROOM = (0, 0, 0)
STRAY_VALUE = 421
FIELD_OF_VIEW = 180.0  # mm
MODALITIES = ('ct', 'mr')
MODALITY_GAP = 0.6

MYOCARDIUM, LEFT_ATRIUM, LEFT_VENTRICLE, RIGHT_ATRIUM, RIGHT_VENTRICLE = range(1, 6)
AORTA, PULMONARY_ARTERY = 6, 7
RAW_VALUES = (0, 205, 420, 500, 550, 600, 820, 850)  # of 0 and the tissues above
AIR, LUNG, FAT, MUSCLE, BONE, LIVER, VESSEL = range(8, 15)

# Voxel axes of a file, as the body axis that each runs to (L, P, S are ITK's positive directions).
ORIENTATIONS = {
    'ct': ('LPS', 'LAS', 'RPS'),
    'mr': ('LPS', 'PSL', 'ASR', 'LSA', 'RAI', 'SLP'),
}


@dataclass(frozen=True)
class HeartPhantom:
    """One volume with everything that is known about it.

    Args:
        image: int16 array (X, Y, Z) towards the left, the back and the head; Hounsfield units
            for CT, arbitrary units for MR.
        label: int16 array (X, Y, Z), raw values 205 to 850.
    """

    image: np.ndarray
    label: np.ndarray


def draw_shape(rng: np.random.Generator, modality: str, size: int) -> tuple[int, int, int]:
    """Draw the size of a volume.

    Args:
        rng: Generator.
        modality: MR volumes are coarser from head to foot.
        size: Longest edge in voxels.

    Returns:
        Voxels along X, Y, Z; at least 16.
    """
    coarse = (1.0, 1.0, 0.9) if modality == 'ct' else (0.9, 0.9, 0.65)
    return tuple(max(16, round(size * part * rng.uniform(0.92, 1.0))) for part in coarse)


def draw_anatomy(
    rng: np.random.Generator, shape: tuple[int, int, int], *, room: Sequence[int] = NO_ROOM
) -> np.ndarray:
    """Draw the tissues of a chest; the same for both modalities.

    Args:
        rng: Generator.
        shape: Voxels along X, Y, Z.
        room: How many of them lie beyond the usual field of view: at the right, the back, the foot.

    Returns:
        uint8 array of tissues.
    """
    places = space(rng, shape, 0.016)
    for axis, extra in enumerate(room):
        places[axis] *= shape[axis] / (shape[axis] - extra)
    for axis in (0, 2):  # the first voxels of these axes are the further ones
        places[axis] -= room[axis] / (shape[axis] - room[axis])
    centre = np.array([0.54, 0.42, 0.47]) + rng.uniform(-0.04, 0.04, 3)
    heart = turned(places, rotation(rng.uniform(-16, 16, 3)), centre)
    size = rng.uniform(1.05, 1.35)

    def at(*offset: float) -> np.ndarray:
        return centre + size * (np.array(offset) + rng.normal(0, 0.008, 3))

    def grown(*radii: float) -> np.ndarray:
        return size * np.array(radii) * rng.uniform(0.88, 1.14, len(radii))

    tissue = np.full(shape, AIR, np.uint8)
    chest = ellipsoid(places, (0.5, 0.5, 0.5), (0.64, 0.56, 9))
    tissue[chest < 1] = FAT
    tissue[chest < 0.95] = MUSCLE
    for side in (0.12, 0.9):
        paint(tissue, ellipsoid(places, (side, 0.52, 0.6), (0.27, 0.4, 0.62)), LUNG)
    paint(tissue, ellipsoid(heart, at(-0.02, 0, 0), size * np.array([0.36, 0.31, 0.36])), FAT)
    paint(tissue, ellipsoid(places, (0.3, 0.42, -0.08), (0.4, 0.36, 0.24)), LIVER)
    paint(tissue, tube(places, ((0.5, 0.95, -1), (0.5, 0.95, 2)), 0.085), BONE)
    paint(tissue, tube(places, ((0.47, 0.03, 0.3), (0.47, 0.03, 2)), 0.05), BONE)
    paint(tissue, tube(places, ((0.62, 0.82, -1), (0.6, 0.8, 2)), 0.05), VESSEL)

    # The long axis of the left ventricle points to the left, the front and the foot.
    long_axis = (38, 32, 0)
    ventricle, radii = at(0.09, -0.04, -0.09), grown(0.095, 0.095, 0.16)
    wall = size * rng.uniform(0.035, 0.055)
    right = ellipsoid(heart, at(-0.03, -0.14, -0.09), grown(0.17, 0.1, 0.15), (30, 20, 0))
    paint(tissue, right, RIGHT_VENTRICLE)
    paint(tissue, ellipsoid(heart, at(-0.19, 0.02, -0.02), grown(0.1, 0.11, 0.13)), RIGHT_ATRIUM)
    cavity = ellipsoid(heart, ventricle, radii, long_axis)
    muscle = ellipsoid(heart, ventricle, radii + wall, long_axis)
    # The muscle ends at the plane of the valves, where the ventricle meets atrium and aorta.
    inwards = rotation(long_axis) @ np.array([0, 0, 1.0])
    above = np.tensordot(
        inwards.astype(np.float32), heart - ventricle.reshape(3, 1, 1, 1).astype(np.float32), 1
    )
    below_valves = above < radii[2] * 0.62
    tissue[(muscle < 1) & below_valves] = MYOCARDIUM
    atrium = ellipsoid(
        heart, at(0.03, 0.16, 0.06), grown(0.13, 0.095, 0.11), rng.uniform(-15, 15, 3)
    )
    for side in (-1, 1):
        root = at(0.03 + side * 0.08, 0.17, 0.08)
        end = root + np.array([side * 0.16, 0.05, 0.04])
        paint(tissue, tube(heart, (root, end), size * 0.035), VESSEL)
    paint(tissue, atrium, LEFT_ATRIUM)
    tissue[(cavity < 1) & (above < radii[2] * 0.8)] = LEFT_VENTRICLE
    width = size * rng.uniform(0.05, 0.066)
    lung_artery = (at(-0.03, -0.16, 0.05), at(0.06, -0.1, 0.2), at(0.05, 0.07, 0.26))
    paint(tissue, tube(heart, lung_artery, width * 0.95), PULMONARY_ARTERY)
    # Only the ascending part of the aorta is labelled; the arch goes on without a visible border.
    top = at(-0.05, 0.04, 0.36)
    arch = (top, top + np.array([0.1, 0.16, 0.05]), top + np.array([0.14, 0.3, -0.02]))
    paint(tissue, tube(heart, arch, width), VESSEL)
    ascending = tube(heart, (at(-0.01, 0.0, 0.05), at(-0.06, -0.04, 0.2), top), width)
    paint(tissue, np.where(heart[2] < top[2], ascending, np.inf), AORTA)
    return tissue


def ct_units(rng: np.random.Generator) -> dict[int, float]:
    """Draw Hounsfield units: contrast agent makes blood bright, more so on the left side."""
    left, right = rng.uniform(260, 420), rng.uniform(110, 330)
    return {
        AIR: -1000, LUNG: rng.uniform(-880, -780), FAT: -90, MUSCLE: 55, BONE: 480, LIVER: 95,
        MYOCARDIUM: rng.uniform(80, 130), LEFT_ATRIUM: left * rng.uniform(0.95, 1.05),
        LEFT_VENTRICLE: left * rng.uniform(0.93, 1.03), AORTA: left * rng.uniform(0.95, 1.05),
        RIGHT_ATRIUM: right, RIGHT_VENTRICLE: right * rng.uniform(0.9, 1.1),
        PULMONARY_ARTERY: right * rng.uniform(0.95, 1.15), VESSEL: left * rng.uniform(0.9, 1.0),
    }  # fmt: skip


def mr_units(
    rng: np.random.Generator, *, modality_gap: float, dark_blood: bool
) -> dict[int, float]:
    """Draw MR signals, in 0..1.

    Args:
        rng: Generator.
        modality_gap: How far the other tissues are from the order that they have in CT, 0..1. At
            1, fat is brightest where it is darkest in CT, and lung, bone and liver are dark.
        dark_blood: Blood below muscle, the other way round than in CT.

    Returns:
        Signal per tissue.
    """
    muscle = rng.uniform(0.34, 0.44)
    blood = rng.uniform(0.14, 0.22) if dark_blood else rng.uniform(0.72, 0.9)
    as_in_ct = {LUNG: 0.03, FAT: 0.1, BONE: 0.95, LIVER: 0.42}
    signals = {
        LUNG: rng.uniform(0.06, 0.12), FAT: rng.uniform(0.8, 1.0),
        BONE: rng.uniform(0.2, 0.35), LIVER: rng.uniform(0.3, 0.5),
    }  # fmt: skip
    for tissue, signal in as_in_ct.items():
        signals[tissue] += (1 - modality_gap) * (signal - signals[tissue])
    return {
        **signals, AIR: 0.02, MUSCLE: muscle * 0.9, MYOCARDIUM: muscle,
        LEFT_ATRIUM: blood * rng.uniform(0.9, 1.1), LEFT_VENTRICLE: blood,
        AORTA: blood * rng.uniform(0.85, 1.1), RIGHT_ATRIUM: blood * rng.uniform(0.9, 1.1),
        RIGHT_VENTRICLE: blood * rng.uniform(0.9, 1.1),
        PULMONARY_ARTERY: blood * rng.uniform(0.9, 1.1), VESSEL: blood * rng.uniform(0.9, 1.1),
    }  # fmt: skip


def render_heart(
    rng: np.random.Generator,
    shape: tuple[int, int, int],
    modality: Literal['ct', 'mr'],
    *,
    modality_gap: float = MODALITY_GAP,
    dark_blood: bool = False,
    room: Sequence[int] = NO_ROOM,
) -> HeartPhantom:
    """Draw one volume.

    Args:
        rng: Generator; all that is random comes from it.
        shape: (X, Y, Z), without ``room``.
        modality: How it is seen. MR has another contrast, a bias field, more blur and noise.
        modality_gap: See :func:`mr_units`.
        dark_blood: See :func:`mr_units`.
        room: Further voxels at the right, the back and the foot.

    Returns:
        The volume.
    """
    shape = tuple(length + extra for length, extra in zip(shape, room, strict=True))
    tissue = draw_anatomy(rng, shape, room=room)
    label = np.asarray(RAW_VALUES, np.int16)[np.where(tissue < len(RAW_VALUES), tissue, 0)]
    texture = smooth_noise(rng, shape, max(shape) / 16)
    if modality == 'ct':
        image = look_up(tissue, ct_units(rng))
        image += np.where(tissue >= MUSCLE, 6, 10) * texture
        image = blurred(image, max(shape) / 256 * rng.uniform(0.7, 1.2) + 0.15)
        image += blurred(rng.normal(0, 1, shape), 0.5) * rng.uniform(20, 45)
        image = np.clip(image, -1024, 3071)
    else:
        units = mr_units(rng, modality_gap=modality_gap, dark_blood=dark_blood)
        image = look_up(tissue, units) * (1 + 0.08 * texture)
        image = blurred(image, max(shape) / 256 * rng.uniform(1.2, 2.0) + 0.25)
        image = image ** rng.uniform(0.8, 1.25) * bias_field(rng, shape, 0.15)
        image = rician(rng, image, rng.uniform(0.015, 0.035)) * rng.uniform(400, 1500)
    return HeartPhantom(np.rint(image).astype(np.int16), label)


def add_stray_labels(rng: np.random.Generator, label: np.ndarray) -> None:
    """Label some voxels at the borders of the volume, as in one real case.

    Args:
        rng: Generator.
        label: Raw values (X, Y, Z) towards the left, the back and the head, with
            :data:`STRAY_ROOM`; it is changed.
    """
    places = np.ix_(*map(range, label.shape))
    stray = (places[0] < 3) | (places[2] < 3)
    stray = stray | ((places[1] >= label.shape[1] - 9) & (places[1] < label.shape[1] - 1))
    label[stray & (rng.random(label.shape) < 0.01)] = RAW_VALUES[MYOCARDIUM]


def file_axes(volume: np.ndarray, orientation: str) -> np.ndarray:
    """Bring a volume to the axes of a file.

    Args:
        volume: Array (X, Y, Z) towards L, P and S.
        orientation: Three letters, where each axis of the file runs to.

    Returns:
        Array with these axes.
    """
    axes = [_body_axis(letter) for letter in orientation]
    reversed_axes = [place for place, letter in enumerate(orientation) if letter in 'RAI']
    return np.ascontiguousarray(np.flip(volume.transpose(axes), reversed_axes))


def _body_axis(letter: str) -> int:
    return next(axis for axis, pair in enumerate(('LR', 'PA', 'SI')) if letter in pair)


def file_affine(orientation: str, spacing: Sequence[float], origin: Sequence[float]) -> np.ndarray:
    """Give the affine that goes with :func:`file_axes`.

    Args:
        orientation: Three letters.
        spacing: Voxel size along X, Y, Z of the body, in mm.
        origin: Place of the file's first voxel, in mm.

    Returns:
        4x4 matrix; R, A and S are positive in its world, so towards L is negative.
    """
    affine = np.eye(4)
    affine[:3, :3] = 0
    for place, letter in enumerate(orientation):
        axis = _body_axis(letter)
        affine[axis, place] = spacing[axis] * (1 if letter in 'RAS' else -1)
    affine[:3, 3] = origin
    return affine


def write_mmwhs(
    root: Path,
    *,
    num_cases: int,
    seed: int,
    size: int = 96,
    modality_gap: float = MODALITY_GAP,
    dark_blood: bool = False,
    track: Track = untracked,
) -> list[dict[str, Any]]:
    """Write phantoms in the raw layout of MMWHS.

    CT and MR show different patients. One MR case has stray labels at its borders and one CT case
    the stray value 421, as in the real set.

    Args:
        root: Folder to write to.
        num_cases: Number of volumes in both modalities together, 40 in MMWHS; CT gets the odd one.
        seed: Same seed, same files.
        size: Longest edge of a volume in voxels; up to 512 in MMWHS.
        modality_gap: See :func:`mr_units`.
        dark_blood: See :func:`mr_units`.
        track: Shows progress.

    Returns:
        Per case its id, modality, orientation and voxels per raw value.
    """
    plan = [
        (place, modality, index)
        for place, modality in enumerate(MODALITIES)
        for index in range((num_cases + 1 - place) // 2)
    ]
    truth: list[dict[str, Any]] = []
    for place, modality, index in track(plan, 'heart phantoms'):
        rng = case_rng(seed, place, index)
        case_id = f'{modality}_train_{FIRST_NUMBER + index}'
        room = STRAY_ROOM if case_id == STRAY_CASE else NO_ROOM
        shape = draw_shape(rng, modality, size)
        phantom = render_heart(
            rng, shape, modality, modality_gap=modality_gap, dark_blood=dark_blood, room=room
        )
        if case_id == STRAY_CASE:
            add_stray_labels(rng, phantom.label)
        if modality == 'ct' and index == 0:
            edge = np.argwhere(phantom.label == 420)[:3]
            phantom.label[tuple(edge.T)] = STRAY_VALUE
        orientation = str(rng.choice(ORIENTATIONS[modality]))
        spacing = FIELD_OF_VIEW * rng.uniform(0.95, 1.1) / np.asarray(shape)
        affine = file_affine(orientation, spacing, rng.uniform(-150, 150, 3).round(1))
        for folder, ending, data in (
            ('imagesTr', 'image', phantom.image),
            ('labelsTr', 'label', phantom.label),
        ):
            path = root / modality.upper() / folder / f'{case_id}_{ending}.nii.gz'
            save_nifti(path, file_axes(data, orientation), affine)
        values, counts = np.unique(phantom.label, return_counts=True)
        truth.append(
            {
                'id': case_id,
                'modality': modality,
                'orientation': orientation,
                'voxels': dict(zip(map(str, values.tolist()), counts.tolist(), strict=True)),
            }
        )
    return truth
