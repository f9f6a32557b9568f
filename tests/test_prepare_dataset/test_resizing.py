import numpy as np
import pytest
import torch
from scipy import ndimage

from .scripts import resizing

LENGTHS = [(old, new) for new in (1, 2, 8, 24, 32, 80, 144) for old in range(1, 300, 7)]
LENGTHS += [(118, 144), (182, 144), (250, 32), (28, 48), (4, 288)]  # scipy fills the last with 0


def test_zoom_index_by_hand():
    # Centres of the ends stay: 0, 2/3, 4/3, 2 and 0, 1.5, 3.
    assert resizing.zoom_index(3, 4).tolist() == [0, 1, 1, 2]
    assert resizing.zoom_index(4, 3).tolist() == [0, 2, 3]
    assert resizing.zoom_index(1, 3).tolist() == [0, 0, 0]
    assert resizing.zoom_index(118, 144)[-1] == resizing.OUTSIDE


def test_floor_index_by_hand():
    assert resizing.floor_index(3, 4).tolist() == [0, 0, 1, 2]
    assert resizing.floor_index(4, 3).tolist() == [0, 1, 2]
    assert resizing.floor_index(2, 4).tolist() == [0, 0, 1, 1]


def test_zoom_index_is_scipys():
    for old, new in LENGTHS:
        line = np.arange(1.0, old + 1)
        expected = ndimage.zoom(line, new / old, order=0)
        assert np.array_equal(resizing.zoom_index(old, new) + 1, expected), (old, new)


def test_floor_index_is_torchs():
    for old, new in LENGTHS:
        line = torch.arange(old, dtype=torch.float32)[None, None]
        expected = torch.nn.functional.interpolate(line, size=new)[0, 0]
        assert np.array_equal(resizing.floor_index(old, new), expected), (old, new)


@pytest.mark.parametrize('shape', [(7, 11, 5), (30, 9, 24)])
def test_zoom_nearest_is_scipys(shape):
    rng = np.random.default_rng(0)
    volume = rng.integers(1, 900, (28, 9, 12)).astype(np.int16)
    zoom = [new / old for old, new in zip(volume.shape, shape, strict=True)]
    result = resizing.zoom_nearest(volume, shape)
    assert result.dtype == np.int16 and result.flags.c_contiguous
    assert np.array_equal(result, ndimage.zoom(volume, zoom, order=0))


def test_planes_that_scipy_fills_are_zero():
    volume = np.ones((28, 3), np.uint8)
    result = resizing.zoom_nearest(volume, (48, 3))
    assert not result[-1].any() and result[:-1].all()
    assert np.array_equal(result, ndimage.zoom(volume, (48 / 28, 1), order=0))


@pytest.mark.parametrize(
    ('old', 'new'),
    [((21, 26, 23), (80, 16, 40)), ((1, 5, 9), (4, 4, 4)), ((20, 30), (28, 43)), ((7,), (7,))],
)
def test_resizing_is_torchs(old, new):
    volume = np.random.default_rng(1).normal(0, 500, old).astype(np.float32)
    modes = {1: 'linear', 2: 'bilinear', 3: 'trilinear'}
    batch = torch.from_numpy(volume)[None, None]
    expected = torch.nn.functional.interpolate(batch, size=new, mode=modes[len(old)])[0, 0]
    result = resizing.resize_linear(volume, new)
    assert result.dtype == np.float32 and result.flags.c_contiguous
    np.testing.assert_allclose(result, expected, atol=2e-3, rtol=1e-5)
    labels = np.random.default_rng(2).integers(0, 14, old)
    batch = torch.from_numpy(labels).float()[None, None]
    expected = torch.nn.functional.interpolate(batch, size=new)[0, 0]
    assert np.array_equal(resizing.resize_floor(labels, new), expected)
