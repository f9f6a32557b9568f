import torch.nn.functional as F
from torch import Tensor, nn

from mmjoint.registry import MODELS

from .reduction import masked_mean


@MODELS.register_module()
class MaskedCrossEntropyLoss(nn.Module):
    """Cross-entropy, averaged over the valid targets only.

    Args:
        loss_weight: Factor of the result.
        loss_name: Its key.

    Shape:
        - logits: ``(B, C)`` or ``(B, C, *space)``.
        - target: int64, as logits without axis 1, in [0, C) or ``ignore_index``.
        - weight: like target, optional.
        - Output: scalar; exactly 0 with a graph where no target is valid.
    """

    def __init__(self, *, loss_weight: float = 1.0, loss_name: str = 'loss_ce') -> None:
        super().__init__()
        self.loss_weight = loss_weight
        self.loss_name = loss_name

    def forward(
        self,
        logits: Tensor,
        target: Tensor,
        weight: Tensor | None = None,
        *,
        ignore_index: int = 255,
    ) -> Tensor:
        """Compute the loss; see the class."""
        loss = F.cross_entropy(logits, target, ignore_index=ignore_index, reduction='none')
        valid = (target != ignore_index).to(loss)
        return self.loss_weight * masked_mean(loss, valid if weight is None else valid * weight)
