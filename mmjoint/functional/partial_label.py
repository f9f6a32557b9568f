"""What a partly annotated mask says: an unannotated class may hide in background.

A sample that annotates only some classes cannot tell its other classes from background (class 0).
The outputs of those classes are therefore merged into background before a loss compares them:
probabilities and evidence add, logits combine by log-sum-exp. With all classes annotated nothing
changes. ``annotated`` is bool ``(B, C)``; class 0 always counts as annotated.
"""

import torch
from torch import Tensor


def _spread(annotated: Tensor, like: Tensor) -> Tensor:
    annotated = annotated.clone()
    annotated[:, 0] = True
    return annotated.view(*annotated.shape, *([1] * (like.dim() - 2)))


def merge_probs(values: Tensor, annotated: Tensor | None) -> Tensor:
    """Add the channels of unannotated classes to channel 0 and set them to 0.

    Args:
        values: Probabilities or evidence ``(B, C, *space)``, >= 0.
        annotated: bool ``(B, C)``, or None for all.

    Returns:
        ``(B, C, *space)``, with the same sum over axis 1.
    """
    if annotated is None:
        return values
    keep = _spread(annotated, values)
    hidden = (values * ~keep).sum(1, keepdim=True)
    kept = values * keep
    return torch.cat([kept[:, :1] + hidden, kept[:, 1:]], 1)


def merge_logits(logits: Tensor, annotated: Tensor | None) -> Tensor:
    """Join the logits of unannotated classes with channel 0 by log-sum-exp.

    The softmax of the result is :func:`merge_probs` of the softmax of ``logits``.

    Args:
        logits: ``(B, C, *space)``.
        annotated: bool ``(B, C)``, or None for all.

    Returns:
        ``(B, C, *space)``; merged channels hold the lowest finite number of the type.
    """
    if annotated is None:
        return logits
    keep = _spread(annotated, logits)
    lowest = torch.finfo(logits.dtype).min
    is_background = torch.zeros_like(keep)
    is_background[:, 0] = True
    joined = logits.masked_fill(keep & ~is_background, lowest).logsumexp(1, keepdim=True)
    kept = logits.masked_fill(~keep, lowest)
    return torch.cat([joined, kept[:, 1:]], 1)
