import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from mmjoint.evaluation.metrics import UncertaintyMetric
from mmjoint.utils.errors import UserError

from ..samples import evaluate, make_sample


def test_pixels_by_hand():
    gt = np.array([[0, 1, 1, 255]])
    pred = np.array([[0, 0, 1, 0]])
    vacuity = np.array([[0.1, 0.5, 0.75, 0.9]], np.float32)
    results = evaluate(
        UncertaintyMetric(), [make_sample(gt_map=gt, pred_map=pred, vacuity_map=vacuity)]
    )
    assert results == pytest.approx(
        {
            'seg/error_AUROC.vacuity': 0.5,
            'seg/mean_uncertainty.vacuity': (0.1 + 0.5 + 0.75) / 3,
            'seg/mean_uncertainty_right.vacuity': (0.1 + 0.75) / 2,
            'seg/mean_uncertainty_wrong.vacuity': 0.5,
        }
    )


def test_background_of_a_partly_annotated_image_is_not_known():
    sample = make_sample(
        gt_map=[[0, 0, 2, 2]],
        pred_map=[[0, 1, 2, 0]],
        vacuity_map=np.array([[0.1, 0.9, 0.25, 0.5]], np.float32),
        annotated_classes=(0, 2),
    )
    results = evaluate(UncertaintyMetric(), [sample], classes=('background', 'rim', 'cup'))
    assert results['seg/error_AUROC.vacuity'] == 1
    assert results['seg/mean_uncertainty.vacuity'] == 0.375


def test_pixels_against_exact_ranking_over_the_data_set():
    rng = np.random.default_rng(0)
    vacuity = 10 ** rng.uniform(-4, 0, (5, 20, 20)).astype(np.float32)
    gt = rng.integers(0, 2, (5, 20, 20))
    wrong = rng.random(vacuity.shape) < 0.5 * vacuity**0.25
    pred = np.where(wrong, 1 - gt, gt)
    samples = [
        make_sample(gt_map=g, pred_map=p, vacuity_map=v)
        for g, p, v in zip(gt, pred, vacuity, strict=True)
    ]
    results = evaluate(UncertaintyMetric(), samples)
    expected = roc_auc_score(wrong.reshape(-1), vacuity.reshape(-1))
    assert results['seg/error_AUROC.vacuity'] == pytest.approx(expected, abs=1e-3)
    assert results['seg/mean_uncertainty_wrong.vacuity'] == pytest.approx(vacuity[wrong].mean())


def test_images():
    samples = [
        make_sample(gt_label=label, pred_score=[1 - score, score], vacuity=vacuity)
        for label, score, vacuity in (
            (0, 0.2, 0.1),
            (1, 0.9, 0.6),
            (0, 0.7, 0.5),
            (1, 0.3, 0.8),
        )
    ]
    results = evaluate(UncertaintyMetric(task='cls'), samples)
    assert results['cls/error_AUROC.vacuity'] == 3 / 4
    assert results['cls/mean_uncertainty_right.vacuity'] == pytest.approx(0.35)
    assert results['cls/mean_uncertainty_wrong.vacuity'] == pytest.approx(0.65)


def test_no_error_to_find():
    maps = np.ones((2, 2), int)
    results = evaluate(
        UncertaintyMetric(),
        [make_sample(gt_map=maps, pred_map=maps, vacuity_map=np.full((2, 2), 0.25, np.float32))],
    )
    assert np.isnan(results['seg/error_AUROC.vacuity'])
    assert np.isnan(results['seg/mean_uncertainty_wrong.vacuity'])
    assert results['seg/mean_uncertainty.vacuity'] == 0.25


def test_errors():
    maps = np.ones((2, 2), int)
    with pytest.raises(UserError, match=r'expected seg_uncertainty\.vacuity in the predictions'):
        evaluate(UncertaintyMetric(), [make_sample(gt_map=maps, pred_map=maps)])
    vacuity = np.ones((2, 2), np.float32)
    sample = make_sample(gt_map=maps, pred_map=maps, vacuity_map=vacuity)
    metric = UncertaintyMetric(measure='predictive_entropy')
    with pytest.raises(UserError, match=r'seg_uncertainty\.predictive_entropy'):
        evaluate(metric, [sample])
    vacuity[0, 0] = np.nan
    sample = make_sample(gt_map=maps, pred_map=maps, vacuity_map=vacuity)
    with pytest.raises(ValueError, match='vacuity must be finite.*a.png'):
        evaluate(UncertaintyMetric(), [sample])
