"""A test run on sets that label one task each: metrics by set, then pseudo labels and back."""

import numpy as np
import pytest
import torch
from mmengine.structures import PixelData

from mmjoint.datasets import FundusTasksDataset, MultiSourceDataset
from mmjoint.engine.hooks import TaskLabelHook
from mmjoint.evaluation import JointEvaluator, restrict_evaluator
from mmjoint.evaluation.metrics import TaskMetric
from mmjoint.functional.task_labels import labels_from_probs

from ..test_datasets.task_sets import write_map, write_sets

PIPELINE = [dict(type='LoadJointImage'), dict(type='LoadTaskMaps'), dict(type='PackJointInputs')]


@pytest.fixture
def root(tmp_path):
    write_sets(tmp_path)
    return tmp_path


def build(root, name, split='test', **options):
    return FundusTasksDataset(str(root / name), split=split, pipeline=PIPELINE, **options)


def predict(dataset):
    """What a model would give: probabilities of all tasks, by the colours of the image."""
    samples = []
    for item in dataset:
        sample = item['data_samples']
        grey = item['inputs'].float().mean(0) / 255
        tasks = dataset.metainfo['tasks'].items()
        probs = {task: torch.stack([grey ** (n + 1) for n in range(len(c))]) for task, c in tasks}
        sample.pred_tasks = PixelData(**probs)
        samples.append(sample)
    return samples


def test_each_set_is_measured_by_its_own_task(root):
    dataset = MultiSourceDataset([build(root, name) for name in ('reta', 'ddr', 'refuge')])
    metrics = [
        TaskMetric(task='vessel', domain='reta', measures=('IoU', 'AUC'), background=True),
        TaskMetric(task='lesion', domain='ddr', measures=('IoU', 'AUPR_11')),
        TaskMetric(task='odoc', domain='refuge', measures=('IoU', 'Dice')),
    ]
    evaluator = JointEvaluator(metrics)
    evaluator.dataset_meta = dataset.metainfo
    restrict_evaluator(evaluator, ['miou'])
    evaluator.process(predict(dataset))
    results = evaluator.evaluate(len(dataset))
    assert {key for key in results if 'fov' not in key} == {
        *('reta/vessel/IoU.background', 'reta/vessel/IoU.vessel', 'reta/vessel/mIoU'),
        *(f'ddr/lesion/IoU.{name}' for name in ('EX', 'HE', 'SE', 'MA')),
        *('ddr/lesion/mIoU', 'refuge/odoc/IoU.disc', 'refuge/odoc/IoU.cup', 'refuge/odoc/mIoU'),
    }
    # The fields of view of these sets are whole images.
    assert results['reta/vessel/fov_IoU.vessel'] == results['reta/vessel/IoU.vessel']


def test_the_disc_alone_against_maps_of_a_folder(root):
    plain = build(root, 'ddr', annotated_tasks=())
    for sample in predict(plain):
        disc = (sample.pred_tasks.odoc[0] > 0.6).numpy().astype(np.uint8)
        stem = sample.img_path.rsplit('/', 1)[1]
        write_map(root / 'ddr' / 'OD' / stem, disc)
    dataset = build(root, 'ddr', extra_maps=dict(odoc='OD'))
    options = dict(channels=('disc',), background=True, threshold=0.6, measures=('IoU', 'Dice'))
    evaluator = JointEvaluator([TaskMetric(task='odoc', **options)])
    evaluator.dataset_meta = dataset.metainfo
    evaluator.process(predict(dataset))
    results = evaluator.evaluate(len(dataset))
    assert results['odoc/IoU.disc'] == results['odoc/Dice.background'] == 1
    assert not [key for key in results if 'cup' in key]


@pytest.mark.parametrize('min_confidence', [None, 0.6])
def test_written_labels_are_read_as_those_of_a_task(root, min_confidence):
    dataset = build(root, 'reta', 'train')
    hook = TaskLabelHook(
        'odoc', str(root / 'reta' / 'reta_odoc_pseudo'), min_confidence=min_confidence
    )
    samples = predict(dataset)

    class Runner:
        test_dataloader = type('Loader', (), dict(dataset=dataset))

    hook.before_test_epoch(Runner)
    hook.after_test_iter(Runner, 0, {}, samples)
    hook.after_test_epoch(Runner)
    both = build(root, 'reta', 'train', extra_maps=dict(odoc='reta_odoc_pseudo'))
    for item, sample in zip(both, samples, strict=True):
        maps = item['data_samples'].gt_tasks
        assert set(maps.keys()) == {'vessel', 'odoc'}
        expected = labels_from_probs(sample.pred_tasks.odoc, both.metainfo['tasks']['odoc'])
        kept = maps.odoc[0] != 255
        assert torch.equal(maps.odoc[0][kept], expected.long()[kept])
        assert bool(kept.all()) == (min_confidence is None)
