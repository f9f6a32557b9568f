"""Distances between the borders of two masks, in any number of dimensions."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import ndimage
from scipy.spatial import KDTree

# A distance transform costs as much per element as a search tree does per so many points.
_ELEMENTS_PER_POINT = 5


class SurfaceDistances(NamedTuple):
    """Directed distances between two borders, in the unit of the spacing.

    Attributes:
        pred_to_target: From each border element of the prediction to the nearest border element
            of the reference.
        target_to_pred: The other direction.
    """

    pred_to_target: np.ndarray
    target_to_pred: np.ndarray


def mask_border(mask: np.ndarray, *, connectivity: int = 1) -> np.ndarray:
    """Elements of a mask that one erosion removes; outside the array counts as background.

    Args:
        mask: bool, any number of dimensions.
        connectivity: Neighbourhood of the erosion: 1 = the neighbours that share a face (4 in 2-D,
            6 in 3-D), up to the number of dimensions = all that touch (8 and 26).

    Returns:
        bool, the shape of ``mask``.
    """
    mask = np.asarray(mask, bool)
    if connectivity > 1:
        structure = ndimage.generate_binary_structure(mask.ndim, connectivity)
        return mask & ~ndimage.binary_erosion(mask, structure, border_value=0)
    # The same for neighbours along the axes, in a tenth of the time.
    inside = mask.copy()
    for axis in range(mask.ndim):
        own, others = np.moveaxis(inside, axis, 0), np.moveaxis(mask, axis, 0)
        own[:-1] &= others[1:]
        own[1:] &= others[:-1]
        own[:1] = own[-1:] = False
    return mask & ~inside


def crop_to_union(pred: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cut two masks to the bounding box of their union, padded by one element of background.

    Borders and distances between them stay exactly what they were: what is cut off is background,
    and what lies outside an array is background too.

    Args:
        pred: bool mask.
        target: bool mask of the same shape; one of the two may be empty, not both.

    Returns:
        The two cut masks.
    """
    union = pred | target
    box = []
    for axis in range(union.ndim):
        others = tuple(a for a in range(union.ndim) if a != axis)
        hit = np.flatnonzero(union.any(axis=others))
        box.append(slice(hit[0], hit[-1] + 1))
    window = tuple(box)
    return np.pad(pred[window], 1), np.pad(target[window], 1)


def surface_distances(
    pred: np.ndarray,
    target: np.ndarray,
    *,
    spacing: Sequence[float] | None = None,
    connectivity: int = 1,
    crop: bool = True,
) -> SurfaceDistances | None:
    """Euclidean distances from border to border in both directions.

    Args:
        pred: bool mask, any number of dimensions.
        target: bool mask of the same shape.
        spacing: Size of an element along each axis, in mm; ``None`` is 1 along each, so that
            distances are in pixels.
        connectivity: Neighbourhood that defines the border, see :func:`mask_border`.
        crop: Work on the bounding box of both masks: the same values, in less time.

    Returns:
        The distances, or ``None`` where either mask is empty: there is no border to go to.

    Raises:
        ValueError: Where the shapes differ or the spacing does not fit them.
    """
    pred, target, steps = _checked(pred, target, spacing)
    if not pred.any() or not target.any():
        return None
    if crop:
        pred, target = crop_to_union(pred, target)
    pred_border = mask_border(pred, connectivity=connectivity)
    target_border = mask_border(target, connectivity=connectivity)
    num_points = np.count_nonzero(pred_border) + np.count_nonzero(target_border)
    if _ELEMENTS_PER_POINT * num_points > pred.size:
        to_target = ndimage.distance_transform_edt(~target_border, sampling=steps)
        to_pred = ndimage.distance_transform_edt(~pred_border, sampling=steps)
        return SurfaceDistances(to_target[pred_border], to_pred[target_border])
    # Borders are thin, mostly: looking their elements up in a tree then takes a tenth of the time.
    pred_points, target_points = (np.argwhere(b) * steps for b in (pred_border, target_border))
    return SurfaceDistances(
        KDTree(target_points).query(pred_points)[0], KDTree(pred_points).query(target_points)[0]
    )


def _checked(
    pred: np.ndarray, target: np.ndarray, spacing: Sequence[float] | None
) -> tuple[np.ndarray, np.ndarray, list[float]]:
    """Give two masks as bool, and the size of an element along each axis."""
    pred, target = np.asarray(pred, bool), np.asarray(target, bool)
    if pred.shape != target.shape:
        raise ValueError(f'pred and target must have one shape, got {pred.shape}, {target.shape}')
    if spacing is not None and (len(spacing) != pred.ndim or min(spacing) <= 0):
        raise ValueError(f'spacing must be {pred.ndim} positive numbers, got {tuple(spacing)}')
    return pred, target, [1.0] * pred.ndim if spacing is None else [float(s) for s in spacing]


def asd_from_distances(distances: SurfaceDistances) -> float:
    """One-sided: mean distance from the predicted border to the reference border."""
    return float(distances.pred_to_target.mean())


def assd_from_distances(distances: SurfaceDistances) -> float:
    """Average symmetric surface distance: mean of the means of both directions.

    Other software takes the mean of the distances of both directions together, see
    :func:`assd_pooled_from_distances`; the values differ where one border is longer.
    """
    return float((distances.pred_to_target.mean() + distances.target_to_pred.mean()) / 2)


def assd_pooled_from_distances(distances: SurfaceDistances) -> float:
    """Average symmetric surface distance over the distances of both directions together."""
    return float(np.concatenate(distances).mean())


def hd95_from_distances(distances: SurfaceDistances) -> float:
    """95th percentile (linear interpolation) of the distances of both directions together.

    Other software takes the larger of the two directed percentiles instead, see
    :func:`hd95_max_from_distances`; the values differ.
    """
    return float(np.percentile(np.concatenate(distances), 95))


def hd95_max_from_distances(distances: SurfaceDistances) -> float:
    """The larger of the 95th percentiles (linear interpolation) of the two directions."""
    return float(max(np.percentile(directed, 95) for directed in distances))


def hd_from_distances(distances: SurfaceDistances) -> float:
    """Hausdorff distance: the largest distance of both directions."""
    return float(max(distances.pred_to_target.max(), distances.target_to_pred.max()))


def set_distances(
    pred: np.ndarray, target: np.ndarray, *, spacing: Sequence[float] | None = None
) -> SurfaceDistances | None:
    """Euclidean distances from mask to mask, not from border to border.

    Args:
        pred: bool mask, any number of dimensions.
        target: bool mask of the same shape.
        spacing: See :func:`surface_distances`.

    Returns:
        From each element of a mask to the nearest element of the other, 0 for those of both; or
        ``None`` where either mask is empty.

    Raises:
        ValueError: Where the shapes differ or the spacing does not fit them.
    """
    pred, target, steps = _checked(pred, target, spacing)
    if not pred.any() or not target.any():
        return None
    pred, target = crop_to_union(pred, target)
    to_target = ndimage.distance_transform_edt(~target, sampling=steps)
    to_pred = ndimage.distance_transform_edt(~pred, sampling=steps)
    return SurfaceDistances(to_target[pred], to_pred[target])


def ahd_from_distances(distances: SurfaceDistances) -> float:
    """Average Hausdorff distance: the larger of the mean distances of the two directions.

    Args:
        distances: Of :func:`set_distances`. Of borders, they give another quantity.

    Reference:
        Taha and Hanbury, Metrics for evaluating 3D medical image segmentation, BMC Medical Imaging
        15 (2015).
    """
    return float(max(directed.mean() for directed in distances))


SURFACE_MEASURES = {
    'ASD': asd_from_distances,
    'ASSD': assd_from_distances,
    'ASSD_pooled': assd_pooled_from_distances,
    'HD95': hd95_from_distances,
    'HD95_max': hd95_max_from_distances,
    'HD': hd_from_distances,
}


def nsd_from_distances(distances: SurfaceDistances, tolerance: float) -> float:
    """Normalised surface Dice: share of both borders that lies near the other border.

    Args:
        distances: Of both directions.
        tolerance: Largest distance that counts as near, in the unit of the distances.

    Returns:
        In [0, 1]; every border element counts the same, whatever the spacing.

    Reference:
        Nikolov et al., "Deep learning to achieve clinically applicable segmentation of head and
        neck anatomy for radiotherapy", 2018. There, surface elements are weighted by their area.
    """
    near = sum(np.count_nonzero(directed <= tolerance) for directed in distances)
    return near / sum(len(directed) for directed in distances)


def surface_distance(
    pred: np.ndarray,
    target: np.ndarray,
    measure: str = 'ASSD',
    *,
    spacing: Sequence[float] | None = None,
    connectivity: int = 1,
    empty: float | None = 10.0,
    both_empty: float | None = None,
) -> float:
    """One surface measure of two masks, with an explicit value where a mask is empty.

    Args:
        pred: bool mask, any number of dimensions.
        target: bool mask of the same shape.
        measure: A name of ``SURFACE_MEASURES``.
        spacing: See :func:`surface_distances`.
        connectivity: See :func:`surface_distances`.
        empty: Value where either mask is empty; ``None`` gives NaN (count such cases apart).
        both_empty: Value where both are empty; ``None`` means the same as ``empty``.

    Returns:
        The measure, >= 0, in the unit of the spacing.
    """
    distances = surface_distances(pred, target, spacing=spacing, connectivity=connectivity)
    if distances is not None:
        return SURFACE_MEASURES[measure](distances)
    neither = not np.any(pred) and not np.any(target)
    value = both_empty if neither and both_empty is not None else empty
    return float('nan') if value is None else float(value)


def normalised_surface_dice(
    pred: np.ndarray,
    target: np.ndarray,
    tolerance: float,
    *,
    spacing: Sequence[float] | None = None,
    connectivity: int = 1,
    both_empty: float | None = None,
) -> float:
    """Normalised surface Dice of two masks; see :func:`nsd_from_distances`.

    Args:
        pred: bool mask, any number of dimensions.
        target: bool mask of the same shape.
        tolerance: Largest distance that counts as near, in the unit of the spacing.
        spacing: See :func:`surface_distances`.
        connectivity: See :func:`surface_distances`.
        both_empty: Value where both masks are empty; ``None`` gives NaN.

    Returns:
        In [0, 1]; 0 where just one mask is empty.
    """
    distances = surface_distances(pred, target, spacing=spacing, connectivity=connectivity)
    if distances is not None:
        return nsd_from_distances(distances, tolerance)
    if np.any(pred) or np.any(target):
        return 0.0
    return float('nan') if both_empty is None else float(both_empty)
