r"""Temperature scaling: fit the one number T that softmax(log(p) / T) is best calibrated with.

The negative log-likelihood of the tempered probabilities is convex in the inverse temperature
:math:`\beta = 1 / T`. Its value and its first two derivatives are summed up over all predictions
on a fixed grid of temperatures, in one pass and in constant memory; the optimum is then found
between two points of the grid.

Reference:
    Guo et al., "On calibration of modern neural networks", ICML 2017.
"""

from typing import NamedTuple

import numpy as np
import torch
from scipy.interpolate import CubicHermiteSpline
from scipy.optimize import brentq
from torch import Tensor

MIN_TEMPERATURE, MAX_TEMPERATURE = 0.05, 20.0
_NUM_POINTS = 33  # odd, so that 1 is among them
_CHUNK = 1 << 16  # predictions at a time: a chunk's arrays stay in the processor's cache


class TemperatureFit(NamedTuple):
    """An optimal temperature.

    Attributes:
        temperature: In [``MIN_TEMPERATURE``, ``MAX_TEMPERATURE``].
        nll_before: Mean negative log-likelihood at temperature 1, in nats.
        nll_after: The same at ``temperature``.
        at_bound: Whether the optimum lies beyond the range, whose end is given: where all
            predictions are right, the likelihood grows up to temperature 0; where they are worse
            than guessing, up to infinity.
    """

    temperature: float
    nll_before: float
    nll_after: float
    at_bound: bool


def temperature_grid() -> np.ndarray:
    """Temperatures at which sums are taken, rising, float64 ``(G,)``; their ratios are equal."""
    grid = np.geomspace(MIN_TEMPERATURE, MAX_TEMPERATURE, _NUM_POINTS)
    grid[_NUM_POINTS // 2] = 1.0
    return grid


def temperature_sums(log_probs: Tensor, target: Tensor) -> np.ndarray:
    r"""Sum up the likelihood of predictions and its derivatives by :math:`\beta = 1 / T`.

    Args:
        log_probs: Logarithms of probabilities, up to a constant per prediction: ``(C, N)``, finite.
        target: int64 ``(N,)`` in [0, C).

    Returns:
        float64 ``(3, G)``: for each temperature of the grid the negative log-likelihood, its first
        and its second derivative. Sums of several batches simply add up.

    Raises:
        ValueError: A target is out of range or a value is not finite.
    """
    num_classes = len(log_probs)
    if target.numel() and not (0 <= int(target.min()) and int(target.max()) < num_classes):
        raise ValueError(
            f'target must lie in [0, {num_classes}), got {int(target.min())}..{int(target.max())}'
        )
    if not torch.isfinite(log_probs).all():
        raise ValueError('log_probs must be finite; clamp probabilities before the logarithm')
    sums = np.zeros((3, _NUM_POINTS))
    betas = 1 / temperature_grid()
    for part, labels in zip(log_probs.split(_CHUNK, 1), target.split(_CHUNK), strict=True):
        # How much less likely the other classes are than the true one: (C, N), 0 for the true one.
        gaps = part.float() - part.float().gather(0, labels[None])
        if num_classes == 2:
            gaps = gaps.sum(0, keepdim=True)
        for place, beta in enumerate(betas):
            sums[:, place] += _two_classes(gaps, beta) if len(gaps) == 1 else _many(gaps, beta)
    return sums


def _two_classes(gap: Tensor, beta: float) -> tuple[float, float, float]:
    scaled = gap * beta
    wrong = scaled.sigmoid()
    likelihood = torch.nn.functional.softplus(scaled)
    slope = wrong * gap
    bend = slope * gap * (1 - wrong)
    return tuple(float(each.sum(dtype=torch.float64)) for each in (likelihood, slope, bend))


def _many(gaps: Tensor, beta: float) -> tuple[float, float, float]:
    scaled = gaps * beta
    likelihood = scaled.logsumexp(0)
    probs = (scaled - likelihood).exp_()
    slope = (probs * gaps).sum(0)
    bend = (probs * (gaps - slope) ** 2).sum(0)
    return tuple(float(each.sum(dtype=torch.float64)) for each in (likelihood, slope, bend))


def fit_temperature(sums: np.ndarray, count: int) -> TemperatureFit:
    """Find the temperature of the least negative log-likelihood.

    Between two points of the grid the derivative by the logarithm of the temperature is a cubic
    through its values and slopes. The relative error of the optimum stays far below 1e-3.

    Args:
        sums: Of :func:`temperature_sums`, added up over all predictions.
        count: Number of predictions.

    Raises:
        ValueError: There is no prediction.
    """
    if count < 1:
        raise ValueError('no predictions to fit a temperature to')
    grid = temperature_grid()
    x, betas = np.log(grid), 1 / grid
    value, by_beta, by_beta_twice = sums / count
    # By x = ln T = -ln beta, so d/dx = -beta d/dbeta.
    slope = -betas * by_beta
    bend = betas * by_beta + betas**2 * by_beta_twice
    before = float(value[np.flatnonzero(grid == 1.0)[0]])
    if not slope.any():  # all classes are as likely in every prediction, at any temperature
        return TemperatureFit(1.0, before, before, False)
    if slope[0] >= 0 or slope[-1] <= 0:
        end = 0 if slope[0] >= 0 else -1
        return TemperatureFit(float(grid[end]), before, float(value[end]), True)
    place = int(np.flatnonzero(slope < 0)[-1])
    cubic = CubicHermiteSpline(
        x[place : place + 2], slope[place : place + 2], bend[place : place + 2]
    )
    best = float(brentq(cubic, x[place], x[place + 1], xtol=1e-12))
    after = float(value[place] + cubic.integrate(x[place], best))
    return TemperatureFit(float(np.exp(best)), before, after, False)
