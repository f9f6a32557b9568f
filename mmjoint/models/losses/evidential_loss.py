from torch import Tensor, nn

from mmjoint.functional.dirichlet import (
    evidential_kl,
    evidential_kl_plain,
    evidential_nll,
    wrong_class_index,
)
from mmjoint.functional.ramps import linear_ramp_up
from mmjoint.registry import MODELS

from .reduction import masked_mean


def _check_alpha(alpha: Tensor) -> None:
    smallest = alpha.detach().min().item() if alpha.numel() else 1.0
    if smallest <= 0:
        raise ValueError(
            f'alpha must be > 0, got min {smallest:.3g}; pass evidence + 1, not logits'
        )


@MODELS.register_module()
class EvidentialLoss(nn.Module):
    r"""Expected cross-entropy of a Dirichlet plus an annealed penalty on wrong evidence.

    The mean over valid targets of :math:`\psi(S) - \psi(\alpha_y) + \lambda\,KL(\tilde\alpha)`,
    where :math:`\tilde\alpha` is alpha with the true class's entry set to 1 and KL the divergence
    from the uniform Dirichlet. :math:`\lambda` grows linearly with the progress of training.

    Args:
        annealing: Share of the training, in [0, 1], after which :math:`\lambda` is 1.
        loss_weight: Factor of the result.
        loss_name: Its key; keys with "loss" in them are trained.
        fused: Compute only what contributes, with a written-out gradient. False gives the
            definition term by term, with the same result.

    Shape:
        - alpha: float ``(B, K)`` for images or ``(B, K, *space)`` for pixels, > 0.
        - target: int64, as alpha without axis 1, in [0, K) or ``ignore_index``.
        - weight: like target, optional.
        - Output: scalar; exactly 0 with a graph where no target is valid.

    Raises:
        ValueError: In its first call, if alpha is not positive.

    Reference:
        Sensoy et al., "Evidential deep learning to quantify classification uncertainty", NeurIPS
        2018, eq. 5 uses the squared error; here the digamma form of its section 4 (eq. 4).
    """

    def __init__(
        self,
        *,
        annealing: float = 0.5,
        loss_weight: float = 1.0,
        loss_name: str = 'loss_evidential',
        fused: bool = True,
    ) -> None:
        super().__init__()
        if not 0 <= annealing <= 1:
            raise ValueError(
                f'annealing must be a share of the training in [0, 1], got {annealing}'
            )
        self.annealing = annealing
        self.loss_weight = loss_weight
        self.loss_name = loss_name
        self.fused = fused
        self.kl_weight = linear_ramp_up(0.0, annealing)
        self._is_checked = False

    def set_train_progress(self, progress: float) -> None:
        """Set the weight of the divergence from the share of training that is done, in [0, 1]."""
        self.kl_weight = linear_ramp_up(progress, self.annealing)

    def forward(
        self,
        alpha: Tensor,
        target: Tensor,
        weight: Tensor | None = None,
        *,
        ignore_index: int = 255,
        wrong_index: Tensor | None = None,
    ) -> Tensor:
        """Compute the loss; see the class.

        Args:
            alpha: Dirichlet parameters.
            target: True classes.
            weight: Weights of the targets.
            ignore_index: Target value that does not count.
            wrong_index: ``wrong_class_index`` of the targets (ignored ones as class 0), when
                several opinions share a target.
        """
        if not self._is_checked:  # once: looking at values makes a GPU wait
            _check_alpha(alpha)
            self._is_checked = True
        valid = target != ignore_index
        target = target.masked_fill(~valid, 0)
        loss = evidential_nll(alpha, target)
        if self.kl_weight > 0 or not self.fused:
            if self.fused:
                if wrong_index is None:
                    wrong_index = wrong_class_index(target, alpha.shape[1])
                divergence = evidential_kl(alpha, target, wrong_index=wrong_index)
            else:
                divergence = evidential_kl_plain(alpha, target)
            loss = loss + self.kl_weight * divergence
        weight = valid.to(loss) if weight is None else valid * weight
        return self.loss_weight * masked_mean(loss, weight)
