import cv2
import numpy as np
import openpyxl
import pytest

from mmjoint.phantoms.common import write_sheet
from mmjoint.utils.errors import UserError

from .scripts import reading, volumes


@pytest.fixture
def picture():
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (24, 31, 3), dtype=np.uint8)


@pytest.mark.parametrize('suffix', ['.jpg', '.png', '.bmp'])
@pytest.mark.parametrize('share', [0.0, 0.05, 0.5, 0.9, 0.999])
def test_cut_off_images_are_noticed(tmp_path, picture, suffix, share):
    path = tmp_path / f'a{suffix}'
    cv2.imwrite(str(path), picture)
    data = path.read_bytes()
    assert reading.read_image(path).shape == picture.shape
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(UserError, match=r'a\.\w+: expected a whole \w+ file, found .+ again'):
        reading.read_image(path)


def test_bytes_after_the_end_of_a_jpeg_are_no_damage(tmp_path, picture):
    path = tmp_path / 'a.jpg'
    cv2.imwrite(str(path), picture)
    whole = reading.read_image(path)
    path.write_bytes(path.read_bytes() + b'\0' * 40)
    assert np.array_equal(reading.read_image(path), whole)


def test_progressive_jpeg_is_read(tmp_path, picture):
    path = tmp_path / 'a.jpg'
    cv2.imwrite(str(path), picture, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])
    assert reading.read_image(path).shape == picture.shape


def test_text_under_the_name_of_an_image(tmp_path):
    path = tmp_path / 'a.jpg'
    path.write_text('<html>please log in</html>')
    with pytest.raises(UserError, match='content that is no image'):
        reading.read_image(path)


def test_mask_values_are_checked_and_counted(tmp_path):
    mask = np.full((8, 8), 255, np.uint8)
    mask[2:5, 2:5] = 128
    cv2.imwrite(str(tmp_path / 'a.bmp'), mask)
    assert np.array_equal(reading.read_mask(tmp_path / 'a.bmp', (0, 128, 255)), mask)
    mask[0, :3] = 127
    cv2.imwrite(str(tmp_path / 'a.bmp'), mask)
    with pytest.raises(UserError, match='expected mask values 0, 128, 255, found 127 in 3 pixels'):
        reading.read_mask(tmp_path / 'a.bmp', (0, 128, 255))


def test_sheet_columns_by_name_and_empty_rows(tmp_path):
    path = tmp_path / 'a.xlsx'
    write_sheet(path, ('ID', ' ImgName ', 'Label'), [(1, 'a', 0), (None, None, None), (2, 'b', 1)])
    assert reading.read_sheet(path, ('Label', 'ImgName')) == [
        {'row': 2, 'Label': 0, 'ImgName': 'a'},
        {'row': 4, 'Label': 1, 'ImgName': 'b'},
    ]


def test_sheet_without_anything(tmp_path):
    openpyxl.Workbook().save(tmp_path / 'a.xlsx')
    with pytest.raises(UserError, match="expected a column 'PCR', found no columns"):
        reading.read_sheet(tmp_path / 'a.xlsx', ('PCR',))


@pytest.mark.parametrize(('cell', 'label'), [(0, 0), (1, 1), (1.0, 1), ('0', 0), (' 1 ', 1)])
def test_binary_label(cell, label):
    assert reading.binary_label(cell, 'x') == label


@pytest.mark.parametrize('cell', [2, -1, 0.5, float('nan'), None, 'yes', ''])
def test_binary_label_refuses(cell):
    with pytest.raises(UserError, match='^sheet, row 3: expected the label 0 or 1, found '):
        reading.binary_label(cell, 'sheet, row 3')


def test_litter_of_file_managers_is_not_listed(tmp_path):
    for name in ('a/b.jpg', 'a/._b.jpg', '__MACOSX/a/b.jpg', 'a/.DS_Store', 'a/Thumbs.db'):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text('')
    assert [path.as_posix() for path in reading.list_files(tmp_path)] == ['a/b.jpg']


def test_nifti_spacing_and_trailing_axis(tmp_path):
    import nibabel

    data = np.arange(24, dtype=np.int16).reshape(2, 3, 4, 1)
    nibabel.save(nibabel.Nifti1Image(data, np.diag([0.7, 0.8, 2.5, 1])), tmp_path / 'a.nii.gz')
    volume, spacing = volumes.read_nifti(tmp_path / 'a.nii.gz')
    assert spacing == (0.7, 0.8, 2.5)
    assert np.array_equal(volume, data[..., 0])
    whole = (tmp_path / 'a.nii.gz').read_bytes()
    (tmp_path / 'a.nii.gz').write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match='expected a whole NIfTI file, found one cut off'):
        volumes.read_nifti(tmp_path / 'a.nii.gz')
