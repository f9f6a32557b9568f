"""Training of two tasks on five streams, interrupted in the middle of an epoch."""

import shutil

import torch
from mmengine.config import Config

from mmjoint.apis import train

from ..test_datasets.xray_sets import COUNTS, NUM_BATCHES, sources, write_sets
from .helpers import ROOT, differences, load

CONFIG = """
_base_ = ['{root}/configs/_base_/default_runtime.py']
custom_imports = dict(imports=['tests.test_engine.five_stream_toy'])
model = dict(type='FiveStreamToy', data_preprocessor=dict(
    type='MultiBranchDataPreprocessor', data_preprocessor=dict(type='JointDataPreprocessor')))
train_dataloader = dict(
    batch_size={batch_size},
    num_workers={workers},
    sampler=dict(type='MultiSourceSampler', counts={counts}, epoch_source=3, whole_passes=True),
    dataset=dict(type='MultiSourceDataset', datasets={datasets}),
)
train_cfg = dict(by_epoch=True, max_epochs=3)
optim_wrapper = dict(optimizer=dict(type='Adam', lr=0.01))
default_hooks = dict(
    checkpoint=dict(by_epoch=False, interval={half}), prediction_images=dict(num_samples=0)
)
visualizer = dict(_delete_=True, type='Visualizer', vis_backends=[dict(type='LocalVisBackend')])
"""


def test_resuming_within_an_epoch_repeats_the_bits(tmp_path, runner_state, monkeypatch):
    # Formatting nested configs would take most of the time.
    monkeypatch.setattr(Config, 'pretty_text', '')
    write_sets(tmp_path / 'sets')
    whole, parts = tmp_path / 'whole', tmp_path / 'parts'
    half, last = 3 * NUM_BATCHES // 2, 3 * NUM_BATCHES
    assert half % NUM_BATCHES

    def run(workers, cache, work_dir, *options):
        config = tmp_path / f'toy{workers}.py'
        text = CONFIG.format(
            root=ROOT,
            batch_size=sum(COUNTS),
            counts=COUNTS,
            workers=workers,
            datasets=sources(tmp_path / 'sets', cache),
            half=half,
        )
        config.write_text(text)
        train.main([str(config), '--work-dir', str(work_dir), *options])

    run(0, True, whole, '--seed', '1')
    parts.mkdir()
    shutil.copy(whole / f'iter_{half}.pth', parts)
    run(1, False, parts, '--resume')
    first, second = (load(folder / f'iter_{last}.pth') for folder in (whole, parts))
    assert differences(first, second) == []
    middle = load(parts / f'iter_{half}.pth')
    for key, value in first['state_dict'].items():
        assert not torch.equal(value, middle['state_dict'][key]), key
