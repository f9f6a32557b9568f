"""Resizes volumes as scipy and torch do, by index maps and weights: no torch is needed here."""

from collections.abc import Sequence

import numpy as np

OUTSIDE = -1


def zoom_index(old: int, new: int) -> np.ndarray:
    """Give the source index of each target index of ``scipy.ndimage.zoom(..., order=0)``.

    The centres of the first and of the last voxel stay in place. For some pairs of lengths (118 to
    144 is one) rounding puts the last target a hair outside of the source, and scipy fills it with
    0: such targets are :data:`OUTSIDE`.

    Args:
        old: Length of the source.
        new: Length of the target.

    Returns:
        int array (new,).
    """
    places = np.arange(new) * ((old - 1) / (new - 1) if new > 1 else 1.0)
    index = np.floor(places + 0.5).astype(int)
    index[places > old - 1] = OUTSIDE
    return index


def floor_index(old: int, new: int) -> np.ndarray:
    """Give the source index of each target index of torch's ``interpolate(mode='nearest')``.

    Args:
        old: Length of the source.
        new: Length of the target.

    Returns:
        int array (new,).
    """
    # torch computes in single precision, but takes these two ratios exactly.
    if new == old:
        return np.arange(new)
    if new == 2 * old:
        return np.arange(new) // 2
    scale = np.float32(old) / np.float32(new)
    index = np.floor(np.arange(new, dtype=np.float32) * scale).astype(int)
    return np.minimum(index, old - 1)


def take(volume: np.ndarray, indices: Sequence[np.ndarray]) -> np.ndarray:
    """Pick voxels along each axis.

    Args:
        volume: Array.
        indices: One map per axis; where one is :data:`OUTSIDE` the result is 0.

    Returns:
        Array of the dtype of ``volume``, C-contiguous.
    """
    result = np.ascontiguousarray(volume[np.ix_(*indices)])
    for axis, index in enumerate(indices):
        result[(slice(None),) * axis + (index == OUTSIDE,)] = 0
    return result


def zoom_nearest(volume: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Resize as ``scipy.ndimage.zoom(..., order=0)`` does.

    Args:
        volume: Array.
        shape: Wanted shape.

    Returns:
        Array of the dtype of ``volume``.
    """
    pairs = zip(volume.shape, shape, strict=True)
    return take(volume, [zoom_index(old, new) for old, new in pairs])


def resize_floor(volume: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Resize as torch's ``interpolate(mode='nearest')`` does.

    Args:
        volume: Array.
        shape: Wanted shape.

    Returns:
        Array of the dtype of ``volume``.
    """
    pairs = zip(volume.shape, shape, strict=True)
    return take(volume, [floor_index(old, new) for old, new in pairs])


def resize_linear(volume: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Resize as torch's linear, bilinear or trilinear interpolation without aligned corners.

    Args:
        volume: Array of as many axes as ``shape``.
        shape: Wanted shape.

    Returns:
        float32 array.
    """
    result = volume.astype(np.float32, copy=False)
    # Axes that shrink most come first: fewer voxels are left for the others.
    for axis in np.argsort([new / old for old, new in zip(volume.shape, shape, strict=True)]):
        old, new = volume.shape[axis], shape[axis]
        if old == new:
            continue
        scale = np.float32(old) / np.float32(new)  # single precision, as torch does
        places = (np.arange(new, dtype=np.float32) + np.float32(0.5)) * scale - np.float32(0.5)
        places = np.maximum(places, 0)
        lower = np.minimum(places.astype(int), old - 1)
        upper = np.minimum(lower + 1, old - 1)
        weight = (places - lower).astype(np.float32)
        weight = weight.reshape([-1 if place == axis else 1 for place in range(result.ndim)])
        below, above = result.take(lower, axis), result.take(upper, axis)
        result = below * (1 - weight) + above * weight
    return np.ascontiguousarray(result)
