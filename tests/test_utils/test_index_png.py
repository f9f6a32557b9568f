import cv2
import numpy as np
import pytest
from PIL import Image

from mmjoint.utils.index_png import read_index_png, voc_palette, write_index_png


def test_palette():
    colours = voc_palette()
    assert colours.shape == (256, 3) and len(np.unique(colours, axis=0)) == 256
    assert colours[:6].tolist() == [
        [0, 0, 0],
        [128, 0, 0],
        [0, 128, 0],
        [128, 128, 0],
        [0, 0, 128],
        [128, 0, 128],
    ]
    assert colours[8].tolist() == [64, 0, 0] and colours[255].tolist() == [224, 224, 192]


@pytest.mark.parametrize('values', [(0,), (0, 1), (0, 2, 4, 255), range(256)])
def test_numbers_and_colours(values, tmp_path):
    path = tmp_path / 'a' / 'map.png'
    ids = np.resize(np.array(values, np.uint8), (17, 19))
    write_index_png(path, ids)
    assert np.array_equal(read_index_png(path), ids)
    with Image.open(path) as image:
        assert image.mode == 'P' and image.size == (19, 17)
    assert np.array_equal(cv2.imread(str(path))[..., ::-1], voc_palette()[ids])
    assert [file.name for file in path.parent.iterdir()] == ['map.png']


def test_grey_maps_are_read_and_pictures_are_not(tmp_path):
    ids = np.arange(12, dtype=np.uint8).reshape(3, 4)
    cv2.imwrite(str(tmp_path / 'grey.png'), ids)
    assert np.array_equal(read_index_png(tmp_path / 'grey.png'), ids)
    cv2.imwrite(str(tmp_path / 'picture.png'), np.dstack([ids] * 3))
    with pytest.raises(ValueError, match='expected a label map .* found the mode RGB'):
        read_index_png(tmp_path / 'picture.png')
    with pytest.raises(OSError):
        read_index_png(tmp_path / 'none.png')


@pytest.mark.parametrize('ids', [np.zeros((2, 3, 3), np.uint8), np.zeros((2, 3), int)])
def test_other_arrays_are_refused(ids, tmp_path):
    with pytest.raises(ValueError, match='ids must be a uint8 array'):
        write_index_png(tmp_path / 'map.png', ids)
    assert not list(tmp_path.iterdir())
