"""Rotation and scaling of patches about their centre: images by cubic splines, labels by votes.

Everything outside of a patch is 0. A label wins a voxel where the linear interpolation of its mask
is at least 0.5; of several such labels the largest wins.

Each function has a plain form, which resamples at one general field of coordinates (``scipy``'s
``map_coordinates`` per mask), and a fast one that uses what is special: a rotation moves nothing
along its axis, scaling treats the axes one by one, and most voxels lie within a single label.
Both give the same labels, and images up to rounding.
"""

import math
from collections.abc import Sequence

import numpy as np
from scipy import ndimage, sparse

Labels = np.ndarray


def rotate_image(
    image: np.ndarray, degrees: float, *, axis: int = 0, fast: bool = True
) -> np.ndarray:
    """Rotate an image, or a volume about one of its axes.

    With ``a`` and ``b`` the two axes that turn, in their order, counted from the centre, the voxel
    (a, b) gets the value at (a cos + b sin, b cos - a sin).

    Args:
        image: ``(H, W)`` or ``(D, H, W)``.
        degrees: Angle.
        axis: The axis of a volume that is turned about; not used for an image.
        fast: Slice by slice instead of in space.

    Returns:
        Array of the same shape and dtype.
    """
    if not fast:
        return _interpolate(image, _rotated_places(image.shape, degrees, axis))
    slices = _slices(image, axis)
    weights = _cubic_weights(slices.shape[1:], _rotated_places(slices.shape[1:], degrees))
    splines = slices.astype(np.float64)
    for turning in (1, 2):
        splines = ndimage.spline_filter1d(splines, axis=turning, mode='mirror')
    columns = np.ascontiguousarray(splines.reshape(len(slices), -1).T)
    turned = (weights @ columns).T.reshape(slices.shape).astype(image.dtype)
    return _unsliced(turned, image, axis)


def rotate_labels(labels: Labels, degrees: float, *, axis: int = 0, fast: bool = True) -> Labels:
    """Rotate a label map as :func:`rotate_image` rotates its image.

    Args:
        labels: Integers ``(H, W)`` or ``(D, H, W)``.
        degrees: Angle.
        axis: The axis that is turned about.
        fast: Compute votes at the borders of labels only.

    Returns:
        Array of the same shape and dtype.
    """
    if not fast:
        return _vote_by_masks(labels, _rotated_places(labels.shape, degrees, axis))
    slices = _slices(labels, axis)
    shape = slices.shape[1:]
    places = _rotated_places(shape, degrees)
    inside = np.ones(shape, bool)
    corners, shares = [], []
    for line, length in zip(places, shape, strict=True):
        inside &= (line >= 0) & (line <= length - 1)
        lower, weights = _linear(line, length)
        corners.append((lower, np.minimum(lower + 1, length - 1)))
        shares.append(weights)
    flat = slices.reshape(len(slices), -1)
    found = []
    votes = []
    for upper_a in (0, 1):
        for upper_b in (0, 1):
            index = corners[0][upper_a] * shape[1] + corners[1][upper_b]
            found.append(flat.take(index.ravel(), axis=1))
            votes.append((shares[0][upper_a] * shares[1][upper_b]).ravel())
    mixed = (found[0] != found[1]) | (found[0] != found[2]) | (found[0] != found[3])
    turned = found[0]
    which, where = np.nonzero(mixed)
    turned[which, where] = _winners(
        [values[which, where] for values in found], [share[where] for share in votes]
    )
    turned[:, ~inside.ravel()] = 0
    return _unsliced(turned.reshape(slices.shape), labels, axis)


def scale_image(image: np.ndarray, factor: float, *, fast: bool = True) -> np.ndarray:
    """Scale an image or a volume: coordinates, counted from the centre, times ``factor``.

    Args:
        image: ``(H, W)`` or ``(D, H, W)``.
        factor: Below 1 enlarges, 1 changes nothing.
        fast: Axis after axis instead of in space.

    Returns:
        Array of the same shape and dtype.
    """
    if not fast:
        return _interpolate(image, _scaled_places(image.shape, factor))
    if factor == 1:
        return image.copy()
    scaled = image.astype(np.float64)
    for axis, line in enumerate(_scaled_lines(image.shape, factor)):
        # Interpolation is linear in the values: its matrix is what becomes of the unit vectors.
        length = len(line)
        units = np.broadcast_to(np.arange(length), (length, length))
        matrix = ndimage.map_coordinates(np.eye(length), (units * 0 + line[:, None], units))
        scaled = np.moveaxis(np.tensordot(matrix, scaled, (1, axis)), 0, axis)
    return np.ascontiguousarray(scaled, dtype=image.dtype)


def scale_labels(labels: Labels, factor: float, *, fast: bool = True) -> Labels:
    """Scale a label map as :func:`scale_image` scales its image.

    Args:
        labels: Integers ``(H, W)`` or ``(D, H, W)``.
        factor: Below 1 enlarges, 1 changes nothing.
        fast: Compute votes at the borders of labels only.

    Returns:
        Array of the same shape and dtype.
    """
    if not fast:
        return _vote_by_masks(labels, _scaled_places(labels.shape, factor))
    if factor == 1:
        return labels.copy()
    corners, shares, inside = [], [], []
    smallest = largest = labels
    for axis, line in enumerate(_scaled_lines(labels.shape, factor)):
        length = len(line)
        lower, weights = _linear(line, length)
        upper = np.minimum(lower + 1, length - 1)
        corners.append((lower, upper))
        shares.append(weights)
        inside.append((line >= 0) & (line <= length - 1))
        smallest = np.minimum(smallest.take(lower, axis), smallest.take(upper, axis))
        largest = np.maximum(largest.take(lower, axis), largest.take(upper, axis))
    scaled = smallest
    where = np.nonzero(smallest != largest)
    found, votes = [], []
    for ends in np.ndindex(*(2,) * labels.ndim):
        picked = [pair[end][at] for pair, end, at in zip(corners, ends, where, strict=True)]
        found.append(labels[tuple(picked)])
        share = 1.0
        for pair, end, at in zip(shares, ends, where, strict=True):
            share = share * pair[end][at]
        votes.append(share)
    scaled[where] = _winners(found, votes)
    for axis, within in enumerate(inside):
        scaled[(slice(None),) * axis + (~within,)] = 0
    return scaled


def _slices(array: np.ndarray, axis: int) -> np.ndarray:
    """The slices across an axis of a volume, or an image as the only slice."""
    return array[None] if array.ndim == 2 else np.moveaxis(array, axis, 0)


def _unsliced(slices: np.ndarray, like: np.ndarray, axis: int) -> np.ndarray:
    whole = slices[0] if like.ndim == 2 else np.moveaxis(slices, 0, axis)
    return np.ascontiguousarray(whole)


def _scaled_lines(shape: Sequence[int], factor: float) -> list[np.ndarray]:
    centres = [(length - 1) / 2 for length in shape]
    return [
        (np.arange(length) - centre) * factor + centre
        for length, centre in zip(shape, centres, strict=True)
    ]


def _scaled_places(shape: Sequence[int], factor: float) -> list[np.ndarray]:
    return list(np.meshgrid(*_scaled_lines(shape, factor), indexing='ij'))


def _rotated_places(shape: Sequence[int], degrees: float, axis: int = 0) -> list[np.ndarray]:
    """Coordinates from which the voxels of an image or volume take their values."""
    centres = [(length - 1) / 2 for length in shape]
    lines = [np.arange(n) - centre for n, centre in zip(shape, centres, strict=True)]
    places = list(np.meshgrid(*lines, indexing='ij'))
    first, second = range(2) if len(shape) == 2 else [a for a in range(3) if a != axis]
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    a, b = places[first], places[second]
    places[first], places[second] = a * cos + b * sin, b * cos - a * sin
    return [place + centre for place, centre in zip(places, centres, strict=True)]


def _interpolate(image: np.ndarray, places: Sequence[np.ndarray]) -> np.ndarray:
    return ndimage.map_coordinates(image.astype(np.float64), places).astype(image.dtype)


def _vote_by_masks(labels: Labels, places: Sequence[np.ndarray]) -> Labels:
    result = np.zeros_like(labels)
    for label in np.unique(labels):
        mask = (labels == label).astype(np.float64)
        result[ndimage.map_coordinates(mask, places, order=1) >= 0.5] = label
    return result


def _linear(line: np.ndarray, length: int) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """Lower neighbours of places along an axis, and the weights of both, rounded as scipy does."""
    lower = np.floor(line)
    below = 1 - (line - lower)
    return np.clip(lower, 0, length - 1).astype(np.int64), (below, 1 - below)


def _winners(found: Sequence[np.ndarray], shares: Sequence[np.ndarray]) -> np.ndarray:
    """The largest label with at least half of the votes of a voxel's neighbours, or 0.

    Args:
        found: Labels of the neighbours, one array per neighbour.
        shares: Their votes. They are summed up in this order, as scipy does.
    """
    smallest, largest = np.minimum.reduce(found), np.maximum.reduce(found)
    winner = np.where(_votes(found, shares, smallest) >= 0.5, smallest, 0).astype(smallest.dtype)
    more = np.zeros(smallest.shape, bool)
    for values in found:
        more |= (values != smallest) & (values != largest)
    # Few voxels lie between more than two labels.
    (where,) = np.nonzero(more)
    found_there = [values[where] for values in found]
    shares_there = [share[where] for share in shares]
    between = winner[where]
    for label in np.unique(np.stack(found_there)):
        between[_votes(found_there, shares_there, label) >= 0.5] = label
    winner[where] = between
    np.copyto(winner, largest, where=_votes(found, shares, largest) >= 0.5)
    return winner


def _votes(
    found: Sequence[np.ndarray], shares: Sequence[np.ndarray], label: np.ndarray | int
) -> np.ndarray:
    total = np.zeros(found[0].shape)
    for values, share in zip(found, shares, strict=True):
        total += share * (values == label)
    return total


def _cubic_weights(shape: Sequence[int], places: Sequence[np.ndarray]) -> sparse.csr_matrix:
    """Weights of all spline coefficients of a slice (columns) in the value at each place (rows).

    Beyond the edges the coefficients are mirrored; a place outside has no weights, its value is 0.
    """
    inside = np.ones(shape, bool)
    columns, weights = np.zeros((1, 1), np.int64), np.ones((1, 1))
    for line, length in zip(places, shape, strict=True):
        inside &= (line >= 0) & (line <= length - 1)
    for line, length in zip(places, shape, strict=True):
        line = line[inside]
        lower = np.floor(line)
        part = line - lower
        # The cubic B-spline at the distances 1 + part, part, 1 - part and 2 - part.
        ends = (1 - part) ** 3 / 6, part**3 / 6
        second = part**3 / 2 - part**2 + 2 / 3
        near = np.stack([ends[0], second, 1 - ends[0] - second - ends[1], ends[1]])
        index = np.abs(lower.astype(np.int64) + np.arange(-1, 3)[:, None])
        # The period of a mirrored line; a line of one voxel has only that.
        index %= max(2 * (length - 1), 1)
        index = np.minimum(index, 2 * (length - 1) - index)
        columns = (columns[:, None] * length + index).reshape(4 * len(columns), len(line))
        weights = (weights[:, None] * near).reshape(len(columns), len(line))
    stops = np.cumsum(inside.ravel() * len(columns))
    return sparse.csr_matrix(
        (weights.T.ravel(), columns.T.ravel(), np.concatenate([[0], stops])),
        shape=(inside.size, inside.size),
    )
