import h5py
import nibabel
import numpy as np
import pytest
import SimpleITK

from mmjoint.utils.errors import UserError
from mmjoint.utils.volume_files import (
    count_frames,
    read_volume_file,
    without_suffix,
    write_nifti,
)

AFFINE = np.array([[0, -0.5, 0.1, 3], [1.5, 0, 0, -4], [0, 0.2, 2, 5], [0, 0, 0, 1]])
ARRAY = np.arange(24, dtype=np.int16).reshape(2, 3, 4)


def test_npy_is_a_read_only_map_of_the_file(tmp_path):
    np.save(tmp_path / 'a.npy', ARRAY)
    volume = read_volume_file(tmp_path / 'a.npy')
    assert isinstance(volume.array, np.memmap) and not volume.array.flags.writeable
    assert np.array_equal(volume.array, ARRAY) and volume.affine is None


@pytest.mark.parametrize('suffix', ['.nii', '.nii.gz'])
def test_nifti_comes_back(tmp_path, suffix):
    path = tmp_path / 'new' / f'a{suffix}'
    write_nifti(path, ARRAY, AFFINE)
    volume = read_volume_file(str(path))
    assert np.array_equal(volume.array, ARRAY) and volume.array.dtype == np.int16
    assert np.allclose(volume.affine, AFFINE)
    assert nibabel.load(path).header.get_xyzt_units()[0] == 'mm'
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_trailing_axes_of_one_are_dropped(tmp_path):
    write_nifti(tmp_path / 'a.nii', ARRAY[..., None], AFFINE)
    assert read_volume_file(tmp_path / 'a.nii').array.shape == (2, 3, 4)
    write_nifti(tmp_path / 'b.nii', np.stack([ARRAY, ARRAY], -1), AFFINE)
    with pytest.raises(UserError, match=r'3 axes .* found the shape \(2, 3, 4, 2\)'):
        read_volume_file(tmp_path / 'b.nii')


def test_frames(tmp_path):
    for name in ('a.nii', 'a.nii.gz'):
        path = tmp_path / name
        write_nifti(path, np.stack([ARRAY, ARRAY + 1], -1), AFFINE)
        assert count_frames(path) == 2
        assert np.array_equal(read_volume_file(path, frame=1).array, ARRAY + 1)
        for frame in (2, -1):
            with pytest.raises(UserError, match=rf'{name}: expected a frame {frame}, found the'):
                read_volume_file(path, frame=frame)
    write_nifti(tmp_path / 'b.nii', ARRAY[..., None], AFFINE)
    (tmp_path / 'c.nii').write_bytes(b'cut')
    for name in ('b.nii', 'c.nii', 'd.nii', 'e.npy'):
        assert count_frames(tmp_path / name) is None


def test_hdf5(tmp_path):
    with h5py.File(tmp_path / 'a.h5', 'w') as stored:
        stored['image'], stored['label'] = ARRAY, ARRAY > 3
    assert np.array_equal(read_volume_file(tmp_path / 'a.h5').array, ARRAY)
    with pytest.raises(UserError, match=r"expected an array 'mask', found 'image', 'label'"):
        read_volume_file(tmp_path / 'a.h5', key='mask')


@pytest.mark.parametrize('suffix', ['.mha', '.nrrd'])
def test_formats_of_itk_lie_where_nifti_lies(tmp_path, suffix):
    """An independent way: ITK itself turns the NIfTI file into the other format."""
    affine = AFFINE.copy()
    affine[:3, :3] = np.linalg.qr(AFFINE[:3, :3])[0] * (0.5, 1.5, 2)  # ITK knows no shear
    write_nifti(tmp_path / 'a.nii', ARRAY, affine)
    SimpleITK.WriteImage(SimpleITK.ReadImage(str(tmp_path / 'a.nii')), str(tmp_path / f'a{suffix}'))
    volume = read_volume_file(tmp_path / f'a{suffix}')
    assert np.array_equal(volume.array, ARRAY)
    assert np.allclose(volume.affine, affine, atol=1e-5)


@pytest.mark.parametrize('name', ['a.npy', 'a.nii', 'a.nii.gz', 'a.h5', 'a.mha'])
@pytest.mark.parametrize('rest', [0.0, 0.6])
def test_damaged_files_are_named(tmp_path, name, rest):
    path = tmp_path / name
    if name.endswith('.npy'):
        np.save(path, ARRAY)
    elif name.endswith('.h5'):
        with h5py.File(path, 'w') as stored:
            stored['image'] = ARRAY
    elif name.endswith('.mha'):
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(ARRAY), str(path))
    else:
        write_nifti(path, ARRAY, AFFINE)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * rest)])
    with pytest.raises(UserError, match=f'{name}: expected a whole .* file'):
        read_volume_file(path)


def test_files_that_are_no_volumes(tmp_path):
    with pytest.raises(UserError, match='found no such file'):
        read_volume_file(tmp_path / 'a.npy')
    (tmp_path / 'a.dcm').write_bytes(b'x')
    with pytest.raises(UserError, match=r'expected a file of the kind \.npy, .* found "\.dcm"'):
        read_volume_file(tmp_path / 'a.dcm')
    np.save(tmp_path / 'a.npy', np.array([['a', 'b']]))
    with pytest.raises(UserError, match='expected real numbers'):
        read_volume_file(tmp_path / 'a.npy')


def test_names():
    assert without_suffix('x/img0001.nii.gz') == 'img0001'
    assert without_suffix('A0S9V9_sa_0.npy') == 'A0S9V9_sa_0'
    assert without_suffix('v1.2') == 'v1.2'
