"""Procedural dermoscopic photographs with the outline of a pigmented skin lesion."""

from dataclasses import dataclass

import cv2
import numpy as np
from scipy import ndimage, special

from .common import smooth_noise

SKIN_TONES = np.array(
    [(0.90, 0.74, 0.69), (0.86, 0.67, 0.60), (0.80, 0.60, 0.50), (0.70, 0.50, 0.39)], np.float32
)
# Absorption of red, green, blue per unit of pigment: exp(-depth * absorption) is what is left.
PIGMENTS = {
    'light brown': (0.35, 0.62, 0.80),
    'dark brown': (0.85, 1.20, 1.30),
    'black': (1.65, 1.80, 1.75),
    'blue-grey': (1.10, 0.95, 0.75),
    'red': (0.12, 0.62, 0.55),
    'pale': (-0.08, 0.08, 0.06),
}


@dataclass(frozen=True)
class DermoscopyPhantom:
    """One photograph with everything that is known about it.

    Args:
        image: uint8 array (H, W, 3), red first.
        mask: uint8 array (H, W): 0 background, 1 lesion. The lesion is one piece without holes.
        contrast: Mean over red, green, blue of skin minus lesion, in [0, 1], as drawn, before
            hairs, light and noise.
        border: Width of the transition from skin to lesion, as a share of the shorter side.
        num_hairs: Number of hairs.
    """

    image: np.ndarray
    mask: np.ndarray
    contrast: float
    border: float
    num_hairs: int


def _outline(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Draw an irregular region, one piece without holes.

    Args:
        rng: Generator.
        shape: Height and width.

    Returns:
        bool array (H, W).
    """
    short = min(shape)
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    centre = np.array([shape[1], shape[0]]) / 2 + rng.normal(0, 0.06, 2) * short
    radius = short * np.exp(rng.uniform(np.log(0.13), np.log(0.40)))
    tilt, stretch = rng.uniform(0, np.pi), rng.uniform(1.0, 1.6)
    dx, dy = x - centre[0], y - centre[1]
    along = (dx * np.cos(tilt) + dy * np.sin(tilt)) / np.sqrt(stretch)
    across = (dy * np.cos(tilt) - dx * np.sin(tilt)) * np.sqrt(stretch)
    angle = np.arctan2(across, along)
    edge = np.full(shape, radius, np.float32)
    irregular = rng.uniform(0.3, 1.2)
    for order in range(2, 8):
        share = irregular * rng.normal(0, 0.11 / order**0.8)
        edge *= 1 + share * np.cos(order * angle + rng.uniform(0, 2 * np.pi))
    edge += irregular * 0.07 * radius * smooth_noise(rng, shape, radius / 2.5)
    edge += irregular * 0.025 * radius * smooth_noise(rng, shape, radius / 7)
    inside = np.hypot(along, across) < edge
    pieces, _ = ndimage.label(inside)
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    return ndimage.binary_fill_holes(pieces == sizes.argmax())


def _depth_inside(mask: np.ndarray) -> np.ndarray:
    """Signed distance to the border of ``mask`` in pixels, positive inside."""
    inside = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 5)
    outside = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 5)
    return inside - outside + np.where(mask, -0.5, 0.5).astype(np.float32)


def _skin(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Draw skin without a lesion: tone, redness, mottle and fine lines; float32 (H, W, 3)."""
    short = min(shape)
    tone = rng.uniform(0, len(SKIN_TONES) - 1)
    index = np.arange(len(SKIN_TONES))
    colour = np.array([np.interp(tone, index, SKIN_TONES[:, c]) for c in range(3)], np.float32)
    colour *= 1 + rng.normal(0, 0.025, 3).astype(np.float32)
    image = np.broadcast_to(colour, (*shape, 3)).copy()
    red = np.clip(smooth_noise(rng, shape, short / 3), -2, 2) * rng.uniform(0.01, 0.035)
    image *= 1 - red[..., None] * np.array([0.2, 1.0, 0.8], np.float32)
    mottle = 0.012 * smooth_noise(rng, shape, short / 14) + 0.012 * smooth_noise(
        rng, shape, short / 50
    )
    # Furrows of the skin: the zero crossings of a fine field make a mesh of thin lines.
    mesh = np.exp(-((smooth_noise(rng, shape, short / 22) / 0.25) ** 2))
    mottle -= rng.uniform(0.0, 0.035) * mesh
    return image * (1 + mottle[..., None])


def _absorption(
    rng: np.random.Generator, shape: tuple[int, int], depth: np.ndarray, hard: bool
) -> np.ndarray:
    """Draw the colours of a lesion: regions of several pigments, with network and dots.

    Args:
        rng: Generator.
        shape: Height and width.
        depth: Signed distance to the border in pixels, positive inside.
        hard: Leave out what is dark.

    Returns:
        float32 array (H, W, 3), absorption per unit of pigment.
    """
    radius = float(depth.max())
    if hard:
        names = ['light brown', 'red', 'pale']
        chances = [0.55, 0.33, 0.12]
    else:
        names = ['light brown', 'dark brown', 'black', 'blue-grey', 'red', 'pale']
        chances = [0.32, 0.40, 0.10, 0.09, 0.07, 0.02]
    count = rng.choice([1, 2, 3], p=(0.35, 0.45, 0.20))
    chosen = rng.choice(len(names), size=count, replace=False, p=chances)
    if names[chosen[0]] == 'pale':  # never the main colour: there would be nothing to see
        chosen = np.array([*(chosen[1:] if count > 1 else [0]), chosen[0]])
    fields = []
    for place in range(len(chosen)):
        field = smooth_noise(rng, shape, max(2.0, rng.uniform(0.5, 1.3) * radius))
        fields.append(2.0 * field - 1.2 * place)  # the first pigment takes most of the area
    shares = special.softmax(np.stack(fields), axis=0)
    absorption = np.zeros((*shape, 3), np.float32)
    for share, place in zip(shares, chosen, strict=True):
        absorption += share[..., None] * np.array(PIGMENTS[names[place]], np.float32)
    strength = 1 + 0.12 * smooth_noise(rng, shape, max(2.0, radius / 3))
    kind = rng.choice(3, p=(0.4, 0.25, 0.35))
    if kind == 0:  # pigment network: dark lines around pale holes
        field = smooth_noise(rng, shape, max(2.0, radius / 9))
        strength += rng.uniform(0.15, 0.45) * (np.exp(-((field / 0.35) ** 2)) - 0.4)
    elif kind == 1:  # dots and globules
        field = smooth_noise(rng, shape, max(2.0, radius / 8))
        strength += rng.uniform(0.3, 0.8) * special.expit((field - 1.2) / 0.1)
    # Some are darkest in the middle, some have a darker rim.
    middle = np.clip(depth / radius, 0, 1)
    strength += rng.uniform(-0.25, 0.45) * (middle - 0.4)
    return absorption * np.clip(strength, 0.15, None)[..., None]


def _satellites(
    rng: np.random.Generator, shape: tuple[int, int], depth: np.ndarray, count: int
) -> np.ndarray:
    """Draw freckles beside the lesion, which do not belong to it; coverage float32 (H, W)."""
    short = min(shape)
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    cover = np.zeros(shape, np.float32)
    rough = 1 + 0.18 * smooth_noise(rng, shape, short / 30)
    for _ in range(count):
        radius = short * rng.uniform(0.012, 0.05)
        place = rng.uniform(0, 1, 2) * (shape[1], shape[0])
        column, row = place.astype(int)
        if depth[row, column] > -1.6 * radius:  # too near: it would merge with the lesion
            continue
        distance = np.hypot(x - place[0], y - place[1])
        spot = special.expit((radius * rough - distance) / (0.12 * radius + 0.5))
        cover = np.maximum(cover, rng.uniform(0.4, 1.0) * spot)
    return cover


def _hairs(rng: np.random.Generator, shape: tuple[int, int], count: int) -> np.ndarray:
    """Draw curved hairs across the field; coverage float32 (H, W) in [0, 1]."""
    # Drawn large and averaged down: OpenCV's lines have whole widths.
    fine = max(1, int(np.ceil(900 / max(shape))))
    height, width = shape[0] * fine, shape[1] * fine
    canvas = np.zeros((height, width), np.uint8)
    main = rng.uniform(0, np.pi)
    t = np.linspace(0, 1, 40)[:, None]
    for _ in range(count):
        angle = main + rng.normal(0, 0.5)
        length = rng.uniform(0.25, 1.1) * max(height, width)
        start = rng.uniform(-0.1, 1.0, 2) * (width, height)
        end = start + length * np.array([np.cos(angle), np.sin(angle)])
        bend = (start + end) / 2 + rng.normal(0, 0.12, 2) * length
        points = (1 - t) ** 2 * start + 2 * t * (1 - t) * bend + t**2 * end
        thick = max(1, round(rng.uniform(0.003, 0.008) * min(height, width)))
        cv2.polylines(
            canvas, [np.rint(points * 16).astype(np.int32)], False, 255, thick, cv2.LINE_AA, 4
        )
    small = cv2.resize(canvas, shape[::-1], interpolation=cv2.INTER_AREA)
    return small.astype(np.float32) / 255


def _ruler(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Draw the ticks of a ruler along one side; coverage float32 (H, W) in [0, 1]."""
    canvas = np.zeros(shape, np.uint8)
    height, width = shape
    step = min(shape) * rng.uniform(0.035, 0.06)
    thick = max(1, round(0.006 * min(shape)))
    lying = rng.random() < 0.5
    far = rng.random() < 0.5
    for number in range(int((width if lying else height) / step)):
        length = min(shape) * (0.07 if number % 5 == 0 else 0.035)
        at = round((number + 0.5) * step)
        if lying:
            start, end = (at, height if far else 0), (at, round(height - length if far else length))
        else:
            start, end = (width if far else 0, at), (round(width - length if far else length), at)
        cv2.line(canvas, start, end, 255, thick, cv2.LINE_AA)
    return canvas.astype(np.float32) / 255


def _bubbles(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Draw bubbles of the immersion gel: bright rings with a glint; added light, float32 (H, W)."""
    short = min(shape)
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    light = np.zeros(shape, np.float32)
    for _ in range(rng.integers(2, 9)):
        radius = short * rng.uniform(0.01, 0.05)
        place = rng.uniform(0, 1, 2) * (shape[1], shape[0])
        away = np.hypot(x - place[0], y - place[1]) / radius
        ring = np.exp(-(((away - 1) / 0.14) ** 2)) - 0.25 * (away < 0.85)
        glint = np.hypot(x - place[0] + 0.4 * radius, y - place[1] + 0.4 * radius) / radius
        light += rng.uniform(0.08, 0.2) * ring + 0.3 * np.exp(-((glint / 0.18) ** 2))
    return light


def _lighting(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Draw light that falls off to the corners, sometimes to a round black frame; (H, W)."""
    height, width = shape
    y, x = np.mgrid[:height, :width].astype(np.float32)
    dx, dy = (x - width / 2) / min(shape), (y - height / 2) / min(shape)
    away = np.hypot(dx, dy)
    direction = rng.uniform(0, 2 * np.pi)
    light = 1.04 - rng.uniform(0.1, 0.45) * away**2
    light += rng.uniform(0.0, 0.12) * (dx * np.cos(direction) + dy * np.sin(direction))
    if rng.random() < 0.25:
        rim = rng.uniform(0.56, 0.68)
        light *= 0.06 + 0.94 * special.expit((rim - away) / 0.012)
    return light.astype(np.float32)


def render_dermoscopy(
    rng: np.random.Generator, shape: tuple[int, int], hard: bool = False
) -> DermoscopyPhantom:
    """Draw one photograph.

    Args:
        rng: Generator; all that is random comes from it.
        shape: Height and width in pixels.
        hard: Draw a pale lesion with a washed-out border, and more that distracts from it.

    Returns:
        The photograph with mask and known quantities.
    """
    short = min(shape)
    mask = _outline(rng, shape)
    depth = _depth_inside(mask)
    border = float(np.exp(rng.uniform(*np.log((0.02, 0.07) if hard else (0.004, 0.03)))))
    amount = rng.uniform(0.16, 0.42) if hard else rng.uniform(0.38, 1.15)
    skin = _skin(rng, shape)
    # The border of a lesion is sharp on one side and washed out on the other.
    uneven = np.exp(0.5 * smooth_noise(rng, shape, short / 2.5))
    cover = special.expit(depth / np.maximum(0.4, border / 2 * short * uneven))
    absorbed = _absorption(rng, shape, depth, hard)
    image = skin * np.exp(-amount * cover[..., None] * absorbed)
    contrast = float((skin - image)[mask].mean())
    if rng.random() < (0.45 if hard else 0.2):  # inflamed skin around
        halo = np.exp(-(((depth + 0.05 * short) / (0.09 * short)) ** 2))
        image *= 1 - rng.uniform(0.08, 0.2) * halo[..., None] * np.array([0.15, 1, 0.9], np.float32)
    spots = _satellites(rng, shape, depth, int(rng.integers(2, 9) if hard else rng.integers(0, 5)))
    pigment = np.array(PIGMENTS['light brown'], np.float32)
    image *= np.exp(-rng.uniform(0.3, 0.8) * spots[..., None] * pigment)

    num_hairs = int(rng.choice([0, rng.integers(1, 10), rng.integers(10, 36)], p=(0.45, 0.35, 0.2)))
    hairs = _hairs(rng, shape, num_hairs) * rng.uniform(0.55, 0.9)
    colour = np.array([0.16, 0.10, 0.08] if rng.random() < 0.8 else [0.62, 0.48, 0.34], np.float32)
    image += hairs[..., None] * (colour - image)
    if rng.random() < 0.15:
        image *= 1 - 0.75 * _ruler(rng, shape)[..., None]
    if rng.random() < 0.2:
        image += _bubbles(rng, shape)[..., None]
    image *= _lighting(rng, shape)[..., None]
    image = cv2.GaussianBlur(image, (0, 0), max(0.3, rng.uniform(0.001, 0.004) * short))
    image += rng.normal(0, rng.uniform(0.006, 0.018), image.shape).astype(np.float32)
    return DermoscopyPhantom(
        image=np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8),
        mask=mask.astype(np.uint8),
        contrast=contrast,
        border=border,
        num_hairs=num_hairs,
    )
