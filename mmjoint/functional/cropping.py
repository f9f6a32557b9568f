"""Patches of a fixed size out of images and volumes of any size."""

from collections.abc import Sequence

import numpy as np


def patch_padding(shape: Sequence[int], size: Sequence[int], *, margin: int = 1) -> tuple[int, ...]:
    """Zeros to add on both sides of each axis before a patch is cut out.

    Nothing is added where every axis is longer than the patch. Otherwise every axis, also a long
    one, gets ``max((size - length) // 2 + margin, 0)``.

    Args:
        shape: Lengths of the volume.
        size: Lengths of the patch.
        margin: What is added beyond the missing half: 1, or 2 for random patches of slices.

    Returns:
        One number per axis.

    Reference:
        Wang & Li, NeurIPS 2023, published code: an axis that equals the patch is padded, too.
    """
    pairs = list(zip(shape, size, strict=True))
    if all(length > patch for length, patch in pairs):
        return (0,) * len(pairs)
    return tuple(max((patch - length) // 2 + margin, 0) for length, patch in pairs)


def random_offset_bounds(
    shape: Sequence[int], size: Sequence[int], padding: Sequence[int]
) -> tuple[int, ...]:
    """Number of offsets that a random patch may have along each axis of the padded volume.

    The last one that would fit is not among them, as in the published code.

    Args:
        shape: Lengths of the volume.
        size: Lengths of the patch.
        padding: What is added on both sides.

    Returns:
        Exclusive upper bounds, all at least 1.
    """
    return tuple(
        length + 2 * added - patch
        for length, patch, added in zip(shape, size, padding, strict=True)
    )


def centre_offset(
    shape: Sequence[int], size: Sequence[int], padding: Sequence[int]
) -> tuple[int, ...]:
    """Offset of the central patch in the padded volume; halves go to the even number.

    Args:
        shape: Lengths of the volume.
        size: Lengths of the patch.
        padding: What is added on both sides.
    """
    return tuple(round(bound / 2) for bound in random_offset_bounds(shape, size, padding))


def cut_patch(
    array: np.ndarray, offset: Sequence[int], size: Sequence[int], padding: Sequence[int]
) -> np.ndarray:
    """Cut a patch out of a volume as if it had been padded with zeros.

    Only what lies in the patch is read, so a memory-mapped volume stays where it is.

    Args:
        array: ``(*space)`` or ``(*space, C)``.
        offset: First position along each space axis of the padded volume.
        size: Lengths of the patch.
        padding: What is added on both sides.

    Returns:
        ``(*size)`` or ``(*size, C)``, a new array of the same dtype.
    """
    starts = [first - added for first, added in zip(offset, padding, strict=True)]
    lengths = zip(starts, size, array.shape, strict=False)
    bounds = [(max(a, 0), min(a + patch, length)) for a, patch, length in lengths]
    patch = np.zeros((*size, *array.shape[len(size) :]), array.dtype)
    if all(first < stop for first, stop in bounds):
        to = tuple(slice(a - s, b - s) for (a, b), s in zip(bounds, starts, strict=True))
        patch[to] = array[tuple(slice(a, b) for a, b in bounds)]
    return patch
