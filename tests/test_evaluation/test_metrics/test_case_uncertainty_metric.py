import numpy as np
import pytest
import torch
from scipy import ndimage, stats
from sklearn.metrics import roc_auc_score

from mmjoint.evaluation.metrics import CaseUncertaintyMetric, SegmentationMetric
from mmjoint.functional.aggregation import AGGREGATIONS, aggregate_map
from mmjoint.functional.overlap import dice
from mmjoint.structures import VolumeData
from mmjoint.utils.errors import UserError

from ..samples import evaluate, make_sample

CLASSES = ('background', 'rim', 'cup')


def square(shift, size=4, value=1):
    mask = np.zeros((24, 24), int)
    mask[10 : 10 + size, 8 + shift : 8 + shift + size] = value
    return mask


def case(gt, pred, uncertainty, **fields):
    values = np.asarray(uncertainty, np.float32)
    return make_sample(
        gt_map=gt, pred_map=pred, vacuity_map=np.broadcast_to(values, gt.shape).copy(), **fields
    )


def run(samples, classes=('background', 'lesion'), **options):
    return evaluate(CaseUncertaintyMetric(measure='vacuity', **options), samples, classes=classes)


def test_by_hand():
    # Dice 1, 3/4, 1/2; the middle one seems the most certain.
    samples = [
        case(square(0), square(shift), value) for shift, value in ((0, 0.25), (1, 0.125), (2, 0.5))
    ]
    results = run(samples)
    assert (results['seg/num_cases.vacuity'], results['seg/num_failed.vacuity']) == (3, 2)
    for name in ('mean', 'mean_foreground', 'patch_max', 'mean_off_boundary'):
        # Risks in rising order of uncertainty: 1/4, 0, 1/2; best: 0, 1/4, 1/2.
        area, best = (1 / 4 + 1 / 8 + 1 / 4) / 3, (0 + 1 / 8 + 1 / 4) / 3
        assert results[f'seg/case_AURC.vacuity.{name}'] == pytest.approx(area)
        assert results[f'seg/case_E-AURC.vacuity.{name}'] == pytest.approx(area - best)
        assert results[f'seg/failure_AUROC.vacuity.{name}'] == 0.5
        assert results[f'seg/case_Spearman.vacuity.{name}'] == pytest.approx(0.5)
    assert len(results) == 2 + 4 * len(AGGREGATIONS)


@pytest.fixture
def logged(monkeypatch):
    """What the metric has logged since the last look."""
    texts = []
    module = 'mmjoint.evaluation.metrics.case_uncertainty_metric'
    monkeypatch.setattr(f'{module}.print_log', lambda text, logger: texts.append(text))
    return lambda: texts.pop()


def test_table_names_the_best(logged):
    rng = np.random.default_rng(0)
    samples = []
    for shift in range(4):
        values = rng.random((24, 24)) * 0.01
        values[:4, :4] = shift / 4  # a spot that only the patch of that size sees whole
        values[12:] += 0.5 - shift / 8
        samples.append(case(square(0), square(shift), values))
    results = run(samples, patch_size=4, failure_dice=0.6)
    assert results['seg/failure_AUROC.vacuity.mean'] == 0
    text = logged()
    assert '2 of 4 cases failed (mean Dice below 0.6)' in text
    scores = {a: results[f'seg/failure_AUROC.vacuity.{a}'] for a in AGGREGATIONS}
    best = max(scores, key=scores.get)
    assert f'best: {best} (failure AUROC {scores[best]:.4f}, AURC ' in text
    results = run(samples, patch_size=4, failure_dice=0.1)  # none failed: by AURC
    text = logged()
    assert '0 of 4 cases failed' in text
    scores = {a: results[f'seg/case_AURC.vacuity.{a}'] for a in AGGREGATIONS}
    best = min(scores, key=scores.get)
    assert f'best: {best} (AURC {scores[best]:.4f})' in text


def random_cases(number=12, seed=0):
    rng = np.random.default_rng(seed)
    samples = []
    for index in range(number):
        smooth = ndimage.gaussian_filter(rng.normal(size=(3, 30, 31)), (0, 3, 3)) * 10
        smooth[0] += 0.2
        gt = smooth.argmax(0)
        noise = ndimage.gaussian_filter(rng.normal(size=(3, 30, 31)), (0, 2, 2)) * index / 3
        pred = (smooth + noise).argmax(0)
        values = rng.random((30, 31)) * (1 + index) / number
        gt[:2] = 255
        samples.append(case(gt, pred, values))
    return samples


def test_against_scikit_learn_scipy_and_loops():
    samples = random_cases()
    results = run(samples, CLASSES, unions=dict(disc=(1, 2)), patch_size=6, boundary_width=2)
    scores, risks = [], []
    for sample in samples:
        values = sample.seg_uncertainty.vacuity[0].numpy()
        gt, pred = sample.gt_sem_seg.data[0].numpy(), sample.pred_sem_seg.data[0].numpy()
        scores.append(aggregate_map(values, pred, patch_size=6, boundary_width=2))
        counted = gt != 255
        each = [
            dice(np.isin(pred, ids)[counted], np.isin(gt, ids)[counted])
            for ids in ((1,), (2,), (1, 2))
        ]
        risks.append(1 - np.mean(each))
    risks = np.array(risks)
    failed = risks > 0.2
    assert results['seg/num_failed.vacuity'] == failed.sum() > 0
    assert not failed.all()
    for name in AGGREGATIONS:
        values = np.array([score[name] for score in scores])
        assert not np.isnan(values).any()
        expected = roc_auc_score(failed, values)
        assert results[f'seg/failure_AUROC.vacuity.{name}'] == pytest.approx(expected)
        expected = stats.spearmanr(values, risks).statistic
        assert results[f'seg/case_Spearman.vacuity.{name}'] == pytest.approx(expected)
        kept = risks[np.argsort(values)]
        area = np.mean([kept[: n + 1].mean() for n in range(len(kept))])
        best = np.mean([np.sort(kept)[: n + 1].mean() for n in range(len(kept))])
        assert results[f'seg/case_AURC.vacuity.{name}'] == pytest.approx(area)
        assert results[f'seg/case_E-AURC.vacuity.{name}'] == pytest.approx(area - best)


def test_the_dice_is_that_of_the_segmentation_metric():
    samples = random_cases(1)
    overlap = evaluate(
        SegmentationMetric(unions=dict(disc=(1, 2)), measures=('Dice',)), samples, classes=CLASSES
    )
    expected = np.mean([overlap[f'seg/Dice.{name}'] for name in ('rim', 'cup', 'disc')])
    results = run(samples, CLASSES, unions=dict(disc=(1, 2)))
    assert results['seg/case_AURC.vacuity.mean'] == pytest.approx(1 - expected)
    assert results['seg/case_E-AURC.vacuity.mean'] == 0
    assert np.isnan(results['seg/failure_AUROC.vacuity.mean'])
    assert np.isnan(results['seg/case_Spearman.vacuity.mean'])


def test_where_nothing_is_predicted_the_score_is_the_highest():
    samples = [
        case(square(0), np.zeros((24, 24), int), 0.125),  # Dice 0
        case(square(0), square(0), 0.75),
        case(square(0), square(1), 0.5),
    ]
    results = run(samples, failure_dice=0.5)
    for name in ('mean_foreground', 'per_predicted_volume'):
        assert results[f'seg/failure_AUROC.vacuity.{name}'] == 1
    assert results['seg/failure_AUROC.vacuity.mean'] == 0


def test_cases_without_any_region_are_left_out(logged):
    empty = np.zeros((24, 24), int)
    samples = [
        case(empty, empty, 0.9),
        case(square(0), square(0), 0.1),
        case(empty, square(0), 0.5),  # Dice 0
        make_sample(pred_map=empty, vacuity_map=np.ones((24, 24), np.float32)),  # not annotated
    ]
    results = run(samples)
    assert (results['seg/num_cases.vacuity'], results['seg/num_failed.vacuity']) == (2, 1)
    assert results['seg/failure_AUROC.vacuity.mean'] == 1
    text = logged()
    assert '1 of 2 cases failed' in text and '1 without any foreground are left out' in text
    only_empty = run(samples[:1])
    assert only_empty.pop('seg/num_cases.vacuity') == only_empty.pop('seg/num_failed.vacuity') == 0
    assert all(np.isnan(value) for value in only_empty.values())


def test_only_annotated_regions_count():
    gt, pred = square(0) + square(6, value=2), square(0) + square(9, value=2)
    both = run([case(gt, pred, 0.5)], CLASSES)
    assert both['seg/case_AURC.vacuity.mean'] == pytest.approx((0 + 3 / 4) / 2)
    hidden = np.where(gt == 2, 0, gt)
    sample = case(hidden, pred, 0.5, annotated_classes=(0, 1))
    assert run([sample], CLASSES)['seg/case_AURC.vacuity.mean'] == 0


def test_ignored_pixels_count_in_the_score_alone():
    gt = square(0)
    gt[:, 12:] = 255
    values = np.zeros((24, 24))
    values[:, 12:] = 1
    samples = [case(gt, square(2), values), case(square(0), square(0), 0.25)]
    results = run(samples)
    # Of the first mask 8 of 16 pixels are found, nothing else is seen: 2 * 8 / (16 + 8).
    assert results['seg/case_AURC.vacuity.mean'] == pytest.approx((0 + (1 - 2 / 3) / 2) / 2)


def test_slices_make_a_volume():
    # p1: Dice 2 * 8 / 32 = 1/2 over both slices, mean uncertainty 0.3; p0: Dice 1, 0.25.
    samples = [
        case(square(0), square(0), 0.25, patient_id='p0'),
        case(square(0), np.zeros((24, 24), int), 0.1, patient_id='p1'),
        case(np.zeros((24, 24), int), square(0), 0.5, patient_id='p1'),
    ]
    samples[2].gt_sem_seg.data[0, 10:14, 8:12] = 1
    results = run(samples, group_by='patient_id')
    assert results['seg/num_cases.vacuity'] == 2
    # p1: 16 of 32 reference pixels are found, 16 are predicted: 2 * 16 / 48.
    area = (0 + (1 - 2 / 3) / 2) / 2
    assert results['seg/case_AURC.vacuity.mean'] == pytest.approx(area)
    assert results['seg/failure_AUROC.vacuity.patch_max'] == 1
    with pytest.raises(UserError, match='expected case_id in the metainfo'):
        run(samples, group_by='case_id')


def test_volumes():
    rng = np.random.default_rng(0)
    samples, scores = [], []
    for shift in range(3):
        gt, pred = np.zeros((2, 12, 13, 14), int)
        gt[4:8, 4:8, 4:8] = 1
        pred[4:8, 4:8, 4 + shift : 8 + shift] = 1
        values = rng.random((12, 13, 14))
        sample = make_sample()
        for field, labels in (('gt_sem_seg', gt), ('pred_sem_seg', pred)):
            setattr(sample, field, VolumeData(data=torch.from_numpy(labels)[None]))
        sample.seg_uncertainty = VolumeData(vacuity=torch.from_numpy(values)[None])
        samples.append(sample)
        scores.append(aggregate_map(values, pred, patch_size=5, boundary_width=1))
    results = run(samples, patch_size=5, boundary_width=1)
    risks = np.array([0, 1 / 4, 1 / 2])
    for name in AGGREGATIONS:
        kept = risks[np.argsort([score[name] for score in scores])]
        area = (kept[0] + kept[:2].mean() + kept.mean()) / 3
        assert results[f'seg/case_AURC.vacuity.{name}'] == pytest.approx(area)


def test_only_what_is_asked_for():
    metric = CaseUncertaintyMetric(measure='vacuity')
    metric.restrict(['failure_AUROC'])
    results = evaluate(metric, random_cases(4), classes=CLASSES)
    assert set(results) == {
        *(f'seg/failure_AUROC.vacuity.{name}' for name in AGGREGATIONS),
        *('seg/num_cases.vacuity', 'seg/num_failed.vacuity'),
    }


def test_errors():
    sample = case(square(0), square(0), 0.5)
    with pytest.raises(UserError, match=r'CaseUncertaintyMetric: expected .*predictive_entropy'):
        evaluate(CaseUncertaintyMetric(), [sample], classes=CLASSES)
    with pytest.raises(UserError, match='expected unions of the class ids 0..2 under a name'):
        run([sample], CLASSES, unions=dict(rim=(1, 2)))
    with pytest.raises(UserError, match=r'a\.png: target must hold class ids 0\.\.1, got 0\.\.3'):
        run([case(square(0, value=3), square(0), 0.5)])
    with pytest.raises(ValueError, match='vacuity must be finite.*a.png'):
        run([case(square(0), square(0), np.nan)])
    with pytest.raises(ValueError, match=r'failure_dice must lie in \(0, 1\], got 80'):
        CaseUncertaintyMetric(failure_dice=80)
    with pytest.raises(ValueError, match='must be >= 1, got 0, 3'):
        CaseUncertaintyMetric(patch_size=0)
    with pytest.raises(UserError, match='expected samples with gt_sem_seg, found none in 1 sample'):
        run([make_sample(pred_map=square(0))])
