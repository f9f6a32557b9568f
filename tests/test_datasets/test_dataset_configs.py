import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner import Runner

from mmjoint.registry import DATASETS, METRICS

BASE = Path(__file__).resolve().parents[2] / 'configs' / '_base_'
SETS = ('refuge', 'ispy1')
NOISES = sorted(path.stem for path in (BASE / 'noise').glob('*.py'))


def prepare(root, size=(256, 256)):
    """Two samples of a constant grey image and a mask with a square of class 1, in each split."""
    mask = np.zeros(size, np.uint8)
    mask[8:24, 8:24] = 1
    for split in ('train', 'val', 'test'):
        records = []
        for number in range(2):
            names = [f'{kind}/{split}/s{number}.png' for kind in ('images', 'masks')]
            for name, array in zip(names, (np.full((*size, 3), 51, np.uint8), mask), strict=True):
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                assert cv2.imwrite(str(root / name), array)
            record = dict(
                img_path=names[0],
                seg_map_path=names[1],
                gt_label=number,
                patient_id=f'p{number}',
                domain='x',
                spacing=[0.5, 0.5],
                ori_shape=list(size),
                slice=number,
            )
            records.append(record)
        path = root / 'annotations' / f'{split}.json'
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(records))


def load(name, root, noise=None, tmp_path=None):
    path = BASE / 'datasets' / f'{name}_256x256.py'
    if noise:
        leaf = tmp_path / 'leaf.py'
        leaf.write_text(
            f"_base_ = ['{path}', '{BASE / 'noise' / (noise + '.py')}']\n"
            'test_dataloader = dict(dataset=dict(pipeline=_base_.noisy_test_pipeline))\n'
        )
        path = leaf
    config = Config.fromfile(path)
    for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        config[loader].dataset.data_root = str(root)
    return config


@pytest.mark.parametrize('name', SETS)
def test_all_loaders_give_batches(name, tmp_path):
    prepare(tmp_path)
    config = load(name, tmp_path)
    for key, batch_size in (('train', 2), ('val', 4), ('test', 4)):
        options = config[f'{key}_dataloader']
        assert options.batch_size == batch_size and not options.get('drop_last', False)
        options.update(num_workers=0, persistent_workers=False)
        with DefaultScope.overwrite_default_scope('mmjoint'):
            (batch,) = Runner.build_dataloader(options, seed=0)
        assert [tuple(image.shape) for image in batch['inputs']] == [(3, 256, 256)] * 2
        assert batch['inputs'][0].dtype == torch.uint8
        labels = {sample.patient_id: sample.gt_label.item() for sample in batch['data_samples']}
        assert labels == dict(p0=0, p1=1)
        assert batch['data_samples'][0].gt_sem_seg.data.sum() == 256


@pytest.mark.parametrize('name', SETS)
def test_evaluators_are_built_and_share_the_classes(name):
    config = Config.fromfile(BASE / 'datasets' / f'{name}_256x256.py')
    for evaluator in (config.val_evaluator, config.test_evaluator):
        assert [type(METRICS.build(metric)).__name__ for metric in evaluator.metrics] == [
            'SegmentationMetric',
            'ClassificationMetric',
            'CalibrationMetric',
        ]


def test_slices_of_another_size_are_resized_but_not_their_test_masks(tmp_path):
    prepare(tmp_path, size=(120, 100))
    config = load('ispy1', tmp_path)
    trained = DATASETS.build(config.train_dataloader.dataset)[0]
    tested = DATASETS.build(config.test_dataloader.dataset)[0]
    assert trained['inputs'].shape == tested['inputs'].shape == (3, 256, 256)
    assert trained['data_samples'].gt_sem_seg.shape == (256, 256)
    assert tested['data_samples'].gt_sem_seg.shape == (120, 100)
    assert tested['data_samples'].ori_shape == (120, 100)


@pytest.mark.parametrize('noise', NOISES)
@pytest.mark.parametrize('name', SETS)
def test_noise_as_a_second_base(name, noise, tmp_path):
    prepare(tmp_path)
    config = load(name, tmp_path, noise, tmp_path)
    level = 'sigma' if noise == 'gaussian' else 'amount'
    config.merge_from_dict({f'test_dataloader.dataset.pipeline.1.{level}': 0.2})
    item = DATASETS.build(config.test_dataloader.dataset)[0]
    inputs = item['inputs'] / 255
    assert item['data_samples'].gt_sem_seg.data.sum() == 256
    if noise == 'gaussian':
        # The grey is 0.2, so one sigma of it lies below zero: 15.9 % are cut off there.
        assert (inputs == 0).double().mean() == pytest.approx(0.1587, abs=0.005)
        assert inputs.median() == pytest.approx(0.2, abs=0.005)
    else:
        white, black = ((inputs[0] == value).double().mean().item() for value in (1, 0))
        assert (inputs[0] == 51 / 255).double().mean().item() == pytest.approx(1 - white - black)
        # A share of 0.1 drawn with replacement hits 1 - exp(-0.1) of the pixels.
        assert black == pytest.approx(0.0952, abs=0.005)
        expected = 0.0 if noise.endswith('upstream') else 0.0952 * (1 - 0.0952)
        assert white == pytest.approx(expected, abs=0.005)
    clean = DATASETS.build(config.val_dataloader.dataset)[0]['inputs']
    assert clean.unique().tolist() == [51]
