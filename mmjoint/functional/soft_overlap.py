"""Overlap of soft masks as losses need it, with gradients; for label maps see ``overlap``."""

from collections.abc import Sequence

from torch import Tensor


def soft_dice(
    pred: Tensor, target: Tensor, *, axes: Sequence[int] | None = None, smooth: float = 1e-6
) -> Tensor:
    r"""Soft Dice coefficient, :math:`(2 \sum p g + \epsilon) / (\sum p + \sum g + \epsilon)`.

    Args:
        pred: Probabilities or masks in [0, 1], any shape; 0 where a position does not count.
        target: Of the same shape, likewise.
        axes: What the sums go over; None: everything.
        smooth: :math:`\epsilon`, > 0. Two empty masks give 1.

    Returns:
        Values in (0, 1], of the shape that is left without ``axes``.

    Example:
        >>> soft_dice(torch.tensor([1.0, 0.5]), torch.tensor([1.0, 0.0]), smooth=1e-9)
        tensor(0.8000)
    """
    axes = tuple(range(pred.dim())) if axes is None else tuple(axes)
    overlap = (pred * target).sum(axes)
    total = pred.sum(axes) + target.sum(axes)
    return (2 * overlap + smooth) / (total + smooth)


def squared_dice(
    pred: Tensor, target: Tensor, *, axes: Sequence[int] | None = None, smooth: float = 1e-5
) -> Tensor:
    r"""Soft Dice coefficient, :math:`(2 \sum p g + \epsilon) / (\sum p^2 + \sum g^2 + \epsilon)`.

    Args:
        pred: Probabilities in [0, 1], any shape; 0 where a position does not count.
        target: Of the same shape, likewise.
        axes: What the sums go over; None: everything.
        smooth: :math:`\epsilon`, > 0. Two empty masks give 1.

    Returns:
        Values in (0, 1], of the shape that is left without ``axes``.

    Example:
        >>> squared_dice(torch.tensor([1.0, 0.5]), torch.tensor([1.0, 0.0]), smooth=1e-9)
        tensor(0.8889)
    """
    axes = tuple(range(pred.dim())) if axes is None else tuple(axes)
    overlap = (pred * target).sum(axes)
    total = pred.square().sum(axes) + target.square().sum(axes)
    return (2 * overlap + smooth) / (total + smooth)
