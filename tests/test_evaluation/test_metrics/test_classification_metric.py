import numpy as np
import pytest
from sklearn import metrics as sk

from mmjoint.evaluation.metrics import ClassificationMetric
from mmjoint.utils.errors import UserError

from ..samples import evaluate, make_sample

NAMES = ('healthy', 'ill')


def by_score(labels, scores, **metainfo):
    return [
        make_sample(gt_label=label, pred_score=[1 - score, score], **metainfo)
        for label, score in zip(labels, scores, strict=True)
    ]


def test_binary_by_hand():
    samples = by_score([0, 0, 0, 1, 1], [0.1, 0.2, 0.7, 0.4, 0.9])
    results = evaluate(ClassificationMetric(), samples, cls_classes=NAMES)
    assert results == pytest.approx(
        {
            'cls/ACC': 0.6,
            'cls/F1': 0.6 * 2 / 3 + 0.4 * 0.5,
            'cls/F1.healthy': 2 / 3,
            'cls/F1.ill': 0.5,
            'cls/kappa': (0.6 - 0.52) / 0.48,
            'cls/AUC': 5 / 6,
            'cls/AUPR': (1 + 2 / 3) / 2,
            'cls/sensitivity': 0.5,
            'cls/specificity': 2 / 3,
            'cls/confusion.healthy.healthy': 2,
            'cls/confusion.healthy.ill': 1,
            'cls/confusion.ill.healthy': 1,
            'cls/confusion.ill.ill': 1,
            'cls/num_samples': 5,
            'cls/num_unlabelled': 0,
        }
    )
    assert all(type(value) is float for value in results.values())


def test_two_scores_of_one_dirichlet_can_rank_differently():
    # alpha / S: 0.75 > 0.6; softmax: sigmoid(2) < sigmoid(4).
    samples = [
        make_sample(gt_label=1, cls_alpha=[1.0, 3.0]),
        make_sample(gt_label=0, cls_alpha=[8.0, 12.0]),
    ]
    results = evaluate(ClassificationMetric(), samples, cls_classes=NAMES)
    assert results['cls/AUC'] == 1
    assert results['cls/AUC_softmax_alpha'] == 0


def test_softmax_score_needs_alpha_of_all():
    samples = [make_sample(gt_label=0, cls_alpha=[2.0, 1.0]), *by_score([1], [0.8])]
    results = evaluate(ClassificationMetric(), samples, cls_classes=NAMES)
    assert results['cls/AUC'] == 1
    assert 'cls/AUC_softmax_alpha' not in results


def test_three_classes_against_scikit_learn():
    rng = np.random.default_rng(0)
    labels, scores = rng.integers(0, 3, 60), rng.dirichlet(np.ones(3), 60)
    samples = [
        make_sample(gt_label=k, pred_score=score) for k, score in zip(labels, scores, strict=True)
    ]
    results = evaluate(ClassificationMetric(), samples, cls_classes=('a', 'b', 'c'))
    preds = scores.argmax(1)
    expected = {
        'AUC': sk.roc_auc_score(labels, scores, multi_class='ovr'),
        'AUC.b': sk.roc_auc_score(labels == 1, scores[:, 1]),
        'AUPR.c': sk.average_precision_score(labels == 2, scores[:, 2]),
        'sensitivity': sk.recall_score(labels, preds, average='macro'),
        'specificity.a': sk.recall_score(labels != 0, preds != 0),
        'F1': sk.f1_score(labels, preds, average='weighted'),
        'kappa': sk.cohen_kappa_score(labels, preds),
        'confusion.a.c': ((labels == 0) & (preds == 2)).sum(),
    }
    actual = {key: results[f'cls/{key}'] for key in expected}
    assert actual == pytest.approx(expected)


def test_unlabelled_samples_are_counted_and_left_out():
    labelled = by_score([0, 1, 1], [0.3, 0.2, 0.6])
    expected = evaluate(ClassificationMetric(), labelled, cls_classes=NAMES)
    mixed = [make_sample(pred_score=[0.5, 0.5]), *labelled, make_sample(pred_score=[0.0, 1.0])]
    results = evaluate(ClassificationMetric(), mixed, cls_classes=NAMES)
    assert results == pytest.approx({**expected, 'cls/num_unlabelled': 2})


def test_padded_samples_are_cut_off():
    samples = by_score([0, 1, 1], [0.3, 0.2, 0.6])
    expected = evaluate(ClassificationMetric(), samples, cls_classes=NAMES)
    padded = samples + by_score([0], [1.0])
    assert evaluate(ClassificationMetric(), padded, size=3, cls_classes=NAMES) == expected


def test_cases_have_the_mean_score_of_their_samples():
    samples = [
        *by_score([1, 1, 1], [0.9, 0.4, 0.4], patient_id='p1'),
        *by_score([0], [0.55], patient_id='p2'),
        *by_score([0, 0], [0.1, 0.3], patient_id='p3'),
    ]
    results = evaluate(ClassificationMetric(group_by='patient_id'), samples, cls_classes=NAMES)
    assert results['cls/ACC'] == 0.5
    assert results['cls/case_ACC'] == pytest.approx(2 / 3)
    assert results['cls/AUC'] == pytest.approx(7 / 9)
    assert results['cls/case_AUC'] == 1
    assert results['cls/case_confusion.healthy.ill'] == 1
    assert results['cls/num_cases'] == 3


def test_a_case_with_two_labels_is_an_error():
    samples = by_score([0, 1], [0.2, 0.8], patient_id='p7')
    with pytest.raises(UserError, match=r'one gt_label for all samples of case p7.*\[0, 1\]'):
        evaluate(ClassificationMetric(group_by='patient_id'), samples, cls_classes=NAMES)


def test_one_class_alone_gives_nan_where_nothing_is_defined():
    results = evaluate(ClassificationMetric(), by_score([0, 0], [0.3, 0.6]), cls_classes=NAMES)
    assert results['cls/ACC'] == 0.5
    assert np.isnan([results[f'cls/{key}'] for key in ('AUC', 'AUPR', 'sensitivity')]).all()


def test_errors_name_what_is_wrong():
    metric = ClassificationMetric()
    with pytest.raises(UserError, match='expected samples with gt_label, found none in 2 samples'):
        evaluate(metric, [make_sample(pred_score=[0.5, 0.5])] * 2, cls_classes=NAMES)
    with pytest.raises(UserError, match='expected pred_label in the predictions.*a.png'):
        evaluate(ClassificationMetric(), [make_sample(gt_label=0)], cls_classes=NAMES)
    with pytest.raises(UserError, match=r'expected 3 values .*found 2 from the model'):
        evaluate(ClassificationMetric(), by_score([0], [0.2]), cls_classes=('a', 'b', 'c'))
    with pytest.raises(UserError, match='expected patient_id in the metainfo'):
        evaluate(ClassificationMetric(group_by='patient_id'), by_score([0], [0.2]))
    with pytest.raises(TypeError, match='groupby'):
        ClassificationMetric(groupby='patient_id')


def test_an_error_leaves_nothing_behind():
    metric = ClassificationMetric()
    with pytest.raises(UserError):
        evaluate(metric, [make_sample(pred_score=[0.5, 0.5])], cls_classes=NAMES)
    samples = by_score([0, 1], [0.2, 0.8])
    assert evaluate(metric, samples, cls_classes=NAMES)['cls/num_samples'] == 2
