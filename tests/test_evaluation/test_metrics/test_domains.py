"""Metrics of one test set among several in one data set."""

import pytest
import torch
from mmengine.structures import PixelData

from mmjoint.evaluation.eval_names import select_metrics
from mmjoint.evaluation.evaluator import JointEvaluator
from mmjoint.registry import METRICS
from mmjoint.structures import JointDataSample
from mmjoint.utils.errors import UserError

META = dict(classes=('background', 'lung'), cls_classes=('normal', 'pneumonia'))


def classified(domain, label, pred):
    sample = JointDataSample(metainfo=dict(domain=domain, img_path='a.png')).set_gt_label(label)
    sample.set_pred_label(pred).set_pred_score(torch.eye(2)[pred])
    return sample


def segmented(domain, gt, pred):
    sample = JointDataSample(metainfo=dict(domain=domain, img_path='a.png'))
    sample.gt_sem_seg = PixelData(data=torch.tensor([[gt]]))
    sample.pred_sem_seg = PixelData(data=torch.tensor([[pred]]))
    return sample


def evaluator_of(*metrics):
    found = JointEvaluator(metrics=[METRICS.build(metric) for metric in metrics])
    found.dataset_meta = META
    return found


def metrics_by_domain():
    return [
        dict(type='ClassificationMetric', domain='kermany'),
        dict(type='ClassificationMetric', domain='nih'),
        dict(type='SegmentationMetric', domain='jsrt', measures=('Dice',)),
        dict(type='SegmentationMetric', domain='montgomery', measures=('Dice',)),
    ]


SAMPLES = [
    classified('kermany', 0, 0),
    classified('nih', 1, 0),
    segmented('jsrt', [1, 1, 0, 0], [1, 1, 0, 0]),
    classified('kermany', 1, 0),
    segmented('montgomery', [1, 1, 0, 0], [1, 0, 1, 0]),
    classified('nih', 1, 1),
    classified('nih', 0, 0),
]


def test_each_domain_has_its_own_figures():
    evaluator = evaluator_of(*metrics_by_domain())
    evaluator.process(SAMPLES)
    results = evaluator.evaluate(len(SAMPLES))
    assert results['kermany/cls/ACC'] == 0.5
    assert results['nih/cls/ACC'] == pytest.approx(2 / 3)
    assert results['jsrt/seg/Dice.lung'] == 1.0
    assert results['montgomery/seg/Dice.lung'] == 0.5
    assert results['nih/cls/num_samples'] == 3 and results['nih/cls/num_unlabelled'] == 0
    chosen = select_metrics(results, evaluator.metrics, ['ACC'])
    assert list(chosen) == ['kermany/cls/ACC', 'nih/cls/ACC']


def test_without_a_domain_all_samples_count():
    evaluator = evaluator_of(dict(type='ClassificationMetric'))
    evaluator.process(SAMPLES)
    results = evaluator.evaluate(len(SAMPLES))
    assert results['cls/ACC'] == pytest.approx(3 / 5)
    assert results['cls/num_unlabelled'] == 2


def test_a_domain_without_labelled_samples_is_named():
    evaluator = evaluator_of(dict(type='ClassificationMetric', domain='chexpert'))
    evaluator.process(SAMPLES)
    with pytest.raises(UserError, match=r"found none in 0 samples of the domain 'chexpert'"):
        evaluator.evaluate(len(SAMPLES))


@pytest.mark.parametrize('task', ['seg', 'cls'])
def test_measures_of_uncertainty_know_domains(task):
    for kind in ('CalibrationMetric', 'UncertaintyMetric'):
        assert METRICS.build(dict(type=kind, task=task, domain='a')).prefix == f'a/{task}'
    assert METRICS.build(dict(type='CaseUncertaintyMetric', domain='a')).prefix == 'a/seg'
