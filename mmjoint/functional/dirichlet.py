"""Dirichlet opinions: from logits to evidence, probabilities, uncertainties and losses.

Everywhere the class axis is 1: ``alpha`` is ``(B, K)`` for images or ``(B, K, *space)`` for pixels,
and an integer ``target`` is the same without the class axis. ``alpha = evidence + 1 >= 1`` for
opinions; the special functions themselves need only ``alpha > 0``.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable


def evidence_from_logits(logits: Tensor) -> Tensor:
    """Softplus of the logits: evidence >= 0, same shape."""
    return F.softplus(logits)


def vacuity(alpha: Tensor) -> Tensor:
    """Share of the opinion that no evidence supports, number of classes over strength.

    Args:
        alpha: ``(B, K, *space)``, >= 1.

    Returns:
        ``(B, 1, *space)`` in (0, 1]; 1 where there is no evidence.
    """
    return alpha.shape[1] / alpha.sum(1, keepdim=True)


def expected_probs(alpha: Tensor) -> Tensor:
    """Mean of the Dirichlet, ``alpha / strength``; sums to 1 over axis 1."""
    return alpha / alpha.sum(1, keepdim=True)


def dissonance(alpha: Tensor) -> Tensor:
    r"""Conflict between the belief masses of an opinion.

    .. math:: \sum_k b_k \frac{\sum_{j \ne k} b_j\,(1 - |b_j - b_k| / (b_j + b_k))}
                              {\sum_{j \ne k} b_j}

    with belief masses ``b = (alpha - 1) / strength``; terms without mass count 0.

    Args:
        alpha: ``(B, K, *space)``, >= 1.

    Returns:
        ``(B, 1, *space)`` in [0, 1].

    Reference:
        Josang, Cho and Chen, "Uncertainty characteristics of subjective opinions", FUSION 2018.
    """
    belief = (alpha - 1) / alpha.sum(1, keepdim=True)
    total = belief.sum(1, keepdim=True)
    result = torch.zeros_like(total)
    for k in range(alpha.shape[1]):
        own = belief[:, k : k + 1]
        pair = belief + own
        balance = 1 - (belief - own).abs() / pair.masked_fill(pair == 0, 1.0)
        conflict = (belief * balance).sum(1, keepdim=True) - own  # balance with itself is 1
        others = total - own
        has_mass = others > 0
        result = result + torch.where(has_mass, own * conflict / others.clamp_min(1e-38), 0.0)
    return result.clamp(0.0, 1.0)


def predictive_entropy(probs: Tensor) -> Tensor:
    """Entropy over axis 1 in nats, ``(B, 1, *space)`` in [0, ln K]; 0 ln 0 counts 0."""
    return torch.special.entr(probs).sum(1, keepdim=True)


def expected_entropy(alpha: Tensor) -> Tensor:
    r"""Mean entropy of the categorical distributions that a Dirichlet draws, in nats.

    :math:`\sum_k \frac{\alpha_k}{S}\,(\psi(S + 1) - \psi(\alpha_k + 1))`: the aleatoric part of the
    predictive entropy; the rest, their difference, is the mutual information.

    Args:
        alpha: ``(B, K, *space)``, > 0.

    Returns:
        ``(B, 1, *space)`` in [0, ln K].
    """
    strength = alpha.sum(1, keepdim=True)
    gap = torch.digamma(strength + 1) - torch.digamma(alpha + 1)
    return (alpha / strength * gap).sum(1, keepdim=True)


def dirichlet_variance(alpha: Tensor) -> Tensor:
    r"""Mean over classes of the variance of the class probability, :math:`p_k (1 - p_k) / (S + 1)`.

    Args:
        alpha: ``(B, K, *space)``, > 0.

    Returns:
        ``(B, 1, *space)`` in [0, 0.25].
    """
    probs = expected_probs(alpha)
    return (probs * (1 - probs)).mean(1, keepdim=True) / (alpha.sum(1, keepdim=True) + 1)


def opinion_measures(alpha: Tensor) -> dict[str, Tensor]:
    """All uncertainty measures of an evidential opinion.

    Args:
        alpha: ``(B, K, *space)``, >= 1.

    Returns:
        ``vacuity``, ``dissonance``, ``predictive_entropy``, ``expected_entropy``,
        ``mutual_information`` (clamped at 0, where rounding may undercut it) and ``variance``,
        each ``(B, 1, *space)``.
    """
    total = predictive_entropy(expected_probs(alpha))
    aleatoric = expected_entropy(alpha)
    return {
        'vacuity': vacuity(alpha),
        'dissonance': dissonance(alpha),
        'predictive_entropy': total,
        'expected_entropy': aleatoric,
        'mutual_information': (total - aleatoric).clamp_min(0.0),
        'variance': dirichlet_variance(alpha),
    }


def dirichlet_kl(alpha: Tensor) -> Tensor:
    r"""Divergence of a Dirichlet from the uniform one.

    :math:`\ln\Gamma(S) - \sum_k \ln\Gamma(\alpha_k) - \ln\Gamma(K) + \sum_k (\alpha_k - 1)
    (\psi(\alpha_k) - \psi(S))`

    Args:
        alpha: ``(B, K, *space)``, > 0.

    Returns:
        ``(B, *space)``, >= 0.
    """
    strength = alpha.sum(1)
    gap = torch.digamma(alpha) - torch.digamma(strength).unsqueeze(1)
    log_norm = torch.lgamma(strength) - torch.lgamma(alpha).sum(1) - math.lgamma(alpha.shape[1])
    return log_norm + ((alpha - 1) * gap).sum(1)


def evidential_nll(alpha: Tensor, target: Tensor) -> Tensor:
    r"""Expected cross-entropy under the Dirichlet, :math:`\psi(S) - \psi(\alpha_y)`, elementwise.

    Args:
        alpha: ``(B, K, *space)``, > 0.
        target: int64 ``(B, *space)`` in [0, K).

    Returns:
        ``(B, *space)``, >= 0.
    """
    true_alpha = alpha.gather(1, target.unsqueeze(1)).squeeze(1)
    return torch.digamma(alpha.sum(1)) - torch.digamma(true_alpha)


class _WrongEvidenceKL(torch.autograd.Function):
    """Divergence of the wrong classes' opinion, with its gradient written out.

    The derivative is ``(alpha_k - 1) psi1(alpha_k) - (S - K) psi1(S)``, where S is the strength
    with the true class set to 1. It spares the graph its special-function nodes.
    """

    @staticmethod
    def forward(ctx, wrong: Tensor) -> Tensor:
        num_classes = wrong.shape[1] + 1
        strength = wrong.sum(1) + 1
        gap = torch.digamma(wrong) - torch.digamma(strength).unsqueeze(1)
        ctx.save_for_backward(wrong)
        log_norm = torch.lgamma(strength) - torch.lgamma(wrong).sum(1) - math.lgamma(num_classes)
        return log_norm + ((wrong - 1) * gap).sum(1)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> Tensor:
        (wrong,) = ctx.saved_tensors
        strength = wrong.sum(1) + 1
        common = (strength - (wrong.shape[1] + 1)) * torch.polygamma(1, strength)
        own = (wrong - 1) * torch.polygamma(1, wrong)
        return (own - common.unsqueeze(1)) * grad.unsqueeze(1)


def wrong_class_index(target: Tensor, num_classes: int) -> Tensor:
    """Classes other than the target's, in ascending cyclic order.

    Args:
        target: int64 ``(B, *space)`` in [0, K).
        num_classes: K, at least 2.

    Returns:
        int64 ``(B, K - 1, *space)``.
    """
    steps = torch.arange(1, num_classes, device=target.device)
    steps = steps.view(1, -1, *([1] * (target.dim() - 1)))
    return (target.unsqueeze(1) + steps) % num_classes


def evidential_kl(alpha: Tensor, target: Tensor, *, wrong_index: Tensor | None = None) -> Tensor:
    r"""Divergence from uniform of the opinion without its evidence for the true class.

    The true class's entry of ``alpha`` is set to 1, where all its terms vanish: only the K - 1
    wrong classes are computed. For two classes, with a the wrong class's alpha, the divergence is
    :math:`\ln a + 1/a - 1`.

    Args:
        alpha: ``(B, K, *space)``, > 0.
        target: int64 ``(B, *space)`` in [0, K).
        wrong_index: ``wrong_class_index(target, K)``, to share it between several opinions.

    Returns:
        ``(B, *space)``, >= 0.
    """
    if wrong_index is None:
        wrong_index = wrong_class_index(target, alpha.shape[1])
    wrong = alpha.gather(1, wrong_index)
    if alpha.shape[1] == 2:
        wrong = wrong.squeeze(1)
        return torch.log(wrong) + 1 / wrong - 1
    return _WrongEvidenceKL.apply(wrong)


def evidential_kl_plain(alpha: Tensor, target: Tensor) -> Tensor:
    """The same as :func:`evidential_kl`, as its definition reads; the yardstick of its speed."""
    one_hot = F.one_hot(target, alpha.shape[1]).movedim(-1, 1).to(alpha)
    return dirichlet_kl((alpha - 1) * (1 - one_hot) + 1)
