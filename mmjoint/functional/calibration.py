"""Whether a predicted probability means what it says. All sums add up over samples."""

from typing import NamedTuple

import numpy as np


class ReliabilityCurve(NamedTuple):
    """Points of a reliability diagram, each ``(bins,)``; NaN in bins without samples.

    Attributes:
        count: Number of predictions in the bin.
        confidence: Their mean confidence.
        accuracy: Share of them that is right.
    """

    count: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray


def calibration_bins(
    confidence: np.ndarray, correct: np.ndarray, *, num_bins: int = 15
) -> np.ndarray:
    """Sum up predictions by confidence, in bins of equal width.

    Args:
        confidence: Predicted probability of an event, in [0, 1], any shape: that the predicted
            class is right, or, for one class against the rest, that it is this class.
        correct: Whether the event happened, bool, the same shape.
        num_bins: Number of bins n; bin i is the interval (i/n, (i+1)/n], the first holds 0 too.

    Returns:
        float64 ``(3, num_bins)``: count, sum of confidences, number right. Tables of several
        samples simply add up.

    Raises:
        ValueError: For confidences outside [0, 1] or NaN.
    """
    confidence = np.asarray(confidence, float).reshape(-1)
    correct = np.asarray(correct, bool).reshape(-1)
    if confidence.size and not (confidence.min() >= 0 and confidence.max() <= 1 + 1e-6):
        raise ValueError(
            f'confidence must lie in [0, 1], got {confidence.min():.3g}..{confidence.max():.3g}; '
            'pass probabilities, not logits'
        )
    edges = np.arange(1, num_bins) / num_bins
    index = np.searchsorted(edges, confidence, side='left')
    return np.stack(
        [
            np.bincount(index, minlength=num_bins).astype(float),
            np.bincount(index, weights=confidence, minlength=num_bins),
            np.bincount(index, weights=correct, minlength=num_bins),
        ]
    )


def adaptive_bins(
    count: np.ndarray, confidence: np.ndarray, right: np.ndarray, *, num_bins: int = 15
) -> np.ndarray:
    """Cut a fine histogram of the confidence into bins of equal mass.

    Every bin holds exactly N / num_bins of the N predictions. Those of one fine bin count as alike:
    where an edge falls among them, they are shared out in proportion. Without ties and with N a
    multiple of ``num_bins``, these are the sorted predictions in equal parts.

    Args:
        count: Number of predictions in each fine bin, ``(G,)``, in rising order of confidence.
        confidence: Sums of their confidences, ``(G,)``.
        right: Number of right ones, ``(G,)``.
        num_bins: Number of bins; where there are fewer predictions, each is a bin of its own.

    Returns:
        float64 ``(3, num_bins)`` like :func:`calibration_bins`; for
        :func:`expected_calibration_error` and :func:`reliability_curve`. Unlike the table of
        equal widths it does not add up: add up the histograms.
    """
    fine = np.stack([np.asarray(each, float) for each in (count, confidence, right)])
    fine = fine[:, fine[0] > 0]
    total = fine[0].sum()
    if total == 0:
        return np.zeros((3, num_bins))
    cumulative = np.concatenate([np.zeros((3, 1)), np.cumsum(fine, axis=1)], axis=1)
    edges = np.linspace(0, total, min(num_bins, int(total)) + 1)
    return np.stack([np.diff(np.interp(edges, cumulative[0], each)) for each in cumulative])


def reliability_curve(bins: np.ndarray) -> ReliabilityCurve:
    """Points of a reliability diagram from :func:`calibration_bins`."""
    count, confidence, right = bins
    undefined = np.full(count.shape, np.nan)
    return ReliabilityCurve(
        count,
        np.divide(confidence, count, out=undefined.copy(), where=count > 0),
        np.divide(right, count, out=undefined.copy(), where=count > 0),
    )


def expected_calibration_error(bins: np.ndarray) -> float:
    """Mean over predictions of |accuracy - confidence| of their bin; NaN without predictions.

    Args:
        bins: ``(3, num_bins)`` of :func:`calibration_bins` or :func:`adaptive_bins`.

    Returns:
        In [0, 1].

    Reference:
        Guo et al., On Calibration of Modern Neural Networks, ICML 2017, equation 3; with bins of
        equal mass: Nguyen and O'Connor, Posterior Calibration and Exploratory Analysis for Natural
        Language Processing Models, EMNLP 2015, section 3.
    """
    count, confidence, right = bins
    total = count.sum()
    return float(np.abs(right - confidence).sum() / total) if total else float('nan')


def brier_score(probs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Squared distance to the one-hot label, summed over classes, for each item.

    Args:
        probs: ``(N, K)``, rows sum to 1.
        labels: int ``(N,)``.

    Returns:
        ``(N,)`` in [0, 2]. (For two classes, twice the form that looks at class 1 only.)
    """
    probs, labels = np.asarray(probs, float), np.asarray(labels)
    true = probs[np.arange(len(labels)), labels]
    return (probs**2).sum(1) - 2 * true + 1


def negative_log_likelihood(
    probs: np.ndarray, labels: np.ndarray, *, eps: float = 1e-12
) -> np.ndarray:
    """-log of the probability of the true class, for each item, in nats.

    Args:
        probs: ``(N, K)``, rows sum to 1.
        labels: int ``(N,)``.
        eps: Smaller probabilities count as this, so that one zero does not make all infinite.

    Returns:
        ``(N,)`` in [0, -log eps].
    """
    probs, labels = np.asarray(probs, float), np.asarray(labels)
    return -np.log(np.maximum(probs[np.arange(len(labels)), labels], eps))
