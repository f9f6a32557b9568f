"""A&D and the mean teacher, trained by the runner: interrupted, and in two processes."""

import pytest
import torch
from mmengine.config import Config

from mmjoint.apis import train

from ..test_datasets.volume_set import VolumeSet
from .helpers import ROOT, differences, load, train_forked

# 2 of 2 labelled and 2 of 4 unlabelled volumes in a batch, 4 batches an epoch.
DATA = """
_base_ = ['{root}/configs/_base_/default_runtime.py', '{root}/configs/_base_/models/{model}.py']
custom_imports = dict(imports=['tests.test_engine.toy', 'tests.test_engine.semi_toy'])
branches = ('labelled', 'unlabelled')
sources = [
    dict(
        type='LADataset', data_root='{data}', split=branch, labelled=branch == 'labelled',
        pipeline=[
            dict(type='LoadVolume'),
            dict(type='LoadVolumeAnnotations'),
            dict(type='RandomCropPatch', size=(16, 16, 16)),
            dict(type='RandomGammaPatch'),
            dict(
                type='MultiBranch', branches=branches,
                pipelines={{branch: [dict(type='PackJointInputs')]}},
            ),
        ],
    ) for branch in branches
]
train_dataloader = dict(
    batch_size=4,
    num_workers=0,
    sampler=dict(type='MultiSourceSampler', counts=(2, 2), num_batches=4),
    dataset=dict(type='MultiSourceDataset', datasets=sources),
)
train_cfg = dict(by_epoch=True, max_epochs=2)
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.01, momentum=0.9, nesterov=True))
param_scheduler = [dict(type='PolyLR', power=0.9, begin=1, end=3, by_epoch=True)]
default_hooks = dict(
    checkpoint=dict(by_epoch=False, interval=3), prediction_images=dict(num_samples=0)
)
visualizer = dict(_delete_=True, type='Visualizer', vis_backends=[dict(type='LocalVisBackend')])
"""
TINY = 'base_channels=2'
AGGREGATE = f"""
model = dict(
    memory_format='channels_first',
    backbone=dict({TINY}, time_channels=8),
    decode_head=dict({TINY}, num_classes=2),
    denoising_stem=dict({TINY}, num_classes=2, time_channels=8),
    difficulty=dict(num_classes=2),
    diffusion=dict(sampling_steps=2),
    ramp_up_epochs=3,
)
"""
TEACHER = f"""
model = dict(
    memory_format='channels_first',
    segmentor=dict(
        memory_format='channels_first',
        backbone=dict({TINY}),
        decode_head=dict({TINY}, num_classes=2),
    ),
    ramp_up_epochs=3,
)
"""
METHODS = {
    'aggregate_decouple': ('diffusion-vnet_3d', AGGREGATE, 'DecoderAveragingHook'),
    'mean_teacher': ('mean-teacher-vnet_3d', TEACHER, 'MeanTeacherHook'),
}


@pytest.fixture
def write(tmp_path, runner_state, monkeypatch):
    # Formatting nested configs would take most of the time.
    monkeypatch.setattr(Config, 'pretty_text', '')
    VolumeSet(tmp_path / 'la')

    def write_config(method, name, hook=None):
        model, changes, own_hook = METHODS[method]
        hooks = [f"dict(type='{own_hook}')"] + ([hook] if hook else [])
        path = tmp_path / f'{name}.py'
        (tmp_path / 'data.py').write_text(DATA.format(root=ROOT, data=tmp_path / 'la', model=model))
        path.write_text(f"_base_ = ['data.py']\n{changes}\ncustom_hooks = [{', '.join(hooks)}]\n")
        return path

    return write_config


@pytest.mark.parametrize('method', METHODS)
def test_goes_on_within_an_epoch_bit_for_bit(tmp_path, write, method):
    """Checkpoints after 3, 6 and 8 of 2 x 4 iterations; killed in the seventh."""
    whole = write(method, 'whole')
    train.main([str(whole), '--work-dir', str(tmp_path / 'whole'), '--seed', '1'])
    killed = write(method, 'killed', "dict(type='DieHook', at_iter=7)")
    parts = tmp_path / 'parts'
    assert train_forked(1, killed, '--work-dir', parts, '--seed', 1) == [-9]
    assert sorted(path.name for path in parts.glob('*.pth')) == ['iter_3.pth', 'iter_6.pth']
    train.main([str(whole), '--work-dir', str(parts), '--resume'])
    one, two = (load(folder / 'iter_8.pth') for folder in (tmp_path / 'whole', parts))
    assert differences(one, two) == []

    # The comparison covers all that the methods keep, and that did change on the way.
    before = load(parts / 'iter_6.pth')['state_dict']
    changed = {key for key, value in one['state_dict'].items() if not value.equal(before[key])}
    kept = (
        {f'difficulty.{name}' for name in ('dice', 'undice', 'learned', 'unlearned')}
        if method == 'aggregate_decouple'
        else {'teacher.steps', 'teacher.module.decode_head.conv_seg.weight'}
    )
    assert kept <= changed
    momenta = one['optimizer']['state'].values()
    assert all(state['momentum_buffer'].abs().sum() > 0 for state in momenta)


@pytest.mark.parametrize('method', METHODS)
def test_two_processes_train_and_stay_equal(tmp_path, write, method):
    config = write(method, 'two', "dict(type='RankWeightsHook')")
    options = ['train_cfg.max_epochs=1', 'train_dataloader.sampler.num_batches=2']
    words = [config, '--work-dir', tmp_path / 'w', '--seed', 1, '--cfg-options', *options]
    assert train_forked(2, *words) == [0, 0]
    one, two = (torch.load(tmp_path / 'w' / f'rank_{rank}.pt') for rank in (0, 1))
    assert one.keys() == two.keys()
    assert [name for name in one if not one[name].equal(two[name])] == []
    assert load(tmp_path / 'w' / 'iter_2.pth')['meta']['iter'] == 2
