"""Measures of one channel of a task: counts that add up over images, and what follows from them.

A channel is a yes-or-no question for each pixel, answered by a probability. Channels may overlap,
so each is measured alone, against the mask of its own.
"""

import cv2
import numpy as np

from .overlap import OverlapCounts
from .ranking import ordered_codes

GRID = tuple(step / 10 for step in range(11))
"""Thresholds of the published precision-recall curves of lesions."""


def divide(part: np.ndarray | float, whole: np.ndarray | float) -> np.ndarray:
    """Divide counts; NaN where ``whole`` is 0.

    Args:
        part: Any shape.
        whole: The same shape.

    Returns:
        float64 of that shape.
    """
    part, whole = np.asarray(part, float), np.asarray(whole, float)
    return np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)[()]


def complement(counts: OverlapCounts, total: np.ndarray) -> OverlapCounts:
    """Counts of the pixels outside a mask, from those inside.

    Args:
        counts: Of the mask, any shape.
        total: Number of all pixels, of that shape.
    """
    either = counts.pred + counts.target - counts.intersection
    return OverlapCounts(total - either, total - counts.pred, total - counts.target)


def grid_counts(probs: np.ndarray, truth: np.ndarray, grid: tuple[float, ...] = GRID) -> np.ndarray:
    """Count what lies above each threshold of a grid.

    Args:
        probs: ``(N,)`` in [0, 1].
        truth: bool ``(N,)``.
        grid: T thresholds, rising. They are compared in float64: the float32 nearest to 0.3 is
            above 0.3.

    Returns:
        int64 ``(2, T)``: true positives, and all positives, of ``probs > threshold``.
    """
    below = np.searchsorted(np.asarray(grid, np.float64), probs.astype(np.float64), side='left')
    counts = [
        np.bincount(each, minlength=len(grid) + 1)[::-1].cumsum()[::-1][1:]
        for each in (below[truth], below)
    ]
    return np.stack(counts)


def area_on_grid(hits: np.ndarray, called: np.ndarray, num_true: int) -> float:
    """Area under the precision-recall curve through the thresholds of a grid alone.

    Precision is 1 where nothing is called positive, recall is 0 where nothing is true. Trapezoids
    between neighbouring thresholds; the curve is not drawn on to recall 0 or 1, so a model whose
    probabilities fill a small range gets a small area.

    Args:
        hits: True positives ``(T,)``, thresholds rising.
        called: All positives ``(T,)``.
        num_true: Number of true pixels.

    Returns:
        In [0, 1].

    Reference:
        The lesion evaluation of PSSNet (Liu et al., Pattern Recognition 155 (2024) 110636) and of
        M2MRF, whose figures it is to be compared with.
    """
    precision = np.where(called > 0, hits / np.maximum(called, 1), 1.0)
    recall = hits / num_true if num_true else np.zeros(len(hits))
    return float(np.sum((recall[:-1] - recall[1:]) * (precision[:-1] + precision[1:]) / 2))


def probability_codes(probs: np.ndarray) -> np.ndarray:
    """Bin probabilities finely near 0 and near 1.

    Args:
        probs: Any shape, in [0, 1].

    Returns:
        int32 codes of the same shape that rise with the probability. Bins are 1/256 wide, relative
        to the power of 2 below the distance to the nearer end.
    """
    upper = probs >= 0.5
    codes = ordered_codes(np.where(upper, probs - 1, probs))
    half, minus_half = ordered_codes(np.array([0.5, -0.5], np.float32))
    return np.where(upper, codes - minus_half + half, codes)


def otsu_rates(probs: np.ndarray, truth: np.ndarray) -> tuple[float, float, float]:
    """Rates of the mask that Otsu's threshold makes of the probabilities of one image.

    The threshold parts the whole numbers floor(255 p) so that the two parts differ most; above it
    is positive. It looks at this image alone, so it hides whether the probabilities mean anything.

    Args:
        probs: ``(N,)`` in [0, 1].
        truth: bool ``(N,)``.

    Returns:
        Sensitivity, specificity and precision; NaN where there is nothing to take the share of.
    """
    if not probs.size:
        return (float('nan'),) * 3
    levels = np.floor(255 * probs.astype(np.float32)).astype(np.uint8)
    threshold, _ = cv2.threshold(levels[:, None], 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    called = levels > threshold
    hits, num_called, num_true = ((called & truth).sum(), called.sum(), truth.sum())
    missed_none = truth.size - num_true - num_called + hits
    return (
        float(divide(hits, num_true)),
        float(divide(missed_none, truth.size - num_true)),
        float(divide(hits, num_called)),
    )
