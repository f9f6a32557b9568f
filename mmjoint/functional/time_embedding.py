"""Times of a diffusion as vectors."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def sinusoidal_embedding(t: Tensor, channels: int, *, dtype: torch.dtype | None = None) -> Tensor:
    r"""Sines, then cosines, of a time at frequencies from 1 down to 1/10000.

    Args:
        t: Times ``(B,)``, any number type.
        channels: Length of the vectors, at least 4; an odd one ends on a zero.
        dtype: Type of the result, float32 by default. The computation is in float32.

    Returns:
        ``(B, channels)``; with half = channels // 2, :math:`\sin(t f_i), \cos(t f_i)` for
        :math:`f_i = 10000^{-i / (half - 1)}`.

    Reference:
        Vaswani et al., "Attention is all you need", NIPS 2017, section 3.5; the spacing of the
        frequencies is that of DDPM's code.
    """
    half = channels // 2
    index = torch.arange(half, dtype=torch.float32, device=t.device)
    angles = t.float()[:, None] * torch.exp(index * -(math.log(10000) / (half - 1)))
    embedding = torch.cat([angles.sin(), angles.cos()], 1)
    return F.pad(embedding, (0, channels - 2 * half)).to(dtype or torch.float32)
