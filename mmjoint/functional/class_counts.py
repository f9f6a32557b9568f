"""Overlap of label maps on the device, class by class; on the CPU see ``overlap``."""

import torch
from torch import Tensor


def class_counts(
    pred: Tensor, target: Tensor, num_classes: int, *, ignore_index: int | None = 255
) -> Tensor:
    """Count pixels per class: in both maps, in the prediction, in the target.

    Args:
        pred: Class ids in [0, C), any shape.
        target: Likewise, or ``ignore_index``.
        num_classes: C.
        ignore_index: Target value whose positions are not counted; None: all are.

    Returns:
        int64 ``(3, C)``: intersection, prediction, target. Counts of several maps add up.
    """
    pred, target = pred.reshape(-1).long(), target.reshape(-1).long()
    if ignore_index is not None:
        # They are counted in a row of their own: no selection, whose size would be data's.
        target = target.masked_fill(target == ignore_index, num_classes)
    pairs = torch.bincount(target * num_classes + pred, minlength=(num_classes + 1) * num_classes)
    pairs = pairs.view(num_classes + 1, num_classes)[:num_classes]
    return torch.stack([pairs.diagonal(), pairs.sum(0), pairs.sum(1)])


def hard_dice(counts: Tensor, *, smooth: float = 1e-8) -> Tensor:
    r"""Dice of counts, with a smoothing that gives an empty class one half.

    :math:`(2 TP + \epsilon) / (2 TP + FP + FN + \epsilon + 10^{-8})`: with the default
    :math:`\epsilon` a class in neither map gets 1/2, one without overlap about 0.

    Args:
        counts: ``(3, ...)``, see :func:`class_counts`.
        smooth: :math:`\epsilon`.

    Returns:
        float64 ``(...)`` in [0, 1].
    """
    overlap, pred, target = counts.double()
    return (2 * overlap + smooth) / (pred + target + smooth + 1e-8)
