import numpy as np
import pytest
from sklearn import metrics as sk

from mmjoint.functional.classification import (
    accuracy,
    cohen_kappa,
    f1_per_class,
    one_vs_rest,
    recall_per_class,
    specificity_per_class,
    weighted_f1,
)
from mmjoint.functional.overlap import confusion_matrix

# Rows: true class. 6 healthy, 4 ill.
BINARY = np.array([[5, 1], [2, 2]])


def test_binary_by_hand():
    assert accuracy(BINARY) == 0.7
    np.testing.assert_allclose(recall_per_class(BINARY), [5 / 6, 2 / 4])
    np.testing.assert_allclose(specificity_per_class(BINARY), [2 / 4, 5 / 6])
    np.testing.assert_allclose(f1_per_class(BINARY), [10 / 13, 4 / 7])
    assert weighted_f1(BINARY) == pytest.approx(0.6 * 10 / 13 + 0.4 * 4 / 7)
    by_chance = 0.6 * 0.7 + 0.4 * 0.3
    assert cohen_kappa(BINARY) == pytest.approx((0.7 - by_chance) / (1 - by_chance))


def test_always_the_frequent_class():
    # The trivial floors of REFUGE (40 of 400) and of a test of 15 cases (4 positive).
    for counts, acc, f1 in (((360, 40), 0.900, 0.853), ((11, 4), 0.733, 0.621)):
        confusion = np.array([[counts[0], 0], [counts[1], 0]])
        assert accuracy(confusion) == pytest.approx(acc, abs=5e-4)
        assert weighted_f1(confusion) == pytest.approx(f1, abs=1e-3)
        assert cohen_kappa(confusion) == 0
        np.testing.assert_array_equal(recall_per_class(confusion), [1, 0])


@pytest.mark.parametrize('num_classes', [2, 5])
def test_against_scikit_learn(num_classes):
    rng = np.random.default_rng(num_classes)
    labels = rng.integers(0, num_classes, 120)
    scores = rng.dirichlet(np.ones(num_classes), 120).round(2)
    scores[np.arange(120), labels] += 0.2
    preds = scores.argmax(1)
    confusion = confusion_matrix(preds, labels, num_classes)
    np.testing.assert_array_equal(confusion, sk.confusion_matrix(labels, preds))
    assert accuracy(confusion) == pytest.approx(sk.accuracy_score(labels, preds))
    assert weighted_f1(confusion) == pytest.approx(sk.f1_score(labels, preds, average='weighted'))
    np.testing.assert_allclose(f1_per_class(confusion), sk.f1_score(labels, preds, average=None))
    np.testing.assert_allclose(
        recall_per_class(confusion), sk.recall_score(labels, preds, average=None)
    )
    assert cohen_kappa(confusion) == pytest.approx(sk.cohen_kappa_score(labels, preds))
    for k in range(num_classes):
        expected = sk.recall_score(labels != k, preds != k)
        assert specificity_per_class(confusion)[k] == pytest.approx(expected)
        for measure, function in (
            ('AUC', sk.roc_auc_score),
            ('AUPR', sk.average_precision_score),
        ):
            expected = function(labels == k, scores[:, k])
            assert one_vs_rest(scores, labels, measure)[k] == pytest.approx(expected)


def test_what_is_not_defined_is_nan():
    only_healthy = np.array([[4, 0], [0, 0]])
    np.testing.assert_array_equal(recall_per_class(only_healthy), [1, np.nan])
    np.testing.assert_array_equal(specificity_per_class(only_healthy), [np.nan, 1])
    np.testing.assert_array_equal(f1_per_class(only_healthy), [1, 0])
    assert np.isnan(cohen_kappa(only_healthy))
    nothing = np.zeros((2, 2), int)
    assert np.isnan([accuracy(nothing), weighted_f1(nothing), cohen_kappa(nothing)]).all()
    assert np.isnan(one_vs_rest(np.array([[0.2, 0.8]]), np.array([1]))).all()
