import argparse
import math
import os
import signal
import subprocess
import sys

import pytest

from mmjoint.utils.errors import UserError

from .scripts import FOLDER, common


def fill(folder, text):
    with common.new_folder(folder, overwrite=True) as root:
        (root / 'dataset_info.json').write_text(text)


def test_new_folder_appears_whole(tmp_path):
    out = tmp_path / 'data' / 'set'
    with common.new_folder(out, overwrite=False) as root:
        (root / 'dataset_info.json').write_text('a')
        assert not out.exists()
    assert [path.name for path in out.parent.iterdir()] == ['set']
    assert (out / 'dataset_info.json').read_text() == 'a'


def test_an_error_leaves_the_earlier_result(tmp_path):
    fill(tmp_path / 'set', 'old')
    with (
        pytest.raises(RuntimeError),
        common.new_folder(tmp_path / 'set', overwrite=True) as root,
    ):
        (root / 'dataset_info.json').write_text('new')
        raise RuntimeError
    assert [path.name for path in tmp_path.iterdir()] == ['set']
    assert (tmp_path / 'set' / 'dataset_info.json').read_text() == 'old'


def test_overwrite_replaces_all_of_the_earlier_result(tmp_path):
    fill(tmp_path / 'set', 'old')
    (tmp_path / 'set' / 'extra').write_text('')
    fill(tmp_path / 'set', 'new')
    assert [path.name for path in tmp_path.iterdir()] == ['set']
    assert [path.name for path in (tmp_path / 'set').iterdir()] == ['dataset_info.json']
    assert (tmp_path / 'set' / 'dataset_info.json').read_text() == 'new'


def test_empty_folder_and_linked_folder_are_taken(tmp_path):
    (tmp_path / 'disk' / 'set').mkdir(parents=True)
    (tmp_path / 'link').symlink_to(tmp_path / 'disk' / 'set')
    with common.new_folder(tmp_path / 'link', overwrite=False) as root:
        (root / 'dataset_info.json').write_text('a')
    assert (tmp_path / 'link').is_symlink()
    assert (tmp_path / 'disk' / 'set' / 'dataset_info.json').read_text() == 'a'


def test_leftovers_of_killed_runs(tmp_path):
    (tmp_path / 'set.partial' / 'images').mkdir(parents=True)
    fill(tmp_path / 'set', 'a')
    # Killed between the two renames: the earlier result is put back before anything else.
    (tmp_path / 'set').rename(tmp_path / 'set.old')
    with pytest.raises(UserError, match='add --overwrite'):
        with common.new_folder(tmp_path / 'set', overwrite=False):
            pass
    assert [path.name for path in tmp_path.iterdir()] == ['set']
    assert (tmp_path / 'set' / 'dataset_info.json').read_text() == 'a'


def test_kill_leaves_only_the_partial_folder(tmp_path, raw_refuge):
    script = (
        'import os, signal, sys; sys.path.insert(0, sys.argv[1]); import refuge\n'
        'convert, count = refuge.convert_case, iter(range(9))\n'
        'def killed(*args, **kwargs):\n'
        '    if next(count) == 4: os.kill(os.getpid(), signal.SIGKILL)\n'
        '    return convert(*args, **kwargs)\n'
        'refuge.convert_case = killed\n'
        'refuge.main(sys.argv[2:])\n'
    )
    out = tmp_path / 'out'
    words = [sys.executable, '-c', script, str(FOLDER), str(raw_refuge), str(out), '--size', '32']
    ended = subprocess.run(words, capture_output=True, env={**os.environ, 'OMP_NUM_THREADS': '1'})
    assert ended.returncode == -signal.SIGKILL
    assert not out.exists()
    assert len(list((tmp_path / 'out.partial').rglob('*.jpg'))) == 4
    # The next run clears it and succeeds, as a plain script.
    words = [sys.executable, str(FOLDER / 'refuge.py'), str(raw_refuge), str(out), '--size', '32']
    ended = subprocess.run(words, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert len(list(out.rglob('*.jpg'))) == 9
    assert not (tmp_path / 'out.partial').exists()


def test_problems_name_the_first_and_count_the_rest():
    problems = common.Problems(shown=2)
    problems.raise_if_any()
    for number in range(5):
        with problems.collect():
            raise UserError(f'file {number}')
    with pytest.raises(UserError, match=r'^file 0 \| file 1 \| and 3 more like these$'):
        problems.raise_if_any()


@pytest.mark.parametrize(
    ('kind', 'low', 'high', 'good', 'bad'),
    [
        (int, 16, 4096, '16', '15'),
        (int, 1, math.inf, '7', '0'),
        (float, 0, 1, '0.5', '1.5'),
        (float, 0, 1, '1', 'nan'),
        (float, 0.01, math.inf, '3', 'inf'),
    ],
)
def test_bounded(kind, low, high, good, bad):
    parse = common.bounded(kind, low, high)
    assert parse(good) == kind(good)
    with pytest.raises(argparse.ArgumentTypeError, match=f'got {bad}'):
        parse(bad)


def test_command_line_is_what_a_shell_reads():
    options = {'size': 64, 'splits': ['train', 'val'], 'fractions': None, 'skip_missing': True}
    assert common.command_line('a.py', options) == (
        'python prepare_dataset/a.py RAW_ROOT OUT_ROOT --size 64 --splits train val --skip-missing'
    )


def test_progress_speaks_only_in_long_jobs(capsys, monkeypatch):
    assert list(common.progress([1, 2, 3], 'job')) == [1, 2, 3]
    assert capsys.readouterr().err == ''
    clock = iter(range(0, 1000, 20))
    monkeypatch.setattr(common.time, 'monotonic', lambda: next(clock))
    assert list(common.progress([1, 2, 3], 'job')) == [1, 2, 3]
    # Start at 0 s; the calls come at 20, 40 and 60 s.
    assert capsys.readouterr().err == 'job: 1/3, 80 s left\njob: 2/3, 30 s left\n'


def test_annotations_refuse_an_empty_split(tmp_path):
    with pytest.raises(UserError, match="in every split, found none in 'val'"):
        common.write_annotations(
            tmp_path,
            'set',
            raw_root=tmp_path,
            classes=('a',),
            cls_classes=('b',),
            records={'val': []},
            command='',
            options={},
        )
