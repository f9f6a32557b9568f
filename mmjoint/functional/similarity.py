"""Structural similarity of masks."""

import numpy as np

SSIM_WINDOW = 7
# (0.01 L)^2 and (0.03 L)^2 for values in [0, L], here L = 1.
_C1, _C2 = 0.01**2, 0.03**2


def mask_ssim(pred: np.ndarray, target: np.ndarray, *, window: int = SSIM_WINDOW) -> float:
    """Mean structural similarity (SSIM) of two masks taken as images of the values 0 and 1.

    In each window that lies inside the array, all elements weigh the same, and variances are those
    of samples (divided by N - 1): what scikit-image's ``structural_similarity`` does by default.
    Windows that touch neither mask count as 1, so that the value depends on how much background
    there is; two empty masks give 1.

    Args:
        pred: bool mask, any number of dimensions.
        target: bool mask of the same shape.
        window: Side of the window, odd.

    Returns:
        In [-1, 1]; 1 for equal masks.

    Raises:
        ValueError: The shapes differ, or a side is shorter than the window.

    Reference:
        Wang et al., Image quality assessment, IEEE TIP 13 (2004). There, windows have Gaussian
        weights.
    """
    pred, target = np.asarray(pred, bool), np.asarray(target, bool)
    if pred.shape != target.shape:
        raise ValueError(f'pred and target must have one shape, got {pred.shape}, {target.shape}')
    if min(pred.shape) < window:
        raise ValueError(f'SSIM needs sides of at least {window}, got {pred.shape}')
    number = window**pred.ndim
    # Of values 0 and 1 the squares are the values themselves: counts tell all, and exactly.
    mean_p, mean_t, mean_pt = (
        _window_counts(mask, window) / number for mask in (pred, target, pred & target)
    )
    sample = number / (number - 1)
    variances = sample * (mean_p - mean_p**2 + mean_t - mean_t**2)
    covariance = sample * (mean_pt - mean_p * mean_t)
    similarity = (2 * mean_p * mean_t + _C1) * (2 * covariance + _C2)
    similarity /= (mean_p**2 + mean_t**2 + _C1) * (variances + _C2)
    return float(similarity.mean())


def _window_counts(mask: np.ndarray, window: int) -> np.ndarray:
    """Elements of a mask in each window that lies inside the array."""
    counts = mask.astype(np.int64)
    for axis in range(mask.ndim):
        around = [(1, 0) if each == axis else (0, 0) for each in range(mask.ndim)]
        sums = np.moveaxis(np.pad(counts, around).cumsum(axis), axis, 0)
        counts = np.moveaxis(sums[window:] - sums[:-window], 0, axis)
    return counts
