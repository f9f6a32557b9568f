"""Risk against coverage: what error is left when the most uncertain items are not answered.

All functions take groups of items of equal uncertainty, in rising order of it, so that they serve
histograms of millions of pixels and lists of a few cases alike. Inside a group the order is not
known; every value is the expectation over a random order.
"""

from typing import NamedTuple

import numpy as np
from scipy.special import digamma


class RiskCoverageCurve(NamedTuple):
    """The corners of a risk-coverage curve, each ``(G,)``, coverage rising to 1.

    Attributes:
        coverage: Share of the items that are kept, the least uncertain ones.
        risk: Mean error of the kept items.
    """

    coverage: np.ndarray
    risk: np.ndarray


def group_by_uncertainty(
    uncertainty: np.ndarray, errors: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Gather items of equal uncertainty.

    Args:
        uncertainty: ``(N,)``, not NaN; infinite is more uncertain than all finite values.
        errors: ``(N,)``, bool or any error >= 0.

    Returns:
        Number of items and sum of their errors for each of the G values that occur, in rising
        order: two float64 arrays ``(G,)``.

    Raises:
        ValueError: For unequal shapes or NaN.
    """
    uncertainty, errors = np.asarray(uncertainty, float), np.asarray(errors, float)
    if uncertainty.ndim != 1 or uncertainty.shape != errors.shape:
        raise ValueError(
            f'uncertainty and errors must be (N,), got {uncertainty.shape} and {errors.shape}'
        )
    if np.isnan(uncertainty).any() or np.isnan(errors).any():
        raise ValueError('uncertainty and errors must not be NaN')
    levels, inverse = np.unique(uncertainty, return_inverse=True)
    counts = np.bincount(inverse, minlength=levels.size).astype(float)
    return counts, np.bincount(inverse, weights=errors, minlength=levels.size)


def _occupied(counts: np.ndarray, errors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    counts, errors = np.asarray(counts, float), np.asarray(errors, float)
    if counts.ndim != 1 or counts.shape != errors.shape:
        raise ValueError(f'counts and errors must be (G,), got {counts.shape} and {errors.shape}')
    return counts[counts > 0], errors[counts > 0]


def risk_coverage_curve(counts: np.ndarray, errors: np.ndarray) -> RiskCoverageCurve:
    """Corners of the risk-coverage curve, one at the end of each group that is not empty.

    Args:
        counts: Number of items of each group, ``(G,)``, groups in rising order of uncertainty.
        errors: Sum of the errors of each group, ``(G,)``; for right and wrong answers the number
            of wrong ones.
    """
    counts, errors = _occupied(counts, errors)
    kept = np.cumsum(counts)
    return RiskCoverageCurve(kept / max(counts.sum(), 1), np.cumsum(errors) / kept)


def area_under_risk_coverage(counts: np.ndarray, errors: np.ndarray) -> float:
    """Area under the risk-coverage curve (AURC).

    With N items in rising order of uncertainty and errors e_i it is the mean over k = 1..N of
    the risk at coverage k/N, which is (e_1 + ... + e_k) / k.

    Args:
        counts: Number of items of each group, ``(G,)``, groups in rising order of uncertainty.
        errors: Sum of the errors of each group, ``(G,)``.

    Returns:
        Between 0 and the largest error; 0 where nothing is wrong, 1 where all is. NaN without
        items. Exact for groups of any size, without running over their items.

    Reference:
        Geifman and El-Yaniv, Selective Classification for Deep Neural Networks, NeurIPS 2017 (the
        curve); Geifman, Uziel and El-Yaniv, Bias-Reduced Uncertainty Estimation for Deep Neural
        Classifiers, ICLR 2019 (AURC and E-AURC). They say nothing about ties.
    """
    counts, errors = _occupied(counts, errors)
    if not counts.size:
        return float('nan')
    before, errors_before = np.cumsum(counts) - counts, np.cumsum(errors) - errors
    # Behind n items with error E, the j-th of m items that share the error e brings the expected
    # risk (E + j e/m) / (n + j) = e/m + (E - n e/m) / (n + j). Summed over j = 1..m that is
    # e + (E - n e/m) (H(n + m) - H(n)), with the harmonic numbers H(n) = digamma(n + 1) + const.
    harmonic = digamma(before + counts + 1) - digamma(before + 1)
    total = errors + (errors_before - before * errors / counts) * harmonic
    return float(total.sum() / counts.sum())


def excess_area_under_risk_coverage(
    counts: np.ndarray,
    errors: np.ndarray,
    oracle_counts: np.ndarray,
    oracle_errors: np.ndarray,
) -> float:
    """What the AURC is above that of the best order, in which errors rise (E-AURC).

    Args:
        counts: See :func:`area_under_risk_coverage`.
        errors: See :func:`area_under_risk_coverage`.
        oracle_counts: The same items grouped by their error, in rising order of it. For right and
            wrong answers ``(right, wrong)``.
        oracle_errors: Sum of the errors of each of these groups, ``(0, wrong)``.

    Returns:
        At least 0, 0 for the best order, so also where all or nothing is wrong. NaN without items.

    Reference:
        Geifman, Uziel and El-Yaniv, ICLR 2019, section 3, who approximate the best order's area;
        this is the exact one.
    """
    area = area_under_risk_coverage(counts, errors)
    # Below 0 by rounding only, or by the width of bins of an oracle's histogram.
    return float(np.maximum(area - area_under_risk_coverage(oracle_counts, oracle_errors), 0))


def area_under_sparsification_error(
    counts: np.ndarray,
    errors: np.ndarray,
    oracle_counts: np.ndarray,
    oracle_errors: np.ndarray,
) -> float:
    """Area between the sparsification curves by uncertainty and by the error itself (AUSE).

    A sparsification curve is the mean error that is left when a growing share of items is taken
    out, divided by the mean error of all items: it begins at 1. It is the risk-coverage curve read
    from the other end, so AUSE = E-AURC / mean error, here over all N shares, not a few steps.

    Args:
        counts: See :func:`excess_area_under_risk_coverage`.
        errors: See :func:`excess_area_under_risk_coverage`.
        oracle_counts: See :func:`excess_area_under_risk_coverage`.
        oracle_errors: See :func:`excess_area_under_risk_coverage`.

    Returns:
        At least 0, 0 for the best order; chance is 1 minus the oracle's area. NaN without items
        or where no item has an error.

    Reference:
        Ilg et al., Uncertainty Estimates and Multi-Hypotheses Networks for Optical Flow, ECCV
        2018, section 4; with the Brier score as the error of segmentation: Gustafsson, Danelljan
        and Schön, Evaluating Scalable Bayesian Deep Learning Methods for Robust Computer Vision,
        CVPR workshops 2020.
    """
    total = float(np.sum(errors))
    if total == 0:
        return float('nan')
    excess = excess_area_under_risk_coverage(counts, errors, oracle_counts, oracle_errors)
    return excess * float(np.sum(counts)) / total
