"""Procedural colour fundus photographs with optic disc, cup and glaucoma label."""

from dataclasses import dataclass

import cv2
import numpy as np
from scipy import special

from .common import smooth_noise


@dataclass(frozen=True)
class Camera:
    """How a camera shows the same eye.

    Args:
        background: Red, green, blue of the retina in [0, 1].
        fov_radius: Radius of the field of view as a share of the shorter image side.
        illumination: Loss of light from the centre to the edge of the field, in [0, 1].
        contrast: Strength of cup, vessels and macula against their surround.
        blur: Standard deviation of the point spread, as a share of the field's radius.
        noise: Standard deviation of the sensor noise, in [0, 1].
    """

    background: tuple[float, float, float]
    fov_radius: float
    illumination: float
    contrast: float
    blur: float
    noise: float


CAMERAS = {
    'zeiss': Camera((0.80, 0.40, 0.17), 0.485, 0.35, 1.0, 0.004, 0.015),
    'canon': Camera((0.70, 0.32, 0.20), 0.495, 0.50, 0.85, 0.006, 0.022),
}


@dataclass(frozen=True)
class FundusPhantom:
    """One photograph with everything that is known about it.

    Args:
        image: uint8 array (H, W, 3), red first.
        mask: uint8 array (H, W): 0 background, 1 rim, 2 cup.
        vertical_cdr: Height of the cup over height of the disc, as drawn.
        fovea: Position (x, y) of the fovea in pixels.
    """

    image: np.ndarray
    mask: np.ndarray
    vertical_cdr: float
    fovea: tuple[float, float]


def _bounded_normal(rng: np.random.Generator, mean: float, std: float, reach: float) -> float:
    """Draw from a normal distribution, again if it is farther than ``reach`` from its mean."""
    while True:
        value = float(rng.normal(mean, std))
        if abs(value - mean) <= reach:
            return value


def draw_vertical_cdr(rng: np.random.Generator, glaucoma: bool) -> float:
    """Draw a vertical cup/disc ratio.

    The two distributions overlap only between 0.54 and 0.58: the label follows from the ratio but
    for some 2 % of the cases.

    Args:
        rng: Generator.
        glaucoma: Label of the case.

    Returns:
        A ratio in 0.26..0.58 (healthy) or 0.54..0.86 (glaucoma).
    """
    return _bounded_normal(rng, 0.70 if glaucoma else 0.42, 0.075, 0.16)


def _vessel(
    rng: np.random.Generator,
    point: np.ndarray,
    angle: float,
    bend: float,
    length: float,
    width: float,
    depth: int,
) -> list[tuple[np.ndarray, float]]:
    """Grow one vessel with its branches.

    Positions are in radii of the field of view, with the temporal side at +x and up at -y.

    Args:
        rng: Generator.
        point: Where it starts, (2,).
        angle: Its first direction in radians; 0 is temporal, pi/2 up.
        bend: Turn per unit length in radians.
        length: Its length.
        width: Its first width.
        depth: How many times branches may branch again.

    Returns:
        Pieces: points (n, 2) and their width.
    """
    step, pieces, path = 0.025, [], [point]
    steps = max(2, round(length / step))
    for number in range(1, steps + 1):
        angle += bend * step + rng.normal(0, 0.05)
        point = point + step * np.array([np.cos(angle), -np.sin(angle)])
        path.append(point)
        if depth and number > 4 and rng.random() < 0.085:
            side = rng.choice([-1.0, 1.0])
            rest = (1 - number / steps) * length
            pieces += _vessel(
                rng,
                point,
                angle + side * rng.uniform(0.4, 0.9),
                -side * rng.uniform(0.0, 0.8),
                rest * rng.uniform(0.5, 0.9) + 0.08,
                width * 0.62,
                depth - 1,
            )
        if number % 6 == 0 or number == steps:
            pieces.append((np.array(path), width))
            path, width = [point], width * 0.94
    return pieces


def vessel_maps(
    rng: np.random.Generator,
    shape: tuple[int, int],
    radius: float,
    disc: np.ndarray,
    side: int,
    *,
    thickness: float = 1.0,
) -> tuple[np.ndarray, np.ndarray]:
    """Draw the four arcades, each an artery beside a vein.

    Args:
        rng: Generator.
        shape: Height and width of the image.
        radius: Radius of the field of view in pixels.
        disc: Centre (x, y) of the disc in pixels.
        side: +1 where the temporal side is on the right, else -1.
        thickness: Factor of all widths.

    Returns:
        Coverage by arteries and by veins, two float32 arrays (H, W) in [0, 1].
    """
    # Thin vessels are drawn large and averaged down; OpenCV's lines have whole widths.
    fine = max(1, int(np.ceil(640 / max(shape))))
    maps = []
    for width, turn in ((0.020, 0.10), (0.028, -0.10)):
        canvas = np.zeros((shape[0] * fine, shape[1] * fine), np.uint8)
        for up in (1, -1):
            temporal = rng.uniform(1.55, 1.85) + turn
            nasal = rng.uniform(2.2, 2.6) + turn
            tree = _vessel(
                rng, np.zeros(2), up * temporal, -up * rng.uniform(1.2, 1.7), 1.5, width, 3
            )
            tree += _vessel(
                rng, np.zeros(2), up * nasal, up * rng.uniform(-0.1, 0.5), 0.7, width * 0.8, 2
            )
            for points, piece_width in tree:
                pixels = (disc + points * (side * radius, radius)) * fine
                cv2.polylines(
                    canvas,
                    [np.rint(pixels * 16).astype(np.int32)],
                    False,
                    255,
                    max(1, round(thickness * piece_width * radius * fine)),
                    cv2.LINE_AA,
                    4,
                )
        small = cv2.resize(canvas, shape[::-1], interpolation=cv2.INTER_AREA)
        maps.append(small.astype(np.float32) / 255)
    return maps[0], maps[1]


@dataclass(frozen=True)
class Outline:
    """A closed curve around ``centre``, given by its radius per direction."""

    centre: np.ndarray
    radii: np.ndarray

    def distance(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Approximate signed distance to the curve, positive inside."""
        dx, dy = x - self.centre[0], y - self.centre[1]
        count = len(self.radii)
        place = np.arctan2(dy, dx) * (count / (2 * np.pi))
        radii = np.interp(place, np.arange(count), self.radii, period=count)
        return (radii - np.hypot(dx, dy)).astype(np.float32)


_DIRECTIONS = np.linspace(0, 2 * np.pi, 256, endpoint=False)


def _height(radii: np.ndarray) -> float:
    """Vertical extent of an outline."""
    ordinates = radii * np.sin(_DIRECTIONS)
    return float(ordinates.max() - ordinates.min())


def draw_outlines(
    rng: np.random.Generator, centre: np.ndarray, disc_height: float, cdr: float, glaucoma: bool
) -> tuple[Outline, Outline]:
    """Draw the borders of disc and cup with the given heights.

    Args:
        rng: Generator.
        centre: Centre (x, y) of the disc in pixels.
        disc_height: Height of the disc in pixels.
        cdr: Height of the cup over height of the disc.
        glaucoma: Whether the rim is thinned above or below, as a notch of the cup.

    Returns:
        The outlines of disc and cup.
    """
    cos, sin = np.cos(_DIRECTIONS), np.sin(_DIRECTIONS)

    def ellipse(width_over_height: float, ripple: float) -> np.ndarray:
        radii = 1 / np.hypot(cos / width_over_height, sin)
        for order in (2, 3, 4):
            radii *= 1 + rng.normal(0, ripple) * np.cos(order * _DIRECTIONS + rng.uniform(0, 6.28))
        return radii

    disc = ellipse(rng.uniform(0.86, 0.98), 0.008)
    disc *= disc_height / _height(disc)
    cup = ellipse(rng.uniform(0.82, 0.98) if glaucoma else rng.uniform(0.95, 1.12), 0.015)
    if glaucoma:
        place = rng.choice([-1.0, 1.0]) * np.pi / 2 + rng.normal(0, 0.25)
        apart = np.angle(np.exp(1j * (_DIRECTIONS - place)))
        cup *= 1 + rng.uniform(0.05, 0.22) * np.exp(-((apart / 0.45) ** 2))
    cup *= cdr * disc_height / _height(cup)
    middle = (cup * sin).max() + (cup * sin).min()
    room = (1 - cdr) * disc_height / 2
    shift = rng.uniform(-0.3, 0.3, 2) * room - (0, middle / 2)
    return Outline(centre, disc), Outline(centre + shift, cup)


def soft_step(distance: np.ndarray, width: float) -> np.ndarray:
    """Rise from 0 (outside) to 1 (inside) within some ``width`` around distance 0."""
    return special.expit(distance / width)


def blend(image: np.ndarray, colour: tuple[float, float, float], share: np.ndarray) -> None:
    """Mix ``colour`` into ``image`` (H, W, 3) in place, by ``share`` (H, W) in [0, 1]."""
    image += share[..., None] * (np.array(colour, np.float32) - image)


def paint_retina(
    rng: np.random.Generator,
    shape: tuple[int, int],
    look: Camera,
    radius: float,
    fovea: np.ndarray,
    grid: tuple[np.ndarray, np.ndarray],
) -> tuple[np.ndarray, np.ndarray]:
    """Paint the ground: a colour per eye, choroidal mottle, dark macula.

    Args:
        rng: Generator.
        shape: Height and width in pixels.
        look: The camera.
        radius: Unit of length of the anatomy in pixels.
        fovea: Position (x, y) in pixels.
        grid: x and y of all pixels, float32 (H, W).

    Returns:
        float32 image (H, W, 3) and the colour of the ground (3,), red first, about [0, 1].
    """
    x, y = grid
    tint = np.array(look.background, np.float32) * (1 + rng.normal(0, 0.05, 3).astype(np.float32))
    image = np.broadcast_to(tint, (*shape, 3)).copy()
    mottle = 0.05 * smooth_noise(rng, shape, radius / 4) + 0.025 * smooth_noise(
        rng, shape, radius / 22
    )
    image *= 1 + mottle[..., None] * np.array([0.6, 1.0, 1.0], np.float32)
    from_fovea = np.hypot(x - fovea[0], y - fovea[1]) / radius
    macula = 0.45 * np.exp(-((from_fovea / 0.20) ** 2)) + 0.2 * np.exp(-((from_fovea / 0.06) ** 2))
    image *= 1 - look.contrast * macula[..., None] * np.array([0.45, 0.75, 0.8], np.float32)
    return image, tint


def paint_disc(
    rng: np.random.Generator,
    image: np.ndarray,
    look: Camera,
    tint: np.ndarray,
    outlines: tuple[Outline, Outline],
    side: int,
    grid: tuple[np.ndarray, np.ndarray],
) -> np.ndarray:
    """Paint disc and cup with soft borders into ``image``; around some discs a pale crescent.

    Args:
        rng: Generator.
        image: float32 (H, W, 3), changed in place.
        look: The camera.
        tint: Colour of the ground (3,).
        outlines: Borders of disc and cup.
        side: +1 where the temporal side is on the right, else -1.
        grid: x and y of all pixels, float32 (H, W).

    Returns:
        How much each pixel is cup, (H, W) in [0, 1].
    """
    disc, cup = outlines
    height = _height(disc.radii)
    if rng.random() < 0.4:
        crescent = Outline(disc.centre + (side * 0.10 * height, 0), disc.radii * 1.02)
        share = soft_step(crescent.distance(*grid), 0.02 * height)
        blend(image, tuple(tint * 1.15 + 0.06), 0.7 * share)
    pale = rng.uniform(-0.04, 0.04)
    rim_share = soft_step(disc.distance(*grid), 0.018 * height)
    blend(image, (0.93 + pale, 0.60 + pale, 0.33 + pale), 0.92 * rim_share)
    cup_share = soft_step(cup.distance(*grid), 0.03 * height)
    blend(image, (0.99, 0.88 + pale, 0.66 + pale), 0.85 * look.contrast * cup_share * rim_share)
    return cup_share


def paint_vessels(
    image: np.ndarray,
    look: Camera,
    arteries: np.ndarray,
    veins: np.ndarray,
    cup_share: np.ndarray,
) -> None:
    """Darken ``image`` (H, W, 3) in place where vessels run; less on the cup."""
    for coverage, absorbed in ((arteries, (0.20, 0.42, 0.35)), (veins, (0.36, 0.60, 0.45))):
        strength = look.contrast * coverage * (1 - 0.35 * cup_share)
        image *= 1 - strength[..., None] * np.array(absorbed, np.float32)


def take_photograph(
    rng: np.random.Generator,
    image: np.ndarray,
    look: Camera,
    centre: np.ndarray,
    radius: float,
    grid: tuple[np.ndarray, np.ndarray],
) -> np.ndarray:
    """Light falls off to the edge and to one side; the field of view ends in black; blur, noise.

    Args:
        rng: Generator.
        image: float32 (H, W, 3), changed in place.
        look: The camera.
        centre: Centre (x, y) of the field of view in pixels.
        radius: Its radius in pixels.
        grid: x and y of all pixels, float32 (H, W).

    Returns:
        uint8 array (H, W, 3).
    """
    dx, dy = (grid[0] - centre[0]) / radius, (grid[1] - centre[1]) / radius
    from_centre = np.hypot(dx, dy)
    direction = rng.uniform(0, 2 * np.pi)
    light = 1.05 - look.illumination * from_centre**2
    light += rng.uniform(0.03, 0.14) * (dx * np.cos(direction) + dy * np.sin(direction))
    image *= np.clip(light, 0.1, 1.3)[..., None]
    inside = np.clip((1 - from_centre) * radius / max(1.0, 0.01 * radius), 0, 1)
    image *= inside[..., None]
    image = cv2.GaussianBlur(image, (0, 0), max(0.3, look.blur * radius))
    image += (
        rng.normal(0, look.noise, image.shape).astype(np.float32)
        * (0.15 + 0.85 * inside)[..., None]
    )
    return np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)


def disc_labels(
    outlines: tuple[Outline, Outline], grid: tuple[np.ndarray, np.ndarray]
) -> tuple[np.ndarray, float]:
    """Draw the label map of disc and cup.

    Args:
        outlines: Borders of disc and cup.
        grid: x and y of all pixels, float32 (H, W).

    Returns:
        uint8 array (H, W): 0 background, 1 rim, 2 cup; and height of the cup over height of the
        disc in it.
    """
    in_disc, in_cup = (outline.distance(*grid) for outline in outlines)
    mask = np.where(in_disc >= 0, np.where(in_cup >= 0, 2, 1), 0).astype(np.uint8)
    rows = [np.flatnonzero((mask >= label).any(axis=1)) for label in (1, 2)]
    drawn = [row[-1] - row[0] + 1 if len(row) else 0 for row in rows]  # none in tiny images
    return mask, float(drawn[1] / max(drawn[0], 1))


def render_fundus(
    rng: np.random.Generator, shape: tuple[int, int], camera: str, glaucoma: bool
) -> FundusPhantom:
    """Draw one photograph.

    Args:
        rng: Generator; all that is random comes from it.
        shape: Height and width in pixels.
        camera: Key of :data:`CAMERAS`.
        glaucoma: Label; it sets the vertical cup/disc ratio and thins the rim.

    Returns:
        The photograph with mask and known quantities.
    """
    look = CAMERAS[camera]
    height, width = shape
    centre = np.array([(width - 1) / 2, (height - 1) / 2]) + rng.normal(0, 0.004, 2) * width
    radius = look.fov_radius * min(shape)
    y, x = np.mgrid[:height, :width].astype(np.float32)

    side = int(rng.choice([-1, 1]))
    disc_at = centre + radius * np.array([-side * rng.uniform(0.34, 0.50), rng.normal(0, 0.05)])
    disc_height = rng.uniform(0.23, 0.29) * min(shape)
    cdr = draw_vertical_cdr(rng, glaucoma)
    outlines = draw_outlines(rng, disc_at, disc_height, cdr, glaucoma)
    fovea = disc_at + radius * np.array([side * rng.uniform(0.70, 0.80), rng.uniform(0.04, 0.10)])

    image, tint = paint_retina(rng, shape, look, radius, fovea, (x, y))
    cup_share = paint_disc(rng, image, look, tint, outlines, side, (x, y))
    arteries, veins = vessel_maps(rng, shape, radius, disc_at, side)
    paint_vessels(image, look, arteries, veins, cup_share)
    photograph = take_photograph(rng, image, look, centre, radius, (x, y))
    mask, vertical_cdr = disc_labels(outlines, (x, y))
    return FundusPhantom(
        image=photograph,
        mask=mask,
        vertical_cdr=vertical_cdr,
        fovea=(float(fovea[0]), float(fovea[1])),
    )
