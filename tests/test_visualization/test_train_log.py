import json
import math

import pytest

from mmjoint.utils.errors import UserError
from mmjoint.visualization.train_log import find_train_logs, read_train_log


def write(path, *records, end='\n'):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text('\n'.join(json.dumps(record) for record in records) + end)
    return path


def train(step, epoch, **scalars):
    return dict(step=step, iter=step, epoch=epoch, **scalars)


def test_epochs_and_iterations(tmp_path):
    path = write(
        tmp_path / 'scalars.json',
        train(5, 1, loss=2.0, lr=0.1),
        train(10, 1, loss=1.0, lr=0.1),
        {'seg/mIoU': 0.5, 'step': 1},
        train(15, 2, loss=0.5, lr=0.01),
        {'seg/mIoU': None, 'step': 2},
    )
    curves = read_train_log(path)
    assert list(curves) == ['loss', 'lr', 'seg/mIoU']
    assert (curves['loss'].steps, curves['loss'].values) == ([5, 10, 15], [2.0, 1.0, 0.5])
    assert (curves['loss'].unit, curves['seg/mIoU'].unit) == ('iteration', 'epoch')
    assert curves['seg/mIoU'].values[0] == 0.5 and math.isnan(curves['seg/mIoU'].values[1])


def test_iteration_loop_validates_by_iteration(tmp_path):
    path = write(tmp_path / 's.json', train(5, 1, loss=2.0), {'seg/mIoU': 0.5, 'step': 5})
    assert read_train_log(path)['seg/mIoU'].unit == 'iteration'


def test_resumed_run_replaces_what_it_repeats(tmp_path):
    name = 'vis_data/scalars.json'
    write(tmp_path / '20250101_000000' / name, train(1, 1, loss=3.0), train(2, 1, loss=2.0))
    write(tmp_path / '20250102_000000' / name, train(2, 1, loss=1.5), train(3, 1, loss=1.0))
    assert len(find_train_logs(tmp_path)) == 2
    curve = read_train_log(tmp_path)['loss']
    assert (curve.steps, curve.values) == ([1, 2, 3], [3.0, 1.5, 1.0])


def test_a_line_cut_by_a_kill_is_left_out(tmp_path):
    path = write(tmp_path / 's.json', train(1, 1, loss=3.0))
    path.write_text(path.read_text() + '{"loss": 2.0, "st')
    assert read_train_log(path)['loss'].values == [3.0]


@pytest.mark.parametrize(
    'text, message',
    [
        ('{"loss": 1}\nnot json\n', 'line 2: expected a JSON object per line, found .not json'),
        ('[1]\n', 'line 1: expected a JSON object, found list'),
        ('', 'expected lines with scalars, found none'),
        ('{"loss": 1}\n', 'expected lines with scalars, found none'),  # no step
    ],
)
def test_damaged_logs(tmp_path, text, message):
    path = tmp_path / 's.json'
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        read_train_log(path)


def test_a_binary_file_is_no_log(tmp_path):
    (tmp_path / 's.json').write_bytes(b'\xff\xfe\x00')
    with pytest.raises(UserError, match='cannot be read as text'):
        read_train_log(tmp_path / 's.json')


def test_missing_logs(tmp_path):
    with pytest.raises(UserError, match='no such log'):
        read_train_log(tmp_path / 'none.json')
    with pytest.raises(UserError, match='expected a scalars.json below this folder'):
        read_train_log(tmp_path)


def test_only_the_newest_training_of_a_folder_counts(tmp_path):
    def write(name, steps, loss):
        folder = tmp_path / name / 'vis_data'
        folder.mkdir(parents=True)
        lines = [f'{{"loss": {loss}, "iter": {step}, "step": {step}}}' for step in steps]
        (folder / 'scalars.json').write_text('\n'.join(lines) + '\n')

    write('run1', [10, 20, 30, 40], 1.0)
    write('run2', [10, 20], 2.0)  # starts anew
    write('run3', [20, 30], 3.0)  # resumes run2
    curve = read_train_log(tmp_path)['loss']
    assert curve.steps == [10, 20, 30]
    assert curve.values == [2.0, 3.0, 3.0]
