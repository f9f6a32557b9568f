"""Maps of probability, entropy and error as pictures, and masks as files.

The files are those of the MC-dropout U-Net's scripts, to the bit: 8-bit probabilities cut off (not
rounded), masks in the values of the data set, entropy in bits, colours taken linearly between the
256 entries of a palette. For a row of panels with a legend see
:class:`~mmjoint.visualization.JointVisualizer`.
"""

import io
import os
from collections.abc import Sequence
from typing import Literal

import numpy as np
from PIL import Image

from mmjoint.utils.io import atomic_write_bytes

from .drawing import as_rgb, heat_table

TRUTH_COLOUR = (0x2F, 0x6E, 0xAD)
PREDICTION_COLOUR = (0x0F, 0x75, 0x2E)


def probability_png(
    probs: np.ndarray,
    *,
    rounding: Literal['floor', 'nearest'] = 'floor',
    bits: Literal[8, 16] = 8,
) -> np.ndarray:
    """Give probabilities as the grey levels of a PNG.

    Args:
        probs: Float, any shape; cut to [0, 1].
        rounding: ``floor`` is what the original scripts write; it lowers the mean by half a grey
            level, and a probability is 255 only where it is 1. ``nearest`` has no such bias.
        bits: 8 for levels up to 255, 16 for levels up to 65535.

    Returns:
        uint8 or uint16 of the same shape.

    Raises:
        ValueError: For NaN, integers (labels or grey levels) or an unknown option.
    """
    probs = np.asarray(probs)
    if not np.issubdtype(probs.dtype, np.floating):
        raise ValueError(f'probs must be floats, got {probs.dtype}; these are no probabilities')
    if np.isnan(probs).any():
        raise ValueError('probs hold NaN; a PNG has no value for it')
    if rounding not in ('floor', 'nearest') or bits not in (8, 16):
        raise ValueError(
            f"rounding must be 'floor' or 'nearest', bits 8 or 16; got {rounding!r} and {bits!r}"
        )
    scaled = (2**bits - 1) * np.clip(probs, 0, 1)
    levels = np.floor(scaled) if rounding == 'floor' else np.rint(scaled)
    return levels.astype(np.uint8 if bits == 8 else np.uint16)


def probability_from_png(levels: np.ndarray) -> np.ndarray:
    """Give the grey levels of a probability PNG as float64 in [0, 1], the same shape.

    Args:
        levels: uint8 (divided by 255) or uint16 (divided by 65535).

    Raises:
        ValueError: If the dtype is another one.
    """
    levels = np.asarray(levels)
    if levels.dtype not in (np.uint8, np.uint16):
        raise ValueError(f'levels must be uint8 or uint16, got {levels.dtype}')
    return levels / np.iinfo(levels.dtype).max


def mask_png(
    labels: np.ndarray, mask_values: Sequence[int] | Sequence[Sequence[int]]
) -> tuple[np.ndarray, Literal['1', 'L', 'RGB']]:
    """Give class ids as the values that the data set's own masks use.

    Args:
        labels: ``(H, W)`` integer; label ``i`` is written as ``mask_values[i]``.
        mask_values: One value 0 to 255, or one RGB triple, for each class.

    Returns:
        Pixels and Pillow's mode: bool ``(H, W)`` and ``1`` for the values ``[0, 1]``; uint8
        ``(H, W, 3)`` and ``RGB`` for triples; else uint8 ``(H, W)`` and ``L``.

    Raises:
        ValueError: If the values are neither of these or a label has none.
    """
    labels, values = np.asarray(labels), np.asarray(mask_values)
    numbers = values.ndim == 1 or (values.ndim == 2 and values.shape[1] == 3)
    if not (numbers and np.issubdtype(values.dtype, np.integer)):
        raise ValueError(f'mask_values must be integers or RGB triples, got {mask_values!r}')
    if values.min() < 0 or values.max() > 255:
        raise ValueError(f'mask_values must lie in 0..255, got {mask_values!r}')
    if labels.ndim != 2 or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f'labels must be integer (H, W), got {labels.dtype} {labels.shape}')
    if labels.size and not 0 <= labels.min() <= labels.max() < len(values):
        raise ValueError(
            f'labels reach from {labels.min()} to {labels.max()}, but there are {len(values)} '
            'mask_values'
        )
    if values.ndim == 2:
        return values.astype(np.uint8)[labels], 'RGB'
    if values.tolist() == [0, 1]:
        return labels.astype(bool), '1'
    return values.astype(np.uint8)[labels], 'L'


def write_png(path: str | os.PathLike[str], pixels: np.ndarray) -> None:
    """Write a PNG without loss under its final name, whole or not at all.

    Args:
        path: Missing parent folders are made.
        pixels: ``(H, W)`` bool (1 bit), uint8 (8 bit) or uint16 (16 bit), or ``(H, W, 3)`` uint8
            RGB: what :func:`mask_png` and :func:`probability_png` give.

    Raises:
        ValueError: If the dtype or the shape is another one.
    """
    pixels = np.asarray(pixels)
    grey = pixels.ndim == 2 and pixels.dtype in (bool, np.uint8, np.uint16)
    if not grey and not (pixels.ndim == 3 and pixels.shape[2] == 3 and pixels.dtype == np.uint8):
        raise ValueError(
            'pixels must be (H, W) bool, uint8 or uint16, or (H, W, 3) uint8, got '
            f'{pixels.dtype} {pixels.shape}'
        )
    data = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(data, 'PNG')
    atomic_write_bytes(path, data.getvalue())


def entropy_bits(probs: np.ndarray, *, eps: float = 1e-8) -> np.ndarray:
    """Entropy of a two-class probability, in bits, as the original's maps have it.

    Args:
        probs: Probability of class 1, in [0, 1], any shape.
        eps: Added inside the logarithms. It makes the values up to 1.5e-8 lower than the entropy,
            which is why a certain pixel has -1.4e-8 instead of 0.

    Returns:
        ``-(p log2(p + eps) + (1 - p) log2(1 - p + eps))``, float64, in (-1.5e-8, 1]. The entropy
        over any number of classes, in nats and without ``eps``, is
        :func:`mmjoint.functional.dirichlet.predictive_entropy`; divide it by ln 2 for bits.

    Raises:
        ValueError: For values outside [0, 1] or NaN.
    """
    probs = np.asarray(probs, np.float64)
    if probs.size and not (probs.min() >= 0 and probs.max() <= 1):
        raise ValueError(f'probs must lie in [0, 1], got {probs.min():.3g}..{probs.max():.3g}')
    others = 1 - probs
    return -(probs * np.log2(probs + eps) + others * np.log2(others + eps))


def disagreement(
    first: np.ndarray, second: np.ndarray, *, ignore_index: int | None = None
) -> np.ndarray:
    """Mark where two label maps differ; of truth and prediction this is the map of errors.

    Args:
        first: Integer, any shape; the ground truth, if there is one.
        second: The same shape, in the same values.
        ignore_index: Where ``first`` has this value nothing is marked. ``None``: every pixel
            counts, which maps in the values 0 and 255 need.

    Returns:
        uint8 of the same shape: 255 where they differ, else 0.

    Raises:
        ValueError: If the shapes differ.
    """
    first, second = np.asarray(first), np.asarray(second)
    if first.shape != second.shape:
        raise ValueError(f'maps must have one shape, got {first.shape} and {second.shape}')
    differ = first != second
    if ignore_index is not None:
        differ &= first != ignore_index
    return differ.astype(np.uint8) * 255


def colour_map(values: np.ndarray, colours: str, *, upper: float = 1.0) -> np.ndarray:
    """Colour a map as the original does: linearly between the 256 entries of a palette.

    Args:
        values: ``(H, W)`` float; what lies outside [0, ``upper``] takes the colour of the end.
        colours: Name of a matplotlib palette; ``viridis`` for probability, ``inferno`` for
            entropy.
        upper: Value of the last entry, in the unit of ``values``.

    Returns:
        ``(H, W, 3)`` uint8, halves rounded up.

    Raises:
        ValueError: For NaN or an upper bound that is not positive.
    """
    values = np.asarray(values, np.float64)
    if np.isnan(values).any() or not upper > 0:
        raise ValueError(f'need values without NaN and upper > 0, got upper {upper}')
    table = heat_table(colours).astype(np.float64)
    place = np.clip(values / upper, 0, 1) * 255
    below = np.minimum(place.astype(np.intp), 254)
    colour = table[below] + (place - below)[..., None] * (table[below + 1] - table[below])
    return np.floor(colour + 0.5).astype(np.uint8)


def blend_mask(
    image: np.ndarray, mask: np.ndarray, colour: Sequence[int], *, opacity: float = 0.6
) -> np.ndarray:
    """Blend a colour into an image where a mask is set, as the original's overlays do.

    Args:
        image: ``(H, W, 3)`` uint8 RGB, or grey.
        mask: ``(H, W)``; set where it is not 0.
        colour: RGB, 0 to 255: ``TRUTH_COLOUR`` or ``PREDICTION_COLOUR``.
        opacity: Of the colour, 0 to 1.

    Returns:
        ``(H, W, 3)`` uint8: ``(1 - opacity * m) * image + opacity * m * colour``, halves rounded
        up.

    Raises:
        ValueError: If the sizes differ.
    """
    image, mask = as_rgb(image), np.asarray(mask)
    if mask.shape != image.shape[:2]:
        raise ValueError(f'the mask is {mask.shape}, the image {image.shape[:2]}')
    weight = opacity * (mask != 0)[..., None]
    blended = (1 - weight) * image + weight * np.asarray(colour, np.float64)
    return np.floor(blended + 0.5).astype(np.uint8)
