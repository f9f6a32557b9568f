"""Confidence intervals by resampling cases."""

from collections.abc import Callable, Sequence

import numpy as np


def bootstrap_interval(
    statistic: Callable[..., float],
    *arrays: np.ndarray,
    groups: Sequence | None = None,
    num_resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile interval of a statistic over cases drawn with replacement.

    Args:
        statistic: Takes the resampled arrays, gives one number: ``np.nanmean``, ``auroc``.
        *arrays: Measurements, the same length N along axis 0.
        groups: What each item belongs to (a patient); whole groups are drawn, since items of one
            group are not independent. ``None``: each item is its own group.
        num_resamples: Number of draws.
        confidence: Share of the draws inside the interval.
        seed: The same seed gives the same interval.

    Returns:
        Lower and upper bound. Draws where the statistic is NaN (a class is missing) are left out;
        both bounds are NaN where none is left.

    Raises:
        ValueError: For arrays of different or no length.

    Reference:
        Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13.
    """
    arrays = tuple(np.asarray(array) for array in arrays)
    lengths = {len(array) for array in arrays} | ({len(groups)} if groups is not None else set())
    if len(lengths) != 1 or 0 in lengths:
        raise ValueError(f'arrays (and groups) must have one length > 0, got {sorted(lengths)}')
    (length,) = lengths
    members = [np.array([index]) for index in range(length)]
    if groups is not None:
        names, inverse = np.unique(np.asarray(groups), return_inverse=True)
        members = [np.flatnonzero(inverse == index) for index in range(len(names))]
    rng = np.random.default_rng(seed)
    values = []
    for _ in range(num_resamples):
        drawn = rng.integers(len(members), size=len(members))
        index = np.concatenate([members[i] for i in drawn]) if groups is not None else drawn
        values.append(statistic(*(array[index] for array in arrays)))
    values = np.asarray(values, float)
    values = values[~np.isnan(values)]
    if values.size == 0:
        return float('nan'), float('nan')
    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)
