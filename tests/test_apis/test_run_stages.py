"""Chains of stages: in order, restarted, with changed inputs; what their label maps come from."""

import json
import multiprocessing
import os
import signal

import numpy as np
import pytest
import torch

from mmjoint.apis import launch, run_stages, test, train
from mmjoint.apis.chain import read_chain
from mmjoint.apis.results_table import markdown_comparison
from mmjoint.engine.checkpoint import hash_weights, write_checkpoint
from mmjoint.utils.errors import UserError
from mmjoint.utils.io import sha256_file

from ..test_datasets.task_sets import read_map, write_map
from ..test_engine.helpers import ROOT, load
from ..test_prepare_dataset import scripts
from .stage_toy import write_chain

STAGES = (
    *('first', 'reta_odoc', 'ddr_vessel', 'second'),
    *('test_first', 'test_first_disc', 'test_second'),
)


class Stop(Exception):
    """In place of a kill."""


@pytest.fixture
def started(monkeypatch, runner_state):
    """Run in this very process what would be launched; gives the command lines."""
    lines = []

    def main(argv):
        task, number, *rest = argv
        assert number == '1'
        lines.append(argv)
        (train if task == 'train' else test).main(rest)

    monkeypatch.setattr(launch, 'main', main)
    return lines


def call(chain, *options):
    run_stages.main([str(chain), '--work-dir', str(chain.parent / 'w'), *map(str, options)])


def artefacts(folder):
    """Everything that is to be the same after an interruption: weights, and all other files."""
    found = {}
    for path in sorted(folder.rglob('*')):
        name = str(path.relative_to(folder))
        if path.is_dir() or any(part[:2] == '20' for part in path.parts[len(folder.parts) :]):
            continue  # logs, in folders named after the time
        if path.suffix == '.pth':
            found[name] = hash_weights(path)
        elif path.name == 'finished.json' or path.name == 'provenance.json':
            text = path.read_text()
            for checkpoint in folder.rglob('*.pth'):  # their files tell other times
                text = text.replace(sha256_file(checkpoint), 'FILE')
            found[name] = text
        else:
            found[name] = path.read_bytes()
    return found


def said(capsys):
    return [line[3:] for line in capsys.readouterr().out.splitlines() if line.startswith('== ')]


def test_the_stages_run_in_order_and_once(tmp_path, started, capsys):
    chain, work_dir = write_chain(tmp_path), tmp_path / 'w'
    call(chain)
    assert [line[0] for line in started] == ['train', 'test', 'test', 'train', *['test'] * 3]
    # The seed of the chain, of the config, or 0 goes with everything.
    assert [load(work_dir / name)['meta']['seed'] for name in ('first/iter_6.pth',)] == [0]
    assert load(work_dir / 'second' / 'iter_4.pth')['meta']['seed'] == 5
    assert not list(work_dir.glob('*.unfinished')) and not list(work_dir.glob('*.before-*'))

    provenance = json.loads((work_dir / 'reta_odoc' / 'provenance.json').read_text())
    checkpoint = work_dir / 'first' / 'iter_6.pth'
    assert provenance['checkpoint'] == dict(
        file=str(checkpoint),
        sha256=sha256_file(checkpoint),
        sha256_of_weights=hash_weights(checkpoint),
        epoch=0,
        iter=6,
        seed=0,
    )
    maps = [read_map(work_dir / 'reta_odoc' / f'train-{n}.png') for n in range(3)]
    assert provenance['task'] == 'odoc' and provenance['images'] == len(maps) == 3
    assert provenance['pixels'] == dict(
        disc=sum(int((one > 0).sum()) for one in maps),
        cup=sum(int((one == 2).sum()) for one in maps),
        background=sum(int((one == 0).sum()) for one in maps),
        **{'without a label': 0, 'all': 3 * 24 * 24},
    )
    assert provenance['pixels']['disc'] > 0
    assert provenance['threshold'] == 0.5 and provenance['estimator'] is None
    assert set(provenance['filter'].values()) == {None}
    assert provenance['versions']['torch']

    # The second training reads what the label stages have made.
    config = (work_dir / 'configs' / 'second' / 'second.py').read_text()
    assert str(work_dir / 'reta_odoc') in config and str(work_dir / 'ddr_vessel') in config
    assert (work_dir / 'second' / 'second.py').read_text() == config  # not of `second.unfinished`
    results = json.loads((work_dir / 'results.json').read_text())
    assert list(results['stages']) == list(STAGES)
    one, two = results['results'].values()
    assert list(results['results']) == ['first', 'second']
    assert set(one) - set(two) == {key for key in one if key.startswith('ddr/odoc/')} != set()
    alone = json.loads((work_dir / 'test_first_disc' / 'metrics.json').read_text())
    assert {key: one[key] for key in alone} == alone
    table = (work_dir / 'results.md').read_text()
    iou = 'reta/vessel/IoU.vessel'
    assert f'| IoU.vessel | {one[iou]:.4f} | {two[iou]:.4f} |' in table
    assert '### ddr/odoc' in table and '| reta_odoc | odoc | first | 3 | disc ' in table

    # All is done: nothing is started, and all stays as it is.
    before = artefacts(work_dir)
    started.clear()
    capsys.readouterr()
    call(chain)
    assert started == [] and artefacts(work_dir) == before
    assert said(capsys)[: len(STAGES)] == [f'{name}: finished before' for name in STAGES]


def test_what_a_change_touches_runs_anew(tmp_path, started, capsys):
    chain, work_dir = write_chain(tmp_path), tmp_path / 'w'
    call(chain)
    started.clear()
    capsys.readouterr()
    # A strict filter on labels: what reads them follows, the first training stays.
    call(chain, '--cfg-options', 'defaults.label.min_confidence=0.99')
    lines = said(capsys)
    assert lines[0] == 'first: finished before'
    for name in ('reta_odoc', 'ddr_vessel'):
        told = [line for line in lines if line.startswith(f'{name}: runs anew')]
        assert len(told) == 1 and 'config, settings' in told[0] and f'{name}.before-1' in told[0]
        assert (work_dir / f'{name}.before-1' / 'provenance.json').is_file()
        provenance = json.loads((work_dir / name / 'provenance.json').read_text())
        assert provenance['filter']['min_confidence'] == 0.99
        assert provenance['pixels']['without a label'] > 0
    told = [line for line in lines if line.startswith('second: runs anew')]
    assert len(told) == 1 and 'other than before: inputs;' in told[0]
    assert 'test_first: finished before' in lines
    assert [line[0] for line in started] == ['test', 'test', 'train', 'test']

    # A label map that somebody has changed is made again, and then nothing else differs.
    path = work_dir / 'ddr_vessel' / 'train-1.png'
    before = path.read_bytes()
    write_map(path, np.ones((20, 20), np.uint8))
    started.clear()
    capsys.readouterr()
    call(chain, '--cfg-options', 'defaults.label.min_confidence=0.99')
    lines = said(capsys)
    assert any('ddr_vessel: runs anew, since its files were changed' in line for line in lines)
    assert len(started) == 1 and path.read_bytes() == before
    assert 'second: finished before' in lines

    # Another number of iterations is another training.
    started.clear()
    call(chain, '--cfg-options', 'stages.first.options.train_cfg.max_iters=4')
    assert [line[0] for line in started][0] == 'train' and len(started) == len(STAGES)
    assert (work_dir / 'first' / 'iter_4.pth').is_file()
    assert not (work_dir / 'first' / 'iter_6.pth').exists()


def test_an_interrupted_stage_is_none(tmp_path, started, monkeypatch, capsys):
    """Interrupted while the second of three label maps is written; it never has its name."""
    chain, work_dir = write_chain(tmp_path), tmp_path / 'w'
    from mmjoint.engine.hooks import task_label_hook as hook

    write, count = hook.write_index_png, []

    def stop(*args):
        count.append(args)
        if len(count) == 2:
            raise Stop
        write(*args)

    monkeypatch.setattr(hook, 'write_index_png', stop)
    with pytest.raises(Stop):
        call(chain)
    assert not (work_dir / 'reta_odoc').exists()
    assert (work_dir / 'reta_odoc.unfinished' / 'train-0.png').exists()
    # Something that does not belong there, as of an older version, goes.
    (work_dir / 'reta_odoc.unfinished' / 'stray.png').write_bytes(b'x')
    monkeypatch.setattr(hook, 'write_index_png', write)
    call(chain)
    assert not (work_dir / 'reta_odoc' / 'stray.png').exists()
    assert 'first: finished before' in said(capsys)


def test_a_training_with_other_settings_does_not_go_on(tmp_path, started, capsys):
    chain, draft = write_chain(tmp_path), tmp_path / 'w' / 'first.unfinished'
    stages = read_chain(str(chain))
    assert stages['second'].seed == 5 and stages['test_second'].seed == 5
    call(chain, '--cfg-options', *[f'stages.{name}=None' for name in STAGES[1:]])
    (tmp_path / 'w' / 'first').rename(draft)
    (draft / 'finished.json').rename(draft / 'inputs.json')
    (draft / 'inputs.json').write_text(json.dumps(dict(seed=1)))
    capsys.readouterr()
    started.clear()
    call(chain, '--cfg-options', *[f'stages.{name}=None' for name in STAGES[1:]])
    assert any('first: begins anew, since other than' in line for line in said(capsys))
    assert '--resume' not in started[0]
    # What was trained is kept, under another name.
    assert (tmp_path / 'w' / 'first.before-1' / 'iter_6.pth').is_file()


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (['stages.first.config=none.py'], 'none.py: no such config file'),
        (['stages.first.kind=1'], r'stages\.first\.kind is unknown'),
        (['stages.second.type=trian'], 'type is one of train, label, test'),
        (['stages.reta_odoc.checkpoint=frist'], "found 'frist'; did you mean first"),
        (['stages.reta_odoc.checkpoint=second'], "expected the name of an earlier .* 'second'"),
        (['stages.reta_odoc.source=od'], 'stage reta_odoc: --source od: expected one of'),
        (
            ['stages.reta_odoc.test_set=reta'],
            '--test-set reta: .* one of OD, ddr_train, reta_tr',
        ),
        (['stages.test_first.eval=[mIoU,sharp]'], 'stage test_first: --eval: .* found sharp'),
        (['stages.ddr_vessel=None'], r"stages\.second\.inputs: .* found 'ddr_vessel'"),
        (['defaults.label.min_confidance=1'], 'did you mean min_confidence'),
        (['defaults.label.uncertainty=variance_odoc'], 'belong together'),
        (['defaults.label.uq=dropout'], 'dropout is not a known .* did you mean mc_dropout'),
        (['stages.first.options.train_cfg.max_iters=0'], r'train_cfg\.max_iters: expected an int'),
    ],
)
def test_mistakes_are_told_before_anything_starts(tmp_path, started, options, message):
    chain = write_chain(tmp_path)
    with pytest.raises(UserError, match=message):
        call(chain, '--cfg-options', *options)
    assert started == [] and not (tmp_path / 'w').exists()


def test_a_foreign_folder_is_refused(tmp_path, started):
    chain = write_chain(tmp_path)
    (tmp_path / 'w' / 'second').mkdir(parents=True)
    with pytest.raises(UserError, match='second: expected a folder that a chain has made'):
        call(chain)
    assert started == []


def test_the_hash_of_weights_stands_for_names_shapes_types_and_bits(tmp_path):
    def hashed(time=0.0, **weights):
        write_checkpoint(dict(state_dict=weights, meta=dict(time=time)), tmp_path / 'x.pth')
        return hash_weights(tmp_path / 'x.pth')

    one, two = torch.arange(4.0), torch.tensor(3, dtype=torch.int64)
    whole = hashed(a=one, b=two)
    assert hashed(9.0, b=two, a=one) == whole  # neither the order nor the time counts
    for other in (one.reshape(2, 2), one.to(torch.float64), one.flip(0), -one):
        assert hashed(a=other, b=two) != whole
    assert hashed(a=one) != whole and hashed(a=one, c=two) != whole


def test_models_stand_side_by_side():
    columns = dict(one={'a/x/IoU.v': 0.5, 'a/x/num_fov': 2.0}, two={'a/x/IoU.v': None, 'b/y': 1.0})
    assert markdown_comparison(columns) == (
        '### a/x\n\n| measure | one | two |\n| --- | --- | --- |\n'
        '| IoU.v | 0.5000 | not defined |\n| num_fov | 2 |  |\n\n'
        '### b\n\n| measure | one | two |\n| --- | --- | --- |\n| y |  | 1.0000 |\n'
    )


def _in_fork(chain, kill_at):
    """A chain whose process dies at a moment: the so-many-th renaming or file written."""
    count = [0]
    replace, rename = os.replace, os.rename

    def counted(function):
        def act(*args, **kwargs):
            count[0] += 1
            if count[0] == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*args, **kwargs)

        return act

    os.replace, os.rename = counted(replace), counted(rename)

    def main(argv):
        (train if argv[0] == 'train' else test).main(argv[2:])

    launch.main = main
    call(chain)


@pytest.mark.slow
def test_killed_at_many_moments_it_ends_the_same(tmp_path, started):
    """Killed again and again, each time a few files later than at the last start."""
    chain = write_chain(tmp_path)
    call(chain)
    whole = artefacts(tmp_path / 'w')
    (tmp_path / 'w').rename(tmp_path / 'whole')
    context, codes = multiprocessing.get_context('fork'), []
    for kill_at in (1, 2, 5, 3, 7, 4, 6, 9, 5, 8, 3, 11, 6, 12, 14, 16, 18, 20, 1000, 1000):
        process = context.Process(target=_in_fork, args=(chain, kill_at))
        process.start()
        process.join()
        codes.append(process.exitcode)
        if process.exitcode == 0:
            break
    assert codes[-1] == 0 and codes.count(-9) == len(codes) - 1 >= 8, codes
    found = artefacts(tmp_path / 'w')
    assert set(found) == set(whole)
    assert [name for name in whole if found[name] != whole[name]] == []


@pytest.mark.slow
def test_the_chain_of_pssnet_on_phantoms(tmp_path, monkeypatch):
    """From raw photographs to one table; trained for a few iterations alone."""
    root = tmp_path / 'data' / 'phantoms'
    for name, count in (
        *(('reta', 6), ('ddr', 10), ('refuge_tasks', 9), ('idrid', 6)),
        *(('drive', 4), ('stare', 2), ('aria', 2)),
    ):
        raw = root / 'raw' / name
        words = [name, str(raw), '--num-cases', str(count), '--size', '64']
        assert not scripts.make_phantoms.main(words)
        assert not getattr(scripts, name).main([str(raw), str(root / name)])
    monkeypatch.chdir(tmp_path)
    short = [
        f'stages.{stage}.options.{key}={value}'
        for stage in ('stage1', 'stage2')
        for key, value in (
            ('train_cfg.max_iters', 2),
            ('train_cfg.val_interval', 2),
            ('default_hooks.checkpoint.interval', 2),
        )
    ]
    words = [str(ROOT / 'configs/pssnet/pssnet-phantom_chain.py'), '1', '--work-dir', 'w']
    run_stages.main([*words, '--cfg-options', *short, 'defaults.label.min_confidence=0.6'])
    results = json.loads((tmp_path / 'w' / 'results.json').read_text())
    labels = [one for one in results['stages'].values() if one['type'] == 'label']
    assert [one['task'] for one in labels] == ['lesion', 'odoc', 'vessel', 'odoc', 'vessel']
    assert list(results['results']) == ['stage1', 'stage2']
    for column in results['results'].values():
        sets = {key.rpartition('/')[0] for key in column}
        assert sets == {
            *('drive/vessel', 'stare/vessel', 'aria/vessel', 'ddr/lesion'),
            *('idrid/lesion', 'idrid/odoc', 'refuge/odoc'),
        }
        assert {'idrid/odoc/IoU.disc', 'idrid/odoc/Dice.background'} <= set(column)
        assert 'idrid/odoc/IoU.cup' not in column
