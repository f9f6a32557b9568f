import numpy as np
import pytest
import torch
from sklearn.metrics import brier_score_loss, log_loss
from torchmetrics.functional.classification import multiclass_calibration_error

from mmjoint.functional.calibration import (
    adaptive_bins,
    brier_score,
    calibration_bins,
    expected_calibration_error,
    negative_log_likelihood,
    reliability_curve,
)


def test_ece_by_hand():
    # Bins of width 0.25: 0.6 and 0.7 (one right), 0.9 and 1.0 (both right), one at the edge 0.5.
    confidence = np.array([0.6, 0.7, 0.9, 1.0, 0.5])
    correct = np.array([True, False, True, True, False])
    bins = calibration_bins(confidence, correct, num_bins=4)
    np.testing.assert_allclose(bins[0], [0, 1, 2, 2])
    curve = reliability_curve(bins)
    np.testing.assert_allclose(curve.confidence, [np.nan, 0.5, 0.65, 0.95])
    np.testing.assert_allclose(curve.accuracy, [np.nan, 0, 0.5, 1])
    expected = (1 * 0.5 + 2 * 0.15 + 2 * 0.05) / 5
    assert expected_calibration_error(bins) == pytest.approx(expected)


@pytest.mark.parametrize('num_bins', [10, 15])
def test_ece_against_torchmetrics_and_in_parts(num_bins):
    rng = np.random.default_rng(0)
    probs = rng.dirichlet(np.ones(4), 500)
    labels = rng.integers(0, 4, 500)
    confidence, correct = probs.max(1), probs.argmax(1) == labels
    parts = sum(
        calibration_bins(c, r, num_bins=num_bins)
        for c, r in zip(np.split(confidence, 5), np.split(correct, 5), strict=True)
    )
    expected = multiclass_calibration_error(
        torch.from_numpy(probs), torch.from_numpy(labels), num_classes=4, n_bins=num_bins
    )
    assert expected_calibration_error(parts) == pytest.approx(float(expected), rel=1e-5)


def test_brier_and_nll():
    probs, labels = np.array([[0.2, 0.8], [0.6, 0.4]]), np.array([1, 1])
    np.testing.assert_allclose(brier_score(probs, labels), [0.08, 0.72])
    np.testing.assert_allclose(negative_log_likelihood(probs, labels), [-np.log(0.8), -np.log(0.4)])
    rng = np.random.default_rng(0)
    probs, labels = rng.dirichlet(np.ones(2), 50), rng.integers(0, 2, 50)
    expected = 2 * brier_score_loss(labels, probs[:, 1])
    assert brier_score(probs, labels).mean() == pytest.approx(expected)
    expected = log_loss(labels, probs)
    assert negative_log_likelihood(probs, labels).mean() == pytest.approx(expected)


def test_extremes():
    assert np.isnan(expected_calibration_error(np.zeros((3, 5))))
    np.testing.assert_array_equal(calibration_bins([0.0, 1.0], [0, 1], num_bins=3)[0], [1, 0, 1])
    certain = negative_log_likelihood(np.array([[1.0, 0.0]]), np.array([1]))
    assert certain[0] == pytest.approx(-np.log(1e-12))
    with pytest.raises(ValueError, match='pass probabilities, not logits'):
        calibration_bins(np.array([3.0]), np.array([True]))
    with pytest.raises(ValueError, match=r'\[0, 1\]'):
        calibration_bins(np.array([np.nan]), np.array([True]))


def fine_histogram(confidence, correct):
    """One fine bin for each value that occurs."""
    values, inverse = np.unique(confidence, return_inverse=True)
    count = np.bincount(inverse)
    return count, count * values, np.bincount(inverse, weights=correct)


def test_adaptive_bins_by_hand():
    # Sorted: 0.5 wrong, 0.6 right | 0.8 right, 0.9 wrong.
    histogram = fine_histogram(np.array([0.9, 0.5, 0.8, 0.6]), np.array([0, 0, 1, 1]))
    bins = adaptive_bins(*histogram, num_bins=2)
    np.testing.assert_allclose(bins, [[2, 2], [1.1, 1.7], [1, 1]])
    error = expected_calibration_error(bins)
    assert error == pytest.approx((abs(0.5 - 0.55) + abs(0.5 - 0.85)) / 2)


@pytest.mark.parametrize('num_bins', [1, 5, 15])
def test_adaptive_bins_are_the_sorted_predictions_in_equal_parts(num_bins):
    rng = np.random.default_rng(0)
    confidence = rng.random(300)
    correct = rng.random(300) < confidence**2
    bins = adaptive_bins(*fine_histogram(confidence, correct), num_bins=num_bins)
    order = np.argsort(confidence)
    parts = np.split(order, num_bins)
    expected = np.mean([abs(correct[p].mean() - confidence[p].mean()) for p in parts])
    assert expected_calibration_error(bins) == pytest.approx(expected, rel=1e-10)
    np.testing.assert_allclose(bins[0], 300 / num_bins)


@pytest.mark.parametrize('levels', [3, 40])
def test_ties_are_shared_out_in_proportion(levels):
    rng = np.random.default_rng(levels)
    confidence = rng.integers(1, levels + 1, 100) / levels
    correct = rng.random(100) < confidence
    count, total, right = fine_histogram(confidence, correct)
    bins = adaptive_bins(count, total, right, num_bins=7)
    # Each prediction in 7 equal shares with the accuracy of its fine bin, cut into parts of 100.
    shares = np.repeat(np.stack([total, right]) / count, 7 * count, axis=1)
    parts = shares.reshape(2, 7, 100).mean(2)
    assert expected_calibration_error(bins) == pytest.approx(np.abs(parts[0] - parts[1]).mean())


def test_fewer_predictions_than_adaptive_bins():
    bins = adaptive_bins([1, 1], [0.25, 0.75], [1, 1], num_bins=15)
    assert expected_calibration_error(bins) == pytest.approx((0.75 + 0.25) / 2)
    assert np.isnan(expected_calibration_error(adaptive_bins([0], [0.0], [0], num_bins=15)))
