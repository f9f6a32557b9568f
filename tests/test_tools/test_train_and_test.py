"""One command that trains, tests and evaluates; killed at any moment it goes on."""

import json
import os
import signal
import statistics
import subprocess
import sys
import time

import pytest

from mmjoint.apis import launch, test, train, train_and_test
from mmjoint.apis.results_table import markdown_tables, over_seeds
from mmjoint.utils.errors import UserError
from tests.test_engine.helpers import ROOT, differences, load, run_tool, train_forked, write_config

TWO_EPOCHS = 'train_cfg = dict(max_epochs=2)\n'


@pytest.fixture
def launched(monkeypatch, runner_state):
    """Run in this very process what would be launched; gives the command lines."""
    words = []

    def main(argv):
        task, number, *rest = argv
        assert number == '2'
        words.append(argv)
        (train if task == 'train' else test).main(rest)

    monkeypatch.setattr(launch, 'main', main)
    return words


def call(config, *options):
    train_and_test.main([str(config), '2', *map(str, options)])


def read(folder):
    return json.loads((folder / 'results.json').read_text())


def tasks(launched):
    return [argv[0] for argv in launched]


def test_trains_and_tests_best_and_last(tmp_path, launched, capsys):
    config = write_config(tmp_path)
    work_dir = tmp_path / 'w'
    call(config, '--work-dir', work_dir, '--seed', 3, '--select', 'both')
    assert tasks(launched) == ['train', 'test', 'test']
    results = read(work_dir)
    assert results['config'] == str(config)
    best = next(work_dir.glob('best_*'))
    epoch = load(best)['meta']['epoch']
    assert results['checkpoints'] == {
        'best': [dict(file=best.name, epoch=epoch, iter=5 * epoch, seed=3)],
        'last': [dict(file='epoch_4.pth', epoch=4, iter=20, seed=3)],
    }
    for which in ('best', 'last'):
        alone = json.loads((work_dir / 'test' / which / 'metrics.json').read_text())
        assert results['results'][which] == alone
        assert set(alone) == {'cls/ACC', 'cls/confidence'}
    table = (work_dir / 'results.md').read_text()
    assert table in capsys.readouterr().out
    assert f'| cls/ACC | {results["results"]["last"]["cls/ACC"]:.4f} |\n' in table
    # All is done: the next call starts nothing and leaves the same.
    content = (work_dir / 'results.json').read_bytes()
    launched.clear()
    call(config, '--work-dir', work_dir, '--seed', 3, '--select', 'both')
    assert launched == []
    assert (work_dir / 'results.json').read_bytes() == content
    assert 'has been tested' in capsys.readouterr().out
    # Other tests are made, and --test-only makes them in any case.
    call(config, '--work-dir', work_dir, '--eval', 'acc')
    call(config, '--work-dir', work_dir, '--eval', 'acc', '--test-only')
    assert tasks(launched) == ['test', 'test']
    assert list(read(work_dir)['results']) == ['best']
    assert list(read(work_dir)['results']['best']) == ['cls/ACC']


@pytest.mark.parametrize('kill', ['at_iter=9', 'at_validation=4'])
def test_goes_on_after_a_kill_and_ends_the_same(tmp_path, launched, capsys, kill):
    config = write_config(tmp_path)
    call(config, '--work-dir', tmp_path / 'whole', '--seed', 3)
    killed = write_config(tmp_path, f"custom_hooks = [dict(type='DieHook', {kill})]\n", 'k.py')
    parts = tmp_path / 'parts'
    assert train_forked(1, killed, '--work-dir', parts, '--seed', 3) == [-9]
    launched.clear()
    call(config, '--work-dir', parts, '--seed', 3)
    assert tasks(launched) == ['train', 'test'] and '--resume' in launched[0]
    said = [line for line in capsys.readouterr().out.splitlines() if 'going on' in line]
    assert len(said) == 1
    assert str(parts / ('epoch_1.pth' if 'iter' in kill else 'epoch_4.pth')) in said[0]
    for name in ('results.json', 'results.md'):
        assert (parts / name).read_bytes() == (tmp_path / 'whole' / name).read_bytes()
    files = [sorted(p.name for p in f.glob('*.pth')) for f in (parts, tmp_path / 'whole')]
    assert files[0] == files[1]
    for name in files[0]:
        assert differences(load(parts / name), load(tmp_path / 'whole' / name)) == []


def test_seeds_give_mean_and_population_deviation(tmp_path, launched):
    config = write_config(tmp_path, TWO_EPOCHS)
    work_dir = tmp_path / 'w'
    call(config, '--work-dir', work_dir, '--seeds', 0, 5)
    assert tasks(launched) == ['train', 'test'] * 2
    results = read(work_dir)
    assert results['seeds'] == [0, 5]
    assert [c['seed'] for c in results['checkpoints']['best']] == [0, 5]
    for key, value in results['results']['best'].items():
        each = [read(work_dir / f'seed_{s}')['results']['best'][key] for s in (0, 5)]
        assert value['values'] == each
        assert value['mean'] == pytest.approx(sum(each) / 2)
        assert value['std'] == pytest.approx(abs(each[0] - each[1]) / 2)  # sqrt of the mean square
    assert results['results']['best']['cls/confidence']['std'] > 0
    assert '±' in (work_dir / 'results.md').read_text()
    # What is finished is not trained again; a new seed is.
    (work_dir / 'results.json').unlink()
    launched.clear()
    call(config, '--work-dir', work_dir, '--seeds', 0, 5)
    assert launched == [] and read(work_dir) == results
    call(config, '--work-dir', work_dir, '--seeds', 0, 5, 7)
    assert tasks(launched) == ['train', 'test']
    launched.clear()
    call(config, '--work-dir', work_dir, '--seeds', 0, 5, '--test-only')
    assert tasks(launched) == ['test', 'test'] and read(work_dir) == results


def test_options_reach_training_and_testing(tmp_path, launched):
    config = write_config(tmp_path)
    options = ['train_cfg.max_epochs=1', 'test_dataloader.dataset.size=3']
    words = ['--work-dir', tmp_path / 'w', '--seed', '3', '--select', 'last', '--report']
    call(config, *words, '--cfg-options', *options)
    training, testing = launched
    assert training[training.index('--cfg-options') + 1 :] == options
    assert '--report' in testing and '--report' not in training
    assert (tmp_path / 'w' / 'epoch_1.pth').is_file()
    assert not (tmp_path / 'w' / 'epoch_2.pth').exists()
    assert round(read(tmp_path / 'w')['results']['last']['cls/ACC'] * 3) == pytest.approx(
        read(tmp_path / 'w')['results']['last']['cls/ACC'] * 3
    )
    # A longer training is another one: it goes on.
    launched.clear()
    call(config, *words, '--cfg-options', 'train_cfg.max_epochs=2')
    assert tasks(launched) == ['train', 'test'] and '--resume' in launched[0]


def test_without_save_best_the_last_one_is_tested(tmp_path, launched):
    config = write_config(
        tmp_path, TWO_EPOCHS + 'default_hooks = dict(checkpoint=dict(save_best=None))\n'
    )
    call(config, '--work-dir', tmp_path / 'w')
    assert list(read(tmp_path / 'w')['results']) == ['last']
    with pytest.raises(UserError, match='--select both: .* sets no .*save_best'):
        call(config, '--work-dir', tmp_path / 'w', '--select', 'both')


def test_the_first_of_several_measures_chooses_the_best(tmp_path, launched):
    extra = """
default_hooks = dict(checkpoint=dict(
    save_best=['cls/ACC', 'cls/confidence'], rule=['greater', 'less']))
"""
    config = write_config(tmp_path, TWO_EPOCHS + extra)
    call(config, '--work-dir', tmp_path / 'w')
    name = read(tmp_path / 'w')['checkpoints']['best'][0]['file']
    assert name.startswith('best_cls_ACC_epoch_')
    # Also when the newest checkpoint is gone, and with it the note of the best one.
    for path in (tmp_path / 'w').glob('epoch_*'):
        path.unlink()
    call(config, '--work-dir', tmp_path / 'w', '--test-only')
    assert read(tmp_path / 'w')['checkpoints']['best'][0]['file'] == name


def test_mistakes_are_told_before_anything_starts(tmp_path, launched):
    config = write_config(tmp_path)
    work_dir = tmp_path / 'w'
    here = ['--work-dir', work_dir]
    with pytest.raises(UserError, match='w: no best checkpoint .*--select last'):
        call(config, *here, '--test-only')
    with pytest.raises(UserError, match='w: no checkpoint .* is there; train first'):
        call(config, *here, '--test-only', '--select', 'last')
    with pytest.raises(UserError, match='--eval: expected names .* found sharpness'):
        call(config, *here, '--eval', 'sharpness')
    with pytest.raises(UserError, match='expected different seeds'):
        call(config, *here, '--seeds', 1, 1)
    with pytest.raises(UserError, match="expected a number of processes .* found 'two'"):
        train_and_test.main([str(config), 'two'])
    with pytest.raises(UserError, match='no such config file'):
        call(tmp_path / 'none.py')
    assert launched == []
    call(config, *here, '--seed', 3, '--cfg-options', 'train_cfg.max_epochs=1')
    launched.clear()
    with pytest.raises(UserError, match='epoch_1.pth: was trained with seed 3, not 4'):
        call(config, *here, '--seed', 4)
    # One of several seeds is missing: told before the others are tested.
    work_dir.rename(tmp_path / 'seed_3')
    with pytest.raises(UserError, match='seed_4: no best checkpoint'):
        call(config, '--work-dir', tmp_path, '--seeds', 3, 4, '--test-only')
    assert launched == []


def test_a_damaged_last_checkpoint_is_named(tmp_path, launched, capsys):
    config = write_config(tmp_path, TWO_EPOCHS)
    words = [config, '--work-dir', tmp_path / 'w', '--seed', 3, '--select', 'last']
    call(*words)
    damaged = tmp_path / 'w' / 'epoch_2.pth'
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[:4000])
    capsys.readouterr()
    call(*words, '--test-only')
    assert 'epoch_1.pth is used instead' in capsys.readouterr().out
    assert read(tmp_path / 'w')['checkpoints']['last'][0]['file'] == 'epoch_1.pth'
    call(*words)  # trains the second epoch again
    assert differences(load(damaged), load_bytes(tmp_path, whole)) == []


def load_bytes(tmp_path, content):
    (tmp_path / 'whole.pth').write_bytes(content)
    return load(tmp_path / 'whole.pth')


def test_deviation_is_that_of_the_population_and_undefined_stays_undefined():
    one = {'seg/Dice.a': 1.0, 'seg/HD95.a': None, 'cls/AUC': 0.5}
    two = {'seg/Dice.a': 4.0, 'seg/HD95.a': 2.0}
    spread = over_seeds([one, two, {**two, 'seg/Dice.a': 7.0}])
    assert spread['seg/Dice.a']['values'] == [1.0, 4.0, 7.0]
    assert spread['seg/Dice.a']['mean'] == 4
    assert spread['seg/Dice.a']['std'] == pytest.approx(6**0.5)  # of the sample it would be 3
    assert spread['seg/Dice.a']['std'] == statistics.pstdev([1, 4, 7])
    for key, values in (('seg/HD95.a', [None, 2.0, 2.0]), ('cls/AUC', [0.5, None, None])):
        assert spread[key] == {'mean': None, 'std': None, 'values': values}


def test_tables_have_classes_across_and_the_mean_beside_them():
    table = markdown_tables(
        {
            'seg/mean_Dice': 0.5,
            'seg/Dice.left|right': 0.25,
            'seg/Dice.b': 0.75,
            'seg/mean_ASD': None,
            'seg/ASD.left|right': None,
            'seg/ASD.b': {'mean': 3.0, 'std': 0.5, 'values': [2.5, 3.5]},
            'seg/mDice': 0.4,
            'seg/dataset_Dice.b': 0.4,
            'seg/ECE': 0.1,
            'seg/ECE.b': 0.3,
            'seg/cwECE': 0.2,
            'cls/F1': 0.6,
            'cls/F1.sick': 0.7,
            'seg/AURC.variance': 0.5,
            'seg/num_cases.variance': 12.0,
            'cls/ACC': 1.0,
        }
    )
    assert table == (
        '| measure | mean | left/right | b |\n'
        '| --- | --- | --- | --- |\n'
        '| seg/Dice | 0.5000 | 0.2500 | 0.7500 |\n'
        '| seg/ASD | not defined | not defined | 3.0000 ± 0.5000 |\n'
        '\n'
        '| measure | mean | b |\n'
        '| --- | --- | --- |\n'
        '| seg/dataset_Dice | 0.4000 | 0.4000 |\n'
        '| seg/ECE | 0.2000 | 0.3000 |\n'
        '\n'
        '| measure | mean | sick |\n'
        '| --- | --- | --- |\n'
        '| cls/F1 | 0.6000 | 0.7000 |\n'
        '\n'
        '| measure | variance |\n'
        '| --- | --- |\n'
        '| seg/AURC | 0.5000 |\n'
        '| seg/num_cases | 12 |\n'
        '\n'
        '| measure | value |\n'
        '| --- | --- |\n'
        '| seg/ECE | 0.1000 |\n'
        '| cls/ACC | 1.0000 |\n'
    )


def test_the_script_tells_its_usage_and_mistakes(tmp_path):
    done = run_tool('train_and_test.sh', 'config.py')
    assert done.returncode == 2
    assert done.stderr.startswith('usage: bash tools/train_and_test.sh CONFIG N')
    config = write_config(tmp_path)
    done = run_tool('train_and_test.sh', config, 1, '--test-only', '--work-dir', tmp_path / 'w')
    assert done.returncode == 1 and 'Traceback' not in done.stderr
    lines = done.stderr.splitlines()
    assert len(lines) == 1 and 'w: no best checkpoint' in lines[0]


def wait_for(path, process):
    while not path.exists():
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.02)


@pytest.mark.slow
def test_the_script_goes_on_after_its_own_kill(tmp_path):
    """Killed in the second seed's training, with its processes; the first seed is kept."""
    config = write_config(tmp_path, 'train_cfg = dict(max_epochs=40)\n')
    work_dir = tmp_path / 'w'
    words = [config, 2, '--seeds', 1, 2, '--work-dir', work_dir]
    process = subprocess.Popen(
        ['bash', str(ROOT / 'tools/train_and_test.sh'), *map(str, words)],
        env={**os.environ, 'PYTHONPATH': str(ROOT), 'PYTHON': sys.executable},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for(work_dir / 'seed_2' / 'epoch_2.pth', process)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    time.sleep(1)  # its processes die with it
    last = [work_dir / f'seed_{seed}' / 'epoch_40.pth' for seed in (1, 2)]
    assert not last[1].exists()
    first = last[0].stat().st_mtime_ns
    before = (work_dir / 'seed_1' / 'results.json').read_bytes()
    done = run_tool('train_and_test.sh', *words)
    assert done.returncode == 0, done.stderr
    said = [line for line in done.stdout.splitlines() if line.startswith('==')]
    assert [line.rpartition('seed_')[0] for line in said[:4]] == [
        f'== seed 1: training is finished: {work_dir}/',
        f'== seed 1: {work_dir}/',
        f'== seed 2: going on with the training that was interrupted, from {work_dir}/',
        f'== seed 2: testing the best checkpoint, {work_dir}/',
    ]
    assert last[0].stat().st_mtime_ns == first
    assert (work_dir / 'seed_1' / 'results.json').read_bytes() == before
    assert train_forked(2, config, '--work-dir', tmp_path / 'whole', '--seed', 2) == [0, 0]
    assert differences(load(last[1]), load(tmp_path / 'whole' / 'epoch_40.pth')) == []
    each = [read(work_dir / f'seed_{seed}')['results']['best']['cls/ACC'] for seed in (1, 2)]
    assert read(work_dir)['results']['best']['cls/ACC']['values'] == each
