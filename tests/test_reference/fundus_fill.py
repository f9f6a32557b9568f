"""Weights by formula, as the README of the partial_fundus vectors gives it."""

from collections.abc import Iterable

import numpy as np
import torch
from torch import nn


def uniform(count: int, number: int) -> np.ndarray:
    """Values in [-1/2, 1/2) of the parameter with this number."""
    i = np.arange(count, dtype=np.uint32)
    with np.errstate(over='ignore'):
        h = i * np.uint32(2654435761) + np.uint32((number + 1) * 40503)
        h ^= h >> np.uint32(16)
        h *= np.uint32(2246822519)
        h ^= h >> np.uint32(13)
    return h.astype(np.float64) / 2**32 - 0.5


@torch.no_grad()
def fill(parameters: Iterable[nn.Parameter], *, scale: float, start: int) -> None:
    """Fill parameters in their order, the first having the number ``start``."""
    for number, parameter in enumerate(parameters, start):
        values = uniform(parameter.numel(), number)
        if parameter.dim() > 1:
            values *= scale * np.sqrt(24 / parameter[0].numel())
        else:
            values *= 0.2
        parameter.copy_(torch.from_numpy(values).view(parameter.shape))
