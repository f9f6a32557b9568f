import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import multiclass_calibration_error

from mmjoint.evaluation.metrics import CalibrationMetric
from mmjoint.utils.errors import UserError

from ..samples import evaluate, make_sample


def test_class_level_by_hand():
    # Confidence 0.8 right, 0.6 wrong, in bins of their own.
    samples = [
        make_sample(gt_label=1, pred_score=[0.2, 0.8]),
        make_sample(gt_label=1, pred_score=[0.6, 0.4]),
        make_sample(pred_score=[0.5, 0.5]),
    ]
    results = evaluate(CalibrationMetric(task='cls', num_bins=10), samples)
    assert results == pytest.approx(
        {
            'cls/ECE': (0.2 + 0.6) / 2,
            'cls/Brier': (0.08 + 0.72) / 2,
            'cls/NLL': -(np.log(0.8) + np.log(0.4)) / 2,
        }
    )


def test_pixel_level_against_all_pixels_at_once():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(4, 3, 6, 5)).astype(np.float32)
    gts = rng.integers(0, 3, (4, 6, 5))
    gts[0, :2] = 255
    samples = [
        make_sample(gt_map=gt, seg_logits=logit) for gt, logit in zip(gts, logits, strict=True)
    ]
    results = evaluate(CalibrationMetric(task='seg'), samples)
    kept = gts.reshape(-1) != 255
    flat = torch.from_numpy(logits).movedim(1, -1).reshape(-1, 3)[kept]
    labels = torch.from_numpy(gts.reshape(-1)[kept])
    probs = flat.double().softmax(1)
    one_hot = torch.nn.functional.one_hot(labels, 3)
    expected = {
        'seg/ECE': float(multiclass_calibration_error(probs, labels, num_classes=3, n_bins=15)),
        'seg/Brier': float(((probs - one_hot) ** 2).sum(1).mean()),
        'seg/NLL': float(torch.nn.functional.cross_entropy(flat.double(), labels)),
    }
    assert results == pytest.approx(expected, rel=1e-5)


def test_background_of_a_partly_annotated_image_is_not_known():
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(3, 6, 5)).astype(np.float32)
    gt = rng.integers(0, 3, (6, 5))
    classes = ('background', 'rim', 'cup')

    def run(gt, **metainfo):
        sample = make_sample(gt_map=gt, seg_logits=logits, **metainfo)
        return evaluate(CalibrationMetric(task='seg'), [sample], classes=classes)

    without_background = run(np.where(gt == 0, 255, gt))
    assert run(gt, annotated_classes=(0, 2)) == without_background
    assert run(gt, annotated_classes=(1, 2)) == run(gt) != without_background


def test_half_precision_is_read():
    scores = torch.tensor([0.25, 0.75], dtype=torch.bfloat16)
    results = evaluate(CalibrationMetric(), [make_sample(gt_label=1, pred_score=scores)])
    assert results['cls/ECE'] == 0.25


def test_errors():
    with pytest.raises(UserError, match='expected samples with gt_sem_seg, found none in 1 sample'):
        evaluate(CalibrationMetric(task='seg'), [make_sample(gt_label=0, pred_score=[1.0, 0.0])])
    maps = np.zeros((3, 3), int)
    with pytest.raises(UserError, match='expected seg_logits in the predictions'):
        evaluate(CalibrationMetric(task='seg'), [make_sample(gt_map=maps, pred_map=maps)])
    with pytest.raises(ValueError, match="task must be 'cls' or 'seg', got 'pixel'"):
        CalibrationMetric(task='pixel')
