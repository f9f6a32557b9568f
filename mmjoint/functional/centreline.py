"""Overlap of thin structures by their centrelines."""

import numpy as np
from skimage.morphology import skeletonize


def centreline_counts(
    pred: np.ndarray, target: np.ndarray, within: np.ndarray | None = None
) -> np.ndarray:
    """Count the pixels of each mask's skeleton, and how many of them the other mask covers.

    Args:
        pred: bool ``(H, W)`` or ``(D, H, W)``.
        target: bool, the same shape.
        within: bool, the same shape: where skeletons count. They are those of the whole masks,
            since a cut would make new ends.

    Returns:
        int64 ``(4,)``: skeleton of ``pred`` inside ``target``, its length, skeleton of ``target``
        inside ``pred``, its length. Counts of several images simply add up.
    """
    pred, target = np.asarray(pred, bool), np.asarray(target, bool)
    if pred.shape != target.shape:
        raise ValueError(f'pred and target must have one shape, got {pred.shape}, {target.shape}')
    counts = []
    for mask, other in ((pred, target), (target, pred)):
        skeleton = skeletonize(mask) if mask.any() else mask
        if within is not None:
            skeleton = skeleton & within
        counts += [(skeleton & other).sum(), skeleton.sum()]
    return np.array(counts, np.int64)


def cl_dice_from_counts(counts: np.ndarray) -> np.ndarray | float:
    """Take clDice from the counts of :func:`centreline_counts`.

    The harmonic mean of topology precision (the share of the predicted centreline inside the
    reference) and topology sensitivity (the share of the reference's inside the prediction).

    Args:
        counts: ``(..., 4)``.

    Returns:
        float64 ``(...)`` in [0, 1]; 0 where one skeleton is empty, NaN where both are.

    Reference:
        Shit et al., clDice, CVPR 2021, equations 1 to 3; with the skeletons of scikit-image
        (Zhang's in 2-D, Lee's in 3-D) and not the soft ones of the loss.
    """
    pred_hit, pred_all, target_hit, target_all = np.moveaxis(np.asarray(counts, float), -1, 0)
    precision = pred_hit / np.maximum(pred_all, 1)
    sensitivity = target_hit / np.maximum(target_all, 1)
    both = precision + sensitivity
    values = np.divide(2 * precision * sensitivity, both, out=np.zeros_like(both), where=both > 0)
    return np.where((pred_all == 0) & (target_all == 0), np.nan, values)[()]
