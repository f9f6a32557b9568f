"""Validations within an epoch, and the learning rate that they lower."""

import json

import numpy as np
import pytest
import torch

from mmjoint.engine import PlateauLR
from mmjoint.utils.errors import UserError

from .helpers import load, train_forked, write_config
from .test_resume import assert_same_run, train_here

# 13 samples in batches of 3, 5 batches an epoch: a validation after every 13 // (2 * 3) = 2.
# An improvement by half never happens, so the rate falls with each second validation.
CONFIG = """
train_cfg = dict(
    _delete_=True, type='JointEpochBasedTrainLoop', max_epochs=4, val_per_epoch=2)
param_scheduler = dict(
    _delete_=True, type='PlateauLR', monitor='cls/confidence', factor=0.5, patience=1,
    threshold=0.5)
default_hooks = dict(
    logger=dict(interval=1, log_metric_by_epoch=False), checkpoint=dict({checkpoint}))
"""
BY_ITER = 'by_epoch=False, interval={}'


def optimizer(rates=(0.1, 0.02)):
    groups = [{'params': [torch.nn.Parameter(torch.zeros(1))], 'lr': rate} for rate in rates]
    return torch.optim.SGD(groups, lr=1.0)


@pytest.mark.parametrize('rule', ['greater', 'less'])
def test_is_the_rule_of_pytorch(rule):
    options = dict(factor=0.3, patience=2, threshold=0.05)
    ours, theirs = optimizer(), optimizer()
    scheduler = PlateauLR(ours, monitor='score', rule=rule, min_lr=1e-3, **options)
    mode = dict(greater='max', less='min')[rule]
    expected = torch.optim.lr_scheduler.ReduceLROnPlateau(
        theirs, mode=mode, threshold_mode='rel', min_lr=1e-3, **options
    )
    scores = np.random.default_rng(0).normal(1, 0.1, 60)
    seen = set()
    for score in [*scores, float('nan'), 1.0]:
        scheduler.step({'score': float(score)})
        expected.step(score)
        rates = [group['lr'] for group in ours.param_groups]
        assert rates == [group['lr'] for group in theirs.param_groups]
        seen.add(rates[0])
    assert len(seen) > 3 and min(seen) == 1e-3


def test_epochs_alone_do_not_lower_it():
    ours = optimizer()
    scheduler = PlateauLR(ours, monitor='score', patience=0)
    for _ in range(5):
        scheduler.step()
    assert ours.param_groups[0]['lr'] == 0.1


def test_a_misspelt_result_is_named():
    scheduler = PlateauLR(optimizer(), monitor='seg/Dice.lesoin')
    with pytest.raises(UserError, match=r'monitor=seg/Dice\.lesoin .* \(seg/Dice\.lesion\)'):
        scheduler.step({'seg/Dice.lesion': 0.5})


@pytest.mark.parametrize(
    ('per_epoch', 'max_epochs', 'expected'),
    [(2, 4, list(range(2, 21, 2))), (1, 3, [4, 8, 12, 15]), (5, 1, [1, 2, 3, 4, 5])],
)
def test_when_it_validates(tmp_path, runner_state, per_epoch, max_epochs, expected):
    config = write_config(tmp_path, CONFIG.format(checkpoint='interval=1'))
    train_here(
        *(config, tmp_path / 'work', '--cfg-options'),
        *(f'train_cfg.val_per_epoch={per_epoch}', f'train_cfg.max_epochs={max_epochs}'),
    )
    (log,) = (tmp_path / 'work').glob('*/vis_data/scalars.json')
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [line['step'] for line in lines if 'cls/confidence' in line] == expected
    # Training goes on in training mode: running statistics move in every iteration.
    norm = load(tmp_path / 'work' / f'epoch_{max_epochs}.pth')['state_dict']
    assert norm['norm.num_batches_tracked'] == 5 * max_epochs


def test_a_checkpoint_of_an_epoch_is_not_overwritten_within_the_next(tmp_path, runner_state):
    config = write_config(tmp_path, CONFIG.format(checkpoint='interval=1, max_keep_ckpts=-1'))
    train_here(config, tmp_path / 'work', '--seed', '3')
    for epoch in range(1, 5):
        meta = load(tmp_path / 'work' / f'epoch_{epoch}.pth')['meta']
        assert (meta['epoch'], meta['iter']) == (epoch, 5 * epoch)


@pytest.mark.parametrize(
    ('checkpoint', 'death'),
    [
        (BY_ITER.format(7), 'at_iter=9'),  # goes on in the second epoch
        (BY_ITER.format(4), 'at_iter=9'),  # the validation after 8 is made up for
        (BY_ITER.format(4), 'at_validation=4'),
        (BY_ITER.format(5), 'at_iter=11'),  # the end of an epoch, with its validation to be done
        ('interval=1', 'at_iter=12'),
        (BY_ITER.format(20), 'at_validation=10'),  # nothing to resume but from the end
    ],
)
def test_a_killed_run_goes_on(tmp_path, runner_state, checkpoint, death):
    extra = CONFIG.format(checkpoint=checkpoint)
    whole = write_config(tmp_path, extra, 'whole.py')
    train_here(whole, tmp_path / 'whole', '--seed', '3')
    hook = f"custom_hooks = [dict(type='DieHook', {death})]\n"
    killed = write_config(tmp_path, extra + hook, 'killed.py')
    assert train_forked(1, killed, '--work-dir', tmp_path / 'parts', '--seed', 3) == [-9]
    train_here(whole, tmp_path / 'parts', '--resume')
    assert_same_run(tmp_path / 'whole', tmp_path / 'parts')
    (last,) = (tmp_path / 'whole').glob('*_20.pth' if 'by_epoch' in checkpoint else '*_4.pth')
    stored = load(last)
    # 10 validations: the rate fell at the 3rd, 5th, 7th and 9th.
    rates = stored['message_hub']['log_scalars']['train/lr']['values']
    assert rates.unique().tolist() == pytest.approx([0.01 / 2**k for k in (4, 3, 2, 1, 0)])
    assert stored['optimizer']['param_groups'][0]['lr'] == pytest.approx(0.01 / 2**4)
