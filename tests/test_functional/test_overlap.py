import numpy as np
import pytest
import sklearn.metrics
import torch
from monai.metrics import compute_dice, compute_iou

from mmjoint.functional.overlap import (
    OverlapCounts,
    confusion_matrix,
    dice,
    dice_from_counts,
    iou,
    iou_from_counts,
    overlap_counts,
    precision_from_counts,
    recall_from_counts,
)

TARGET = np.array([[0, 1, 1, 2], [0, 1, 2, 255]])
PRED = np.array([[0, 1, 2, 2], [1, 1, 1, 1]])


def test_confusion_matrix_by_hand():
    expected = [[1, 1, 0], [0, 2, 1], [0, 1, 1]]
    np.testing.assert_array_equal(confusion_matrix(PRED, TARGET, 3), expected)


def test_ignored_entries_count_nowhere():
    kept = TARGET != 255
    np.testing.assert_array_equal(
        confusion_matrix(PRED, TARGET, 3), confusion_matrix(PRED[kept], TARGET[kept], 3)
    )


def test_confusion_matrices_add_up():
    rng = np.random.default_rng(0)
    pred, target = rng.integers(0, 4, (2, 6, 5, 7))
    parts = sum(confusion_matrix(p, t, 4) for p, t in zip(pred, target, strict=True))
    np.testing.assert_array_equal(parts, confusion_matrix(pred, target, 4))


def test_dice_and_iou_of_classes_and_unions_by_hand():
    counts = overlap_counts(confusion_matrix(PRED, TARGET, 3), [(0,), (1,), (2,), (1, 2)])
    np.testing.assert_array_equal(counts.intersection, [1, 2, 1, 5])
    np.testing.assert_array_equal(counts.pred, [1, 4, 2, 6])
    np.testing.assert_array_equal(counts.target, [2, 3, 2, 5])
    np.testing.assert_allclose(dice_from_counts(counts), [2 / 3, 4 / 7, 1 / 2, 10 / 11])
    np.testing.assert_allclose(iou_from_counts(counts), [1 / 2, 2 / 5, 1 / 3, 5 / 6])


def test_against_monai_in_3d():
    rng = np.random.default_rng(1)
    pred, target = rng.integers(0, 3, (2, 5, 6, 7))

    def one_hot(labels):
        return torch.nn.functional.one_hot(torch.from_numpy(labels)).movedim(-1, 0)[None]

    counts = overlap_counts(confusion_matrix(pred, target, 3), [(0,), (1,), (2,)])
    pair = one_hot(pred), one_hot(target)
    np.testing.assert_allclose(dice_from_counts(counts), compute_dice(*pair)[0], rtol=1e-6)
    np.testing.assert_allclose(iou_from_counts(counts), compute_iou(*pair)[0], rtol=1e-6)


@pytest.mark.parametrize('empty, expected', [(0.0, 0.0), (1.0, 1.0), (None, np.nan)])
def test_two_empty_masks_give_the_chosen_value(empty, expected):
    nothing = np.zeros((3, 3), bool)
    np.testing.assert_equal(dice(nothing, nothing, empty=empty), expected)
    np.testing.assert_equal(iou(nothing, nothing, empty=empty), expected)
    some = nothing.copy()
    some[0, 0] = True
    assert dice(some, nothing, empty=empty) == iou(nothing, some, empty=empty) == 0


def test_ill_input():
    with pytest.raises(ValueError, match=r'class ids 0\.\.2, got 0\.\.3'):
        confusion_matrix(np.array([0, 3]), np.array([0, 1]), 3)
    with pytest.raises(ValueError, match=r'target must hold class ids 0\.\.2, got -1\.\.1'):
        confusion_matrix(np.array([0, 2]), np.array([-1, 1]), 3)
    with pytest.raises(ValueError, match='one shape'):
        confusion_matrix(np.zeros(3), np.zeros(4), 3)


@pytest.mark.parametrize('empty', [None, 0.25])
def test_precision_and_recall(empty):
    rng = np.random.default_rng(6)
    pred, target = rng.integers(0, 3, (2, 40))
    pred[pred == 2] = 3  # 2 is missed, 3 is spurious, 4 is nowhere
    counts = overlap_counts(confusion_matrix(pred, target, 5), [(n,) for n in range(5)])
    for function, score in (
        (precision_from_counts, sklearn.metrics.precision_score),
        (recall_from_counts, sklearn.metrics.recall_score),
    ):
        expected = score(target, pred, labels=range(5), average=None, zero_division=0)
        expected[4] = np.nan if empty is None else empty
        assert function(counts, empty=empty) == pytest.approx(expected, nan_ok=True)
        assert 0 < expected[0] < 1 and expected[2] == expected[3] == 0
    assert precision_from_counts(OverlapCounts(1, 2, 4)) == 0.5
    assert recall_from_counts(OverlapCounts(1, 2, 4)) == 0.25
