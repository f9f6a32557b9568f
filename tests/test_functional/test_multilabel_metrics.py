import numpy as np
import pytest
from skimage.filters import threshold_otsu
from sklearn import metrics as sk

from mmjoint.functional.multilabel_metrics import (
    GRID,
    area_on_grid,
    complement,
    divide,
    grid_counts,
    otsu_rates,
    probability_codes,
)
from mmjoint.functional.overlap import OverlapCounts
from mmjoint.functional.ranking import average_precision_from_histograms, sum_by_code


def random_pixels(seed, size=4000):
    rng = np.random.default_rng(seed)
    truth = rng.random(size) < 0.2
    probs = 1 / (1 + np.exp(-rng.normal(3 * truth - 2, 1.5)))
    return probs.astype(np.float32), truth


def test_a_share_of_nothing_is_undefined():
    np.testing.assert_array_equal(divide([1, 0, 0], [2, 5, 0]), [0.5, 0, np.nan])
    assert np.isnan(divide(0, 0))


def test_complement_against_the_masks():
    _, pred = random_pixels(0)
    _, target = random_pixels(1)
    counts = OverlapCounts(np.sum(pred & target), pred.sum(), target.sum())
    outside = complement(counts, pred.size)
    assert outside == (np.sum(~pred & ~target), np.sum(~pred), np.sum(~target))


def test_curve_by_hand():
    # The float32 nearest to 0.3 is a little more, that nearest to 0.9 a little less.
    probs = np.array([0.3, 0.9, 0.95, 0.0], np.float32)
    truth = np.array([True, False, True, True])
    hits, called = grid_counts(probs, truth)
    assert called.tolist() == [3, 3, 3, 3, 2, 2, 2, 2, 2, 1, 0]
    assert hits.tolist() == [2, 2, 2, 2, 1, 1, 1, 1, 1, 1, 0]
    # From recall 2/3 (precision 2/3) to 1/3 (1/2, then up to 1) and to 0 (1, nothing called).
    expected = (2 / 3 + 1 / 2) / 2 / 3 + (1 + 1) / 2 / 3
    assert area_on_grid(hits, called, 3) == pytest.approx(expected)
    assert area_on_grid(np.zeros(11, int), called, 0) == 0


@pytest.mark.parametrize('seed', range(3))
def test_curve_by_brute_force(seed):
    probs, truth = random_pixels(seed)
    precision, recall = [], []
    for threshold in GRID:
        called = probs.astype(float) > threshold
        hits = np.sum(called & truth)
        precision.append(hits / called.sum() if called.any() else 1)
        recall.append(hits / truth.sum())
    area = area_on_grid(*grid_counts(probs, truth), truth.sum())
    assert area == pytest.approx(sk.auc(recall, precision), rel=1e-12)


@pytest.mark.parametrize('seed', range(3))
def test_otsu_against_scikit_image(seed):
    probs, truth = random_pixels(seed)
    called = np.floor(255 * probs) > threshold_otsu(np.floor(255 * probs).astype(np.uint8))
    (tn, fp), (fn, tp) = sk.confusion_matrix(truth, called)
    expected = (tp / (tp + fn), tn / (tn + fp), tp / (tp + fp))
    assert otsu_rates(probs, truth) == pytest.approx(expected)


def test_otsu_where_something_lacks():
    half = np.array([0.1, 0.9], np.float32)
    assert otsu_rates(half, np.array([False, False])) == pytest.approx(
        (np.nan, 0.5, 0), nan_ok=True
    )
    assert otsu_rates(half, np.array([True, True])) == pytest.approx((0.5, np.nan, 1), nan_ok=True)
    assert np.isnan(otsu_rates(half[:0], np.zeros(0, bool))).all()


def test_codes_rise_with_the_probability():
    probs = np.concatenate([np.logspace(-30, 0, 3000), 1 - np.logspace(-7, 0, 3000), [0, 0.5, 1]])
    probs = np.sort(probs.astype(np.float32))
    codes = probability_codes(probs)
    assert (np.diff(codes) >= 0).all()
    # Apart by 1 % of the distance to the nearer end is apart in the codes.
    near = np.float32([0.001, 0.00101, 0.4999, 0.5, 0.99, 0.9901, 0.99999, 1])
    assert (np.diff(probability_codes(near)) > 0).all()
    assert np.abs(codes).max() < 2**17  # what a histogram may cost


@pytest.mark.parametrize('seed', range(3))
def test_average_precision_by_codes_against_scikit_learn(seed):
    probs, truth = random_pixels(seed)
    _, count, true = sum_by_code(probability_codes(probs), truth)
    actual = average_precision_from_histograms(true, count - true)
    assert actual == pytest.approx(sk.average_precision_score(truth, probs), abs=2e-3)
