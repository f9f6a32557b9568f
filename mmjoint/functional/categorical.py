"""Class probabilities as targets of other predictions."""

from typing import NamedTuple

from torch import Tensor


class ConfidentLabels(NamedTuple):
    """What :func:`confident_labels` gives.

    Attributes:
        label: int64 ``(B, *space)``, the most probable class.
        confidence: ``(B, *space)``, its probability.
        accepted: bool ``(B, *space)``.
    """

    label: Tensor
    confidence: Tensor
    accepted: Tensor


def confident_labels(logits: Tensor, threshold: float) -> ConfidentLabels:
    """Pseudo-labels, accepted where the largest probability reaches a threshold.

    Args:
        logits: ``(B, C, *space)``.
        threshold: In [0, 1]; a probability of just this is accepted.
    """
    confidence, label = logits.softmax(1).max(1)
    return ConfidentLabels(label, confidence, confidence >= threshold)


def elementwise_kl(logits: Tensor, other_logits: Tensor) -> Tensor:
    r"""Terms of the Kullback-Leibler divergence of two predictions.

    :math:`p_k (\log p_k - \log q_k)`; their sum over the classes is KL(p || q) in nats. A softmax
    over one class is 1, so of one class all terms and their gradients are 0.

    Args:
        logits: ``(B, C, *space)`` of p.
        other_logits: Likewise, of q.

    Returns:
        ``(B, C, *space)``; single terms may be negative.

    Example:
        >>> elementwise_kl(torch.zeros(1, 2), torch.tensor([[0.0, 1.0986]])).sum()
        tensor(0.1438)
    """
    log_p = logits.log_softmax(1)
    return log_p.exp() * (log_p - other_logits.log_softmax(1))
