import json
import re
import shutil

import h5py
import numpy as np
import pytest

from mmjoint.utils.io import sha256_file

from .scripts import la, make_phantoms
from .test_mistakes import check, cut_off, empty, nothing, write_bytes
from .volume_checks import all_records, ids_file, ids_of, load

FOLDER = '2018LA_Seg_Training Set'


@pytest.fixture(scope='module')
def phantom_la(tmp_path_factory):
    """Ten volumes in the raw layout of LA, eight of them for training; read only."""
    root = tmp_path_factory.mktemp('phantoms') / 'la'
    make_phantoms.make_phantoms('la', root, num_cases=10, seed=3, size=24)
    return root


@pytest.fixture
def raw_la(phantom_la, tmp_path):
    """A copy that a test may spoil; its first case is renamed to FIRST."""
    raw = shutil.copytree(phantom_la, tmp_path / 'raw')
    name = (raw / 'train.list').read_text().split()[0]
    (raw / FOLDER / name).rename(raw / FOLDER / 'FIRST')
    (raw / 'train.list').write_text((raw / 'train.list').read_text().replace(name, 'FIRST'))
    return raw


@pytest.fixture(scope='module')
def prepared(phantom_la, tmp_path_factory):
    out = tmp_path_factory.mktemp('prepared') / 'la'
    la.prepare(phantom_la, out, ratios=(0.05, 0.3))
    return out


def listed(raw, split):
    return sorted((raw / f'{split}.list').read_text().split())


def test_volumes_are_stored_as_they_are(phantom_la, prepared):
    records = all_records(prepared)
    assert len(records) == 10
    for case_id, record in records.items():
        image, ids, grid = load(prepared, record)
        assert record['patient_id'] == case_id and record['domain'] == 'mr'
        assert record['spacing'] == [0.625] * 3
        with h5py.File(phantom_la / grid.raw_path) as stored:
            np.testing.assert_array_equal(image, stored['image'])
            np.testing.assert_array_equal(ids, stored['label'])
            np.testing.assert_array_equal(grid.restore(ids), stored['label'])


def test_the_first_sorted_cases_are_labelled(phantom_la, prepared):
    train = listed(phantom_la, 'train')
    assert ids_of(prepared, 'train') == train and len(train) == 8
    assert ids_of(prepared, 'test') == listed(phantom_la, 'test')
    for ratio, count in ((0.05, 1), (0.3, 2)):  # at least one
        assert ids_of(prepared, f'labeled_{ratio}') == train[:count]
        assert ids_of(prepared, f'unlabeled_{ratio}') == train[count:]
        assert ids_of(prepared, f'eval_{ratio}') == train[:count]


def test_numbers_of_the_official_set(tmp_path):
    ids = [f'{number:03d}' for number in range(100)]
    (tmp_path / 'train.list').write_text('\n'.join(ids[20:]))
    (tmp_path / 'test.list').write_text('\n'.join(ids[:20]))
    splits = la.make_splits(tmp_path, ids, la.RATIOS, None)
    assert {name: len(cases) for name, cases in splits.items()} == {
        'train': 80, 'test': 20, 'labeled_0.05': 4, 'unlabeled_0.05': 76, 'eval_0.05': 4,
        'labeled_0.1': 8, 'unlabeled_0.1': 72, 'eval_0.1': 8,
    }  # fmt: skip


def test_published_splits(raw_la, tmp_path, cli):
    train, test = listed(raw_la, 'train'), listed(raw_la, 'test')
    for name, ids in (
        ('train', train), ('test', test), ('labeled_0.1', train[3:5]),
        ('unlabeled_0.1', train[:3]), ('eval_0.1', train[5:6]),
    ):  # fmt: skip
        folder = ids_file(raw_la, name, ids)
    (raw_la / 'train.list').unlink()  # not needed
    code, _, err = cli(la.main, raw_la, tmp_path / 'out', '--splits', folder)
    assert code == 0, err
    assert ids_of(tmp_path / 'out', 'labeled_0.1') == train[3:5]
    assert ids_of(tmp_path / 'out', 'eval_0.1') == train[5:6]
    assert ids_of(tmp_path / 'out', 'labeled_0.05') == train[:1]  # drawn
    assert 'has no labeled_0.05, unlabeled_0.05, eval_0.05: drawn' in err


def test_same_bytes_again_and_after_a_killed_run(phantom_la, prepared, tmp_path, cli, tree):
    (tmp_path / 'out.partial').mkdir()
    (tmp_path / 'out.partial' / 'half.npy').write_bytes(b'x')
    code, out, err = cli(la.main, phantom_la, tmp_path / 'out', '--ratios', 0.05, 0.3)
    assert code == 0
    assert re.fullmatch(r'.*/out: 10 volumes or slices of 10 patients in 8 splits \(.*\)\n', out)
    assert err == 'note: 8 train and 2 test cases; the official set has 80, 20\n'
    assert tree(tmp_path / 'out') == tree(prepared)
    info = json.loads((prepared / 'dataset_info.json').read_text())
    assert info['phantom'] is True and info['classes'] == ['background', 'left atrium']
    assert info['files']['annotations/test.json'] == sha256_file(prepared / 'annotations/test.json')
    assert info['splits']['train']['num_patients'] == 8
    assert info['command'] == (
        'python prepare_dataset/la.py RAW_ROOT OUT_ROOT --ratios 0.05 0.3 --spacing 0.625 --seed 0'
    )


VOLUME = f'{FOLDER}/FIRST/mri_norm2.h5'


def arrays(**change):
    """Replace arrays of the first case; ``None`` removes one."""

    def spoil(raw):
        with h5py.File(raw / VOLUME, 'r+') as stored:
            for name, make in change.items():
                data = stored[name][()]
                del stored[name]
                if make is not None:
                    stored[name] = make(data)

    return spoil


def put(value):
    def change(data):
        data[0, 0, :2] = value
        return data

    return change


def without_lists(raw):
    for name in ('train', 'test'):
        (raw / f'{name}.list').unlink()


# id: (how the raw files are spoilt, further words, exit code, message)
MISTAKES = {
    'raw folder missing': (
        shutil.rmtree, (), 1, r'raw: expected the folder of the downloaded files, found nothing',
    ),
    'raw folder empty': (empty, (), 1, r'raw: expected the downloaded files, found an empty'),
    'volumes missing': (
        lambda raw: shutil.rmtree(raw / FOLDER), (), 1,
        r'raw: expected volumes "<id>/mri_norm2\.h5", found phantom_info\.json, test\.list, train',
    ),
    'lists missing': (
        without_lists, (), 1, r'raw: expected one file train\.list .*, found none; .* --splits',
    ),
    'listed volume missing': (
        lambda raw: shutil.rmtree(raw / FOLDER / 'FIRST'), (), 1,
        r'train\.list: expected a volume FIRST/mri_norm2\.h5 for each id, found none for FIRST',
    ),
    'volume there twice': (
        lambda raw: shutil.copytree(raw / FOLDER / 'FIRST', raw / 'copy' / 'FIRST'), (), 1,
        r'expected one volume per id, found another for FIRST \(.*\); remove one',
    ),
    'list is empty': (
        write_bytes('test.list', b'\n'), (), 1, r'test\.list: expected an id per line, found none',
    ),
    'case in both lists': (
        lambda raw: (raw / 'test.list').write_text('FIRST\n'), (), 1,
        r'test: expected other patients than in train, found FIRST in both \(1 in all\)',
    ),
    'one case for training': (
        lambda raw: (raw / 'train.list').write_text('FIRST\n'), (), 1,
        r'la: expected at least 2 cases for training, found 1; give more cases',
    ),
    'volume cut off': (
        cut_off(VOLUME), (), 1, r'mri_norm2\.h5: expected a whole HDF5 file, found one cut off',
    ),
    'volume is text': (
        write_bytes(VOLUME, b'<html>'), (), 1, r'mri_norm2\.h5: expected a whole HDF5 file',
    ),
    'no label': (
        arrays(label=None), (), 1, r"mri_norm2\.h5: expected a data set 'label', found 'image'",
    ),
    'NaN': (
        arrays(image=put(np.nan)), (), 1,
        r'mri_norm2\.h5: expected finite values, found NaN or infinity in 2 of \d+ voxels',
    ),
    'unknown label value': (
        arrays(label=put(3)), (), 1,
        r'mri_norm2\.h5: expected label values 0, 1, found 3 in 2 voxels; use the original',
    ),
    'empty label': (
        arrays(label=np.zeros_like), (), 1, r'expected at least one labelled voxel, found only 0',
    ),
    'label of another shape': (
        arrays(label=lambda data: data[1:]), (), 1,
        r'mri_norm2\.h5: expected the shape of its image mri_norm2\.h5, \(.*\), found \(',
    ),
    'image of two axes': (
        arrays(image=lambda data: data[0]), (), 1, r'expected an image of 3 axes, found the shape',
    ),
    'split folder missing': (
        nothing, ('--splits', 'nowhere'), 1, r'nowhere: expected a folder of split files',
    ),
    'share of nothing': (nothing, ('--ratios', 0), 2, r'--ratios: expected 0\.001 to 1, got 0'),
}  # fmt: skip


@pytest.mark.parametrize('mistake', MISTAKES)
def test_mistakes(mistake, raw_la, tmp_path, cli):
    spoil, words, code, message = MISTAKES[mistake]
    spoil(raw_la)
    out = tmp_path / 'out'
    check(cli(la.main, raw_la, out, *words), code, message, (out, tmp_path / 'out.partial'))
