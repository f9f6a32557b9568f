"""N iterations equal k iterations, a SIGKILL and --resume, bit for bit."""

import os

import pytest
import torch

from mmjoint.apis import train

from .helpers import differences, load, run_tool, train_forked, write_config

MID_EPOCH = """
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=7))
"""


def train_here(config, work_dir, *arguments):
    train.main([str(config), '--work-dir', str(work_dir), *arguments])


def assert_same_run(one, two):
    """Compare the last checkpoints of two work folders, and what else lies beside them."""
    name = (one / 'last_checkpoint').read_text().rpartition('/')[2]
    assert name == (two / 'last_checkpoint').read_text().rpartition('/')[2]
    files = [sorted(path.name for path in folder.glob('*.pth')) for folder in (one, two)]
    assert files[0] == files[1] and name in files[0]
    for file in files[0]:
        assert differences(load(one / file), load(two / file)) == [], file
    assert load(one / name)['optimizer']['state'][0]['exp_avg'].abs().sum() > 0


def test_a_killed_run_goes_on_in_the_middle_of_an_epoch(tmp_path, runner_state):
    """5 batches an epoch, checkpoints at 7, 14: killed at 9, the third epoch is read in part."""
    whole = write_config(tmp_path, MID_EPOCH, 'whole.py')
    train_here(whole, tmp_path / 'whole', '--seed', '3')
    killed = write_config(
        tmp_path, MID_EPOCH + "custom_hooks = [dict(type='DieHook', at_iter=9)]\n", 'killed.py'
    )
    work_dir = tmp_path / 'parts'
    assert train_forked(1, killed, '--work-dir', work_dir, '--seed', 3) == [-9]
    assert sorted(path.name for path in work_dir.glob('*.pth')) == [
        'best_cls_confidence_iter_5.pth',
        'iter_7.pth',
    ]
    train_here(whole, work_dir, '--resume')
    assert_same_run(tmp_path / 'whole', work_dir)
    assert load(work_dir / 'iter_20.pth')['meta']['seed'] == 3


def test_two_processes_go_on_after_a_kill(tmp_path):
    extra = MID_EPOCH + 'train_dataloader = dict(batch_size=2, num_workers=1)\n'
    whole = write_config(tmp_path, extra, 'whole.py')
    killed = write_config(
        tmp_path, extra + "custom_hooks = [dict(type='DieHook', at_iter=9)]\n", 'killed.py'
    )
    parts = tmp_path / 'parts'
    seed = ('--seed', 3)
    assert train_forked(2, whole, '--work-dir', tmp_path / 'whole', *seed) == [0, 0]
    assert train_forked(2, killed, '--work-dir', parts, *seed) == [-9, -9]
    assert sorted(path.name for path in parts.glob('iter_*')) == ['iter_7.pth']
    assert train_forked(2, whole, '--work-dir', parts, '--resume') == [0, 0]
    assert_same_run(tmp_path / 'whole', parts)
    assert load(parts / 'iter_16.pth')['meta']['world_size'] == 2


@pytest.mark.slow
def test_dist_train_goes_on_after_a_kill(tmp_path):
    """The same through the script; one dead process ends the others and the launcher."""
    extra = MID_EPOCH + "custom_hooks = [dict(type='DieHook', at_iter=9)]\n"
    whole = write_config(tmp_path, MID_EPOCH, 'whole.py')
    killed = write_config(tmp_path, extra, 'killed.py')
    done = run_tool('dist_train.sh', whole, 2, '--work-dir', tmp_path / 'whole', '--seed', 3)
    assert done.returncode == 0, done.stderr
    assert '2 CPU processes over gloo' in done.stdout
    done = run_tool('dist_train.sh', killed, 2, '--work-dir', tmp_path / 'parts', '--seed', 3)
    assert done.returncode == 137
    assert 'was ended by signal 9, often for want of memory' in done.stderr.splitlines()[-1]
    done = run_tool('dist_train.sh', whole, 2, '--work-dir', tmp_path / 'parts', '--resume')
    assert done.returncode == 0, done.stderr
    assert_same_run(tmp_path / 'whole', tmp_path / 'parts')


@pytest.mark.parametrize('workers', [0, 2])
def test_a_run_killed_in_its_validation_makes_up_for_it(tmp_path, runner_state, workers):
    options = f'train_dataloader = dict(num_workers={workers})\n'
    whole = write_config(tmp_path, options, 'whole.py')
    train_here(whole, tmp_path / 'whole', '--seed', '3')
    killed = write_config(
        tmp_path, options + "custom_hooks = [dict(type='DieHook', at_validation=2)]\n", 'killed.py'
    )
    assert train_forked(1, killed, '--work-dir', tmp_path / 'parts', '--seed', 3) == [-9]
    train_here(whole, tmp_path / 'parts', '--resume')
    assert_same_run(tmp_path / 'whole', tmp_path / 'parts')


def test_gradients_that_are_being_accumulated_survive(tmp_path, runner_state):
    """Updates after every second batch, a checkpoint after the 7th: one gradient is pending."""
    extra = f'optim_wrapper = dict(accumulative_counts=2){MID_EPOCH}'
    whole = write_config(tmp_path, extra, 'whole.py')
    train_here(whole, tmp_path / 'whole', '--seed', '3')
    killed = write_config(
        tmp_path, extra + "custom_hooks = [dict(type='DieHook', at_iter=9)]\n", 'killed.py'
    )
    assert train_forked(1, killed, '--work-dir', tmp_path / 'parts', '--seed', 3) == [-9]
    pending = load(tmp_path / 'parts' / 'iter_7.pth')['gradients']
    assert set(pending) == {
        *['conv.weight', 'conv.bias', 'norm.weight', 'norm.bias'],
        *['linear.weight', 'linear.bias'],
    }
    train_here(whole, tmp_path / 'parts', '--resume')
    assert_same_run(tmp_path / 'whole', tmp_path / 'parts')


def test_training_by_iterations_goes_on(tmp_path, runner_state):
    extra = """
train_dataloader = dict(
    num_workers=2, sampler=dict(_delete_=True, type='InfiniteResumableSampler'))
train_cfg = dict(_delete_=True, by_epoch=False, max_iters=20, val_interval=6)
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=7))
"""
    whole = write_config(tmp_path, extra, 'whole.py')
    train_here(whole, tmp_path / 'whole', '--seed', '3')
    killed = write_config(
        tmp_path, extra + "custom_hooks = [dict(type='DieHook', at_iter=16)]\n", 'killed.py'
    )
    assert train_forked(1, killed, '--work-dir', tmp_path / 'parts', '--seed', 3) == [-9]
    train_here(whole, tmp_path / 'parts', '--resume')
    assert_same_run(tmp_path / 'whole', tmp_path / 'parts')


def test_a_seed_gives_the_same_weights_twice_and_another_seed_does_not(tmp_path, runner_state):
    config = write_config(tmp_path)
    states = []
    before = torch.are_deterministic_algorithms_enabled()
    try:
        for name, seed in (('one', 7), ('two', 7), ('three', 8)):
            train_here(config, tmp_path / name, '--seed', str(seed), '--deterministic')
            assert torch.are_deterministic_algorithms_enabled()
            states.append(load(tmp_path / name / 'epoch_4.pth')['state_dict'])
    finally:
        torch.use_deterministic_algorithms(before)
        os.environ.pop('CUBLAS_WORKSPACE_CONFIG', None)
    assert differences(states[0], states[1]) == []
    assert set(differences(states[0], states[2])) >= {'.conv.weight', '.norm.running_mean'}
