"""From a map of uncertainty to one score of the case.

The scores need no reference mask: they are what is known of a new case. Pixels (or voxels) whose
value is not finite count nowhere.

- ``mean``: over all pixels.
- ``mean_foreground``: over the pixels that are predicted not to be background.
- ``patch_max``: the largest mean over a window that lies inside the map. It finds a small
  uncertain spot that the mean over a large map would hide.
- ``mean_off_boundary``: over the pixels that are not close to a predicted border. Borders are
  uncertain in good masks as well; what is uncertain elsewhere tells more.
- ``per_predicted_volume``: sum over all pixels, divided by the number of foreground pixels. The
  length of borders, and so the sum, grows with the object; a large sum beside a small object is
  suspicious.

Reference:
    Kahl et al., ValUES: A Framework for Systematic Validation of Uncertainty Estimation in Semantic
    Segmentation, ICLR 2024 (mean over the image; maximum over patches of 10 elements a side).
    Jungo, Balsiger and Reyes, Analyzing the Quality and Challenges of Uncertainty Estimations for
    Brain Tumor Segmentation, Frontiers in Neuroscience 2020 (that aggregated values find failed
    cases). The definitions of the other scores are ours.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy import ndimage

AGGREGATIONS = (
    'mean',
    'mean_foreground',
    'patch_max',
    'mean_off_boundary',
    'per_predicted_volume',
)


class MapSums(NamedTuple):
    """What the scores of a map are made of; that of several slices gives that of their volume.

    Attributes:
        total: Sum and number of all pixels.
        foreground: Sum and number of the pixels of the predicted foreground.
        off_boundary: Sum and number of the pixels away from predicted borders.
        patch_max: Largest mean over a patch; NaN without a patch of finite values.
    """

    total: tuple[float, int]
    foreground: tuple[float, int]
    off_boundary: tuple[float, int]
    patch_max: float


def aggregate_map(
    values: np.ndarray,
    pred: np.ndarray | None,
    *,
    patch_size: int = 10,
    boundary_width: int = 3,
) -> dict[str, float]:
    """Reduce a map to one score by each of ``AGGREGATIONS``.

    Args:
        values: Uncertainty, ``(*space)``, any number of axes.
        pred: Predicted class ids of the same shape, 0 = background. ``None`` where there is no
            mask: what needs one is NaN.
        patch_size: Side of the window of ``patch_max`` in pixels along each axis; an axis that is
            shorter is covered whole.
        boundary_width: A pixel is close to a border where another class is predicted at most so
            many steps away, diagonal ones included.

    Returns:
        One value for each name in ``AGGREGATIONS``, in this order; NaN where it is not defined
        (no foreground predicted, everything close to a border, no finite value).

    Raises:
        ValueError: For unequal shapes or options below 1.
    """
    (scores,) = aggregate_maps(
        {'': values}, pred, patch_size=patch_size, boundary_width=boundary_width
    ).values()
    return scores


def aggregate_maps(
    maps: Mapping[str, np.ndarray],
    pred: np.ndarray | None,
    *,
    patch_size: int = 10,
    boundary_width: int = 3,
) -> dict[str, dict[str, float]]:
    """Do :func:`aggregate_map` for several maps of one prediction, whose borders are found once.

    Args:
        maps: Name of the measure -> values ``(*space)``.
        pred: See :func:`aggregate_map`.
        patch_size: See :func:`aggregate_map`.
        boundary_width: See :func:`aggregate_map`.

    Returns:
        ``{measure: {aggregation: score}}``.
    """
    sums = sum_maps(maps, pred, patch_size=patch_size, boundary_width=boundary_width)
    return {name: scores_from_sums(each) for name, each in sums.items()}


def sum_maps(
    maps: Mapping[str, np.ndarray],
    pred: np.ndarray | None,
    *,
    patch_size: int = 10,
    boundary_width: int = 3,
) -> dict[str, MapSums]:
    """Give the sums that the scores are made of; for the arguments see :func:`aggregate_maps`."""
    if patch_size < 1 or boundary_width < 1:
        raise ValueError(
            f'patch_size and boundary_width must be >= 1, got {patch_size} and {boundary_width}'
        )
    if pred is None:
        inside = off_boundary = None
    else:
        pred = np.asarray(pred)
        inside, off_boundary = pred != 0, away_from_borders(pred, boundary_width)
    sums = {}
    for name, values in maps.items():
        values = np.asarray(values, float)
        if pred is not None and values.shape != pred.shape:
            raise ValueError(
                f'values and pred must have one shape, got {values.shape} and {pred.shape}'
            )
        finite = np.isfinite(values)
        bad = None if finite.all() else ~finite
        if bad is not None:
            values = np.where(finite, values, 0)
        sums[name] = MapSums(
            total=_sum_over(values, finite, None),
            foreground=_sum_over(values, inside, bad),
            off_boundary=_sum_over(values, off_boundary, bad),
            patch_max=_patch_max(values, bad, patch_size),
        )
    return sums


def merge_sums(parts: Sequence[MapSums]) -> MapSums:
    """Give the sums of a volume from those of its slices; patches and borders stay in a slice."""
    added = [
        (sum(pair[0] for pair in pairs), sum(pair[1] for pair in pairs))
        for pairs in zip(*(part[:3] for part in parts), strict=True)
    ]
    largest = [part.patch_max for part in parts if not np.isnan(part.patch_max)]
    return MapSums(*added, patch_max=max(largest, default=float('nan')))


def scores_from_sums(sums: MapSums) -> dict[str, float]:
    """Give the scores, in the order of ``AGGREGATIONS``; NaN where one is not defined."""
    scores = (
        _ratio(*sums.total),
        _ratio(*sums.foreground),
        sums.patch_max,
        _ratio(*sums.off_boundary),
        _ratio(sums.total[0] if sums.total[1] else np.nan, sums.foreground[1]),
    )
    return dict(zip(AGGREGATIONS, scores, strict=True))


def away_from_borders(pred: np.ndarray, width: int) -> np.ndarray:
    """Pixels that have no other class within a number of steps, diagonal ones included.

    Args:
        pred: Class ids ``(*space)``.
        width: Number of steps. Outside the map there is no other class.

    Returns:
        bool, the shape of ``pred``.
    """
    size = 2 * width + 1
    largest = ndimage.maximum_filter(pred, size, mode='nearest')
    return largest == ndimage.minimum_filter(pred, size, mode='nearest')


def _sum_over(
    values: np.ndarray, chosen: np.ndarray | None, bad: np.ndarray | None
) -> tuple[float, int]:
    """Sum and number of the chosen pixels that are not bad."""
    if chosen is None:
        return 0.0, 0
    if bad is not None:
        chosen = chosen & ~bad
    return float(values[chosen].sum()), int(chosen.sum())


def _patch_max(values: np.ndarray, bad: np.ndarray | None, patch_size: int) -> float:
    """Largest mean over the windows inside the map that hold no bad value; NaN if there is none."""
    if values.size == 0:
        return float('nan')
    sides = [min(patch_size, length) for length in values.shape]
    sums = _window_sums(values, sides)
    if bad is not None:
        # Counts are whole numbers, so exact.
        sums = sums[_window_sums(bad.astype(float), sides) == 0]
        if sums.size == 0:
            return float('nan')
    return float(sums.max() / np.prod(sides))


def _window_sums(values: np.ndarray, sides: Sequence[int]) -> np.ndarray:
    """Sums over all windows inside the map, axis by axis, each as a difference of running sums."""
    for axis, side in enumerate(sides):
        running = np.cumsum(np.moveaxis(values, axis, 0), axis=0)
        sums = running[side - 1 :].copy()
        sums[1:] -= running[:-side]
        values = np.moveaxis(sums, 0, axis)
    return values


def _ratio(total: float, count: int) -> float:
    return float(total / count) if count else float('nan')
