import numpy as np
import pytest
from PIL import Image

from mmjoint.datasets.transforms import PackJointInputs, PillowGrey, ToUnitRange
from mmjoint.registry import TRANSFORMS

RNG = np.random.RandomState(4)
COLOURS = RNG.randint(0, 256, (9, 13, 3)).astype(np.uint8)


def test_grey_as_pillow():
    grey = PillowGrey()(dict(img=COLOURS))['img']
    assert grey.shape == (9, 13, 1) and grey.dtype == np.uint8
    assert np.array_equal(grey[..., 0], np.asarray(Image.fromarray(COLOURS).convert('L')))
    assert np.array_equal(PillowGrey()(dict(img=grey))['img'], grey)
    with pytest.raises(TypeError, match='takes uint8 images here, got float64'):
        PillowGrey()(dict(img=COLOURS / 255))


def test_ranges_by_hand():
    image = np.array([[[0], [51], [255]]], np.uint8)
    unit = ToUnitRange()(dict(img=image))['img']
    assert unit.dtype == np.float32
    assert unit.ravel().tolist() == [0, np.float32(0.2), 1]
    signed = ToUnitRange(signed=True)(dict(img=image))['img']
    assert signed.dtype == np.float32
    assert signed.ravel().tolist() == pytest.approx([-1, -0.6, 1])


def test_floats_are_in_the_unit_range_already():
    image = np.array([[[0.0], [0.25], [1.0]]])
    assert ToUnitRange()(dict(img=image))['img'] is image
    signed = ToUnitRange(signed=True)(dict(img=image))['img']
    assert signed.dtype == np.float64 and signed.ravel().tolist() == [-1, -0.5, 1]
    packed = PackJointInputs()(dict(img=signed))['inputs']
    assert packed.shape == (1, 1, 3) and str(packed.dtype) == 'torch.float32'


def test_integers_of_another_size_are_refused():
    with pytest.raises(TypeError, match='takes uint8 or floating-point images, got int16'):
        ToUnitRange()(dict(img=np.zeros((2, 2, 1), np.int16)))


def test_from_a_config():
    assert repr(TRANSFORMS.build(dict(type='PillowGrey'))) == 'PillowGrey()'
    built = TRANSFORMS.build(dict(type='ToUnitRange', signed=True))
    assert repr(built) == 'ToUnitRange(signed=True)'
