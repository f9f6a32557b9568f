"""Fundus photographs with vessels, lesions, disc and cup, all of them known; seven kinds of set."""

from dataclasses import dataclass, field

import cv2
import numpy as np

from .common import smooth_noise
from .fundus import (
    CAMERAS,
    Camera,
    blend,
    disc_labels,
    draw_outlines,
    draw_vertical_cdr,
    paint_disc,
    paint_retina,
    paint_vessels,
    take_photograph,
    vessel_maps,
)

LESIONS = ('EX', 'HE', 'SE', 'MA')
"""Hard exudate, haemorrhage, soft exudate, microaneurysm; numbers 1 to 4 of the label map."""
TASKS = ('vessel', 'lesion', 'odoc')


@dataclass(frozen=True)
class Look:
    """How the photographs of one set show an eye.

    Args:
        camera: Colour, contrast, sharpness, noise; radius of the field of view as a share of the
            shorter side, above 0.5 where the image cuts it off.
        anatomy: Size of everything in the eye against the field's radius: large where the field
            is narrow.
        disc_at: How far the disc is from the centre, in radii of the field.
        ill_share: Share of photographs with lesions.
        burden: Mean amount of lesions where there are any.
        variety: Spread of contrast, blur and colour from photograph to photograph.
    """

    camera: Camera
    anatomy: float = 1.0
    disc_at: tuple[float, float] = (0.40, 0.60)
    ill_share: float = 1.0
    burden: float = 1.0
    variety: float = 0.15


LOOKS = {
    # The same photographs: RETA labels their vessels, IDRiD their lesions and discs.
    'idrid': Look(
        Camera((0.80, 0.37, 0.10), 0.590, 0.30, 1.00, 0.004, 0.012), disc_at=(0.52, 0.66)
    ),
    'ddr_canon': Look(
        Camera((0.62, 0.30, 0.17), 0.490, 0.45, 0.90, 0.007, 0.016), variety=0.2, burden=0.8
    ),
    'ddr_topcon': Look(
        Camera((0.72, 0.42, 0.26), 0.515, 0.35, 0.80, 0.010, 0.020), variety=0.2, burden=0.8
    ),
    'zeiss': Look(CAMERAS['zeiss'], 0.95, (0.36, 0.52), ill_share=0.2, burden=0.35),
    'canon': Look(CAMERAS['canon'], 0.95, (0.36, 0.52), ill_share=0.2, burden=0.35),
    'drive': Look(
        Camera((0.66, 0.36, 0.24), 0.475, 0.40, 0.75, 0.006, 0.018), ill_share=0.2, burden=0.4
    ),
    'stare': Look(
        Camera((0.74, 0.50, 0.20), 0.530, 0.25, 0.65, 0.013, 0.028),
        anatomy=1.20,
        disc_at=(0.45, 0.58),
        ill_share=0.5,
        burden=0.8,
        variety=0.2,
    ),
    'aria': Look(
        Camera((0.52, 0.26, 0.15), 0.530, 0.55, 0.85, 0.008, 0.022),
        disc_at=(0.46, 0.62),
        ill_share=0.6,
        burden=0.8,
    ),
}


@dataclass(frozen=True)
class StructuredFundus:
    """One photograph with everything that is known about it.

    Args:
        image: uint8 array (H, W, 3), red first.
        vessel: uint8 array (H, W): 1 vessel.
        odoc: uint8 array (H, W): 1 rim, 2 cup.
        lesion_masks: Kind -> bool array (H, W); kinds may overlap.
        fov: bool array (H, W), the field of view.
        vertical_cdr: Height of the cup over height of the disc, as drawn.
        fovea: Position (x, y) of the fovea in pixels.
    """

    image: np.ndarray
    vessel: np.ndarray
    odoc: np.ndarray
    lesion_masks: dict[str, np.ndarray] = field(repr=False)
    fov: np.ndarray
    vertical_cdr: float
    fovea: tuple[float, float]

    @property
    def lesion(self) -> np.ndarray:
        """uint8 array (H, W): number of the kind; where kinds overlap, the last one."""
        ids = np.zeros(self.vessel.shape, np.uint8)
        for number, kind in enumerate(LESIONS, 1):
            ids[self.lesion_masks[kind]] = number
        return ids

    @property
    def truth(self) -> dict[str, np.ndarray]:
        """Task -> label map."""
        return {'vessel': self.vessel, 'lesion': self.lesion, 'odoc': self.odoc}


@dataclass(frozen=True)
class _Blob:
    """One lesion: centre (x, y) and outline around it, in pixels."""

    centre: np.ndarray
    outline: np.ndarray
    strength: float


class _Ground:
    """Where lesions may lie.

    Args:
        centre: Centre (x, y) of the field of view in pixels.
        radius: Its radius in pixels.
        shape: Height and width.
        unit: Unit of length of the anatomy in pixels.
        disc: Centre of the disc and the radius to keep free around it.
        vessels: Coverage by vessels (H, W).
    """

    def __init__(
        self,
        centre: np.ndarray,
        radius: float,
        shape: tuple[int, int],
        unit: float,
        disc: tuple[np.ndarray, float],
        vessels: np.ndarray,
    ) -> None:
        self.centre, self.radius, self.shape, self.unit = centre, radius, shape, unit
        self.disc, self.vessels = disc, vessels

    def place(
        self,
        rng: np.random.Generator,
        around: np.ndarray | None = None,
        spread: float = 0.0,
        *,
        off_vessels: bool = False,
    ) -> np.ndarray | None:
        """Draw a place (x, y) anywhere or around a point; ``None`` where no luck in 20 tries."""
        for _ in range(20):
            if around is None:
                angle, far = rng.uniform(0, 2 * np.pi), 0.9 * np.sqrt(rng.random())
                point = self.centre + self.radius * far * np.array([np.cos(angle), np.sin(angle)])
            else:
                point = around + rng.normal(0, spread * self.unit, 2)
            column, row = np.rint(point).astype(int)
            if (
                0 <= row < self.shape[0]
                and 0 <= column < self.shape[1]
                and np.hypot(*(point - self.centre)) < 0.92 * self.radius
                and np.hypot(*(point - self.disc[0])) > self.disc[1]
                and not (off_vessels and self.vessels[row, column] > 0.2)
            ):
                return point
        return None


def _blob(
    rng: np.random.Generator,
    centre: np.ndarray,
    radius: float,
    *,
    stretch: float = 1.0,
    ripple: float = 0.1,
    strength: float = 1.0,
) -> _Blob:
    """Draw an irregular ellipse of a mean radius in pixels."""
    turns = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    radii = np.ones(24)
    for order in (2, 3, 5):
        radii += rng.normal(0, ripple) * np.cos(order * turns + rng.uniform(0, 2 * np.pi))
    radii = radius * np.maximum(radii, 0.4)
    points = np.stack([np.cos(turns) * np.sqrt(stretch), np.sin(turns) / np.sqrt(stretch)], 1)
    angle = rng.uniform(0, np.pi)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return _Blob(centre, centre + (points * radii[:, None]) @ turn, strength)


def _exudates(
    rng: np.random.Generator, ground: _Ground, burden: float, fovea: np.ndarray
) -> list[_Blob]:
    """Hard exudates: clusters of small, sharp, bright spots, most of them around the macula."""
    blobs = []
    for _ in range(1 + rng.poisson(1.6 * burden)):
        near = rng.random() < 0.65
        middle = ground.place(rng, fovea if near else None, 0.30)
        for _ in range(rng.integers(4, 14) if middle is not None else 0):
            point = ground.place(rng, middle, 0.065)
            if point is not None:
                size = max(rng.uniform(0.012, 0.032) * ground.unit, 0.9)
                stretch = rng.uniform(1, 1.6)
                blobs.append(_blob(rng, point, size, stretch=stretch, ripple=0.12))
    return blobs


def _haemorrhages(rng: np.random.Generator, ground: _Ground, burden: float) -> list[_Blob]:
    """Haemorrhages: dark red blots and flames of very different size."""
    blobs = []
    for _ in range(1 + rng.poisson(5 * burden)):
        point = ground.place(rng)
        if point is not None:
            size = max(np.exp(rng.uniform(np.log(0.022), np.log(0.065))) * ground.unit, 1.2)
            stretch = rng.uniform(1, 2.4)
            blobs.append(_blob(rng, point, size, stretch=stretch, ripple=0.13))
    return blobs


def _soft_exudates(rng: np.random.Generator, ground: _Ground, burden: float) -> list[_Blob]:
    """Soft exudates: few large, pale, unsharp patches."""
    blobs = []
    for _ in range(1 + rng.poisson(0.9 * burden)):
        point = ground.place(rng, ground.disc[0], 0.6)
        if point is not None:
            size = max(rng.uniform(0.045, 0.085) * ground.unit, 2.0)
            stretch = rng.uniform(1.1, 2.0)
            blobs.append(_blob(rng, point, size, stretch=stretch, ripple=0.12))
    return blobs


def _microaneurysms(rng: np.random.Generator, ground: _Ground, burden: float) -> list[_Blob]:
    """Microaneurysms: many dark red dots away from vessels."""
    blobs = []
    for _ in range(2 + rng.poisson(9 * burden)):
        point = ground.place(rng, off_vessels=True)
        if point is not None:
            size = max(rng.uniform(0.011, 0.018) * ground.unit, 0.8)
            blobs.append(_blob(rng, point, size, ripple=0.05))
    return blobs


def _drusen(rng: np.random.Generator, ground: _Ground) -> list[_Blob]:
    """Dull yellowish spots that are no lesion of ours."""
    blobs = []
    for _ in range(rng.integers(5, 25)):
        point = ground.place(rng)
        if point is not None:
            size = max(rng.uniform(0.012, 0.035) * ground.unit, 0.9)
            blobs.append(_blob(rng, point, size, strength=rng.uniform(0.15, 0.35)))
    return blobs


def _coverage(blobs: list[_Blob], shape: tuple[int, int]) -> np.ndarray:
    """Share of each pixel that blobs cover, times their strength: float32 (H, W)."""
    fine = max(1, int(np.ceil(640 / max(shape))))
    canvas = np.zeros((shape[0] * fine, shape[1] * fine), np.uint8)
    for blob in blobs:
        # A pixel's centre has whole numbers here, and half of its width more on the canvas.
        points = np.rint(((blob.outline + 0.5) * fine - 0.5) * 16).astype(np.int32)
        cv2.fillPoly(canvas, [points], round(255 * blob.strength), cv2.LINE_AA, 4)
    small = cv2.resize(canvas, shape[::-1], interpolation=cv2.INTER_AREA)
    return small.astype(np.float32) / 255


def _pigment(rng: np.random.Generator, ground: _Ground) -> list[_Blob]:
    """Grey-brown spots with soft borders that are no lesion of ours."""
    blobs = []
    for _ in range(rng.integers(2, 9)):
        point = ground.place(rng)
        if point is not None:
            size = max(rng.uniform(0.015, 0.05) * ground.unit, 1.0)
            blobs.append(_blob(rng, point, size, strength=rng.uniform(0.2, 0.45)))
    return blobs


def _hairs(rng: np.random.Generator, ground: _Ground) -> list[_Blob]:
    """Dust and hairs in the camera: thin dark arcs anywhere."""
    blobs = []
    for _ in range(rng.integers(1, 4)):
        turns = rng.uniform(0, 2 * np.pi) + np.linspace(0, rng.uniform(0.3, 1.2), 16)
        arc = np.stack([np.cos(turns), np.sin(turns)], 1) * rng.uniform(0.4, 1.2) * ground.unit
        arc += ground.centre + rng.uniform(-0.6, 0.6, 2) * ground.radius - arc.mean(axis=0)
        half = max(rng.uniform(0.006, 0.014) * ground.unit, 0.4)
        normals = np.stack([np.cos(turns), np.sin(turns)], 1) * half
        outline = np.concatenate([arc - normals, (arc + normals)[::-1]])
        blobs.append(_Blob(ground.centre, outline, rng.uniform(0.3, 0.6)))
    return blobs


def _paint_distractors(
    rng: np.random.Generator, image: np.ndarray, tint: np.ndarray, ground: _Ground
) -> None:
    """Paint into ``image`` what looks a little like a vessel or a lesion and is none.

    Some eyes show the vessels of the choroid, some have drusen or pigment, some photographs hairs.
    A model that has seen few eyes takes these for what it knows.
    """
    shape, unit = ground.shape, ground.unit
    if rng.random() < 0.5:
        field = smooth_noise(rng, shape, unit / rng.uniform(5, 8))
        lines = np.exp(-((field / 0.14) ** 2))
        image *= 1 - (rng.uniform(-0.10, 0.24) * lines)[..., None]
    if rng.random() < 0.3:
        blend(image, tuple(tint * 1.2 + 0.12), _coverage(_drusen(rng, ground), shape))
    if rng.random() < 0.3:
        unsharp = cv2.GaussianBlur(
            _coverage(_pigment(rng, ground), shape), (0, 0), max(0.5, 0.01 * unit)
        )
        image *= 1 - unsharp[..., None]
    if rng.random() < 0.3:
        image *= 1 - _coverage(_hairs(rng, ground), shape)[..., None]


_CHANCES = {'EX': 0.75, 'HE': 0.80, 'SE': 0.40, 'MA': 0.90}


def _draw_lesions(
    rng: np.random.Generator, ground: _Ground, burden: float, fovea: np.ndarray
) -> dict[str, np.ndarray]:
    """Draw which lesions there are; gives their coverage by kind, float32 (H, W)."""
    # One draw each, whether it is used or not: a rare kind does not change the others.
    present = {kind: rng.random() < chance for kind, chance in _CHANCES.items()}
    if not any(present.values()):
        present['MA'] = True
    blobs = {
        'EX': _exudates(rng, ground, burden, fovea),
        'HE': _haemorrhages(rng, ground, burden),
        'SE': _soft_exudates(rng, ground, burden),
        'MA': _microaneurysms(rng, ground, burden),
    }
    shape = ground.shape
    return {
        kind: _coverage(blobs[kind], shape)
        if burden and present[kind]
        else np.zeros(shape, np.float32)
        for kind in LESIONS
    }


def _paint_lesions(
    rng: np.random.Generator,
    image: np.ndarray,
    look: Camera,
    coverage: dict[str, np.ndarray],
    unit: float,
) -> None:
    """Paint lesions into ``image`` (H, W, 3) in place, in the order of their numbers."""
    pale = rng.uniform(-0.04, 0.04)
    blend(image, (0.97, 0.84 + pale, 0.42 + pale), (0.62 + 0.25 * look.contrast) * coverage['EX'])
    dark = look.contrast * rng.uniform(0.85, 1.05)
    absorbed = np.array([0.40, 0.66, 0.52], np.float32)
    image *= 1 - np.clip(dark * coverage['HE'], 0, 1)[..., None] * absorbed
    unsharp = cv2.GaussianBlur(coverage['SE'], (0, 0), max(0.6, 0.018 * unit))
    blend(image, (0.93, 0.80 + pale, 0.62 + pale), 0.68 * look.contrast * unsharp)
    absorbed = np.array([0.34, 0.62, 0.48], np.float32)
    image *= 1 - np.clip(dark * coverage['MA'], 0, 1)[..., None] * absorbed


def _vary(rng: np.random.Generator, look: Look) -> Camera:
    """One photograph's camera: that of the set with its spread."""
    camera, spread = look.camera, look.variety

    def factor(share: float, count: int | None = None) -> np.ndarray | float:
        return np.exp(share * spread * np.clip(rng.normal(0, 1, count), -1.5, 1.5))

    colour = np.array(camera.background) * factor(0.6)
    return Camera(
        background=tuple(colour * factor(0.4, 3)),
        fov_radius=camera.fov_radius,
        # Darker edges would fall below the threshold by which the field of view is found.
        illumination=min(camera.illumination * factor(1.5), 0.55),
        contrast=camera.contrast * factor(1.0),
        blur=camera.blur * factor(1.5),
        noise=camera.noise * factor(1.0),
    )


def render_structures(
    rng: np.random.Generator,
    shape: tuple[int, int],
    look: str,
    *,
    glaucoma: bool = False,
    ill: bool | None = None,
) -> StructuredFundus:
    """Draw one photograph with all its structures.

    Args:
        rng: Generator; all that is random comes from it.
        shape: Height and width in pixels.
        look: Key of :data:`LOOKS`.
        glaucoma: Sets the vertical cup/disc ratio and thins the rim.
        ill: Whether there are lesions; ``None`` draws it by the share of the look.

    Returns:
        The photograph and its label maps.
    """
    style = LOOKS[look]
    height, width = shape
    centre = np.array([(width - 1) / 2, (height - 1) / 2]) + rng.normal(0, 0.008, 2) * height
    radius = style.camera.fov_radius * min(shape)
    unit = radius * style.anatomy
    y, x = np.mgrid[:height, :width].astype(np.float32)
    camera = _vary(rng, style)
    drawn_ill = rng.random() < style.ill_share
    burden = style.burden * rng.gamma(3.0, 1 / 3.0) * (drawn_ill if ill is None else ill)

    side = int(rng.choice([-1, 1]))
    disc_at = centre + radius * np.array([-side * rng.uniform(*style.disc_at), rng.normal(0, 0.05)])
    disc_height = rng.uniform(0.40, 0.50) * unit
    cdr = draw_vertical_cdr(rng, glaucoma)
    outlines = draw_outlines(rng, disc_at, disc_height, cdr, glaucoma)
    fovea = disc_at + unit * np.array([side * rng.uniform(0.70, 0.80), rng.uniform(0.04, 0.10)])

    image, tint = paint_retina(rng, shape, camera, unit, fovea, (x, y))
    cup_share = paint_disc(rng, image, camera, tint, outlines, side, (x, y))
    arteries, veins = vessel_maps(rng, shape, unit, disc_at, side, thickness=1.2)
    vessels = np.maximum(arteries, veins)
    ground = _Ground(centre, radius, shape, unit, (disc_at, 0.62 * disc_height), vessels)
    _paint_distractors(rng, image, tint, ground)
    paint_vessels(image, camera, arteries, veins, cup_share)
    coverage = _draw_lesions(rng, ground, burden, fovea)
    _paint_lesions(rng, image, camera, coverage, unit)
    photograph = take_photograph(rng, image, camera, centre, radius, (x, y))

    fov = np.hypot(x - centre[0], y - centre[1]) < radius
    odoc, vertical_cdr = disc_labels(outlines, (x, y))
    return StructuredFundus(
        image=photograph,
        vessel=((vessels >= 0.5) & fov).astype(np.uint8),
        odoc=odoc * fov,
        lesion_masks={kind: (coverage[kind] >= 0.4) & fov for kind in LESIONS},
        fov=fov,
        vertical_cdr=vertical_cdr,
        fovea=(float(fovea[0]), float(fovea[1])),
    )
