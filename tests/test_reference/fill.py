"""Deterministic numbers of the diffusion V-Net's vectors: its inputs and weights are not stored."""

import zlib
from math import prod

import numpy as np
import torch

MASK = (1 << 64) - 1


def uniform(seed, shape):
    """Uniform float64 numbers in [0, 1) by splitmix64."""
    shape = tuple(np.atleast_1d(shape).tolist())
    with np.errstate(over='ignore'):
        z = np.arange(1, prod(shape) + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z += np.uint64(int(seed) & MASK)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
    return ((z >> np.uint64(11)).astype(np.float64) * 2.0**-53).reshape(shape)


def normal(seed, shape):
    """Nearly normal numbers: sums of twelve uniform ones, minus 6."""
    shape = tuple(np.atleast_1d(shape).tolist())
    return (uniform(seed, (12, prod(shape))).sum(0) - 6).reshape(shape)


def weight(key, shape, salt):
    """The filling of one entry of a state dict, by its official name; float32 values."""
    if key.endswith('num_batches_tracked'):
        return torch.zeros((), dtype=torch.int64)
    u = uniform(zlib.crc32(key.encode()) + 1000003 * int(salt), shape)
    signed = 2 * u - 1
    if key.endswith('.running_mean') or key.endswith('.bias'):
        values = 0.1 * signed
    elif key.endswith('.running_var'):
        values = 0.5 + u
    elif len(shape) == 1:
        values = 0.8 + 0.4 * u
    else:
        scale = 0.015 if key.endswith('out_conv.weight') else 1.2
        values = signed * scale * np.sqrt(3 / prod(shape[1:]))
    return torch.from_numpy(values.astype(np.float32))


def rounded(values, dtype=torch.float64):
    """Numbers as the vectors were made with: float32 values in another type."""
    return torch.from_numpy(np.asarray(values).astype(np.float32)).to(dtype)
