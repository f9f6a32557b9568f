import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sk

from mmjoint.functional.ranking import (
    auroc,
    auroc_from_histograms,
    average_precision,
    average_precision_from_histograms,
    ordered_codes,
    rank_correlation,
    roc_curve,
    sum_by_code,
)


def test_auroc_by_hand():
    # Pairs (positive, negative): 0.9 beats both; 0.4 ties with 0.4 and beats 0.1.
    scores, positives = [0.9, 0.4, 0.4, 0.1], [True, True, False, False]
    assert auroc(scores, positives) == (1 + 1 + 0.5 + 1) / 4


@pytest.mark.parametrize('levels', [4, 1000])
def test_against_scikit_learn(levels):
    rng = np.random.default_rng(levels)
    scores = rng.integers(0, levels, 200) / levels
    positives = rng.random(200) < 0.2 + 0.5 * scores
    assert auroc(scores, positives) == pytest.approx(sk.roc_auc_score(positives, scores))
    expected = sk.average_precision_score(positives, scores)
    assert average_precision(scores, positives) == pytest.approx(expected)
    fpr, tpr, thresholds = sk.roc_curve(positives, scores, drop_intermediate=False)
    actual = roc_curve(scores, positives)
    for one, other in zip(actual, (fpr, tpr, thresholds), strict=True):
        np.testing.assert_allclose(one, other)
    assert sk.auc(fpr, tpr) == pytest.approx(auroc(scores, positives))


def test_histograms_give_the_value_of_tied_scores():
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 12, 300)
    positives = rng.random(300) < scores / 12
    histograms = [np.bincount(scores[mask], minlength=12) for mask in (positives, ~positives)]
    assert auroc_from_histograms(*histograms) == pytest.approx(auroc(scores, positives), abs=1e-12)


def test_one_class_alone_is_not_defined():
    assert np.isnan(auroc([0.1, 0.2], [True, True]))
    assert np.isnan(auroc([0.1, 0.2], [False, False]))
    assert np.isnan(auroc_from_histograms([1, 2], [0, 0]))
    assert np.isnan(average_precision([0.1, 0.2], [False, False]))
    assert average_precision([0.1, 0.2], [True, True]) == 1


def test_codes_rise_with_the_value():
    rng = np.random.default_rng(0)
    values = np.sort(
        np.concatenate(
            [rng.normal(size=500), 10.0 ** rng.uniform(-9, 3, 500), [0.0, -0.0, 1.0, -1e-8]]
        ).astype(np.float32)
    )
    codes = ordered_codes(values)
    assert (np.diff(codes) >= 0).all()
    assert len(np.unique(ordered_codes(np.array([0.0, -0.0])))) == 1
    # 256 bins between 0.5 and 1, where equal bins over [0, 1] would be 512.
    assert len(np.unique(ordered_codes(np.linspace(0.5, 1, 100_000, endpoint=False)))) == 256


def test_ill_input():
    with pytest.raises(ValueError, match='finite'):
        auroc([np.nan, 0.2], [True, False])
    with pytest.raises(ValueError, match=r'\(N,\)'):
        auroc([[0.1, 0.2]], [[True, False]])


def test_average_precision_of_histograms():
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 12, 300)
    positives = rng.random(300) < scores / 15
    histograms = [np.bincount(scores[mask], minlength=14) for mask in (positives, ~positives)]
    found = average_precision_from_histograms(*histograms)
    assert found == pytest.approx(average_precision(scores, positives), abs=1e-12)
    assert found == pytest.approx(sk.average_precision_score(positives, scores))
    assert np.isnan(average_precision_from_histograms([0, 0], [1, 2]))
    assert average_precision_from_histograms([1, 2], [0, 0]) == 1


@pytest.mark.parametrize('levels', [5, 10_000])
def test_rank_correlation_against_scipy(levels):
    rng = np.random.default_rng(levels)
    first = rng.integers(0, levels, 60)
    second = first + rng.integers(0, levels, 60)
    expected = stats.spearmanr(first, second).statistic
    assert rank_correlation(first, second) == pytest.approx(expected, abs=1e-12)
    assert rank_correlation(first, -first) == pytest.approx(-1)
    assert np.isnan(rank_correlation(first, np.ones(60))) and np.isnan(rank_correlation([], []))
    assert rank_correlation([1, 2, np.inf], [0, 1, 2]) == pytest.approx(1)


def test_sums_by_code():
    codes, count, total = sum_by_code(np.array([7, -3, 7, 5]), np.array([1.0, 2, 4, 8]))
    assert codes.tolist() == [-3, 5, 7]
    assert count.tolist() == [1, 1, 2] and total.tolist() == [2, 8, 5]
    assert [each.tolist() for each in sum_by_code(np.zeros(0, int), np.zeros(0))] == [[], [], []]
