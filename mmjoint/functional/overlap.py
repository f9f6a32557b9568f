"""Overlap of label maps: confusion matrices that add up, and Dice and IoU read from them."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class OverlapCounts(NamedTuple):
    """Pixel counts of each group of classes; arrays of the same shape ``(..., G)``.

    Attributes:
        intersection: Pixels that both maps give to the group.
        pred: Pixels that the prediction gives to the group.
        target: Pixels that the reference gives to the group.
    """

    intersection: np.ndarray
    pred: np.ndarray
    target: np.ndarray


def confusion_matrix(
    pred: np.ndarray, target: np.ndarray, num_classes: int, *, ignore_index: int | None = 255
) -> np.ndarray:
    """Count pairs of (reference, predicted) class. Matrices of several maps simply add up.

    Args:
        pred: Predicted class ids, any shape.
        target: Reference class ids, the same shape.
        num_classes: Number of classes C.
        ignore_index: Reference value whose entries are not counted; ``None`` counts all.

    Returns:
        int64 ``(C, C)``; row = reference class, column = predicted class.

    Raises:
        ValueError: Where shapes differ or a class id lies outside 0..C-1.
    """
    pred, target = np.asarray(pred), np.asarray(target)
    if pred.shape != target.shape:
        raise ValueError(f'pred and target must have one shape, got {pred.shape}, {target.shape}')
    pred, target = pred.reshape(-1).astype(np.int64), target.reshape(-1).astype(np.int64)
    if ignore_index is not None:
        kept = target != ignore_index
        pred, target = pred[kept], target[kept]
    for name, ids in (('pred', pred), ('target', target)):
        if ids.size and (ids.min() < 0 or ids.max() >= num_classes):
            raise ValueError(
                f'{name} must hold class ids 0..{num_classes - 1}, got {ids.min()}..{ids.max()}'
            )
    counts = np.bincount(target * num_classes + pred, minlength=num_classes**2)
    return counts.reshape(num_classes, num_classes)


def overlap_counts(confusion: np.ndarray, groups: Sequence[Sequence[int]]) -> OverlapCounts:
    """Read the counts of groups of classes from confusion matrices.

    Args:
        confusion: ``(..., C, C)``, row = reference class.
        groups: G groups of class ids; a group of several ids is their union.

    Returns:
        Counts ``(..., G)``.
    """
    confusion = np.asarray(confusion)
    members = np.zeros((len(groups), confusion.shape[-1]), dtype=confusion.dtype)
    for row, group in zip(members, groups, strict=True):
        row[list(group)] = 1
    return OverlapCounts(
        intersection=np.einsum('...tp,gt,gp->...g', confusion, members, members),
        pred=confusion.sum(-2) @ members.T,
        target=confusion.sum(-1) @ members.T,
    )


def _ratio(
    numerator: np.ndarray, denominator: np.ndarray, empty: float | None
) -> np.ndarray | float:
    numerator, denominator = np.asarray(numerator, float), np.asarray(denominator, float)
    fallback = np.full(numerator.shape, np.nan if empty is None else float(empty))
    return np.divide(numerator, denominator, out=fallback, where=denominator > 0)[()]


def dice_from_counts(counts: OverlapCounts, *, empty: float | None = 0.0) -> np.ndarray | float:
    """Dice = 2 |A and B| / (|A| + |B|).

    Args:
        counts: Pixel counts of any shape.
        empty: Value where both masks are empty; ``None`` gives NaN.

    Returns:
        float64 in [0, 1], of the counts' shape.
    """
    return _ratio(2 * np.asarray(counts.intersection), counts.pred + counts.target, empty)


def iou_from_counts(counts: OverlapCounts, *, empty: float | None = 0.0) -> np.ndarray | float:
    """IoU (Jaccard index) = |A and B| / |A or B|.

    Args:
        counts: Pixel counts of any shape.
        empty: Value where both masks are empty; ``None`` gives NaN.

    Returns:
        float64 in [0, 1], of the counts' shape.
    """
    union = counts.pred + counts.target - np.asarray(counts.intersection)
    return _ratio(counts.intersection, union, empty)


def precision_from_counts(
    counts: OverlapCounts, *, empty: float | None = 0.0
) -> np.ndarray | float:
    """Precision = |A and B| / |A|: the share of the prediction A that is right.

    Args:
        counts: Pixel counts of any shape.
        empty: Value where both masks are empty; ``None`` gives NaN. Where only the prediction is
            empty, the value is 0, as for Dice and recall.

    Returns:
        float64 in [0, 1], of the counts' shape.
    """
    return _share(counts, counts.pred, empty)


def recall_from_counts(counts: OverlapCounts, *, empty: float | None = 0.0) -> np.ndarray | float:
    """Recall = |A and B| / |B|: the share of the reference B that is found.

    Args:
        counts: Pixel counts of any shape.
        empty: Value where both masks are empty; ``None`` gives NaN. Where only the reference is
            empty, the value is 0, as for Dice and precision.

    Returns:
        float64 in [0, 1], of the counts' shape.
    """
    return _share(counts, counts.target, empty)


def _share(
    counts: OverlapCounts, whole: np.ndarray | int, empty: float | None
) -> np.ndarray | float:
    both_empty = (np.asarray(counts.pred) == 0) & (np.asarray(counts.target) == 0)
    shares = _ratio(counts.intersection, whole, 0.0)
    return np.where(both_empty, np.nan if empty is None else float(empty), shares)[()]


def _mask_counts(pred: np.ndarray, target: np.ndarray) -> OverlapCounts:
    pred, target = np.asarray(pred, bool), np.asarray(target, bool)
    if pred.shape != target.shape:
        raise ValueError(f'pred and target must have one shape, got {pred.shape}, {target.shape}')
    return OverlapCounts(np.sum(pred & target), pred.sum(), target.sum())


def dice(pred: np.ndarray, target: np.ndarray, *, empty: float | None = 0.0) -> float:
    """Dice of two masks of any shape; see :func:`dice_from_counts`."""
    return float(dice_from_counts(_mask_counts(pred, target), empty=empty))


def iou(pred: np.ndarray, target: np.ndarray, *, empty: float | None = 0.0) -> float:
    """IoU of two masks of any shape; see :func:`iou_from_counts`."""
    return float(iou_from_counts(_mask_counts(pred, target), empty=empty))
