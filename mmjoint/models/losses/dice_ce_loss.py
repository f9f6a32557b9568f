import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmjoint.functional.soft_overlap import soft_dice
from mmjoint.registry import MODELS

from .reduction import full_precision, masked_mean


@MODELS.register_module()
class DiceCELoss(nn.Module):
    r"""Cross-entropy minus the soft Dice coefficient of the foreground, both weighted by class.

    .. math::
        L = \frac{\sum_i w_{y_i} (-\ln p_{i, y_i})}{\sum_i w_{y_i}}
            - \frac{1}{C - 1} \sum_{c \ge 1} w_c D_c, \qquad
        D_c = \frac{2 \sum_i p_{ic} g_{ic} + \epsilon}{\sum_i p_{ic} + \sum_i g_{ic} + \epsilon}

    with sums over all valid positions of the batch. Minus the Dice, not one minus it: the loss can
    be negative, and a perfect prediction gives -1 (with weights 1).

    Args:
        smooth: :math:`\epsilon`, > 0.
        loss_weight: Factor of the result.
        loss_name: Its key.

    Shape:
        - logits: ``(B, C, *space)``, C at least 2. Half precision is widened first.
        - target: int64 ``(B, *space)`` in [0, C) or ``ignore_index``.
        - class_weight: ``(C,)``, > 0, or None for 1. Background has one too; the scale cancels in
          the cross-entropy, but not in the Dice.
        - Output: scalar; exactly 0 with a graph where no target is valid.

    Raises:
        ValueError: If ``smooth`` is not positive.

    Reference:
        Isensee et al., nnU-Net, Nature Methods 2021 (batch Dice); class weights as in Wang and Li,
        NeurIPS 2023.
    """

    def __init__(
        self, *, smooth: float = 1.0, loss_weight: float = 1.0, loss_name: str = 'loss_dice_ce'
    ) -> None:
        super().__init__()
        if smooth <= 0:
            raise ValueError(f'smooth must be > 0, got {smooth}')
        self.smooth = smooth
        self.loss_weight = loss_weight
        self.loss_name = loss_name

    def forward(
        self,
        logits: Tensor,
        target: Tensor,
        class_weight: Tensor | None = None,
        *,
        ignore_index: int | None = 255,
    ) -> Tensor:
        """Compute the loss; see the class.

        Args:
            logits: Logits.
            target: True classes.
            class_weight: Weights of the classes.
            ignore_index: Target value that does not count; None: all targets are known to.
        """
        log_probs = full_precision(logits).log_softmax(1)
        valid = None
        if ignore_index is not None:
            valid = target != ignore_index
            target = target.masked_fill(~valid, 0)
        if class_weight is not None:
            class_weight = class_weight.to(log_probs)
        entropy = self._cross_entropy(log_probs, target, class_weight, valid)
        dice = self._dice(log_probs.exp(), target, class_weight, valid)
        return self.loss_weight * (entropy - dice)

    @staticmethod
    def _cross_entropy(
        log_probs: Tensor, target: Tensor, class_weight: Tensor | None, valid: Tensor | None
    ) -> Tensor:
        if valid is None:
            return F.nll_loss(log_probs, target, class_weight)
        loss = F.nll_loss(log_probs, target, reduction='none')
        weight = valid.to(loss)
        if class_weight is not None:
            weight = weight * class_weight[target]
        return masked_mean(loss, weight)

    def _dice(
        self, probs: Tensor, target: Tensor, class_weight: Tensor | None, valid: Tensor | None
    ) -> Tensor:
        classes = torch.arange(1, probs.shape[1], device=probs.device)
        probs = probs[:, 1:]
        one_hot = target.unsqueeze(1) == classes.view(-1, *[1] * (target.dim() - 1))
        if valid is not None:
            one_hot = one_hot & valid.unsqueeze(1)
            probs = probs * valid.unsqueeze(1)
        axes = [0, *range(2, probs.dim())]
        dice = soft_dice(probs, one_hot, axes=axes, smooth=self.smooth)
        if class_weight is not None:
            dice = dice * class_weight[1:]
        return dice.mean() if valid is None else dice.mean() * valid.any()
