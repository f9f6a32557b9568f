"""Noise levels of diffusion models: betas, cumulative products, and steps left out in sampling."""

from collections.abc import Sequence

import numpy as np


def linear_betas(num_steps: int, *, start: float = 1e-4, end: float = 0.02) -> np.ndarray:
    """Betas that grow linearly, as for 1000 steps in DDPM.

    Args:
        num_steps: Number T of steps.
        start: First beta.
        end: Last beta.

    Returns:
        float64 ``(T,)``.

    Reference:
        Ho et al., "Denoising diffusion probabilistic models", NeurIPS 2020, section 4.
    """
    return np.linspace(start, end, num_steps, dtype=np.float64)


def cosine_betas(num_steps: int, *, offset: float = 0.008, largest: float = 0.999) -> np.ndarray:
    r"""Betas whose cumulative product falls like a squared cosine.

    Args:
        num_steps: Number T of steps.
        offset: Keeps the first betas above 0.
        largest: Upper bound of the betas.

    Returns:
        float64 ``(T,)``.

    Reference:
        Nichol and Dhariwal, "Improved denoising diffusion probabilistic models", ICML 2021, eq. 17.
    """
    times = np.arange(num_steps + 1, dtype=np.float64) / num_steps
    level = np.cos((times + offset) / (1 + offset) * np.pi / 2) ** 2
    return np.minimum(1 - level[1:] / level[:-1], largest)


def spaced_steps(num_steps: int, counts: int | Sequence[int]) -> list[int]:
    """Choose steps evenly from equal sections of all steps, ends included.

    Args:
        num_steps: Number T of all steps.
        counts: How many of them are kept: in all, or in each of as many sections. Sections are
            equal; the first ones are longer by one where T cannot be divided.

    Returns:
        Rising steps in [0, T).

    Raises:
        ValueError: A section has fewer steps than are to be kept, or none is to be kept.

    Example:
        >>> spaced_steps(1000, 4)
        [0, 333, 666, 999]
    """
    counts = [counts] if isinstance(counts, int) else list(counts)
    shorter, longer_sections = divmod(num_steps, len(counts))
    kept, first = [], 0
    for section, count in enumerate(counts):
        length = shorter + (section < longer_sections)
        if not 1 <= count <= length:
            raise ValueError(f'cannot keep {count} of {length} steps (section {section})')
        stride = 1.0 if count == 1 else (length - 1) / (count - 1)
        position = 0.0
        for _ in range(count):
            kept.append(first + round(position))
            # Summed up, not multiplied, as the original: it decides the halves.
            position += stride
        first += length
    return kept


def strided_steps(num_steps: int, count: int) -> list[int]:
    """Choose every n-th step from 0 on, with the smallest n that leaves ``count`` of them.

    Args:
        num_steps: Number T of all steps.
        count: How many are kept.

    Returns:
        Rising steps in [0, T).

    Raises:
        ValueError: No whole stride leaves as many.

    Reference:
        Song et al., "Denoising diffusion implicit models", ICLR 2021, appendix D.2.
    """
    for stride in range(1, num_steps + 1):
        steps = range(0, num_steps, stride)
        if len(steps) == count:
            return list(steps)
    raise ValueError(f'no whole stride leaves {count} of {num_steps} steps')


def respaced_betas(betas: np.ndarray, steps: Sequence[int]) -> np.ndarray:
    r"""Betas of a diffusion that visits some of the steps only, at the same noise levels.

    Args:
        betas: ``(T,)``.
        steps: n rising steps in [0, T).

    Returns:
        float64 ``(n,)``: :math:`1 - \bar\alpha_{s_i} / \bar\alpha_{s_{i-1}}`.
    """
    alphas_cumprod = np.cumprod(1 - betas)[list(steps)]
    return 1 - alphas_cumprod / np.concatenate([[1.0], alphas_cumprod[:-1]])
