import numpy as np
import pytest
from scipy import ndimage

from mmjoint.functional.intensity import (
    change_contrast,
    change_gamma,
    gaussian_blur,
    intensity_range,
    normalize_volume,
    scale_from_range,
)


def test_window():
    image = np.array([[-1000, -75], [100, 3000]], np.int16)
    assert normalize_volume(image, clip=(-75, 275)).tolist() == [[0, 0], [0.5, 1]]
    assert intensity_range(image, clip=(-75, 275)) == (-75, 275)
    assert normalize_volume(image, clip=(-75, 275)).dtype == np.float32


def test_a_window_wider_than_the_values_is_narrowed_to_them():
    image = np.array([0.0, 50.0, 100.0])
    assert intensity_range(image, clip=(-75, 275)) == (0, 100)
    assert normalize_volume(image, clip=(-75, 275)).tolist() == [0, 0.5, 1]


def test_percentiles():
    image = np.random.default_rng(0).normal(size=(6, 7, 8)).astype(np.float32)
    low, high = np.percentile(image, (10, 80))
    expected = (np.clip(image, low, high) - low) / (high - low)
    assert np.allclose(normalize_volume(image, percentiles=(10, 80)), expected, atol=1e-6)


def test_the_ends_may_have_limits_of_different_kinds():
    image = np.arange(-50.0, 51)
    assert intensity_range(image, clip=(0, None), percentiles=(None, 90)) == (0, 40)
    assert intensity_range(image, clip=(None, 7)) == (-50, 7)
    assert intensity_range(image, percentiles=(10, None)) == (-40, 50)
    assert intensity_range(image, clip=(60, None)) == (60, 60)
    with pytest.raises(ValueError, match='for an end, not both'):
        intensity_range(image, clip=(0, None), percentiles=(1, 90))


def test_a_patch_can_be_scaled_by_the_range_of_its_volume():
    image = np.random.default_rng(0).normal(size=(6, 7, 8)).astype(np.float32)
    kept = image.copy()
    low, high = intensity_range(image, percentiles=(5, 95))
    patch = scale_from_range(image[2:4, 1:5], low, high)
    assert np.array_equal(patch, normalize_volume(image, percentiles=(5, 95))[2:4, 1:5])
    assert np.array_equal(image, kept)


def test_constant_and_damaged_volumes():
    assert intensity_range(np.full((2, 2), 7)) == (7, 7)
    assert not normalize_volume(np.full((2, 2), 7)).any()
    assert intensity_range(np.array([400.0, 500.0]), clip=(-75, 275)) == (275, 275)
    assert np.isnan(intensity_range(np.array([1.0, np.nan]))).all()


def test_limits_that_make_no_sense():
    with pytest.raises(ValueError, match='not both'):
        normalize_volume(np.arange(3), clip=(0, 1), percentiles=(0, 1))
    with pytest.raises(ValueError, match=r'percentiles must rise, got \(9, 1\)'):
        normalize_volume(np.arange(3), percentiles=(9, 1))


@pytest.mark.parametrize('shape', [(9, 8), (5, 9, 8)])
def test_blur_is_a_product_of_kernels_with_reflected_borders(shape):
    image = np.random.default_rng(0).random(shape)
    reach = np.arange(-4, 5)  # 4 sigma
    kernel = np.exp(-(reach**2) / 2)
    expected = image
    for axis in range(image.ndim):
        expected = ndimage.convolve1d(expected, kernel / kernel.sum(), axis, mode='reflect')
    assert np.allclose(gaussian_blur(image, 1.0), expected)


def test_contrast_keeps_the_range():
    image = np.array([0.0, 0.25, 0.5, 1.0], np.float32)  # mean 0.4375
    assert change_contrast(image, 0.5).tolist() == [0.21875, 0.34375, 0.46875, 0.71875]
    assert change_contrast(image, 2).tolist() == [0, 0.0625, 0.5625, 1]
    assert change_contrast(image, 2).dtype == np.float32
    assert np.array_equal(change_contrast(image, 1), image)


def test_gamma():
    image = np.random.default_rng(0).random((4, 5), np.float32) * 3 - 1
    changed = change_gamma(image, 2.0)
    span = image.max() - image.min()
    power = ((image - image.min()) / span) ** 2 * span
    power += image.mean() - power.mean()
    assert np.allclose(changed, power * image.std() / power.std(), atol=1e-5)
    assert changed.dtype == np.float32
    assert changed.std() == pytest.approx(image.std(), rel=1e-5)
    assert np.allclose(change_gamma(image, 1.0), image, atol=1e-5)
    assert np.isfinite(change_gamma(np.full((3, 3), 2.0, np.float32), 0.7)).all()
