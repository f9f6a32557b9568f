from collections.abc import Mapping
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmjoint.functional.multilabel import NO_LABEL, Channels, channel_masks
from mmjoint.functional.soft_overlap import squared_dice
from mmjoint.registry import MODELS

from .reduction import full_precision, masked_mean

KINDS = ('dice', 'bce', 'bce_dice')


@MODELS.register_module()
class TaskDiceLoss(nn.Module):
    r"""Soft Dice loss, binary cross-entropy, or their sum, of one task with overlapping channels.

    With p the sigmoid of a channel's logits and g its mask, of one sample:

    .. math::
        \text{dice} = 1 - \frac{2 \sum p g + \epsilon}{\sum p^2 + \sum g^2 + \epsilon}, \qquad
        \text{bce} = -\text{mean}(g \ln p + (1 - g) \ln (1 - p))

    The loss is the mean over the samples of :math:`\frac{1}{C} \sum_c w_c l_c`. A channel that a
    sample lacks costs a Dice loss near 1 whose gradient is next to nothing.

    Args:
        kind: ``'dice'``, ``'bce'`` or ``'bce_dice'``, their sum.
        smooth: :math:`\epsilon`, > 0.
        class_weight: :math:`w_c` by the name of the channel, 1 where it is not named; None for 1
            throughout.
        normalise: Divide by the sum of the weights in place of C.
        ignore_unlabelled: Leave pixels labelled 255 out of all sums, and samples that have no
            other out of the mean. By default 255 is background, as in the original.
        loss_weight: Factor of the result.

    Shape:
        - logits: ``(B, C, *space)``. Half precision is widened first.
        - labels: int64 ``(B, *space)``, the task's label maps, values of ``channels``, 0 or 255.
        - channels: The values of the label map that belong to each channel, by its name.
        - Output: scalar; exactly 0 with a graph where no sample counts.

    Raises:
        ValueError: ``kind`` is unknown, ``smooth`` not positive, or the logits have not one
            channel for each of ``channels``.

    Reference:
        Liu et al., "Many birds, one stone", Pattern Recognition 155, 2024, and its code.
    """

    def __init__(
        self,
        *,
        kind: Literal['dice', 'bce', 'bce_dice'] = 'dice',
        smooth: float = 1e-5,
        class_weight: Mapping[str, float] | None = None,
        normalise: bool = False,
        ignore_unlabelled: bool = False,
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__()
        if kind not in KINDS:
            raise ValueError(f'kind must be one of {list(KINDS)}, got {kind!r}')
        if smooth <= 0:
            raise ValueError(f'smooth must be > 0, got {smooth}')
        self.kind = kind
        self.smooth = smooth
        self.class_weight = dict(class_weight or {})
        self.normalise = normalise
        self.ignore_unlabelled = ignore_unlabelled
        self.loss_weight = loss_weight

    def forward(self, logits: Tensor, labels: Tensor, channels: Channels) -> Tensor:
        """Compute the loss; see the class."""
        logits = full_precision(logits)
        if logits.shape[1] != len(channels):
            raise ValueError(
                f'logits have {logits.shape[1]} channels, expected one for each of {list(channels)}'
            )
        masks = channel_masks(labels, channels).to(logits)
        valid = (labels != NO_LABEL).unsqueeze(1).to(logits) if self.ignore_unlabelled else None
        losses = self._by_channel(logits, masks, valid)
        if self.class_weight:
            weights = losses.new_tensor([self.class_weight.get(name, 1.0) for name in channels])
            share = weights.sum() if self.normalise else len(weights)
            losses = (losses * weights).sum(1) / share
        else:
            losses = losses.mean(1)
        if valid is None:
            return self.loss_weight * losses.mean()
        counts = valid.flatten(1).amax(1)
        return self.loss_weight * masked_mean(losses, counts)

    def _by_channel(self, logits: Tensor, masks: Tensor, valid: Tensor | None) -> Tensor:
        """Losses ``(B, C)``."""
        space = tuple(range(2, logits.dim()))
        losses = torch.zeros((), dtype=logits.dtype, device=logits.device)
        if self.kind != 'bce':
            probs = logits.sigmoid()
            if valid is not None:  # the masks are 0 there already
                probs = probs * valid
            losses = losses + 1 - squared_dice(probs, masks, axes=space, smooth=self.smooth)
        if self.kind != 'dice':
            cross = F.binary_cross_entropy_with_logits(logits, masks, reduction='none')
            if valid is None:
                losses = losses + cross.mean(space)
            else:
                losses = losses + (cross * valid).sum(space) / valid.sum(space).clamp(min=1)
        return losses
