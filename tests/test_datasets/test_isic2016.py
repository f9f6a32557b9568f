"""From phantoms in the raw layout to the batches of the base config."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from PIL import Image

from mmjoint.datasets import ISIC2016Dataset
from mmjoint.registry import DATASETS, METRICS
from mmjoint.utils.errors import UserError

from ..test_prepare_dataset.scripts import isic2016, make_phantoms

CONFIG = (
    Path(__file__).resolve().parents[2] / 'configs' / '_base_' / 'datasets' / 'isic2016_128x128.py'
)


@pytest.fixture(scope='module')
def prepared(tmp_path_factory):
    """21 prepared phantoms: 13 for training, 2 for validation, 6 for testing."""
    root = tmp_path_factory.mktemp('isic2016')
    make_phantoms.make_phantoms('isic2016', root / 'raw', num_cases=21, seed=1, size=160)
    isic2016.prepare(root / 'raw', root / 'out')
    return root / 'out'


@pytest.fixture
def config(prepared):
    config = Config.fromfile(CONFIG)
    for split in ('train', 'val', 'test'):
        config[f'{split}_dataloader'].dataset.data_root = str(prepared)
    return config


def loader(config, split):
    options = config[f'{split}_dataloader'] | dict(num_workers=0, persistent_workers=False)
    with DefaultScope.overwrite_default_scope('mmjoint'):
        return Runner.build_dataloader(options, seed=0)


def test_batches(config):
    sizes = dict(train=[4, 4, 4, 1], val=[2], test=[4, 2])
    for split, expected in sizes.items():
        batches = list(loader(config, split))
        assert [len(batch['inputs']) for batch in batches] == expected
        for batch in batches:
            for image, sample in zip(batch['inputs'], batch['data_samples'], strict=True):
                assert image.dtype == torch.uint8 and image.shape == (3, 128, 128)
                assert sample.img_shape == (128, 128)
                size = sample.raw_shape if split == 'test' else (128, 128)
                assert sample.gt_sem_seg.shape == sample.ori_shape == size
                assert sample.gt_sem_seg.data.unique().tolist() == [0, 1]
                assert 'gt_label' not in sample
                assert sample.raw_shape != (128, 128)


def test_images_and_masks_are_resized_by_pillow(config, prepared):
    train = DATASETS.build(config.train_dataloader.dataset)
    test = DATASETS.build(config.test_dataloader.dataset)
    for dataset in (train, test):
        sample = dataset[1]['data_samples']
        with Image.open(sample.img_path) as photo:
            small = np.asarray(photo.convert('RGB').resize((128, 128), Image.Resampling.BICUBIC))
        assert np.array_equal(dataset[1]['inputs'].permute(1, 2, 0).numpy(), small)
    sample = train[1]['data_samples']
    path = sample.img_path.replace('/images/', '/masks/').replace('.jpg', '.png')
    with Image.open(path) as mask:
        labels = np.asarray(mask.resize((128, 128), Image.Resampling.NEAREST))
    assert np.array_equal(sample.gt_sem_seg.data[0].numpy(), labels)


def test_cached_epochs_are_those_without_cache(config):
    def batches(cache):
        config.train_dataloader.dataset.cache = cache
        train = loader(config, 'train')
        return [batch for epoch in range(3) for batch in train]

    first, second = batches(True), batches(False)
    assert len(first) == len(second) == 12
    for one, other in zip(first, second, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one['inputs'], other['inputs'], strict=True))
        for a, b in zip(one['data_samples'], other['data_samples'], strict=True):
            assert a.metainfo == b.metainfo
            assert torch.equal(a.gt_sem_seg.data, b.gt_sem_seg.data)


def test_training_decodes_each_file_once(config, monkeypatch):
    train = loader(config, 'train')
    reads = []
    decode = cv2.imdecode
    monkeypatch.setattr(cv2, 'imdecode', lambda *args: reads.append(1) or decode(*args))
    for _ in range(3):
        assert sum(len(batch['inputs']) for batch in train) == 13
    assert len(reads) == 26


def test_evaluators(config):
    for evaluator in (config.val_evaluator, config.test_evaluator):
        metrics = [METRICS.build(metric) for metric in evaluator.metrics]
        assert [type(metric).__name__ for metric in metrics] == [
            'SegmentationMetric',
            'CalibrationMetric',
        ]


def test_missing_set_names_the_command(tmp_path):
    with pytest.raises(UserError, match=r'python prepare_dataset/isic2016\.py RAW data/isic2016'):
        ISIC2016Dataset(str(tmp_path), split='train')


def test_an_image_label_is_refused(prepared, tmp_path):
    path = tmp_path / 'labelled.json'
    text = (prepared / 'annotations' / 'val.json').read_text()
    path.write_text(text.replace('"img_path"', '"gt_label": 0, "img_path"', 1))
    with pytest.raises(UserError, match=r'expected a gt_label in \[0, 0\), found 0'):
        ISIC2016Dataset(str(prepared), ann_file=str(path))
