import cv2
import numpy as np
import pytest

from mmjoint.datasets.transforms import LoadJointAnnotations, LoadJointImage
from mmjoint.utils.errors import UserError

CLASSES = ('background', 'rim', 'cup')


@pytest.fixture
def write(tmp_path):
    def write(name, content):
        path = tmp_path / name
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            assert cv2.imwrite(str(path), content)
        return str(path)

    return write


def load(path):
    return LoadJointImage().transform(dict(img_path=path))


def load_mask(path, shape=(4, 6), **more):
    results = dict(seg_map_path=path, classes=CLASSES, ori_shape=shape, img_path='i.jpg', **more)
    return LoadJointAnnotations().transform(results)


def error(function, path, *args):
    with pytest.raises(UserError) as caught:
        function(path, *args)
    message = str(caught.value)
    assert message.startswith(f'{path}: ') and '\n' not in message
    return message


def encode(suffix, size=64):
    image = np.random.RandomState(0).randint(0, 256, (size, size, 3), np.uint8)
    return cv2.imencode(suffix, image)[1].tobytes()


def test_image_is_rgb(write):
    bgr = np.zeros((4, 6, 3), np.uint8)
    bgr[..., 0], bgr[..., 1], bgr[..., 2] = 10, 20, 30
    results = load(write('i.png', bgr))
    assert results['img'].dtype == np.uint8
    assert results['img'][2, 3].tolist() == [30, 20, 10]
    assert results['img_shape'] == results['ori_shape'] == (4, 6)


def test_grey_and_16_bit_images(write):
    grey = load(write('g.png', np.full((4, 6), 77, np.uint8)))['img']
    assert grey.shape == (4, 6, 3) and set(grey.flat) == {77}
    deep = load(write('d.png', np.full((4, 6), 0x4D00, np.uint16)))['img']
    assert set(deep.flat) == {77}


def test_damaged_png(write, capfd):
    data = bytearray(encode('.png'))
    data[len(data) // 2] ^= 0xFF
    assert 'truncated or damaged' in error(load, write('i.png', bytes(data)))
    assert capfd.readouterr().err == ''


def test_missing_image(tmp_path):
    assert 'cannot read the file (No such file' in error(load, str(tmp_path / 'no.png'))


def test_folder_in_place_of_an_image(tmp_path):
    assert 'cannot read the file' in error(load, str(tmp_path))


@pytest.mark.parametrize('suffix', ['.jpg', '.png'])
@pytest.mark.parametrize('share', [0.02, 0.3, 0.6, 0.98])
def test_truncated_image(write, suffix, share):
    data = encode(suffix)
    path = write(f'i{suffix}', data[: int(share * len(data))])
    assert 'truncated or damaged' in error(load, path)


@pytest.mark.parametrize('content', [b'', b'no image at all', b'\xff\xd8\xff\xd9'])
def test_undecodable_image(write, content):
    assert 'cannot be decoded' in error(load, write('i.png', content))


def test_mask(write):
    mask = np.zeros((4, 6), np.uint8)
    mask[1, 1:4] = 1, 2, 255
    results = load_mask(write('m.png', mask))
    assert np.array_equal(results['gt_seg_map'], mask)
    assert results['gt_seg_map'].dtype == np.uint8
    assert results['seg_fields'] == ['gt_seg_map']


def test_no_mask():
    results = LoadJointAnnotations().transform(dict(classes=CLASSES, seg_fields=[]))
    assert 'gt_seg_map' not in results and results['seg_fields'] == []


def test_classes_that_were_not_annotated_become_background(write):
    path = write('m.png', np.array([[0, 1, 2, 255]], np.uint8))
    results = load_mask(path, (1, 4), annotated_classes=(1,))
    assert results['gt_seg_map'].tolist() == [[0, 1, 0, 255]]


def test_mask_of_another_size(write):
    path = write('m.png', np.zeros((4, 6), np.uint8))
    message = error(load_mask, path, (4, 5))
    assert 'image i.jpg, 4 x 5 (height x width), found 4 x 6' in message


def test_mask_with_foreign_numbers(write):
    path = write('m.png', np.arange(24, dtype=np.uint8).reshape(4, 6))
    message = error(load_mask, path)
    assert '0 to 2 (background, rim, cup) or 255 (ignored), found 3, 4, 5, 6, 7, ...' in message


def test_mask_in_colour(write):
    path = write('m.png', np.zeros((4, 6, 3), np.uint8))
    assert 'one channel of 8 bits that holds class numbers, found RGB of 8' in error(
        load_mask, path
    )
    path = write('m.bmp', np.zeros((4, 6, 3), np.uint8))
    assert 'found 3 of 8' in error(load_mask, path)


def test_mask_of_16_bits(write):
    path = write('m.png', np.zeros((4, 6), np.uint16))
    assert 'found grey of 16 bits' in error(load_mask, path)


def test_mask_of_1_bit_or_with_a_palette(tmp_path):
    from PIL import Image

    mask = Image.fromarray(np.eye(4, 6, dtype=np.uint8))
    path = str(tmp_path / 'm.png')
    mask.point(lambda value: 255 * value).convert('1').save(path)
    assert 'found grey of 1 bits' in error(load_mask, path)
    mask.convert('P').save(path)
    assert 'found palette of' in error(load_mask, path)


def test_truncated_mask(write):
    data = cv2.imencode('.png', np.zeros((64, 64), np.uint8))[1].tobytes()
    assert 'truncated or damaged' in error(load_mask, write('m.png', data[:-8]))
