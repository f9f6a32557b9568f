import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, roc_auc_score

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
            'seg/error_AUPR.vacuity': 1 / 2,
            # Risks 0, 1/2, 1/3; in the best order 0, 0, 1/3; the mean error is 1/3.
            'seg/AURC.vacuity': 5 / 18,
            'seg/E-AURC.vacuity': 3 / 18,
            'seg/AUSE.vacuity': 1 / 2,
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


def random_samples(seed=0, levels=None, **fields):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(5, 3, 20, 20)).astype(np.float32)
    vacuity = 10 ** rng.uniform(-4, 0, (5, 20, 20)).astype(np.float32)
    if levels is not None:
        vacuity = (np.ceil(vacuity * levels) / levels).astype(np.float32)
    pred = logits.argmax(1)
    wrong = rng.random(vacuity.shape) < 0.5 * vacuity**0.25
    gt = np.where(wrong, (pred + 1) % 3, pred)
    gt[1, :3] = 255
    known = (gt != 255).reshape(-1)
    samples = [
        make_sample(gt_map=g, seg_logits=x, vacuity_map=v, **fields)
        for g, x, v in zip(gt, logits, vacuity, strict=True)
    ]
    flat = np.moveaxis(logits, 1, -1).reshape(-1, 3)[known].astype(float)
    probs = np.exp(flat) / np.exp(flat).sum(1, keepdims=True)
    brier = ((probs - np.eye(3)[gt.reshape(-1)[known]]) ** 2).sum(1)
    return samples, vacuity.reshape(-1)[known], wrong.reshape(-1)[known], brier


def expected_values(uncertainty, errors, orders=1):
    """AURC, its best value and AUSE; mean over random orders of ties."""
    rng = np.random.default_rng(0)
    kept = np.arange(1, len(errors) + 1)
    tried = (np.lexsort((rng.random(len(errors)), uncertainty)) for _ in range(orders))
    area = np.mean([(np.cumsum(errors[order]) / kept).mean() for order in tried])
    best = (np.cumsum(np.sort(errors)) / kept).mean()
    return area, best, (area - best) / errors.mean()


# Without levels there are ties only where pixels share a bin.
@pytest.mark.parametrize('levels', [None, 8])
def test_pixels_against_all_pixels_at_once(levels):
    samples, uncertainty, wrong, _ = random_samples(levels=levels)
    results = evaluate(UncertaintyMetric(), samples)
    expected = roc_auc_score(wrong, uncertainty)
    tolerance = 1e-3 if levels is None else 1e-12
    assert results['seg/error_AUROC.vacuity'] == pytest.approx(expected, abs=tolerance)
    expected = average_precision_score(wrong, uncertainty)
    tolerance = 5e-3 if levels is None else 1e-12
    assert results['seg/error_AUPR.vacuity'] == pytest.approx(expected, abs=tolerance)
    area, best, ause = expected_values(uncertainty, wrong.astype(float), orders=500)
    assert results['seg/AURC.vacuity'] == pytest.approx(area, abs=1e-3)
    assert results['seg/E-AURC.vacuity'] == pytest.approx(area - best, abs=1e-3)
    assert results['seg/AUSE.vacuity'] == pytest.approx(ause, abs=5e-3)
    mean = uncertainty[wrong].mean()
    assert results['seg/mean_uncertainty_wrong.vacuity'] == pytest.approx(mean)


def test_pixels_without_ties_are_exact():
    """Each pixel has a bin of its own."""
    samples, _, wrong, _ = random_samples()
    for sample in samples[1:]:
        sample.gt_sem_seg.data[:] = 255  # leave 400 pixels
    uncertainty = 2.0 ** np.linspace(-8, 0, 400, endpoint=False, dtype=np.float32)
    wrong = wrong[:400]
    order = np.random.default_rng(1).permutation(400)
    values = np.empty(400, np.float32)
    values[order] = uncertainty
    samples[0].seg_uncertainty.vacuity[:] = torch.from_numpy(values.reshape(1, 20, 20))
    results = evaluate(UncertaintyMetric(), samples)
    area, best, ause = expected_values(values, wrong.astype(float))
    assert results['seg/error_AUROC.vacuity'] == pytest.approx(roc_auc_score(wrong, values))
    assert results['seg/error_AUPR.vacuity'] == pytest.approx(
        average_precision_score(wrong, values)
    )
    assert results['seg/AURC.vacuity'] == pytest.approx(area, rel=1e-12)
    assert results['seg/E-AURC.vacuity'] == pytest.approx(area - best, rel=1e-10)
    assert results['seg/AUSE.vacuity'] == pytest.approx(ause, rel=1e-10)


def test_sparsification_of_the_brier_score():
    samples, uncertainty, _, brier = random_samples()
    metric = UncertaintyMetric(sparsification_error='brier')
    results = evaluate(metric, samples)
    _, _, ause = expected_values(uncertainty, brier)
    assert results['seg/AUSE.vacuity'] == pytest.approx(ause, abs=5e-3)
    plain = evaluate(UncertaintyMetric(), samples)
    assert plain.pop('seg/AUSE.vacuity') != results.pop('seg/AUSE.vacuity')
    assert results == plain
    # Where the uncertainty is the error, nothing is left between the curves.
    start = 0
    for sample in samples:
        known = sample.gt_sem_seg.data != 255
        number = int(known.sum())
        values = torch.from_numpy(brier[start : start + number].astype(np.float32))
        sample.seg_uncertainty.vacuity[known] = values
        start += number
    results = evaluate(UncertaintyMetric(sparsification_error='brier'), samples)
    assert results['seg/AUSE.vacuity'] == pytest.approx(0, abs=1e-6)


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
    assert results['cls/error_AUPR.vacuity'] == pytest.approx((1 + 2 / 3) / 2)
    # By rising vacuity: right, wrong, right, wrong.
    area = (0 + 1 / 2 + 1 / 3 + 1 / 2) / 4
    assert results['cls/AURC.vacuity'] == pytest.approx(area)
    assert results['cls/E-AURC.vacuity'] == pytest.approx(area - (1 / 3 + 1 / 2) / 4)
    assert results['cls/AUSE.vacuity'] == pytest.approx(2 * (area - (1 / 3 + 1 / 2) / 4))
    metric = UncertaintyMetric(task='cls', sparsification_error='brier')
    brier = 2 * np.array([0.2, 0.1, 0.7, 0.7]) ** 2
    _, _, ause = expected_values(np.array([0.1, 0.6, 0.5, 0.8]), brier)
    assert evaluate(metric, samples)['cls/AUSE.vacuity'] == pytest.approx(ause)
    assert results['cls/mean_uncertainty_right.vacuity'] == pytest.approx(0.35)
    assert results['cls/mean_uncertainty_wrong.vacuity'] == pytest.approx(0.65)


def test_no_error_to_find():
    maps = np.ones((2, 2), int)
    results = evaluate(
        UncertaintyMetric(),
        [make_sample(gt_map=maps, pred_map=maps, vacuity_map=np.full((2, 2), 0.25, np.float32))],
    )
    assert np.isnan(results['seg/error_AUROC.vacuity'])
    assert np.isnan(results['seg/error_AUPR.vacuity'])
    assert np.isnan(results['seg/AUSE.vacuity'])
    assert results['seg/AURC.vacuity'] == results['seg/E-AURC.vacuity'] == 0
    assert np.isnan(results['seg/mean_uncertainty_wrong.vacuity'])
    assert results['seg/mean_uncertainty.vacuity'] == 0.25


def test_nothing_but_errors():
    maps = np.ones((2, 2), int)
    vacuity = np.array([[0.25, 0.5], [0.5, 1]], np.float32)
    sample = make_sample(gt_map=maps, pred_map=0 * maps, vacuity_map=vacuity)
    results = evaluate(UncertaintyMetric(), [sample])
    assert np.isnan(results['seg/error_AUROC.vacuity'])
    assert results['seg/error_AUPR.vacuity'] == 1
    assert results['seg/AURC.vacuity'] == pytest.approx(1)
    assert results['seg/E-AURC.vacuity'] == pytest.approx(0, abs=1e-12)
    assert results['seg/AUSE.vacuity'] == pytest.approx(0, abs=1e-12)


def test_no_known_pixel():
    maps = np.full((2, 2), 255)
    sample = make_sample(
        gt_map=maps, seg_logits=np.zeros((2, 2, 2)), vacuity_map=np.ones((2, 2), np.float32)
    )
    for error in ('zero_one', 'brier'):
        results = evaluate(UncertaintyMetric(sparsification_error=error), [sample])
        assert all(np.isnan(value) for value in results.values())


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
    with pytest.raises(ValueError, match="'zero_one' or 'brier', got 'dice'"):
        UncertaintyMetric(sparsification_error='dice')
    sample = make_sample(gt_map=maps, pred_map=maps, vacuity_map=np.ones((2, 2), np.float32))
    with pytest.raises(UserError, match='expected seg_logits in the predictions'):
        evaluate(UncertaintyMetric(sparsification_error='brier'), [sample])
    with pytest.raises(ValueError, match='vacuity must be finite.*a.png'):
        image = make_sample(gt_label=0, pred_score=[1.0, 0.0], vacuity=np.inf)
        evaluate(UncertaintyMetric(task='cls'), [image])
