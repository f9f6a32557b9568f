import json
import subprocess
import sys
from pathlib import Path

import pytest

from mmjoint.utils.errors import UserError
from mmjoint.visualization.drawing import decode_image
from tools.analysis_tools.analyze_logs import main, name_logs

ROOT = Path(__file__).parents[2]


def make_run(folder, losses, scores=()):
    log = folder / '20250101_000000' / 'vis_data' / 'scalars.json'
    log.parent.mkdir(parents=True)
    lines = [dict(loss=loss, step=i, iter=i, epoch=i) for i, loss in enumerate(losses, 1)]
    lines += [{'seg/mIoU': score, 'step': i} for i, score in enumerate(scores, 1)]
    log.write_text(''.join(json.dumps(line) + '\n' for line in lines))
    return log


def test_curves_and_table(tmp_path, capsys):
    make_run(tmp_path / 'a', [4.0, 1.0, 2.0], [0.25, None])
    make_run(tmp_path / 'b', [3.0, 2.0], [0.5])
    out = tmp_path / 'plots' / 'c.png'
    main(
        [str(tmp_path / 'a'), str(tmp_path / 'b'), '--keys', 'loss', 'seg/mIoU']
        + ['--out', str(out), '--table']
    )
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert rows[0] == 'log key points first last lowest at highest at'.split()
    assert rows[1] == 'a loss 3 4 2 1 2 4 1'.split()
    assert rows[2] == 'a seg/mIoU 2 0.25 0.25 0.25 1 0.25 1'.split()
    assert rows[3] == 'b loss 2 3 2 2 2 3 1'.split()
    assert decode_image(out.read_bytes()).shape == (432, 1248, 3)
    assert [path.name for path in out.parent.iterdir()] == ['c.png']


def test_names(tmp_path):
    a, b = make_run(tmp_path / 'a', [1.0]), make_run(tmp_path / 'b', [1.0])
    assert name_logs([str(a), str(b)]) == ['a', 'b']
    assert name_logs([str(a), str(tmp_path / 'a')]) == [str(a), str(tmp_path / 'a')]


def test_unknown_key_lists_the_known_ones(tmp_path):
    log = make_run(tmp_path / 'a', [1.0], [0.5])
    with pytest.raises(UserError, match='expected the keys acc, found only loss, seg/mIoU'):
        main([str(log), '--keys', 'loss', 'acc', '--out', str(tmp_path / 'c.png')])
    assert not (tmp_path / 'c.png').exists()


@pytest.mark.parametrize(
    'options, message',
    [
        (['--out', 'c.gif'], '--out: expected a name ending in .png, .pdf or .svg, found'),
        (['--names', 'x', 'y'], '--names: expected 1 names, found 2'),
    ],
)
def test_wrong_options(options, message, capsys):
    with pytest.raises(SystemExit, match='2'):
        main(['log.json', *options])
    assert message in capsys.readouterr().err


def test_a_missing_log_ends_in_one_line(tmp_path):
    command = [sys.executable, 'tools/analysis_tools/analyze_logs.py', str(tmp_path / 'none.json')]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line == (
        f'error: {tmp_path}/none.json: no such log; expected scalars.json or a work directory of '
        'a run'
    )
