from typing import Literal

import torch
from torch import Tensor, nn

from mmjoint.functional.soft_overlap import soft_dice
from mmjoint.registry import MODELS

from .log_dice_loss import one_hot_map
from .reduction import full_precision, masked_mean


@MODELS.register_module()
class SampleDiceLoss(nn.Module):
    r"""One minus the soft Dice coefficient of each sample and class, on average.

    :math:`D = (2 \sum p g + \epsilon) / (\sum p + \sum g + \epsilon)` over the valid positions of
    one sample and class, p the softmax of the logits. Samples without a valid position do not
    count. Where a sample lacks a class, D is near 1 only if the prediction is nearly empty as well.

    Args:
        scheme: ``'foreground'`` leaves class 0 out, so of two classes the softmax is the sigmoid of
            their difference; ``'all'`` takes all classes.
        smooth: :math:`\epsilon`, > 0.
        loss_weight: Factor of the result.
        loss_name: Its key.

    Shape:
        - logits: ``(B, C, *space)``.
        - target: int64 ``(B, *space)`` in [0, C) or ``ignore_index``.
        - Output: scalar; exactly 0 with a graph where no target is valid.

    Raises:
        ValueError: If the scheme is unknown or ``smooth`` is not positive.
    """

    def __init__(
        self,
        *,
        scheme: Literal['foreground', 'all'] = 'foreground',
        smooth: float = 1.0,
        loss_weight: float = 1.0,
        loss_name: str = 'loss_dice',
    ) -> None:
        super().__init__()
        if scheme not in ('foreground', 'all'):
            raise ValueError(f"scheme must be 'foreground' or 'all', got {scheme!r}")
        if smooth <= 0:
            raise ValueError(f'smooth must be > 0, got {smooth}')
        self.scheme = scheme
        self.smooth = smooth
        self.loss_weight = loss_weight
        self.loss_name = loss_name

    def forward(self, logits: Tensor, target: Tensor, *, ignore_index: int = 255) -> Tensor:
        """Compute the loss; see the class."""
        logits = full_precision(logits)
        valid = (target != ignore_index).unsqueeze(1)
        probs = logits.softmax(1) * valid
        one_hot = one_hot_map(target, logits.shape[1], logits, ignore_index)
        if self.scheme == 'foreground':
            probs, one_hot = probs[:, 1:], one_hot[:, 1:]
        dice = soft_dice(probs, one_hot, axes=range(2, probs.dim()), smooth=self.smooth)
        counts = valid.flatten(1).any(1, keepdim=True).to(dice)
        return self.loss_weight * masked_mean(1 - dice, counts * torch.ones_like(dice))
