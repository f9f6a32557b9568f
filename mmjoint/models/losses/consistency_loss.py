from torch import Tensor, nn

from mmjoint.registry import MODELS

from .reduction import full_precision


@MODELS.register_module()
class SoftmaxMSELoss(nn.Module):
    """Mean squared difference of two predictions' probabilities.

    Args:
        loss_weight: Factor of the result.
        loss_name: Its key.

    Shape:
        - logits: ``(B, C, *space)``.
        - target_logits: Likewise; gets no gradient.
        - Output: scalar in [0, 2 / C], the mean over batch, classes and space.

    Reference:
        Tarvainen and Valpola, "Mean teachers are better role models", NeurIPS 2017.
    """

    def __init__(self, *, loss_weight: float = 1.0, loss_name: str = 'loss_consistency') -> None:
        super().__init__()
        self.loss_weight = loss_weight
        self.loss_name = loss_name

    def forward(self, logits: Tensor, target_logits: Tensor) -> Tensor:
        """Compute the loss; see the class."""
        probs = full_precision(logits).softmax(1)
        target = full_precision(target_logits.detach()).softmax(1)
        return self.loss_weight * (probs - target).square().mean()
