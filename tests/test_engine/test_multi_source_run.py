"""Semi-supervised training from files, interrupted in the middle of an epoch."""

import shutil

import torch
from mmengine.config import Config

from mmjoint.apis import train

from ..test_datasets.volume_set import VolumeSet
from .helpers import ROOT, differences, load

# 4 unlabelled volumes, 1 in a batch: 4 batches an epoch.
CONFIG = """
_base_ = ['{root}/configs/_base_/default_runtime.py']
custom_imports = dict(imports=['tests.test_engine.branch_toy'])
branches = ('labelled', 'unlabelled')
start = [
    dict(type='LoadVolume'),
    dict(type='LoadVolumeAnnotations'),
    dict(type='RandomCropPatch', size=(6, 6, 6)),
    dict(type='RandomSubset', transforms=[
        dict(type='RandomRotatePatch'), dict(type='RandomGammaPatch'), dict(type='RandomBlurPatch'),
    ], num=2),
]
sources = [
    dict(
        type='LADataset', data_root='{data}', split=branch, labelled=branch == 'labelled',
        pipeline=start + [dict(
            type='MultiBranch', branches=branches,
            pipelines={{branch: [dict(type='PackJointInputs')]}},
        )],
    ) for branch in branches
]
model = dict(type='BranchToy', data_preprocessor=dict(
    type='MultiBranchDataPreprocessor', data_preprocessor=dict(type='VolumeDataPreprocessor')))
train_dataloader = dict(
    batch_size=3,
    num_workers={workers},
    sampler=dict(type='MultiSourceSampler', counts=(2, 1)),
    dataset=dict(type='MultiSourceDataset', datasets=sources),
)
train_cfg = dict(by_epoch=True, max_epochs=3)
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.1, momentum=0.9))
default_hooks = dict(
    checkpoint=dict(by_epoch=False, interval=6), prediction_images=dict(num_samples=0)
)
visualizer = dict(_delete_=True, type='Visualizer', vis_backends=[dict(type='LocalVisBackend')])
"""


def test_resuming_within_an_epoch_repeats_the_bits(tmp_path, runner_state, monkeypatch):
    # Formatting nested configs would take most of the time.
    monkeypatch.setattr(Config, 'pretty_text', '')
    VolumeSet(tmp_path / 'la')
    whole, parts = tmp_path / 'whole', tmp_path / 'parts'

    def run(workers, work_dir, *options):
        config = tmp_path / f'toy{workers}.py'
        config.write_text(CONFIG.format(root=ROOT, data=tmp_path / 'la', workers=workers))
        train.main([str(config), '--work-dir', str(work_dir), *options])

    run(0, whole, '--seed', '1')
    parts.mkdir()
    shutil.copy(whole / 'iter_6.pth', parts)
    run(1, parts, '--resume')
    first, second = (load(folder / 'iter_12.pth') for folder in (whole, parts))
    assert differences(first, second) == []
    assert not torch.equal(
        first['state_dict']['conv.weight'], load(parts / 'iter_6.pth')['state_dict']['conv.weight']
    )
