"""What the scripts for volumes share: reading, splits from text files, stored cases."""

import math

import h5py
import nibabel
import numpy as np
import pytest

from mmjoint.utils.errors import UserError
from mmjoint.utils.volume_grid import VolumeGrid

from .scripts import reading, volume_sets, volumes

AFFINE = np.diag([2.0, 2.0, 3.0, 1.0])


def save(path, data, affine=AFFINE):
    nibabel.save(nibabel.Nifti1Image(data, affine), path)
    return path


@pytest.fixture
def pair(tmp_path):
    rng = np.random.default_rng(0)
    image = save(tmp_path / 'a.nii.gz', rng.integers(-500, 500, (5, 6, 7)).astype(np.int16))
    return image, save(tmp_path / 'b.nii.gz', rng.integers(0, 3, (5, 6, 7)).astype(np.uint8))


def test_read_volume(pair):
    raw = volumes.read_volume(*pair, range(3))
    assert raw.image.dtype == np.float32 and raw.label.dtype == np.int16
    assert np.array_equal(raw.image, nibabel.load(pair[0]).get_fdata())
    assert np.array_equal(raw.label, nibabel.load(pair[1]).get_fdata())
    assert np.array_equal(raw.affine, AFFINE)


def test_axes_of_length_one_are_dropped_or_added(tmp_path):
    image = save(tmp_path / 'a.nii', np.ones((5, 6, 7, 1), np.float32))
    label = save(tmp_path / 'b.nii', np.ones((5, 6, 7), np.float64))
    assert volumes.read_volume(image, label, (0, 1)).image.shape == (5, 6, 7)
    assert volumes.read_volume(image, label, (0, 1), num_axes=4).label.shape == (5, 6, 7, 1)
    with pytest.raises(
        UserError, match=r'expected a volume of 3 axes, found the shape \(2, 3, 4, 5\)'
    ):
        volumes.read_volume(
            save(tmp_path / 'c.nii', np.ones((2, 3, 4, 5), np.float32)), label, (1,)
        )


@pytest.mark.parametrize(('shift', 'fits'), [(0.9, True), (1.1, False), (math.nan, False)])
def test_positions_may_differ_by_half_a_voxel(pair, tmp_path, shift, fits):
    moved = AFFINE.copy()
    moved[0, 3] = shift
    label = save(tmp_path / 'c.nii.gz', np.ones((5, 6, 7), np.uint8), moved)
    assert volumes.read_volume(pair[0], label, (1,), ignore_affine=True).label.all()
    if fits:
        volumes.read_volume(pair[0], label, (1,))
        return
    with pytest.raises(UserError, match=r'c\.nii\.gz: expected the position of its image a\.nii'):
        volumes.read_volume(pair[0], label, (1,))


def test_positions_are_compared_at_the_corners(pair, tmp_path):
    stretched = AFFINE @ np.diag([1, 1, 1.1, 1])  # the first voxel stays, the last moves by 1.8 mm
    label = save(tmp_path / 'c.nii.gz', np.ones((5, 6, 7), np.uint8), stretched)
    with pytest.raises(UserError, match=r'found a corner 1\.8 mm away'):
        volumes.read_volume(pair[0], label, (1,))


@pytest.mark.parametrize('share', [0.0, 0.3, 0.7])
def test_cut_off_files(pair, tmp_path, share):
    data = pair[0].read_bytes()
    pair[0].write_bytes(data[: int(share * len(data))])
    with pytest.raises(UserError, match=r'a\.nii\.gz: expected a whole NIfTI file, found one cut'):
        volumes.read_volume(*pair, range(3))


def test_read_hdf5(tmp_path):
    path = tmp_path / 'a.h5'
    with h5py.File(path, 'w') as stored:
        stored['image'] = np.arange(6).reshape(2, 3)
    (image,) = volumes.read_hdf5(path, ['image'])
    assert image.tolist() == [[0, 1, 2], [3, 4, 5]]
    with pytest.raises(UserError, match=r"a\.h5: expected a data set 'label', found 'image'; use"):
        volumes.read_hdf5(path, ['image', 'label'])
    path.write_bytes(path.read_bytes()[:400])
    with pytest.raises(UserError, match=r'a\.h5: expected a whole HDF5 file, found one cut off'):
        volumes.read_hdf5(path, ['image'])
    with pytest.raises(UserError, match=r'b\.h5: expected an HDF5 file, found nothing there'):
        volumes.read_hdf5(tmp_path / 'b.h5', ['image'])


def test_sheets_of_comma_separated_values(tmp_path):
    path = tmp_path / 'a.csv'
    path.write_text('﻿,Code , Vendor,ED\n0,A1, B,3\n\n1,"A,2",C\n', encoding='utf-8')
    rows = reading.read_sheet(path, ('Code', 'Vendor'), optional=('ED', 'ES'))
    assert rows == [
        {'row': 2, 'Code': 'A1', 'Vendor': 'B', 'ED': '3'},
        {'row': 4, 'Code': 'A,2', 'Vendor': 'C', 'ED': None},
    ]
    with pytest.raises(UserError, match="expected a column 'Centre', found 'Code', 'Vendor', 'ED'"):
        reading.read_sheet(path, ('Centre',))
    path.write_bytes(b'Code,\xff\xfe\n')
    with pytest.raises(UserError, match=r'a\.csv: expected a CSV file, found content that cannot'):
        reading.read_sheet(path, ('Code',))


@pytest.mark.parametrize(
    ('count', 'part', 'down', 'near', 'up'),
    [
        (80, 0.05, 4, 4, 4),
        (80, 0.1, 8, 8, 8),
        (95, 0.02, 1, 2, 2),
        (125, 0.02, 2, 2, 3),
        (50, 0.14, 7, 7, 7),  # 50 * 0.14 is a little above 7 in floating point
        (16, 0.8, 12, 13, 13),
        (3, 0.01, 1, 1, 1),
        (3, 1.0, 2, 2, 2),
    ],
)
def test_shares_leave_a_case_on_both_sides(count, part, down, near, up):
    assert volume_sets.floor_share(count, part) == down
    assert volume_sets.share(count, part) == near
    assert volume_sets.ceil_share(count, part) == up


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / 'splits' / 'la'
    place.mkdir(parents=True)
    (place / 'train.txt').write_text('b\na\n\n')
    (place / 'test.txt').write_text('c ')
    return tmp_path / 'splits'


def split_folder(folder):
    known = {'a': ['a1', 'a2'], 'b': ['b1'], 'c': ['c1']}
    return volume_sets.SplitFolder(
        folder, 'la', ('train', 'test'), lambda name: known.get(name, [])
    )


@pytest.mark.parametrize('inner', ['', 'la'])
def test_splits_are_read_from_their_folder_or_the_one_above(folder, inner):
    published = split_folder(folder / inner)
    expected = {'train': ['b1', 'a1', 'a2'], 'test': ['c1']}
    assert published.read('train', 'test') == expected


def test_absent_groups_are_left_to_the_seed(folder, capsys):
    published = split_folder(folder)
    assert published.read('labeled_0.4', 'unlabeled_0.4') is None
    assert 'has no labeled_0.4, unlabeled_0.4: drawn by --seed' in capsys.readouterr().err
    assert split_folder(None).read('train') is None


@pytest.mark.parametrize(
    ('file', 'text', 'message'),
    [
        (
            'train.txt',
            'a\nx\n',
            r'train\.txt: expected ids of the raw files, found x, which is not',
        ),
        ('train.txt', 'a\na\n', r'train\.txt: expected each id once, found a 2 times; correct'),
        ('train.txt', '\n', r'train\.txt: expected an id per line, found none; use'),
        ('test.txt', None, r'test\.txt: expected this file beside those of train, found none'),
        (
            'test.txt',
            b'\xff\xfe\x00',
            r'test\.txt: expected a text file of ids, found other content',
        ),
    ],
)
def test_mistakes_in_split_files(folder, file, text, message):
    path = folder / 'la' / file
    if text is None:
        path.unlink()
    else:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserError, match=message):
        split_folder(folder).read('train', 'test')


def test_folders_without_splits(folder, tmp_path):
    with pytest.raises(
        UserError, match=r'nowhere: expected a folder .* \(--splits\), found nothing'
    ):
        split_folder(tmp_path / 'nowhere')
    (folder / 'la').rename(folder / 'other')
    with pytest.raises(UserError, match=r'expected split files such as train\.txt .* found other;'):
        split_folder(folder)


def test_splits_must_not_share_patients():
    splits = {'train': ['a1', 'b1'], 'test': ['a2', 'c1']}
    patients = {'a1': 'a', 'a2': 'a', 'b1': 'b', 'c1': 'c'}
    volume_sets.check_apart({**splits, 'test': ['c1']}, patients, [('train', 'test')])
    with pytest.raises(UserError, match='test: expected other patients than in train, found a in'):
        volume_sets.check_apart(splits, patients, [('train', 'test')])


def test_stored_case(tmp_path):
    grid = VolumeGrid(
        raw_path='x/a.nii.gz',
        raw_shape=(4, 5, 6),
        affine=tuple(map(tuple, AFFINE.tolist())),
        axes=(2, 1, 0),
        flips=(False, True, False),
        crop=((0, 6), (1, 5), (0, 4)),
        shape=(12, 4, 4),
        frame=3,
    )
    image = np.random.default_rng(0).normal(size=(12, 4, 4)).transpose(0, 2, 1)  # not contiguous
    record = volume_sets.store_case(
        tmp_path, 'a', image, image > 0, grid=grid, patient_id='p', domain='ct'
    )
    assert record == {
        'img_path': 'images/a.npy',
        'seg_map_path': 'masks/a.npy',
        'patient_id': 'p',
        'domain': 'ct',
        'spacing': [1.5, 2.0, 2.0],
        'ori_shape': [4, 5, 6],
        'geometry': grid.to_dict(),
    }
    stored = np.load(tmp_path / 'images/a.npy', mmap_mode='r')
    assert stored.dtype == np.float32 and stored.flags.c_contiguous
    np.testing.assert_array_equal(stored, image.astype(np.float32))
    assert np.load(tmp_path / 'masks/a.npy').dtype == np.uint8
    assert sorted(path.name for path in (tmp_path / 'images').iterdir()) == ['a.npy']
