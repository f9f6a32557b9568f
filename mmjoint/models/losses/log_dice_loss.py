import torch.nn.functional as F
from torch import Tensor, nn

from mmjoint.functional.soft_overlap import soft_dice
from mmjoint.registry import MODELS


def one_hot_map(target: Tensor, num_classes: int, like: Tensor, ignore_index: int = 255) -> Tensor:
    """One channel per class; ignored positions are 0 in all of them.

    Args:
        target: int64 ``(B, *space)``.
        num_classes: C.
        like: A tensor whose type and device are taken.
        ignore_index: Target value that does not count.

    Returns:
        ``(B, C, *space)``.
    """
    valid = target != ignore_index
    one_hot = F.one_hot(target.masked_fill(~valid, 0), num_classes).movedim(-1, 1)
    return (one_hot * valid.unsqueeze(1)).to(like)


@MODELS.register_module()
class LogDiceLoss(nn.Module):
    r"""Mean over classes of minus the logarithm of the soft Dice coefficient.

    :math:`D_k = (2 \sum p_k g_k + \epsilon) / (\sum p_k + \sum g_k + \epsilon)` with sums over the
    batch and all valid positions together, background included;
    :math:`L = \frac{1}{C} \sum_k -\ln D_k`.

    Args:
        smooth: :math:`\epsilon`, > 0.
        loss_weight: Factor of the result.
        loss_name: Its key.

    Shape:
        - probs: ``(B, C, *space)`` probabilities, in [0, 1] (not logits).
        - target: int64 ``(B, *space)`` in [0, C) or ``ignore_index``.
        - Output: scalar; exactly 0 with a graph where no target is valid.
    """

    def __init__(
        self,
        *,
        smooth: float = 1e-5,
        loss_weight: float = 1.0,
        loss_name: str = 'loss_dice',
    ) -> None:
        super().__init__()
        if smooth <= 0:
            raise ValueError(f'smooth must be > 0, got {smooth}')
        self.smooth = smooth
        self.loss_weight = loss_weight
        self.loss_name = loss_name

    def forward(
        self,
        probs: Tensor,
        target: Tensor,
        *,
        ignore_index: int = 255,
        one_hot: Tensor | None = None,
    ) -> Tensor:
        """Compute the loss; see the class.

        Args:
            probs: Probabilities.
            target: True classes.
            ignore_index: Target value that does not count.
            one_hot: ``one_hot_map`` of the targets, when several maps share a target.
        """
        if one_hot is None:
            one_hot = one_hot_map(target, probs.shape[1], probs, ignore_index)
        axes = [0, *range(2, probs.dim())]
        valid = (target != ignore_index).unsqueeze(1).to(probs)
        dice = soft_dice(probs * valid, one_hot, axes=axes, smooth=self.smooth)
        return self.loss_weight * -dice.log().mean()
