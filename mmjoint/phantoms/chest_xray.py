"""Procedural chest X-rays with lungs, heart, clavicles and, if wanted, the opacity of pneumonia.

Lengths are in body units: the origin lies on the spine at the height of the hila, x points to the
right of the image (the patient's left), y down, and an adult's rib cage is about 1.5 wide.
"""

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from scipy import ndimage

from .common import smooth_noise

Kind = Literal['bacteria', 'virus']


@dataclass(frozen=True)
class Anatomy:
    """What all photographs of a patient share.

    Args:
        width: Scale of everything along x.
        apex: Height of the lungs' upper ends.
        base: Height of the lower ends, right and left lung of the patient.
        heart: Width of the heart beside the spine, right and left of the patient.
        mediastinum: Half-width of what lies between the upper lungs.
        dome: How far the diaphragm bulges into the lungs.
        rib_gap: Distance of neighbouring ribs.
        rib_slope: How far a rib comes down on its way to the side.
        rib_strength: Absorption of a rib.
        tissue: Absorption of the chest wall.
        breast: Absorption of the breasts.
        vessels: Absorption of the vessels of the lung.
        outline: Irregularities of the outlines of both lungs, (2, 16, 2).
        seed: Of the course of the vessels and of what else is finer than this.
    """

    width: float
    apex: float
    base: tuple[float, float]
    heart: tuple[float, float]
    mediastinum: float
    dome: float
    rib_gap: float
    rib_slope: float
    rib_strength: float
    tissue: float
    breast: float
    vessels: float
    outline: np.ndarray
    seed: int


@dataclass(frozen=True)
class Camera:
    """Ranges of what differs between devices, patients' positions and processing.

    Args:
        gamma: Exponent of the grey values.
        black: Grey value of what absorbs nothing, in [0, 1].
        white: Grey value of what absorbs most.
        saturation: How much the curve flattens towards the white.
        noise: Standard deviation of the noise, in grey values of [0, 1].
        grain: Size of a grain of noise, as a share of the shorter side.
        blur: Width of the blur, as a share of the shorter side.
        scale: Size of a body unit, as a share of half the shorter side.
        shift: Largest shift, in body units.
        tilt: Largest angle, in degrees.
        border: Share of images with black borders.
        notches: Share of images with black notches in the upper corners.
        marker: Share of images with a letter.
        wires: Share of images with wires and electrodes.
    """

    gamma: tuple[float, float]
    black: tuple[float, float]
    white: tuple[float, float]
    saturation: tuple[float, float]
    noise: tuple[float, float]
    grain: float
    blur: tuple[float, float]
    scale: tuple[float, float]
    shift: float
    tilt: float
    border: float = 0.0
    notches: float = 0.0
    marker: float = 0.0
    wires: float = 0.0


CAMERAS = {
    # Children lying on the plate: little is collimated, positions vary, letters are common.
    'kermany': Camera(
        gamma=(0.75, 1.35),
        black=(0.0, 0.06),
        white=(0.75, 1.0),
        saturation=(0.9, 1.9),
        noise=(0.006, 0.016),
        grain=0.004,
        blur=(0.002, 0.005),
        scale=(1.08, 1.25),
        shift=0.05,
        tilt=4.0,
        border=0.15,
        marker=0.6,
        wires=0.25,
    ),
    # Digitised film of one hospital: bright, soft, well positioned.
    'jsrt': Camera(
        gamma=(0.55, 0.8),
        black=(0.1, 0.22),
        white=(0.95, 1.0),
        saturation=(1.5, 2.3),
        noise=(0.004, 0.01),
        grain=0.003,
        blur=(0.002, 0.004),
        scale=(1.0, 1.12),
        shift=0.04,
        tilt=2.0,
        notches=0.7,
    ),
    # Another device: dark and hard, noisy, black borders where the beam was narrowed.
    'montgomery': Camera(
        gamma=(1.2, 2.0),
        black=(0.0, 0.02),
        white=(0.7, 0.95),
        saturation=(0.5, 1.0),
        noise=(0.015, 0.035),
        grain=0.006,
        blur=(0.001, 0.003),
        scale=(0.9, 1.08),
        shift=0.08,
        tilt=4.0,
        border=0.9,
        marker=0.5,
    ),
    # Portable devices: flat contrast, unsharp, wires everywhere.
    'nih': Camera(
        gamma=(0.8, 1.6),
        black=(0.02, 0.15),
        white=(0.7, 0.92),
        saturation=(0.6, 1.2),
        noise=(0.01, 0.03),
        grain=0.005,
        blur=(0.003, 0.008),
        scale=(0.92, 1.15),
        shift=0.08,
        tilt=5.0,
        border=0.3,
        marker=0.5,
        wires=0.6,
    ),
}


@dataclass(frozen=True)
class ChestXrayPhantom:
    """One photograph with everything that is known about it.

    Args:
        image: float32 array (H, W) in [0, 1]; bright is what absorbs.
        right_lung: bool array (H, W), the patient's right lung, left in the image.
        left_lung: bool array (H, W).
        heart: bool array (H, W).
        right_clavicle: bool array (H, W).
        left_clavicle: bool array (H, W).
        opacity: bool array (H, W), where pneumonia or a nodule absorbs visibly; inside the lungs.
        opacity_strength: Mean absorption there, in which a rib has about 0.1; 0 without.
    """

    image: np.ndarray
    right_lung: np.ndarray
    left_lung: np.ndarray
    heart: np.ndarray
    right_clavicle: np.ndarray
    left_clavicle: np.ndarray
    opacity: np.ndarray
    opacity_strength: float

    @property
    def lungs(self) -> np.ndarray:
        """Both lungs, bool (H, W)."""
        return self.right_lung | self.left_lung


def draw_anatomy(rng: np.random.Generator, child: bool = False) -> Anatomy:
    """Draw a patient.

    Args:
        rng: Generator.
        child: Draw a small child: short lungs, a broad heart, flat ribs.

    Returns:
        The patient.
    """
    base = rng.uniform(0.36, 0.50) if child else rng.uniform(0.42, 0.62)
    left = base + rng.uniform(0.0, 0.08)
    bulge = rng.uniform(0.36, 0.5) if child else rng.uniform(0.3, 0.46)
    return Anatomy(
        width=float(rng.uniform(0.92, 1.1)),
        apex=float(rng.uniform(-0.70, -0.58) if child else rng.uniform(-0.8, -0.66)),
        base=(float(base), float(left)),
        heart=(float(rng.uniform(0.15, 0.24)), float(bulge)),
        mediastinum=float(rng.uniform(0.13, 0.2) if child else rng.uniform(0.11, 0.16)),
        dome=float(rng.uniform(0.07, 0.17)),
        rib_gap=float(rng.uniform(0.115, 0.14)),
        rib_slope=float(rng.uniform(0.02, 0.12) if child else rng.uniform(0.08, 0.22)),
        rib_strength=float(rng.uniform(0.08, 0.15)),
        tissue=float(rng.uniform(0.42, 0.62)),
        breast=0.0 if child or rng.random() < 0.5 else float(rng.uniform(0.05, 0.16)),
        vessels=float(rng.uniform(0.05, 0.11)),
        outline=rng.normal(0, 0.012, (2, 16, 2)),
        seed=int(rng.integers(2**31)),
    )


class _Canvas:
    """Draws shapes given in body units on the grid of the image.

    Args:
        shape: Height and width in pixels.
        scale: Pixels per body unit.
        centre: Place of the origin in pixels, (x, y).
        tilt: Angle in radians.
    """

    def __init__(
        self, shape: tuple[int, int], scale: float, centre: np.ndarray, tilt: float
    ) -> None:
        self.shape, self.scale, self.centre = shape, scale, centre
        turn = np.array([[np.cos(tilt), -np.sin(tilt)], [np.sin(tilt), np.cos(tilt)]])
        self.turn = turn
        y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
        dx, dy = (x - centre[0]) / scale, (y - centre[1]) / scale
        self.x = (turn[0, 0] * dx + turn[1, 0] * dy).astype(np.float32)
        self.y = (turn[0, 1] * dx + turn[1, 1] * dy).astype(np.float32)
        self.fine = max(1, int(np.ceil(320 / max(shape))))

    def _pixels(self, points: np.ndarray) -> np.ndarray:
        """Points (N, 2) in fixed-point pixels of the fine grid."""
        place = self.centre + self.scale * points @ self.turn.T
        return np.rint(((place + 0.5) * self.fine - 0.5) * 16).astype(np.int32)

    def _shrink(self, fine: np.ndarray) -> np.ndarray:
        small = cv2.resize(fine, self.shape[::-1], interpolation=cv2.INTER_AREA)
        return small.astype(np.float32) / 255

    def fill(self, points: np.ndarray) -> np.ndarray:
        """Coverage of a polygon, float32 (H, W) in [0, 1]."""
        fine = np.zeros((self.shape[0] * self.fine, self.shape[1] * self.fine), np.uint8)
        cv2.fillPoly(fine, [self._pixels(points)], 255, cv2.LINE_8, 4)
        return self._shrink(fine)

    def lines(self, lines: list[tuple[np.ndarray, float]]) -> np.ndarray:
        """Coverage of curves (points, width in body units), float32 (H, W) in [0, 1]."""
        fine = np.zeros((self.shape[0] * self.fine, self.shape[1] * self.fine), np.uint8)
        for points, width in lines:
            thick = max(1, round(width * self.scale * self.fine))
            cv2.polylines(fine, [self._pixels(points)], False, 255, thick, cv2.LINE_AA, 4)
        return self._shrink(fine)

    def blur(self, array: np.ndarray, width: float) -> np.ndarray:
        """Blur by a Gaussian of ``width`` body units."""
        return cv2.GaussianBlur(array, (0, 0), max(0.2, width * self.scale))


def _rounded(points: np.ndarray, closed: bool = True) -> np.ndarray:
    """Cut the corners of a polygon until it looks smooth (Chaikin)."""
    for _ in range(4):
        after = np.roll(points, -1, axis=0) if closed else points[1:]
        before = points if closed else points[:-1]
        cut = np.stack([0.75 * before + 0.25 * after, 0.25 * before + 0.75 * after], axis=1)
        cut = cut.reshape(-1, 2)
        points = cut if closed else np.concatenate([points[:1], cut, points[-1:]])
    return points


def _lung(body: Anatomy, side: int) -> np.ndarray:
    """Outline of a lung, (N, 2); ``side`` 0 is the patient's right one, left in the image."""
    w, top, low, heart = body.width, body.apex, body.base[side], body.heart[side]
    medial = body.mediastinum + 0.02
    points = np.array(
        [
            (0.26 * w, top),
            (0.44 * w, top + 0.10),
            (0.58 * w, top + 0.30),
            (0.67 * w, top + 0.55),
            (0.72 * w, low - 0.40),
            (0.75 * w, low - 0.15),
            (0.755 * w, low + 0.06),
            (0.735 * w, low + 0.09),
            (0.62 * w, low - 0.4 * body.dome),
            (0.44 * w, low - body.dome - 0.02),
            (max(0.27 * w, heart + 0.03), low - body.dome + (0.04 if side else 0.02)),
            (heart + 0.01, low - body.dome - 0.02),
            (0.95 * heart, 0.16),
            (max(medial + 0.03, 0.55 * heart), -0.06),
            (medial + 0.02, -0.22),
            (medial, top + 0.16),
        ]
    )
    points = points + body.outline[side]
    points[:, 0] = np.maximum(points[:, 0], 0.08)
    return _rounded(points * ((1 if side else -1), 1))


def _heart(body: Anatomy) -> np.ndarray:
    """Outline of heart, (N, 2)."""
    right, left = body.heart
    low = min(body.base) - body.dome + 0.05
    return _rounded(
        np.array(
            [
                (-0.05, -0.20),
                (0.10, -0.22),
                (0.6 * left, -0.08),
                (0.98 * left, 0.14),
                (left + 0.02, low - 0.06),
                (0.6 * left, low + 0.06),
                (-0.3 * right, low + 0.06),
                (-right, low - 0.05),
                (-right - 0.01, 0.12),
                (-0.7 * right, -0.06),
            ]
        )
    )


def _rib_lines(
    body: Anatomy, rng: np.random.Generator
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Courses of the ribs: from the spine to the side, and from there to the front."""
    back, front = [], []
    t = np.linspace(0, 1, 24)
    for sign in (-1, 1):
        for number in range(10):
            y = body.apex + 0.04 + number * body.rib_gap + rng.normal(0, 0.006)
            reach = body.width * min(0.80, 0.42 + 0.075 * number)
            x = 0.07 + (reach - 0.07) * np.sin(t * np.pi / 2) ** 1.1
            slope = body.rib_slope * (0.6 + 0.1 * number)
            height = y - 0.05 * np.sin(np.pi * np.minimum(1.5 * t, 1)) + slope * t**2
            back.append(np.stack([sign * x, height], axis=1))
            if number < 7:
                end = (0.3 + 0.025 * number) * body.width
                u = np.linspace(0, 1, 20)
                x = reach + (end - reach) * u**1.3
                height = y + slope + 0.03 + (0.16 + 0.02 * number) * u - 0.05 * np.sin(np.pi * u)
                front.append(np.stack([sign * x, height], axis=1))
    return back, front


def _vessel_lines(rng: np.random.Generator) -> list[tuple[np.ndarray, float]]:
    """Branches from both hila, each a curve and its width."""
    lines: list[tuple[np.ndarray, float]] = []

    def grow(place: np.ndarray, angle: float, width: float, length: float) -> None:
        points = [place]
        steps = 5
        for step in range(steps):
            angle += rng.normal(0, 0.16)
            place = place + length / steps * np.array([np.cos(angle), np.sin(angle)])
            points.append(place)
            if width > 0.006 and step in (1, 3):
                turn = rng.choice([-1, 1]) * rng.uniform(0.4, 0.9)
                grow(place, angle + turn, 0.62 * width, 0.7 * length)
        lines.append((_rounded(np.array(points), closed=False), width))

    for sign in (-1, 1):
        for angle in np.linspace(-1.25, 1.35, 7):
            start = np.array([sign * 0.17, -0.04]) + rng.normal(0, 0.02, 2)
            tilted = angle + rng.normal(0, 0.12)
            direction = tilted if sign > 0 else np.pi - tilted
            grow(start, direction, rng.uniform(0.010, 0.020), rng.uniform(0.3, 0.48))
    return lines


def _largest(mask: np.ndarray) -> np.ndarray:
    """The largest piece of a mask: the edge of the image may cut off the tip of a lung."""
    pieces, count = ndimage.label(mask)
    if count < 2:
        return mask
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    return pieces == sizes.argmax()


def _patch(
    canvas: _Canvas, rng: np.random.Generator, place: np.ndarray, radius: float
) -> np.ndarray:
    """An irregular cloud around a place (x, y) in body units; float32 (H, W) in [0, 1]."""
    tilt, stretch = rng.uniform(0, np.pi), rng.uniform(1.0, 1.5)
    dx, dy = canvas.x - place[0], canvas.y - place[1]
    along = (dx * np.cos(tilt) + dy * np.sin(tilt)) / stretch
    across = (dy * np.cos(tilt) - dx * np.sin(tilt)) * stretch
    rough = smooth_noise(rng, canvas.shape, max(2.0, 0.12 * canvas.scale))
    away = np.hypot(along, across) / radius + 0.22 * rough
    return np.clip(1.25 - away, 0, 1).astype(np.float32) ** 0.8


def _pneumonia(
    canvas: _Canvas, rng: np.random.Generator, depth: np.ndarray, kind: Kind, strength: float
) -> np.ndarray:
    """Draw what pneumonia adds inside the lungs.

    Args:
        canvas: The grid.
        rng: Generator.
        depth: Thickness of lung, (H, W) in [0, 1]; nothing is added where it is 0.
        kind: ``'bacteria'``: one or two dense regions; ``'virus'``: many pale patches with coarse
            markings in both lungs.
        strength: Absorption of the densest part.

    Returns:
        float32 array (H, W), absorption.
    """
    rows, columns = np.nonzero(depth > (0.45 if kind == 'bacteria' else 0.35))
    cloud = np.zeros(canvas.shape, np.float32)

    def place() -> np.ndarray:
        at = rng.integers(len(rows))
        return np.array([canvas.x[rows[at], columns[at]], canvas.y[rows[at], columns[at]]])

    if kind == 'bacteria':
        for number in range(1 if rng.random() < 0.75 else 2):
            patch = _patch(canvas, rng, place(), rng.uniform(0.15, 0.32))
            cloud = np.maximum(cloud, patch * (1.0 if number == 0 else 0.7))
    else:
        for _ in range(rng.integers(7, 14)):
            patch = _patch(canvas, rng, place(), rng.uniform(0.08, 0.15))
            cloud = np.maximum(cloud, patch * rng.uniform(0.5, 1.0))
        strength *= 0.75
    grain = smooth_noise(rng, canvas.shape, max(2.0, 0.035 * canvas.scale))
    cloud = canvas.blur(cloud, 0.012) * (1 + 0.22 * grain)
    return np.clip(strength * cloud, 0, None) * np.minimum(1, 2 * depth)


def _wires(canvas: _Canvas, rng: np.random.Generator) -> np.ndarray:
    """Wires and electrodes on the skin; coverage float32 (H, W)."""
    lines = []
    cover = np.zeros(canvas.shape, np.float32)
    for _ in range(rng.integers(1, 4)):
        end = rng.uniform((-0.7, -0.6), (0.7, 0.6))
        start = np.array([rng.choice([-1.2, 1.2]), rng.uniform(-1, 1)])
        bend = (start + end) / 2 + rng.normal(0, 0.2, 2)
        lines.append((_rounded(np.array([start, bend, end]), closed=False), 0.008))
        away = np.hypot(canvas.x - end[0], canvas.y - end[1])
        cover = np.maximum(cover, 0.8 * (away < rng.uniform(0.02, 0.035)))
    return np.maximum(canvas.lines(lines), cover)


def _absorption_of_bones(canvas: _Canvas, body: Anatomy, rng: np.random.Generator) -> np.ndarray:
    """Ribs and spine, float32 (H, W)."""
    back, front = _rib_lines(body, rng)
    bones = np.zeros(canvas.shape, np.float32)
    for lines, width, share in ((back, 0.05, 1.0), (front, 0.06, 0.6)):
        whole = canvas.lines([(line, width) for line in lines])
        marrow = canvas.lines([(line, 0.66 * width) for line in lines])
        bones += share * body.rib_strength * (whole - 0.4 * marrow)
    spine = np.exp(-((canvas.x / 0.085) ** 4))
    discs = 0.5 + 0.5 * np.cos(2 * np.pi * canvas.y / (0.93 * body.rib_gap))
    return canvas.blur(bones, 0.006) + spine * (0.12 + 0.05 * canvas.blur(discs, 0.01))


def _torso(canvas: _Canvas, body: Anatomy) -> np.ndarray:
    """Chest wall, shoulders and neck: thickness of tissue, float32 (H, W)."""
    y = canvas.y
    half = body.width * np.interp(
        y,
        [-1.6, -1.05, -0.9, -0.72, -0.5, -0.2, 0.4, 1.6],
        [0.24, 0.26, 0.45, 0.95, 1.18, 1.02, 0.92, 1.0],
    ).astype(np.float32)
    side = np.clip(1 - (canvas.x / half) ** 2, 0, None)
    # At the shoulders the tissue stays thick far to the side.
    return np.clip(side, 0, 1) ** 0.4


def render_chest_xray(
    rng: np.random.Generator,
    shape: tuple[int, int],
    body: Anatomy,
    camera: Camera,
    *,
    pneumonia: Kind | None = None,
    nodule: bool = False,
) -> ChestXrayPhantom:
    """Draw one photograph.

    Args:
        rng: Generator of what belongs to this photograph alone.
        shape: Height and width in pixels.
        body: The patient.
        camera: The device.
        pneumonia: Kind of pneumonia, or ``None``.
        nodule: Draw a round nodule in a lung.

    Returns:
        The photograph with masks and known quantities.
    """
    short = min(shape)
    shift = rng.uniform(-camera.shift, camera.shift, 2) + (0, 0.06)
    scale = rng.uniform(*camera.scale) * short / 2
    centre = np.array([shape[1], shape[0]]) / 2 + shift * scale
    canvas = _Canvas(shape, scale, centre, np.deg2rad(rng.uniform(-camera.tilt, camera.tilt)))
    own = np.random.default_rng(body.seed)  # the same in all photographs of the patient

    lungs = [canvas.fill(_lung(body, side)) for side in (0, 1)]
    heart = canvas.fill(_heart(body))
    masks = [_largest(lung > 0.5) for lung in lungs]
    both = masks[0] | masks[1]
    away = cv2.distanceTransform(both.astype(np.uint8), cv2.DIST_L2, 5) / scale
    depth = np.clip(away / 0.17, 0, 1) ** 0.55 * np.float32(1)

    # Tissue, with the belly below the lungs and the middle between them.
    wall = _torso(canvas, body)
    low = np.where(canvas.x < 0, body.base[0], body.base[1]) - body.dome
    belly = 1 / (1 + np.exp(-np.clip((canvas.y - low) / 0.025, -40, 40)))
    middle = np.exp(-((canvas.x / (1.25 * body.mediastinum)) ** 4))
    solid = canvas.blur(((1 - both) * np.minimum(1, wall * 1.2)).astype(np.float32), 0.008)
    absorbed = body.tissue * wall
    absorbed += solid * (0.18 + 0.16 * middle + 0.12 * belly + 0.16 * canvas.blur(heart, 0.02))
    air = rng.uniform(0.2, 0.34)
    absorbed -= body.tissue * air * canvas.blur(depth, 0.006)
    bubble = np.hypot((canvas.x - 0.38) / 0.16, (canvas.y - body.base[1] - 0.1) / 0.07)
    absorbed -= own.uniform(0, 0.14) * np.clip(1.3 - bubble, 0, 1) * solid

    absorbed += _absorption_of_bones(canvas, body, own)
    absorbed += 0.10 * canvas.blur(depth * canvas.blur(heart, 0.06), 0.02)
    vessels = canvas.blur(canvas.lines(_vessel_lines(own)), 0.005)
    absorbed -= 0.1 * np.exp(-((canvas.x / 0.045) ** 4)) / (1 + np.exp((canvas.y + 0.28) / 0.03))
    vessels *= np.exp(-np.hypot(np.abs(canvas.x) - 0.17, canvas.y) / 0.4)  # thinner outside
    absorbed += 1.8 * body.vessels * vessels * np.minimum(1, 2 * depth)
    for sign in (-1, 1):
        hilum = np.hypot((canvas.x - sign * 0.2) / 0.8, canvas.y + 0.03) / 0.12
        absorbed += 0.8 * body.vessels * np.exp(-(hilum**2)) * both
        blade = np.hypot((canvas.x - sign * 0.74 * body.width) / 0.16, (canvas.y + 0.42) / 0.3)
        absorbed += own.uniform(0.01, 0.07) * np.clip(1.2 - blade, 0, 1) ** 0.3
        breast = np.hypot(
            (canvas.x - sign * 0.42 * body.width) / 0.34, (canvas.y - own.uniform(0.2, 0.4)) / 0.3
        )
        absorbed += body.breast * np.clip(1.15 - breast, 0, 1) ** 0.5
    clavicles = []
    for sign in (-1, 1):
        y = body.apex + own.uniform(0.08, 0.2)
        points = np.array(
            [(0.07, y + 0.06), (0.25, y), (0.45, y - 0.04), (0.68, y - 0.12), (0.86, y - 0.14)]
        ) * (sign * body.width, 1)
        course = _rounded(points, closed=False)
        cover = canvas.lines([(course, 0.065)])
        absorbed += canvas.blur(cover - 0.4 * canvas.lines([(course, 0.04)]), 0.004) * 0.13
        clavicles.append(cover > 0.5)

    # Lungs are never even: this is no disease.
    uneven = 0.6 * smooth_noise(rng, shape, 0.5 * scale) + 0.4 * smooth_noise(
        rng, shape, 0.15 * scale
    )
    absorbed += rng.uniform(0.005, 0.022) * uneven * depth
    absorbed += rng.uniform(0.0, 0.012) * smooth_noise(rng, shape, max(2.0, 0.03 * scale)) * depth

    added = np.zeros(shape, np.float32)
    if pneumonia is not None:
        strength = float(np.exp(rng.uniform(np.log(0.12), np.log(0.36))))
        added = _pneumonia(canvas, rng, depth, pneumonia, strength)
    if nodule:
        rows, columns = np.nonzero(depth > 0.5)
        at = rng.integers(len(rows))
        x, y = canvas.x[rows[at], columns[at]], canvas.y[rows[at], columns[at]]
        away = np.hypot(canvas.x - x, canvas.y - y) / rng.uniform(0.025, 0.06)
        added = added + rng.uniform(0.05, 0.14) * np.exp(-(away**4)) * np.minimum(1, 2 * depth)
    added = added * both
    absorbed += added
    opacity = added > 0.35 * added.max() if added.any() else np.zeros(shape, bool)

    if rng.random() < camera.wires:
        absorbed += 0.25 * _wires(canvas, rng)
    image = _expose(rng, canvas, camera, np.clip(absorbed, 0, None), both)
    return ChestXrayPhantom(
        image=image,
        right_lung=masks[0],
        left_lung=masks[1],
        heart=heart > 0.5,
        right_clavicle=clavicles[0],
        left_clavicle=clavicles[1],
        opacity=opacity,
        opacity_strength=float(added[opacity].mean()) if opacity.any() else 0.0,
    )


def _expose(
    rng: np.random.Generator,
    canvas: _Canvas,
    camera: Camera,
    absorbed: np.ndarray,
    lungs: np.ndarray,
) -> np.ndarray:
    """Turn absorption into grey values, with all that belongs to the device; it hides no lung."""
    shape, short = canvas.shape, min(canvas.shape)
    curve = rng.uniform(*camera.saturation)
    image = (1 - np.exp(-curve * absorbed)) / (1 - np.exp(-curve * 1.15))
    direction = rng.uniform(0, 2 * np.pi)
    tilted = canvas.x * np.cos(direction) + canvas.y * np.sin(direction)
    image = np.clip(image * (1 + rng.uniform(0, 0.1) * tilted), 0, 1.1)
    image = image ** rng.uniform(*camera.gamma)
    black, white = rng.uniform(*camera.black), rng.uniform(*camera.white)
    image = black + (white - black) * image
    image = cv2.GaussianBlur(
        image.astype(np.float32), (0, 0), max(0.3, rng.uniform(*camera.blur) * short)
    )
    noise = smooth_noise(rng, shape, max(1.0, camera.grain * short))
    white_noise = rng.standard_normal(shape).astype(np.float32)
    image += rng.uniform(*camera.noise) * (0.7 * noise + 0.7 * white_noise)
    if rng.random() < camera.marker:
        size = short * rng.uniform(0.0015, 0.003)
        place = (round(shape[1] * rng.uniform(0.03, 0.1)), round(shape[0] * rng.uniform(0.1, 0.3)))
        letters = np.zeros(shape, np.uint8)
        thick = max(1, round(1.6 * size))
        cv2.putText(letters, 'R', place, cv2.FONT_HERSHEY_SIMPLEX, size, 255, thick, cv2.LINE_AA)
        image = np.maximum(image, letters.astype(np.float32) / 255 * rng.uniform(0.8, 1.0))
    if rng.random() < camera.border:
        widths = rng.uniform(0, 0.09, 4) * (rng.random(4) < 0.7)
        rows, columns = np.flatnonzero(lungs.any(axis=1)), np.flatnonzero(lungs.any(axis=0))
        free = (rows[0], shape[0] - 1 - rows[-1], columns[0], shape[1] - 1 - columns[-1])
        top, bottom, left, right = np.minimum(np.rint(widths * short).astype(int), free)
        frame = np.full(shape, rng.uniform(0, 0.03), np.float32)
        inner = (slice(top, shape[0] - bottom), slice(left, shape[1] - right))
        frame[inner] = image[inner]
        image = frame
    if rng.random() < camera.notches:
        height = min(round(shape[0] * 0.09), int(np.flatnonzero(lungs.any(axis=1))[0]))
        width = round(shape[1] * rng.uniform(0.1, 0.16))
        inset = round(shape[1] * rng.uniform(0, 0.12))
        image[:height, inset : inset + width] = 0.02
        image[:height, shape[1] - inset - width : shape[1] - inset] = 0.02
    return np.clip(image, 0, 1).astype(np.float32)
