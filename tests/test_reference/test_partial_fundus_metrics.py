import numpy as np
import pytest
import torch
from mmengine.structures import PixelData

from mmjoint.evaluation.metrics import TaskMetric
from mmjoint.structures import JointDataSample

from .loader import assert_close, reference

TASKS = dict(
    vessel=dict(vessel=(1,)),
    lesion=dict(EX=(1,), HE=(2,), SE=(3,), MA=(4,)),
    odoc=dict(disc=(1, 2), cup=(2,)),
)
TOLERANCE, TOLERANCE_AUC = 1e-9, 1e-6
OVERLAP = dict(IoU='IoU', Dice='Dice', Precision='precision', Recall='recall')
VESSEL = dict(
    OVERLAP,
    ACC='ACC',
    auc='AUC',
    se='otsu_sensitivity',
    sp='otsu_specificity',
    ppv='otsu_precision',
)
LESION = dict(
    IoU='IoU',
    dice='Dice',
    se='recall',
    sp='precision',  # misnamed by the original
    AUPR='AUPR_11',
    auc_roc='AUC',
    mae='MAE',
)


def evaluate(arrays, task, gt=None, **options):
    gts = arrays[f'gt_{task}'] if gt is None else gt
    metric = TaskMetric(task=task, **options)
    metric.dataset_meta = dict(tasks=TASKS)
    for probs, labels in zip(arrays[f'p_{task}'], gts, strict=True):
        sample = JointDataSample()
        sample.gt_tasks = PixelData(**{task: torch.from_numpy(labels.astype(np.int64))[None]})
        sample.pred_tasks = PixelData(**{task: torch.from_numpy(probs.astype(np.float32))})
        metric.process(None, [sample.to_dict()])
    return metric.evaluate(len(gts))


def check(arrays, names, results, task, channels):
    """Compare ``<task>__<name>`` with our measures; the first entry is that of the background."""
    for name, measure in names.items():
        expected = arrays.below(f'{task}__')[name].numpy()
        # The entry of the background is NaN or a 0 without meaning where it is not measured.
        keys = [f'{task}/{measure}.{channel}' for channel in ('background', *channels)]
        first = 0 if keys[0] in results else 1
        assert first == 0 or not expected[0] > 0
        actual = np.array([results[key] for key in keys[first:]])
        tolerance = TOLERANCE_AUC if measure == 'AUC' else TOLERANCE
        assert_close(actual, expected[first:], tolerance, f'{task}__{name}')


@pytest.mark.parametrize(
    ('task', 'names', 'background'),
    [('vessel', VESSEL, True), ('lesion', LESION, False), ('odoc', OVERLAP, False)],
)
def test_tasks(task, names, background):
    arrays = reference('partial_fundus', 'metrics')
    assert set(arrays.below(f'{task}__')) == set(names)
    results = evaluate(arrays, task, measures=tuple(names.values()), background=background)
    check(arrays, names, results, task, TASKS[task])


def test_disc_alone():
    arrays = reference('partial_fundus', 'metrics')
    disc = (arrays['gt_odoc'] > 0).astype(np.uint8)
    options = dict(channels=('disc',), measures=('IoU', 'Dice'), background=True)
    results = evaluate(arrays, 'odoc', gt=disc, **options)
    for name, measure in (('iou', 'IoU'), ('dice', 'Dice')):
        actual = np.array([results[f'odoc/{measure}.{key}'] for key in ('background', 'disc')])
        assert_close(actual, arrays[f'od__{name}'], TOLERANCE, f'od__{name}')
