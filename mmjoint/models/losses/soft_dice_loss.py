from typing import Literal

from torch import Tensor, nn

from mmjoint.functional.soft_overlap import soft_dice
from mmjoint.registry import MODELS

from .log_dice_loss import one_hot_map


@MODELS.register_module()
class SoftDiceLoss(nn.Module):
    r"""One minus the soft Dice coefficient, its sums over the whole batch.

    :math:`D = (2 \sum p g + \epsilon) / (\sum p + \sum g + \epsilon)` over all valid positions of
    the batch. What happens to the classes is the scheme:

    - ``'joint'``: the sums go over them as well. Since probabilities and one-hot targets both sum
      to the number of positions, this is one minus the mean probability of the true class: not
      balanced between classes.
    - ``'per_class'``: one D for each class, background included; the loss is the mean of 1 - D.
    - ``'foreground'``: the same without class 0.

    Args:
        scheme: See above.
        smooth: :math:`\epsilon`, > 0.
        loss_weight: Factor of the result.
        loss_name: Its key.

    Shape:
        - probs: ``(B, C, *space)`` probabilities, in [0, 1] (not logits).
        - target: int64 ``(B, *space)`` in [0, C) or ``ignore_index``.
        - Output: scalar; exactly 0 with a graph where no target is valid.

    Raises:
        ValueError: If the scheme is unknown or ``smooth`` is not positive.

    Reference:
        Milletari et al., "V-Net", 3DV 2016, with sums in place of sums of squares.
    """

    def __init__(
        self,
        *,
        scheme: Literal['joint', 'per_class', 'foreground'] = 'joint',
        smooth: float = 1e-6,
        loss_weight: float = 1.0,
        loss_name: str = 'loss_dice',
    ) -> None:
        super().__init__()
        if scheme not in ('joint', 'per_class', 'foreground'):
            raise ValueError(f"scheme must be 'joint', 'per_class' or 'foreground', got {scheme!r}")
        if smooth <= 0:
            raise ValueError(f'smooth must be > 0, got {smooth}')
        self.scheme = scheme
        self.smooth = smooth
        self.loss_weight = loss_weight
        self.loss_name = loss_name

    def forward(self, probs: Tensor, target: Tensor, *, ignore_index: int = 255) -> Tensor:
        """Compute the loss; see the class."""
        one_hot = one_hot_map(target, probs.shape[1], probs, ignore_index)
        probs = probs * (target != ignore_index).unsqueeze(1).to(probs)
        if self.scheme == 'foreground':
            probs, one_hot = probs[:, 1:], one_hot[:, 1:]
        axes = None if self.scheme == 'joint' else [0, *range(2, probs.dim())]
        dice = soft_dice(probs, one_hot, axes=axes, smooth=self.smooth)
        return self.loss_weight * (1 - dice).mean()
