import json

import pytest
import torch

from mmjoint.apis import launch, test, train
from mmjoint.apis.config import load_config
from mmjoint.apis.failures import first_failure, of_worker
from mmjoint.utils.cli import run_cli
from mmjoint.utils.errors import UserError
from mmjoint.utils.io import atomic_write_json
from tests.test_engine.helpers import differences, load, run_tool, write_config


def trained(tmp_path, extra='', *options):
    config = write_config(tmp_path, extra)
    work_dir = tmp_path / 'trained'
    arguments = ['--work-dir', str(work_dir), '--seed', '3']
    train.main([str(config), *arguments, '--cfg-options', 'train_cfg.max_epochs=2', *options])
    return config, work_dir / 'epoch_2.pth'


def test_a_test_gives_the_validation_result_of_that_checkpoint(tmp_path, runner_state):
    config, checkpoint = trained(tmp_path)
    out = tmp_path / 'deep' / 'out.json'
    test.main([str(config), str(checkpoint), '--work-dir', str(tmp_path / 't'), '--out', str(out)])
    stored = next((tmp_path / 't').glob('*/metrics.json'))
    results = json.loads(out.read_text())
    assert json.loads(stored.read_text()) == results
    assert set(results) == {'cls/ACC', 'cls/confidence'}
    # The noise of ToyDataset comes from the sampler's seed, hence from the run's.
    hub = load(tmp_path / 'trained' / 'epoch_2.pth')['message_hub']['runtime_info']
    assert hub['best_score'] == pytest.approx(results['cls/confidence'], abs=0.2)


def test_eval_chooses_what_is_computed(tmp_path, runner_state):
    config, checkpoint = trained(tmp_path)
    out = tmp_path / 'out.json'
    words = ['--work-dir', str(tmp_path / 't'), '--out', str(out), '--eval', 'acc']
    test.main([str(config), str(checkpoint), *words])
    assert list(json.loads(out.read_text())) == ['cls/ACC']


def test_what_is_not_defined_becomes_null():
    assert test._plain({'a': float('nan'), 'b': float('inf'), 'c': 1}) == {
        'a': None,
        'b': None,
        'c': 1.0,
    }


def test_a_second_resume_of_a_finished_run_changes_nothing(tmp_path, runner_state):
    config, checkpoint = trained(tmp_path)
    before = load(checkpoint)
    train.main(
        [
            *[str(config), '--work-dir', str(checkpoint.parent), '--resume'],
            *['--cfg-options', 'train_cfg.max_epochs=2'],
        ]
    )
    assert differences(before, load(checkpoint)) == []


def test_resume_from_an_explicit_checkpoint_goes_on_from_there(tmp_path, runner_state):
    config, checkpoint = trained(tmp_path)
    other = tmp_path / 'other'
    train.main(
        [
            *[str(config), '--work-dir', str(other), '--resume'],
            *[str(checkpoint.parent / 'epoch_1.pth'), '--cfg-options', 'train_cfg.max_epochs=2'],
        ]
    )
    assert not (other / 'epoch_1.pth').exists()
    one, two = load(checkpoint)['state_dict'], load(other / 'epoch_2.pth')['state_dict']
    assert all(torch.equal(one[key], two[key]) for key in one)


def test_resume_with_nothing_there_starts_anew_and_says_so(tmp_path, runner_state, capsys):
    config = write_config(tmp_path)
    train.main(
        [
            *[str(config), '--work-dir', str(tmp_path / 'w'), '--resume'],
            *['--cfg-options', 'train_cfg.max_epochs=1'],
        ]
    )
    assert 'nothing to resume in' in capsys.readouterr().out
    assert load(tmp_path / 'w' / 'epoch_1.pth')['meta']['iter'] == 5


def test_a_damaged_newest_checkpoint_is_named_and_the_one_before_used(
    tmp_path, runner_state, capsys
):
    config, checkpoint = trained(tmp_path)
    whole = load(checkpoint)['state_dict']
    checkpoint.write_bytes(checkpoint.read_bytes()[:4000])
    train.main(
        [
            *[str(config), '--work-dir', str(checkpoint.parent), '--resume'],
            *['--cfg-options', 'train_cfg.max_epochs=2'],
        ]
    )
    told = [line for line in capsys.readouterr().out.splitlines() if 'WARNING' in line]
    assert any('epoch_2.pth' in line and 'epoch_1.pth is used instead' in line for line in told)
    again = load(checkpoint)['state_dict']
    assert all(torch.equal(whole[key], again[key]) for key in whole)


def test_load_from_starts_at_epoch_0_with_those_weights(tmp_path, runner_state):
    config, checkpoint = trained(tmp_path)
    train.main(
        [
            *[str(config), '--work-dir', str(tmp_path / 'fine'), '--cfg-options'],
            *[f'load_from={checkpoint}', 'train_cfg.max_epochs=1'],
            'optim_wrapper.optimizer.lr=1e-30',
            'param_scheduler=None',
        ]
    )
    one, two = load(checkpoint), load(tmp_path / 'fine' / 'epoch_1.pth')
    assert two['meta']['iter'] == 5
    assert torch.equal(one['state_dict']['conv.weight'], two['state_dict']['conv.weight'])


def test_workers_are_dropped_with_their_persistence(tmp_path):
    config = write_config(
        tmp_path, 'train_dataloader = dict(num_workers=2, persistent_workers=True)\n'
    )
    assert load_config(str(config)).train_dataloader.persistent_workers is True
    cfg = load_config(str(config), {'train_dataloader.num_workers': 0})
    assert 'persistent_workers' not in cfg.train_dataloader


def test_options_merge_and_keep_their_types(tmp_path):
    args = train.parse_args(
        ['c.py', '--cfg-options', 'a.b=1', 'c=[1,2]', '--cfg-options', 'd=x', '--resume']
    )
    assert args.cfg_options == {'a.b': 1, 'c': [1, 2], 'd': 'x'}
    assert args.resume == train.NEWEST


def test_an_error_in_a_data_worker_is_told_as_its_own(tmp_path, runner_state, capsys):
    text = 'Caught UserError in DataLoader worker process 0.\nOriginal Traceback\n  File\n'
    assert str(of_worker(UserError(f'{text}mmjoint.utils.errors.UserError: a.png: no'))) == (
        'a.png: no'
    )
    value = of_worker(ValueError(f'{text}ValueError: bad shape'))
    assert str(value) == 'while reading data: ValueError: bad shape'
    plain = KeyError('x')
    assert of_worker(plain) is plain


def test_the_first_failure_is_told_and_echoes_are_not(tmp_path):
    assert first_failure(tmp_path) is None
    for rank, (when, by_user, line) in enumerate(
        [(3.0, False, 'connection closed'), (5.0, True, 'a.png: truncated'), (4.0, False, 'x')]
    ):
        atomic_write_json(
            tmp_path / f'rank_{rank}.json', {'time': when, 'user_error': by_user, 'line': line}
        )
    assert first_failure(tmp_path) == ('a.png: truncated', True)


def test_torchrun_gets_the_machines(monkeypatch):
    for key, value in dict(NNODES='3', NODE_RANK='1', MASTER_ADDR='host0', PORT='1234').items():
        monkeypatch.setenv(key, value)
    words = launch.torchrun_arguments(4)
    assert words[:5] == [
        *['--nnodes=3', '--node-rank=1', '--nproc-per-node=4'],
        *['--master-addr=host0', '--master-port=1234'],
    ]
    for key in ('NNODES', 'NODE_RANK', 'MASTER_ADDR', 'PORT'):
        monkeypatch.delenv(key)
    words = launch.torchrun_arguments(4)
    assert words[0] == '--nnodes=1' and words[3] == '--master-addr=127.0.0.1'
    assert words[4] != launch.torchrun_arguments(4)[4]


def test_devices_decide_where_processes_run(monkeypatch):
    for devices, processes, cuda in ((0, 4, False), (4, 4, True), (8, 4, True)):
        monkeypatch.setattr(torch.cuda, 'device_count', lambda devices=devices: devices)
        assert launch.check_devices(processes) is cuda


@pytest.mark.slow
def test_dist_scripts_train_and_test_like_one_process(tmp_path, runner_state):
    """Two gloo processes see the same 5 test samples; a failing run speaks one line."""
    config, checkpoint = trained(tmp_path)
    seed = ['--cfg-options', 'randomness.seed=3']
    outs = []
    for name, run in (('one', None), ('two', 2)):
        path = tmp_path / f'{name}.json'
        words = ['--work-dir', tmp_path / name, '--out', path, *seed]
        if run is None:
            test.main([str(word) for word in [config, checkpoint, *words]])
        else:
            done = run_tool('dist_test.sh', config, checkpoint, run, *words)
            assert done.returncode == 0, done.stderr
        outs.append(json.loads(path.read_text()))
    assert outs[0] == outs[1]
    words = [
        '--cfg-options',
        'default_hooks.checkpoint.save_best=nothing',
        'train_cfg.max_epochs=1',
    ]
    done = run_tool('dist_train.sh', config, 2, '--work-dir', tmp_path / 'f', *words)
    assert done.returncode == 1
    errors = [line for line in done.stderr.splitlines() if 'error' in line.lower()]
    assert len(errors) == 1 and 'save_best' in errors[0], done.stderr
    assert 'Traceback' not in done.stderr


def test_scripts_find_python_and_tell_their_usage():
    for script in ('dist_train.sh', 'dist_test.sh', 'slurm_train.sh', 'slurm_test.sh'):
        done = run_tool(script)
        assert done.returncode == 2
        assert done.stderr.startswith(f'usage: bash tools/{script}')
    done = run_tool('slurm_train.sh', 'gpu', 'name', 'config.py', PATH='/usr/bin:/bin')
    assert done.returncode == 1 and 'srun not found' in done.stderr


def test_traceback_switch_lets_the_error_through(tmp_path):
    with pytest.raises(UserError, match='no such config file'):
        run_cli(train.main, [str(tmp_path / 'x.py'), '--traceback'])
