"""How well a score ranks positives above negatives."""

import numpy as np
from scipy.stats import rankdata


def _checked(scores: np.ndarray, positives: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    scores, positives = np.asarray(scores, float), np.asarray(positives, bool)
    if scores.ndim != 1 or scores.shape != positives.shape:
        raise ValueError(
            f'scores and positives must be (N,), got {scores.shape} and {positives.shape}'
        )
    if not np.isfinite(scores).all():
        raise ValueError('scores must be finite')
    return scores, positives


def auroc(scores: np.ndarray, positives: np.ndarray) -> float:
    """Area under the ROC curve: the chance that a positive scores above a negative.

    Args:
        scores: ``(N,)``, finite, larger = more positive.
        positives: bool ``(N,)``.

    Returns:
        In [0, 1]; a tie counts one half. NaN where positives or negatives are missing.
    """
    scores, positives = _checked(scores, positives)
    num_pos = int(positives.sum())
    num_neg = positives.size - num_pos
    if num_pos == 0 or num_neg == 0:
        return float('nan')
    rank_sum = rankdata(scores)[positives].sum()
    return float((rank_sum - num_pos * (num_pos + 1) / 2) / (num_pos * num_neg))


def auroc_from_histograms(positives: np.ndarray, negatives: np.ndarray) -> float:
    """Area under the ROC curve from counts per bin, bins in rising order of the score.

    Args:
        positives: Number of positives in each bin, ``(bins,)``.
        negatives: Number of negatives in each bin, ``(bins,)``.

    Returns:
        In [0, 1]; items of one bin are ties. NaN where positives or negatives are missing.
    """
    positives, negatives = np.asarray(positives, float), np.asarray(negatives, float)
    total = positives.sum() * negatives.sum()
    if total == 0:
        return float('nan')
    below = np.cumsum(negatives) - negatives
    return float((positives * (below + negatives / 2)).sum() / total)


def roc_curve(
    scores: np.ndarray, positives: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Corners of the ROC curve, from (0, 0) to (1, 1).

    Args:
        scores: ``(N,)``, finite.
        positives: bool ``(N,)``.

    Returns:
        False positive rate, true positive rate and threshold (an item is called positive where its
        score is >= the threshold), each ``(T,)``; the first threshold is infinite. A rate without
        members is NaN.
    """
    scores, positives = _checked(scores, positives)
    thresholds, inverse = np.unique(-scores, return_inverse=True)
    tp = np.cumsum(np.bincount(inverse, weights=positives, minlength=thresholds.size))
    fp = np.cumsum(np.bincount(inverse, weights=~positives, minlength=thresholds.size))
    with np.errstate(invalid='ignore'):
        fpr = np.concatenate([[0.0], fp]) / np.sum(~positives)
        tpr = np.concatenate([[0.0], tp]) / np.sum(positives)
    return fpr, tpr, np.concatenate([[np.inf], -thresholds])


def average_precision(scores: np.ndarray, positives: np.ndarray) -> float:
    """Area under the precision-recall curve as a step function (average precision).

    Args:
        scores: ``(N,)``, finite.
        positives: bool ``(N,)``.

    Returns:
        Sum over thresholds of (rise of recall) times precision, in [0, 1]; items of equal score
        pass the threshold together. NaN where there is no positive.
    """
    scores, positives = _checked(scores, positives)
    if not positives.any():
        return float('nan')
    levels, inverse = np.unique(-scores, return_inverse=True)
    tp = np.cumsum(np.bincount(inverse, weights=positives, minlength=levels.size))
    called = np.cumsum(np.bincount(inverse, minlength=levels.size))
    return float((np.diff(tp, prepend=0.0) * tp / called).sum() / positives.sum())


def ordered_codes(values: np.ndarray, *, mantissa_bits: int = 8) -> np.ndarray:
    """Bin floats without a range: integers that rise with the value, at a relative resolution.

    The code is the upper part of the float32 pattern, so bins are narrow near 0, where most
    uncertainties lie, and no value is ever out of range.

    Args:
        values: Floats of any shape, finite.
        mantissa_bits: Resolution: bins are 2**-mantissa_bits wide relative to their power of 2.

    Returns:
        int32 codes of the same shape; ``a <= b`` implies ``code(a) <= code(b)``.
    """
    # Adding 0 turns -0.0 into 0.0, which must share its code.
    bits = (np.ascontiguousarray(values, np.float32) + np.float32(0)).view(np.int32)
    # Negative floats fall as their pattern rises: turn the pattern round.
    rising = np.where(bits < 0, bits ^ np.int32(0x7FFFFFFF), bits)
    return rising >> (23 - mantissa_bits)
