"""Measures of classification, most of them read from a confusion matrix.

A confusion matrix is ``(K, K)`` with row = true class and column = predicted class, as
:func:`mmjoint.functional.overlap.confusion_matrix` counts it.
"""

import numpy as np

from .ranking import auroc, average_precision


def _divide(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    numerator = np.asarray(numerator, float)
    undefined = np.full(numerator.shape, np.nan)
    return np.divide(numerator, denominator, out=undefined, where=np.asarray(denominator) > 0)


def accuracy(confusion: np.ndarray) -> float:
    """Share of right predictions; NaN without samples."""
    return float(_divide(np.trace(confusion), confusion.sum()))


def recall_per_class(confusion: np.ndarray) -> np.ndarray:
    """Share of each class that was found (sensitivity), ``(K,)``; NaN for a class not there."""
    return _divide(np.diag(confusion), confusion.sum(1))


def specificity_per_class(confusion: np.ndarray) -> np.ndarray:
    """Share of the samples of other classes that were kept out of a class, ``(K,)``."""
    total = confusion.sum()
    support, called, hit = confusion.sum(1), confusion.sum(0), np.diag(confusion)
    return _divide(total - support - called + hit, total - support)


def f1_per_class(confusion: np.ndarray) -> np.ndarray:
    """F1 of each class, ``(K,)``; 0 for a class that is neither there nor predicted."""
    return np.nan_to_num(_divide(2 * np.diag(confusion), confusion.sum(0) + confusion.sum(1)))


def weighted_f1(confusion: np.ndarray) -> float:
    """Mean of the classes' F1, weighted by how often each class occurs; NaN without samples."""
    return float(_divide((f1_per_class(confusion) * confusion.sum(1)).sum(), confusion.sum()))


def cohen_kappa(confusion: np.ndarray) -> float:
    """Agreement beyond chance, in [-1, 1]; NaN where chance alone already agrees fully."""
    total = confusion.sum()
    if total == 0:
        return float('nan')
    observed = np.trace(confusion) / total
    by_chance = float((confusion.sum(0) / total) @ (confusion.sum(1) / total))
    return float('nan') if by_chance == 1 else float((observed - by_chance) / (1 - by_chance))


def one_vs_rest(scores: np.ndarray, labels: np.ndarray, measure: str = 'AUC') -> np.ndarray:
    """A ranking measure of each class against all others.

    Args:
        scores: ``(N, K)``, larger = more of that class.
        labels: int ``(N,)``.
        measure: ``AUC`` (area under ROC) or ``AUPR`` (average precision).

    Returns:
        ``(K,)``; NaN for a class for which the measure is not defined.
    """
    function = {'AUC': auroc, 'AUPR': average_precision}[measure]
    scores, labels = np.asarray(scores), np.asarray(labels)
    return np.array([function(scores[:, k], labels == k) for k in range(scores.shape[1])])
