"""8-bit images through Pillow and back: grey values, resizing and RandAugment's operations.

OpenCV and torchvision's tensors round otherwise, so what was trained on Pillow's values is given
Pillow's values.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

Interpolation = Literal['bicubic', 'bilinear', 'nearest']
_RESAMPLING = {
    'bicubic': Image.Resampling.BICUBIC,
    'bilinear': Image.Resampling.BILINEAR,
    'nearest': Image.Resampling.NEAREST,
}
INTERPOLATIONS = tuple(_RESAMPLING)

# A level of this gives an operation's largest parameter.
TOP_LEVEL = 10


def edit(image: np.ndarray, function: Callable[[Image.Image], Image.Image]) -> np.ndarray:
    """Give an image to a function of Pillow.

    Args:
        image: uint8 ``(H, W)``, ``(H, W, 1)`` or ``(H, W, 3)``.
        function: From a picture of the mode L or RGB to one of the same mode.

    Returns:
        A new uint8 array with as many axes, and channels, as ``image``.

    Raises:
        TypeError: The image is not uint8.
        ValueError: It has another shape.
    """
    if image.dtype != np.uint8:
        raise TypeError(f'Pillow takes uint8 images here, got {image.dtype}')
    grey = image.ndim == 3 and image.shape[2] == 1
    if not (image.ndim == 2 or grey or (image.ndim == 3 and image.shape[2] == 3)):
        raise ValueError(
            f'Pillow takes images (H, W), (H, W, 1) or (H, W, 3) here, got {image.shape}'
        )
    edited = np.array(function(Image.fromarray(image[..., 0] if grey else image)))
    return edited[..., None] if grey else edited


def to_grey(image: np.ndarray) -> np.ndarray:
    """Weigh red, green and blue by 0.299, 0.587 and 0.114 (ITU-R 601), as Pillow's mode L does.

    Args:
        image: uint8 ``(H, W, 3)``, RGB, or ``(H, W, 1)``, which stays as it is.

    Returns:
        uint8 ``(H, W, 1)``; three equal channels give exactly their value.
    """
    if image.shape[2:] == (1,):
        return image
    return edit(image, lambda picture: picture.convert('L'))[..., None]


def resize(image: np.ndarray, size: tuple[int, int], interpolation: Interpolation) -> np.ndarray:
    """Resize an image, the aspect not kept.

    The filters ``bicubic`` and ``bilinear`` are antialiased when they shrink, and values are
    rounded to 8 bits after the horizontal and again after the vertical pass.

    Args:
        image: See :func:`edit`.
        size: New ``(width, height)``.
        interpolation: Name of the filter.

    Returns:
        uint8 array of the new size.
    """
    return edit(image, lambda picture: picture.resize(size, _RESAMPLING[interpolation]))


class Operation(NamedTuple):
    """An operation of RandAugment.

    Attributes:
        run: From picture and parameter to picture.
        largest: What the level :data:`TOP_LEVEL` gives; ``None``: there is no parameter.
        offset: Added to what the level gives.
        whole: Whether what the level gives is cut to a whole number.
        signed: Whether the parameter may be negative as well.
    """

    run: Callable[[Image.Image, float], Image.Image]
    largest: float | None = None
    offset: float = 0
    whole: bool = False
    signed: bool = False

    def parameter(self, level: int, *, negative: bool = False) -> float | None:
        """Give the parameter of a level."""
        if self.largest is None:
            return None
        # In this order: 0.03 * level would end on another side of some whole numbers of pixels.
        value = level * self.largest / TOP_LEVEL
        value = (int(value) if self.whole else value) + self.offset
        return -value if negative else value


def _affine(picture: Image.Image, *matrix: float) -> Image.Image:
    return picture.transform(picture.size, Image.Transform.AFFINE, matrix)


# Geometric operations take the nearest pixel and fill with 0. The offsets of translations and the
# shears belong to the inverse map, so positive ones move the content left and up. Signed parameters
# are of the floating-point kind but for the angle, and pixels are cut to whole numbers at the end.
OPERATIONS = {
    'AutoContrast': Operation(lambda picture, _: ImageOps.autocontrast(picture)),
    'Brightness': Operation(
        lambda picture, v: ImageEnhance.Brightness(picture).enhance(v), 0.9, 0.05
    ),
    'Contrast': Operation(lambda picture, v: ImageEnhance.Contrast(picture).enhance(v), 0.9, 0.05),
    'Equalize': Operation(lambda picture, _: ImageOps.equalize(picture)),
    'Identity': Operation(lambda picture, _: picture),
    'Posterize': Operation(lambda picture, v: ImageOps.posterize(picture, v), 4, 4, whole=True),
    'Rotate': Operation(lambda picture, v: picture.rotate(v), 30, whole=True, signed=True),
    'Sharpness': Operation(
        lambda picture, v: ImageEnhance.Sharpness(picture).enhance(v), 0.9, 0.05
    ),
    'ShearX': Operation(lambda picture, v: _affine(picture, 1, v, 0, 0, 1, 0), 0.3, signed=True),
    'ShearY': Operation(lambda picture, v: _affine(picture, 1, 0, 0, v, 1, 0), 0.3, signed=True),
    'Solarize': Operation(lambda picture, v: ImageOps.solarize(picture, 256 - v), 256, whole=True),
    'TranslateX': Operation(
        lambda picture, v: _affine(picture, 1, 0, int(v * picture.width), 0, 1, 0), 0.3, signed=True
    ),
    'TranslateY': Operation(
        lambda picture, v: _affine(picture, 1, 0, 0, 0, 1, int(v * picture.height)),
        0.3,
        signed=True,
    ),
}
"""Name -> operation; together the pool that FixMatch and its followers draw from."""


def apply_operation(
    image: np.ndarray, name: str, level: int, *, negative: bool = False
) -> np.ndarray:
    """Change an image by an operation of RandAugment.

    Args:
        image: See :func:`edit`.
        name: A key of :data:`OPERATIONS`.
        level: How strong, 1 to :data:`TOP_LEVEL`.
        negative: Whether the parameter is negative; for signed operations only.

    Returns:
        A new array of the same shape.

    Raises:
        ValueError: There is no such operation, level or sign.

    Reference:
        Cubuk et al., RandAugment, NeurIPS 2020; the pool and the levels are those of the PyTorch
        implementations of FixMatch, from which MultiMix took them.
    """
    operation = OPERATIONS.get(name)
    if operation is None:
        raise ValueError(f'name must be one of {", ".join(OPERATIONS)}, got {name!r}')
    if not 1 <= level <= TOP_LEVEL:
        raise ValueError(f'level must be in 1..{TOP_LEVEL}, got {level}')
    if negative and not operation.signed:
        raise ValueError(f'{name} has no negative parameter')
    value = operation.parameter(level, negative=negative)
    return edit(image, lambda picture: operation.run(picture, value))
