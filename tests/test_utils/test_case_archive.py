import json

import numpy as np
import pytest

from mmjoint.utils.case_archive import CaseArchive, read_case_archive, write_case_archive
from mmjoint.utils.errors import UserError


def archive():
    return CaseArchive(
        info={'classes': ('a', 'b'), 'bound': np.float32(0.5)},
        cases=[{'value': float('nan'), 'count': np.int64(3)}, {'value': 2.5, 'count': None}],
        tables={'confusion': np.arange(8).reshape(2, 2, 2)},
        pictures={1: {'image': b'\x01\x02', 'gt': b'\xff'}},
    )


def test_what_is_written_is_read(tmp_path):
    write_case_archive(tmp_path, archive())
    found = read_case_archive(tmp_path)
    assert found.info == {'classes': ['a', 'b'], 'bound': 0.5}
    assert found.cases == [{'value': None, 'count': 3}, {'value': 2.5, 'count': None}]
    assert np.array_equal(found.tables['confusion'], np.arange(8).reshape(2, 2, 2))
    assert found.pictures == {1: {'image': b'\x01\x02', 'gt': b'\xff'}}


def test_the_same_archive_gives_the_same_bytes(tmp_path):
    write_case_archive(tmp_path / 'a', archive())
    write_case_archive(tmp_path / 'b', archive())
    for name in ('cases.json', 'cases.npz'):
        assert (tmp_path / 'a' / name).read_bytes() == (tmp_path / 'b' / name).read_bytes()
    assert sorted(path.name for path in (tmp_path / 'a').iterdir()) == ['cases.json', 'cases.npz']


def test_a_table_needs_a_row_per_case(tmp_path):
    wrong = archive()
    wrong.tables['confusion'] = np.zeros((3, 2, 2))
    with pytest.raises(ValueError, match='confusion has 3 rows for 2 cases'):
        write_case_archive(tmp_path, wrong)


@pytest.mark.parametrize('name', ['cases.json', 'cases.npz'])
def test_missing_file(tmp_path, name):
    write_case_archive(tmp_path, archive())
    (tmp_path / name).unlink()
    with pytest.raises(UserError, match=f'{name}: no such file'):
        read_case_archive(tmp_path)


def test_files_of_two_runs_do_not_mix(tmp_path):
    write_case_archive(tmp_path, archive())
    kept = (tmp_path / 'cases.json').read_bytes()
    other = archive()
    other.tables['confusion'] += 1
    write_case_archive(tmp_path, other)
    (tmp_path / 'cases.json').write_bytes(kept)
    with pytest.raises(UserError, match='not of the same test run'):
        read_case_archive(tmp_path)


@pytest.mark.parametrize(
    'text, message',
    [
        ('{', 'expected JSON'),
        ('[]', 'of version 1, found list'),
        (json.dumps({'version': 7}), 'of version 1, found 7'),
    ],
)
def test_damaged_json(tmp_path, text, message):
    write_case_archive(tmp_path, archive())
    (tmp_path / 'cases.json').write_text(text)
    with pytest.raises(UserError, match=message):
        read_case_archive(tmp_path)
