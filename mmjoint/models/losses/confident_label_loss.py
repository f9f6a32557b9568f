import torch.nn.functional as F
from torch import Tensor, nn

from mmjoint.functional.categorical import confident_labels
from mmjoint.registry import MODELS

from .reduction import full_precision


@MODELS.register_module()
class ConfidentLabelLoss(nn.Module):
    """Cross-entropy with the class that another view is sure of.

    The other view's most probable class is the target where its probability reaches the threshold.
    The mean goes over all samples: rejected ones count as 0.

    Args:
        threshold: Smallest probability that is accepted, in [0, 1].
        loss_weight: Factor of the result.
        loss_name: Its key.

    Shape:
        - logits: ``(B, K)``.
        - target_logits: Likewise, of the same images in the same order; gets no gradient.
        - Output: scalar; exactly 0 with a graph where all are rejected.

    Raises:
        ValueError: The threshold is out of range, or the batches are not of one size.

    Reference:
        Sohn et al., "FixMatch", NeurIPS 2020; threshold and weight as in MultiMix, whose paper has
        a strict inequality and whose code, as here, has not.
    """

    def __init__(
        self,
        *,
        threshold: float = 0.7,
        loss_weight: float = 1.0,
        loss_name: str = 'loss_pseudo',
    ) -> None:
        super().__init__()
        if not 0 <= threshold <= 1:
            raise ValueError(f'threshold must be in [0, 1], got {threshold}')
        self.threshold = threshold
        self.loss_weight = loss_weight
        self.loss_name = loss_name

    def forward(self, logits: Tensor, target_logits: Tensor) -> Tensor:
        """Compute the loss; see the class."""
        if logits.shape != target_logits.shape:
            raise ValueError(
                'expected two views of the same images, got logits of the shapes '
                f'{tuple(logits.shape)} and {tuple(target_logits.shape)}'
            )
        target = confident_labels(full_precision(target_logits.detach()), self.threshold)
        loss = F.cross_entropy(full_precision(logits), target.label, reduction='none')
        return self.loss_weight * (loss * target.accepted).mean()
