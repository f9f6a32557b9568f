"""Training against critics by the runner: interrupted, in two processes, and its log."""

import re

import pytest
import torch

from mmjoint.apis import train

from .helpers import ROOT, differences, load, train_forked

CONFIG = """
_base_ = ['{root}/configs/_base_/default_runtime.py']
custom_imports = dict(imports=[
    'tests.test_engine.toy', 'tests.test_engine.semi_toy', 'tests.test_engine.adversarial_toy'])
model = dict(
    type='PSSNet',
    data_preprocessor=dict(
        type='MultiBranchDataPreprocessor', data_preprocessor=dict(type='JointDataPreprocessor')),
    tasks=dict(vessel=dict(vessel=(1,)), odoc=dict(disc=(1, 2), cup=(2,))),
    generator=dict(type='ToyGenerator'),
    weights=dict(reta=dict(vessel=1.0), refuge=dict(odoc=1.0)),
    pseudo_weights=dict(reta_pseudo=dict(odoc=0.05)),
    critic=dict(type='ConvCritic', channels=(4, 4)),
)
train_dataloader = dict(
    batch_size=2,
    num_workers=0,
    sampler=dict(type='ResumableSampler', shuffle=True),
    dataset=dict(type='ToyTasks'),
)
val_dataloader = dict(
    batch_size=2,
    num_workers=0,
    sampler=dict(type='ResumableSampler', shuffle=False, round_up=False),
    dataset=dict(type='ToyTasks', size=3, in_branches=False),
)
val_evaluator = dict(type='ToyTaskScore')
train_cfg = dict(by_epoch=True, max_epochs=2)
val_cfg = dict()
adam = dict(type='Adam', lr=2e-3, betas=(0.9, 0.99))
optim_wrapper = dict(
    constructor='MultiOptimWrapperConstructor',
    generator=dict(
        optimizer=dict(type='AdamW', lr=1e-2, weight_decay=0.01),
        paramwise_cfg=dict(norm_decay_mult=0.0)),
    critics=dict(optimizer=adam),
    aux_critics=dict(optimizer=adam),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-2, by_epoch=False, begin=0, end=5),
    dict(type='PolyLR', power=1.0, by_epoch=False, begin=0, end=13),
]
model_wrapper_cfg = dict(type='MMSeparateDistributedDataParallel')
default_hooks = dict(
    logger=dict(interval=2),
    checkpoint=dict(by_epoch=False, interval=4), prediction_images=dict(num_samples=0)
)
visualizer = dict(_delete_=True, type='Visualizer', vis_backends=[dict(type='LocalVisBackend')])
"""
ACCUMULATE = """
optim_wrapper = dict(
    generator=dict(accumulative_counts=3), critics=dict(accumulative_counts=3),
    aux_critics=dict(accumulative_counts=3))
"""
PARTS = ('generator', 'critics', 'aux_critics')


@pytest.fixture
def write(tmp_path, runner_state):
    (tmp_path / 'adversarial.py').write_text(CONFIG.format(root=ROOT))

    def write_config(name, *extra):
        path = tmp_path / f'{name}.py'
        path.write_text('\n'.join(("_base_ = ['adversarial.py']", *extra)))
        return path

    return write_config


@pytest.mark.parametrize('extra', ['', ACCUMULATE], ids=['plain', 'accumulating'])
def test_goes_on_within_an_epoch_bit_for_bit(tmp_path, write, extra):
    """6 batches an epoch, checkpoints after 4, 8 and 12; killed in the fifth iteration."""
    whole = write('whole', extra)
    train.main([str(whole), '--work-dir', str(tmp_path / 'whole'), '--seed', '1'])
    killed = write('killed', extra, "custom_hooks = [dict(type='DieHook', at_iter=5)]")
    parts = tmp_path / 'parts'
    assert train_forked(1, killed, '--work-dir', parts, '--seed', 1) == [-9]
    assert [path.name for path in parts.glob('*.pth')] == ['iter_4.pth']
    middle = load(parts / 'iter_4.pth')
    train.main([str(whole), '--work-dir', str(parts), '--resume'])
    one, two = (load(folder / 'iter_12.pth') for folder in (tmp_path / 'whole', parts))
    assert differences(one, two) == []

    # The comparison covers critics and their optimizers, and what changed on the way.
    assert set(one['optimizer']) == set(one['param_schedulers']) == set(PARTS)
    for part in PARTS:
        moments = [state['exp_avg'] for state in one['optimizer'][part]['state'].values()]
        assert all(moment.abs().sum() > 0 for moment in moments)
        names = [name for name in one['state_dict'] if name.startswith(f'{part}.')]
        assert names
        before, after = middle['state_dict'], one['state_dict']
        assert any(not torch.equal(before[name], after[name]) for name in names)
    # After 4 iterations one batch has been added up towards the next update.
    pending = {name.split('.')[0] for name in middle.get('gradients', {})}
    assert pending == (set(PARTS) if extra else set())


@pytest.mark.parametrize('extra', ['', ACCUMULATE], ids=['plain', 'accumulating'])
def test_two_processes_stay_equal(tmp_path, write, extra):
    """All parameters after ten steps; checkpoints have the names of a single process."""
    config = write('two', extra, "custom_hooks = [dict(type='RankWeightsHook')]")
    (tmp_path / 'ten.py').write_text(
        f"_base_ = ['{config.name}']\n"
        'train_cfg = dict(_delete_=True, by_epoch=False, max_iters=10, val_interval=5)\n'
        "train_dataloader = dict(sampler=dict(type='InfiniteResumableSampler'))\n"
    )
    words = (tmp_path / 'ten.py', '--work-dir', tmp_path / 'w', '--seed', 1)
    assert train_forked(2, *words) == [0, 0]
    one, two = (torch.load(tmp_path / 'w' / f'rank_{rank}.pt') for rank in (0, 1))
    assert one.keys() == two.keys() and {name.split('.')[0] for name in one} == set(PARTS)
    assert [name for name in one if not one[name].equal(two[name])] == []
    last = load(tmp_path / 'w' / 'iter_10.pth')
    assert last['meta']['world_size'] == 2
    assert {name.replace('.module.', '.', 1) for name in one} <= set(last['state_dict'])
    first = load(tmp_path / 'w' / 'iter_4.pth')['state_dict']
    for name, value in one.items():
        moved = not torch.equal(first[name.replace('.module.', '.', 1)], value)
        assert moved, f'{name} has not moved'


def test_two_processes_go_on_after_a_kill(tmp_path, write):
    whole, parts = tmp_path / 'whole', tmp_path / 'parts'
    config = write('whole')
    killed = write('killed', "custom_hooks = [dict(type='DieHook', at_iter=5)]")
    # 3 batches an epoch: the checkpoint after 4 lies within the second.
    length = ('--cfg-options', 'train_cfg.max_epochs=3')
    assert train_forked(2, config, '--work-dir', whole, '--seed', 1, *length) == [0, 0]
    assert train_forked(2, killed, '--work-dir', parts, '--seed', 1, *length) == [-9, -9]
    assert train_forked(2, config, '--work-dir', parts, '--resume', *length) == [0, 0]
    one, two = (load(folder / 'iter_9.pth') for folder in (whole, parts))
    assert differences(one, two) == []


def test_the_log_names_all_rates(tmp_path, write):
    config = write('log')
    train.main(
        [str(config), '--work-dir', str(tmp_path / 'w'), '--seed', '1', '--cfg-options',
         'train_cfg.max_epochs=1']
    )  # fmt: skip
    (log,) = (tmp_path / 'w').glob('*/*.log')
    text = log.read_text('utf-8')
    line = next(line for line in text.splitlines() if re.search(r'\[4/6\]', line))
    rates = dict(re.findall(r'(\S*lr): (\S+)', line))
    # Iteration 3 of a warm-up over 4 from 1/100, and of a decay over 12.
    factor = (0.01 + 0.99 * 3 / 4) * (1 - 3 / 12)
    assert {name: float(rate) for name, rate in rates.items()} == pytest.approx(
        {
            'generator.base_lr': 1e-2 * factor,
            'generator.lr': 1e-2 * factor,
            'critics.lr': 2e-3 * factor,
            'aux_critics.lr': 2e-3 * factor,
        },
        rel=1e-3,
    )
    assert re.search(r'vessel\.loss_critic: 0\.\d+', line)
