import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import (
    binary_calibration_error,
    multiclass_calibration_error,
)

from mmjoint.evaluation.metrics import CalibrationMetric
from mmjoint.utils.errors import UserError

from ..samples import evaluate, make_sample


def adaptive_error(confidence, right, num_bins):
    """By the definition: each prediction in equal shares, sorted, cut into parts of equal mass."""
    shares = np.repeat(np.argsort(confidence), num_bins)
    parts = np.split(shares, num_bins)
    return np.mean([abs(right[part].mean() - confidence[part].mean()) for part in parts])


def test_class_level_by_hand():
    # Confidence 0.8 right, 0.6 wrong, in bins of their own.
    samples = [
        make_sample(gt_label=1, pred_score=[0.2, 0.8]),
        make_sample(gt_label=1, pred_score=[0.6, 0.4]),
        make_sample(pred_score=[0.5, 0.5]),
    ]
    metric = CalibrationMetric(task='cls', num_bins=10)
    results = evaluate(metric, samples, cls_classes=('healthy', 'ill'))
    assert results == pytest.approx(
        {
            'cls/ECE': (0.2 + 0.6) / 2,
            'cls/ACE': (0.2 + 0.6) / 2,
            # One-vs-rest, class 1: 0.8 and 0.4, both true; class 0: 0.2 and 0.6, both false.
            'cls/ECE.healthy': (0.2 + 0.6) / 2,
            'cls/ECE.ill': (0.2 + 0.6) / 2,
            'cls/cwECE': 0.4,
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
    class_errors = {}
    for k in range(3):
        error = binary_calibration_error(probs[:, k].contiguous(), (labels == k).long(), n_bins=15)
        class_errors[f'seg/ECE.{k}'] = float(error)
    confidence, right = probs.max(1).values.numpy(), (probs.argmax(1) == labels).numpy()
    expected = {
        # A few of the 110 pixels share a fine bin.
        'seg/ACE': pytest.approx(adaptive_error(confidence, right, 15), rel=0.05),
        **class_errors,
        'seg/cwECE': np.mean(list(class_errors.values())),
        'seg/ECE': float(multiclass_calibration_error(probs, labels, num_classes=3, n_bins=15)),
        'seg/Brier': float(((probs - one_hot) ** 2).sum(1).mean()),
        'seg/NLL': float(torch.nn.functional.cross_entropy(flat.double(), labels)),
    }
    adaptive = expected.pop('seg/ACE')
    assert results.pop('seg/ACE') == adaptive
    assert results == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize('num_bins', [1, 7, 15, 30])
def test_adaptive_bins_without_ties_are_exact(num_bins):
    """Each of the 120 pixels has a fine bin of its own; an edge may still fall into one."""
    rng = np.random.default_rng(0)
    doubt = 2.0 ** -np.linspace(1.1, 20, 120)
    logit = np.log((1 - doubt) / doubt)
    # Wrong more often than the confidence says, up to the most confident ones.
    gt = (rng.random(120) < 0.7).astype(int)
    order = rng.permutation(120).reshape(2, 6, 10)
    samples = [
        make_sample(gt_map=gt[o], seg_logits=np.stack([0 * logit[o], logit[o]])) for o in order
    ]
    results = evaluate(CalibrationMetric(task='seg', num_bins=num_bins), samples)
    expected = adaptive_error(1 - doubt, gt == 1, num_bins)
    assert results['seg/ACE'] == pytest.approx(expected, rel=1e-6)


def test_adaptive_bins_resolve_confident_pixels():
    """Nearly all confidences lie above 0.99, where bins of equal width cannot tell them apart."""
    rng = np.random.default_rng(0)
    logit = rng.uniform(5, 14, (3, 20, 20)).astype(np.float32)
    # Wrong by 1 - confidence in the mean, but all wrong ones are among the most confident half.
    wrong = (logit > np.median(logit)) & (rng.random(logit.shape) < 0.01)
    gts = np.where(wrong, 0, 1)
    samples = [
        make_sample(gt_map=gt, seg_logits=np.stack([0 * one, one]))
        for gt, one in zip(gts, logit, strict=True)
    ]
    results = evaluate(CalibrationMetric(task='seg', num_bins=10), samples)
    confidence = 1 / (1 + np.exp(-logit.reshape(-1).astype(float)))
    right = ~wrong.reshape(-1)
    expected = adaptive_error(confidence, right, 10)
    # Half a fine bin of 1 - confidence is at most 1/512 of it; wrong pixels may share a bin.
    assert results['seg/ACE'] == pytest.approx(expected, rel=0.05)
    assert results['seg/ACE'] > 1.2 * results['seg/ECE']


def test_pixels_that_share_a_fine_bin_are_shared_out():
    # 4 pixels of confidence 1/2, one of them right, 4 of 3/4, all right; 3 bins of 8/3 pixels.
    logit = np.log([[1, 1, 1, 1, 3, 3, 3, 3]]).astype(np.float32)
    gt = np.array([[0, 1, 1, 1, 1, 1, 1, 1]])
    results = evaluate(
        CalibrationMetric(task='seg', num_bins=3),
        [make_sample(gt_map=gt, seg_logits=np.stack([0 * logit, logit]))],
    )
    middle = abs((4 / 3) * (1 / 4 + 1) - (4 / 3) * (1 / 2 + 3 / 4)) / 8
    assert results['seg/ACE'] == pytest.approx((8 / 3 * 1 / 4 + 8 / 3 * 1 / 4) / 8 + middle)


def test_all_right_or_all_wrong_or_nothing():
    logits = np.stack([np.zeros((2, 2)), np.full((2, 2), np.log(4))]).astype(np.float32)
    for gt, error in ((1, 0.2), (0, 0.8)):
        sample = make_sample(gt_map=np.full((2, 2), gt), seg_logits=logits)
        results = evaluate(CalibrationMetric(task='seg'), [sample])
        for key in ('ECE', 'ACE', 'ECE.0', 'ECE.1', 'cwECE'):
            assert results[f'seg/{key}'] == pytest.approx(error, rel=1e-6)
    sample = make_sample(gt_map=np.full((2, 2), 255), seg_logits=logits)
    assert all(np.isnan(v) for v in evaluate(CalibrationMetric(task='seg'), [sample]).values())


def test_class_names_must_fit():
    sample = make_sample(gt_label=1, pred_score=[0.2, 0.8])
    with pytest.raises(UserError, match=r'expected 3 values .* found 2'):
        evaluate(CalibrationMetric(), [sample], cls_classes=('a', 'b', 'c'))


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
