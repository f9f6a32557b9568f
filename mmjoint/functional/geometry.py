"""Brings predictions on the grid of a prepared volume back to the grid of its raw file."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from mmjoint.utils.volume_grid import VolumeGrid, body_axes

AxisOrder = Literal['file', 'reversed', 'body']
AXIS_ORDERS = ('file', 'reversed', 'body')


def file_grid(
    raw_path: str, raw_shape: Sequence[int], affine: np.ndarray, axes: AxisOrder = 'file'
) -> VolumeGrid:
    """Describe a raw volume that is only turned.

    Args:
        raw_path: Its file.
        raw_shape: Its three lengths, in the file's order.
        affine: 4x4 matrix from its voxel indices to mm, R, A and S positive.
        axes: The wanted order of axes. ``'file'``: as in the file, for NIfTI X first.
            ``'reversed'``: Z first, as SimpleITK gives arrays. ``'body'``: Z, Y, X towards the
            head, the back and the left, whatever the file's order.

    Returns:
        The grid, without crop and resizing.

    Raises:
        ValueError: ``axes`` is none of the three.
    """
    if axes not in AXIS_ORDERS:
        raise ValueError(f'axes must be one of {AXIS_ORDERS}, got {axes!r}')
    order, flips = (0, 1, 2), (False, False, False)
    if axes == 'reversed':
        order = (2, 1, 0)
    elif axes == 'body':
        order, flips = body_axes(affine)
    shape = tuple(int(raw_shape[axis]) for axis in order)
    return VolumeGrid(
        raw_path=raw_path,
        raw_shape=tuple(int(length) for length in raw_shape),
        affine=tuple(tuple(float(value) for value in row) for row in affine),
        axes=order,
        flips=flips,
        crop=tuple((0, length) for length in shape),
        shape=shape,
    )


def restore_labels(
    labels: np.ndarray, geometry: VolumeGrid | Mapping[str, Any], *, outside: int = 0
) -> np.ndarray:
    """Bring a label map back to the grid of the raw file; resizing is undone by nearest voxels.

    Args:
        labels: Class ids of the prepared shape.
        geometry: The grid, or its fields as a record holds them.
        outside: Value where the prepared volume did not reach.

    Returns:
        Array of the raw shape and the dtype of ``labels``. Where nothing was resized, no label
        is changed.

    Raises:
        ValueError: The shape is another one.
    """
    return as_grid(geometry).restore(labels, fill=outside)


def restore_map(
    values: np.ndarray,
    geometry: VolumeGrid | Mapping[str, Any],
    *,
    outside: float = float('nan'),
) -> np.ndarray:
    """Bring a map of numbers back to the grid of the raw file; resizing is undone linearly.

    Args:
        values: Floating-point array of the prepared shape; axes of length 1 may be left out.
        geometry: The grid, or its fields as a record holds them.
        outside: Value where the prepared volume did not reach, about which the model said nothing.

    Returns:
        Array of the raw shape and the dtype of ``values``.

    Raises:
        TypeError: ``values`` are integers.
        ValueError: The shape is another one.
    """
    grid = as_grid(geometry)
    if not np.issubdtype(values.dtype, np.floating):
        raise TypeError(f'values must be floating-point, got {values.dtype}; labels have their own')
    values = grid.as_stored(values)
    for axis, (old, new) in enumerate(zip(grid.crop_shape, grid.shape, strict=True)):
        values = _stretch(values, axis, old, new, grid.alignment)
    full = np.full(grid.full_shape, outside, values.dtype)
    full[tuple(slice(*bounds) for bounds in grid.crop)] = values
    return grid.turned_back(full)


def as_grid(geometry: VolumeGrid | Mapping[str, Any]) -> VolumeGrid:
    """Give the grid that ``geometry`` is or describes."""
    return geometry if isinstance(geometry, VolumeGrid) else VolumeGrid.from_dict(geometry)


def _stretch(values: np.ndarray, axis: int, old: int, new: int, alignment: str) -> np.ndarray:
    """Interpolate ``new`` values along an axis at the places of the ``old`` ones they came from."""
    if old == new:
        return values
    if alignment == 'corners':
        places = np.arange(old) * ((new - 1) / max(old - 1, 1))
    elif alignment == 'starts':
        places = np.clip((np.arange(old) + 0.5) * (new / old), 0, new - 1)
    else:
        places = np.clip((np.arange(old) + 0.5) * (new / old) - 0.5, 0, new - 1)
    lower = np.minimum(places.astype(int), new - 1)
    upper = np.minimum(lower + 1, new - 1)
    shape = [-1 if place == axis else 1 for place in range(values.ndim)]
    weight = (places - lower).astype(values.dtype).reshape(shape)
    below = values.take(lower, axis)
    return below + weight * (values.take(upper, axis) - below)
