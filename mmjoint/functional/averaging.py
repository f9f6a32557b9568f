"""Averages of weights, for all tensors of a network at once."""

from collections.abc import Sequence

import torch
from torch import Tensor


@torch.no_grad()
def pull_towards_mean(
    targets: Sequence[Tensor], first: Sequence[Tensor], second: Sequence[Tensor], keep: float
) -> None:
    """Pull tensors towards the mean of two others, in place.

    ``target <- keep * target + (1 - keep) * (first + second) / 2`` in a few launches for all
    tensors, bitwise equal to the same done one by one.

    Args:
        targets: The tensors to change.
        first: As many, of the same shapes.
        second: Likewise.
        keep: Weight of the old value, in [0, 1].

    Raises:
        ValueError: The lists differ in length or ``keep`` lies outside [0, 1].
    """
    if not len(targets) == len(first) == len(second):
        lengths = f'{len(targets)}, {len(first)} and {len(second)}'
        raise ValueError(f'expected as many tensors in each list, got {lengths}')
    if not 0 <= keep <= 1:
        raise ValueError(f'keep must be in [0, 1], got {keep}')
    means = torch._foreach_add(list(first), list(second))
    torch._foreach_mul_(means, 1 - keep)
    torch._foreach_div_(means, 2)
    # Product and sum apart: one fused operation would round differently.
    torch._foreach_mul_(list(targets), keep)
    torch._foreach_add_(list(targets), means)
