"""What each process of the two-process test does; it imports little, to start quickly."""

import json

import torch.distributed as dist
from mmengine.evaluator import Evaluator

from mmjoint.evaluation.metrics import (
    CalibrationMetric,
    CaseUncertaintyMetric,
    ClassificationMetric,
    SegmentationMetric,
    TaskMetric,
    UncertaintyMetric,
)
from mmjoint.utils.errors import UserError

META = dict(
    classes=('background', 'rim', 'cup'),
    cls_classes=('healthy', 'ill'),
    tasks=dict(odoc=dict(disc=(1, 2), cup=(2,))),
)


def metrics():
    return [
        ClassificationMetric(),
        SegmentationMetric(unions=dict(disc=(1, 2))),
        CalibrationMetric(task='cls'),
        CalibrationMetric(task='seg'),
        UncertaintyMetric(task='seg'),
        UncertaintyMetric(task='cls'),
        CaseUncertaintyMetric(measure='vacuity', failure_dice=0.35, patch_size=3),
    ]


def grouped_metrics():
    return [
        *metrics(),
        SegmentationMetric(group_by='patient_id', prefix='grouped'),
        CaseUncertaintyMetric(
            measure='vacuity', group_by='patient_id', boundary_width=1, prefix='grouped_cases'
        ),
        UncertaintyMetric(sparsification_error='brier', prefix='brier'),
        TaskMetric(
            task='odoc',
            measures=('IoU', 'AUC', 'AUPR', 'AUPR_11', 'MAE', 'otsu_precision', 'clDice'),
        ),
        ClassificationMetric(collect_device='cpu', prefix='files'),
    ]


def run(evaluator, of, size):
    evaluator.dataset_meta = META
    for sample in of:
        evaluator.process([sample])
    return evaluator.evaluate(size)


def work(rank, folder, of, size):
    """Evaluate every second sample of ``of``; ``size`` is the length before filling up."""
    dist.init_process_group('gloo', init_method=f'file://{folder}/store', rank=rank, world_size=2)
    evaluator = Evaluator(grouped_metrics())
    evaluator.metrics[-1].collect_dir = f'{folder}/parts'
    results = run(evaluator, of[rank::2], size)
    try:
        run(Evaluator([ClassificationMetric()]), [{'img_path': 'a.png'}], 2)
        error = None
    except UserError as raised:
        error = str(raised)
    with open(f'{folder}/rank{rank}.json', 'w') as file:
        json.dump([results, error], file)
    dist.destroy_process_group()
