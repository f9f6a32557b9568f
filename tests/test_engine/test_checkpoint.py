import pathlib
import zipfile
from collections import Counter, OrderedDict, deque

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from torch import nn

from mmjoint.engine.checkpoint import (
    DamagedCheckpointError,
    find_resumable,
    load_weights,
    read_checkpoint,
    read_meta,
    restore_histories,
    resume_candidates,
    to_plain,
    write_checkpoint,
)
from mmjoint.utils.errors import UserError

from .helpers import load


def test_everything_becomes_plain_and_loads_safely(tmp_path):
    history = HistoryBuffer([1.5, 2.5], [1, 2], max_length=9)
    value = {
        'state_dict': {'w': nn.Parameter(torch.ones(2))},
        'numbers': [np.float32(0.5), np.int64(3), np.bool_(True), 1, None],
        'array': np.arange(3, dtype=np.int16),
        'path': pathlib.Path('a') / 'b',
        'containers': (deque([1]), Counter('aab'), torch.Size([2, 3]), {4}),
        'log': {'loss': history},
    }
    write_checkpoint(value, tmp_path / 'a.pth')
    stored = load(tmp_path / 'a.pth')
    assert stored['numbers'] == [0.5, 3, True, 1, None]
    assert [type(n) for n in stored['numbers'][:3]] == [float, int, bool]
    assert stored['array'].tolist() == [0, 1, 2] and stored['array'].dtype == torch.int16
    assert stored['path'] == 'a/b'
    assert stored['containers'] == ([1], {'a': 2, 'b': 1}, (2, 3), {4})
    assert stored['state_dict']['w'].tolist() == [1, 1]
    back = restore_histories(stored['log'])['loss']
    assert back.data[0].tolist() == [1.5, 2.5] and back.data[1].tolist() == [1, 2]
    assert back.max_length == 9
    assert back.mean(1) == 1.25


def test_module_versions_survive(tmp_path):
    state = nn.BatchNorm2d(2).state_dict()
    write_checkpoint({'state_dict': state}, tmp_path / 'a.pth')
    stored = load(tmp_path / 'a.pth')['state_dict']
    assert isinstance(stored, OrderedDict)
    assert stored._metadata['']['version'] == state._metadata['']['version'] == 2


def test_what_is_not_plain_is_named(tmp_path):
    with pytest.raises(TypeError, match=r'checkpoint\.hub\.hook\[1\] is a builtins\.object'):
        to_plain({'hub': {'hook': [1, object()]}})
    with pytest.raises(TypeError):
        write_checkpoint({'a': object()}, tmp_path / 'a.pth')
    assert list(tmp_path.iterdir()) == []


def write(path, step=0):
    write_checkpoint(
        {'meta': {'iter': step}, 'state_dict': {'w': torch.arange(4000.0)}, 'message_hub': {}}, path
    )


def flip(path):
    """Change one byte of the stored tensor, which the format does not notice by itself."""
    with zipfile.ZipFile(path) as archive:
        info = max(archive.infolist(), key=lambda part: part.file_size)
    content = bytearray(path.read_bytes())
    content[info.header_offset + 2000] ^= 255
    path.write_bytes(content)


def cut(path):
    path.write_bytes(path.read_bytes()[:5000])


def empty(path):
    path.write_bytes(b'')


def text(path):
    path.write_text('not a checkpoint')


@pytest.mark.parametrize(
    ('damage', 'message'),
    [
        (flip, 'does not match its checksum'),
        (cut, 'truncated or damaged'),
        (empty, 'the file is empty'),
        (text, 'damaged or of another kind'),
    ],
)
def test_damage_is_found_and_the_one_before_is_used(tmp_path, damage, message):
    for step in (1, 2, 3):
        write(tmp_path / f'epoch_{step}.pth', step)
    (tmp_path / 'last_checkpoint').write_text('/moved/from/elsewhere/epoch_3.pth')
    damage(tmp_path / 'epoch_3.pth')
    with pytest.raises(DamagedCheckpointError, match=f'epoch_3.pth.*{message}'):
        read_checkpoint(tmp_path / 'epoch_3.pth')
    path, warnings = find_resumable(tmp_path)
    assert path == tmp_path / 'epoch_2.pth'
    assert len(warnings) == 1
    assert 'epoch_3.pth' in warnings[0] and warnings[0].endswith('epoch_2.pth is used instead')
    assert read_meta(path) == {'iter': 2}


def test_all_damaged_is_an_error_and_none_at_all_is_not(tmp_path):
    assert find_resumable(tmp_path) == (None, [])
    assert find_resumable(tmp_path / 'missing') == (None, [])
    for step in (1, 2):
        (tmp_path / f'iter_{step}.pth').write_bytes(b'x')
    with pytest.raises(UserError, match='none of its checkpoints can be read.*iter_2.*iter_1'):
        find_resumable(tmp_path)


def test_a_missing_newest_one_is_told(tmp_path):
    write(tmp_path / 'epoch_1.pth')
    (tmp_path / 'last_checkpoint').write_text('epoch_2.pth')
    path, warnings = find_resumable(tmp_path)
    assert path.name == 'epoch_1.pth'
    assert 'epoch_2.pth: no such checkpoint file; in that folder are epoch_1.pth' in warnings[0]


def test_the_order_of_candidates(tmp_path):
    for name in ('epoch_2', 'epoch_10', 'epoch_9', 'best_x_epoch_9', '.epoch_3.abcdefgh'):
        (tmp_path / f'{name}.pth').touch()
    names = [path.stem for path in resume_candidates(tmp_path)]
    assert names == ['epoch_10', 'epoch_9', 'epoch_2']
    # A run that was resumed from an earlier place wrote epoch_9 last.
    (tmp_path / 'last_checkpoint').write_text('epoch_9.pth')
    names = [path.stem for path in resume_candidates(tmp_path)]
    assert names == ['epoch_9', 'epoch_2', 'epoch_10']


def test_objects_besides_tensors_are_refused(tmp_path):
    torch.save({'state_dict': {}, 'meta': pathlib.PurePosixPath('a')}, tmp_path / 'a.pth')
    with pytest.raises(UserError, match=r'Python objects besides tensors.*pathlib.*convert\.py'):
        read_checkpoint(tmp_path / 'a.pth')


def test_bare_weights_are_wrapped_and_other_content_is_refused(tmp_path):
    torch.save({'w': torch.ones(1)}, tmp_path / 'bare.pth')
    assert read_checkpoint(tmp_path / 'bare.pth')['state_dict']['w'].item() == 1
    torch.save({'epoch': 3, 'loss': 0.5}, tmp_path / 'other.pth')
    with pytest.raises(UserError, match='expected .* state_dict, found the keys epoch, loss'):
        read_checkpoint(tmp_path / 'other.pth')
    torch.save([1], tmp_path / 'list.pth')
    with pytest.raises(UserError, match='found list'):
        read_checkpoint(tmp_path / 'list.pth')


def test_weights_of_another_model_are_refused_with_names():
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    state = nn.Sequential(nn.Linear(2, 4)).state_dict()
    state['extra'] = torch.ones(1)
    with pytest.raises(
        UserError,
        match=r'x\.pth: weights of another model \(Net\).*2 keys missing \(first 1\.weight, '
        r'1\.bias\); 1 unexpected \(first extra\); 2 of another shape \(first 0\.weight: '
        r'\(4, 2\), the model has \(3, 2\)\)',
    ):
        load_weights(
            model, {'state_dict': state, 'meta': {'model_name': 'Net'}}, 'x.pth', strict=True
        )


def test_loading_in_part_tells_what_was_left_out():
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    weight = torch.full((3, 2), 2.0)
    told = load_weights(model, {'state_dict': {'module.0.weight': weight}}, 'x.pth', strict=False)
    assert told == ['3 keys missing (first 0.bias, 1.weight, 1.bias)']
    assert torch.equal(model[0].weight, weight)
    with pytest.raises(UserError, match='weights of another model'):
        load_weights(model, {'state_dict': {'a': weight}}, 'x.pth', strict=False)
