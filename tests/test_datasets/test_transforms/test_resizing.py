import numpy as np
import pytest
from PIL import Image

from mmjoint.datasets.transforms import PillowResize
from mmjoint.registry import TRANSFORMS
from mmjoint.utils.errors import UserError

RNG = np.random.RandomState(3)
IMAGE = RNG.randint(0, 256, (31, 44, 3), np.uint8)
MASK = RNG.randint(0, 3, (31, 44)).astype(np.uint8)


def sample():
    return dict(
        img=IMAGE.copy(), gt_seg_map=MASK.copy(), seg_fields=['gt_seg_map'], ori_shape=(31, 44)
    )


def test_size_is_width_and_height():
    results = PillowResize((12, 20))(sample())
    assert results['img'].shape == (20, 12, 3) and results['img'].dtype == np.uint8
    assert results['gt_seg_map'].shape == results['img_shape'] == (20, 12)
    assert results['ori_shape'] == (20, 12)  # the mask's, and so the predictions'
    alone = PillowResize((12, 20))(dict(sample(), seg_fields=[]))
    assert alone['img_shape'] == (20, 12) and alone['ori_shape'] == (31, 44)


def test_a_ramp_by_hand():
    # To half the size, the kernel covers 8 pixels around the centre of each new one and is
    # symmetric: of the ramp 0, 16, 32, ... it gives the value at the centre, 32 i + 8.
    ramp = np.broadcast_to(np.arange(16, dtype=np.uint8)[None, :, None] * 16, (2, 16, 3))
    results = PillowResize((8, 2))(dict(img=np.ascontiguousarray(ramp)))
    assert results['img'][0, 2:6, 0].tolist() == [72, 104, 136, 168]


def test_same_as_pillow():
    results = PillowResize((20, 17))(sample())
    picture = Image.fromarray(IMAGE).resize((20, 17), Image.Resampling.BICUBIC)
    assert np.array_equal(results['img'], np.asarray(picture))
    labels = Image.fromarray(MASK).resize((20, 17), Image.Resampling.NEAREST)
    assert np.array_equal(results['gt_seg_map'], np.asarray(labels))


def test_nearest_takes_the_pixel_under_the_centre():
    labels = PillowResize((22, 31))(sample())['gt_seg_map']
    assert np.array_equal(labels, MASK[:, 1::2])  # centres at 1, 3, 5, ...: the right neighbour


def test_same_size_changes_nothing():
    results = PillowResize((44, 31))(sample())
    assert np.array_equal(results['img'], IMAGE) and np.array_equal(results['gt_seg_map'], MASK)


def test_results_can_be_written_into():
    results = PillowResize((8, 8))(sample())
    results['img'][:] = 0
    results['gt_seg_map'][:] = 0


def test_a_mask_that_is_read_later_is_left_alone():
    results = PillowResize((8, 8))(dict(img=IMAGE, seg_fields=[]))
    assert set(results) == {'img', 'img_shape', 'seg_fields'}


@pytest.mark.parametrize('size', [(0, 8), (8,), (8.0, 8), (8, 8, 3), ('8', '8')])
def test_impossible_sizes(size):
    with pytest.raises(UserError, match=r'PillowResize: expected size to be \(width, height\)'):
        PillowResize(size)


def test_float_images_are_refused():
    with pytest.raises(TypeError, match='takes uint8 arrays, got float64'):
        PillowResize((8, 8))(dict(img=IMAGE / 255))


def test_from_a_config():
    assert repr(TRANSFORMS.build(dict(type='PillowResize', size=[8, 9]))) == (
        "PillowResize(size=(8, 9), interpolation='bicubic')"
    )


def test_bilinear_and_grey():
    resized = PillowResize((20, 17), 'bilinear')(sample())
    picture = Image.fromarray(IMAGE).resize((20, 17), Image.Resampling.BILINEAR)
    assert np.array_equal(resized['img'], np.asarray(picture))
    labels = Image.fromarray(MASK).resize((20, 17), Image.Resampling.NEAREST)
    assert np.array_equal(resized['gt_seg_map'], np.asarray(labels))
    for channel in range(3):
        grey = PillowResize((20, 17), 'bilinear')(dict(img=IMAGE[..., channel : channel + 1]))
        assert np.array_equal(grey['img'], resized['img'][..., channel : channel + 1])
    # Antialiased: the kernel reaches 4 pixels to each side of the centre of the new one, at 2, with
    # the weights 5, 7, 7, 5, 3, 1 (of 28). Two neighbours alone would give 100.
    stripes = np.tile(np.array([0, 100, 100, 0], np.uint8), (4, 2))[..., None]
    shrunk = PillowResize((2, 4), 'bilinear')(dict(img=stripes))['img']
    assert shrunk[:, 0, 0].tolist() == [round(100 * (7 + 7 + 1) / 28)] * 4


def test_an_unknown_filter():
    with pytest.raises(UserError, match=r'one of bicubic, bilinear, nearest, found .linear.'):
        PillowResize((8, 8), 'linear')
