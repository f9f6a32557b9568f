import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar

from mmjoint.evaluation.metrics import TemperatureMetric

from ..samples import evaluate, make_sample


def best(logits, labels):
    """The optimum over all predictions ``(N, C)`` at once."""

    def likelihood(temperature):
        scaled = torch.from_numpy(logits / temperature)
        return float(torch.nn.functional.cross_entropy(scaled, torch.from_numpy(labels)))

    found = minimize_scalar(likelihood, bounds=(0.1, 15), method='bounded')
    return found.x, likelihood(1.0), found.fun


def test_pixels_against_all_at_once():
    rng = np.random.default_rng(0)
    logits = 3 * rng.normal(size=(4, 3, 20, 30))
    noisy = logits / 2 + rng.gumbel(size=logits.shape)
    gts = noisy.argmax(1)
    gts[0, :4] = 255
    samples = [make_sample(gt_map=gt, seg_logits=z) for gt, z in zip(gts, logits, strict=True)]
    samples.append(make_sample(seg_logits=logits[0]))  # unlabelled
    results = evaluate(TemperatureMetric(task='seg'), samples)
    kept = gts.reshape(-1) != 255
    flat = np.moveaxis(logits, 1, -1).reshape(-1, 3)[kept]
    temperature, before, after = best(flat, gts.reshape(-1)[kept])
    assert results == pytest.approx(
        {
            'seg/temperature': temperature,
            'seg/temperature_at_bound': 0.0,
            'seg/NLL_before': before,
            'seg/NLL_after': after,
            'seg/num_predictions': kept.sum(),
        },
        rel=1e-4,
    )


def test_background_that_may_hide_other_classes_does_not_count():
    logits = np.array([[[3.0, 3.0, 0.0, 0.0]], [[0.0, 0.0, 1.0, 1.0]], [[0.0, 0.0, 0.0, 0.0]]])
    gt = np.array([[0, 0, 1, 1]])
    sample = make_sample(gt_map=gt, seg_logits=logits, annotated_classes=(1,))
    metric = TemperatureMetric(task='seg')
    results = evaluate(metric, [sample], classes=('background', 'a', 'b'))
    assert results['seg/num_predictions'] == 2


def test_images_against_all_at_once():
    rng = np.random.default_rng(0)
    logits = 2 * rng.normal(size=(300, 4))
    labels = (logits / 3 + rng.gumbel(size=logits.shape)).argmax(1)
    probs = torch.from_numpy(logits).softmax(1)
    samples = [make_sample(gt_label=y, pred_score=p) for y, p in zip(labels, probs, strict=True)]
    results = evaluate(TemperatureMetric(task='cls'), samples)
    temperature, before, after = best(logits, labels)
    assert results['cls/temperature'] == pytest.approx(temperature, rel=1e-4)
    assert results['cls/NLL_before'] == pytest.approx(before, rel=1e-5)
    assert results['cls/NLL_after'] == pytest.approx(after, rel=1e-5)
    assert temperature > 2


def test_all_right_ends_at_the_bound():
    samples = [make_sample(gt_label=1, pred_score=[0.2, 0.8])] * 3
    results = evaluate(TemperatureMetric(task='cls'), samples)
    assert results['cls/temperature_at_bound'] == 1
    assert results['cls/temperature'] == pytest.approx(0.05)


def test_without_labels_or_predictions_there_is_no_result():
    samples = [make_sample(gt_label=1), make_sample(pred_score=[0.2, 0.8])]
    assert evaluate(TemperatureMetric(task='cls'), samples) == {}
    ignored = make_sample(gt_map=np.full((2, 2), 255), seg_logits=np.zeros((2, 2, 2)))
    assert evaluate(TemperatureMetric(task='seg'), [ignored]) == {}
    with pytest.raises(ValueError, match="task must be 'cls' or 'seg', got 'both'"):
        TemperatureMetric(task='both')
