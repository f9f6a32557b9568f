import torch
from torch import Tensor


def masked_mean(values: Tensor, weight: Tensor) -> Tensor:
    """Weighted mean that is exactly 0, with a graph, where all weights are 0.

    Args:
        values: Elementwise losses of any shape; must be finite where the weight is 0.
        weight: Non-negative weights of the same shape.

    Returns:
        Scalar ``sum(values * weight) / sum(weight)``.
    """
    total = weight.sum()
    return (values * weight).sum() / total.masked_fill(total == 0, 1.0)


def full_precision(values: Tensor) -> Tensor:
    """Widen half-precision values to float32, as losses need; float64 stays what it is."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values
