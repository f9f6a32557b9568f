import numpy as np
import pytest
from scipy import ndimage

from mmjoint.functional.resampling import (
    rotate_image,
    rotate_labels,
    scale_image,
    scale_labels,
)

SHAPES = [
    (5, 8, 7),
    (6, 9, 9),
    (1, 8, 8),
    (4, 1, 6),
    (3, 5, 1),
    (2, 2, 2),
    (1, 1, 1),
    (9, 6),
    (1, 7),
]
ANGLES = [0, 7.3, -15, 45, 90, -90, 180, 360]
# With powers of two, places lie exactly half-way and votes tie.
FACTORS = [0.5, 0.25, 0.75, 0.7, 0.93, 1, 1.25, 2]


def blobs(shape, seed, values=(0, 1, 2, 3, 255)):
    """Labels in blobs (mostly one label around a voxel) and a corner of noise."""
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(rng.normal(size=shape), 1, mode='wrap')
    ranks = (np.argsort(np.argsort(smooth, None)) * len(values) // smooth.size).reshape(shape)
    ranks.ravel()[::3] = rng.integers(0, len(values), ranks.ravel()[::3].shape)
    return np.array(values, np.uint8)[ranks]


@pytest.mark.parametrize('axis', [0, 1, 2])
@pytest.mark.parametrize('degrees', ANGLES)
def test_fast_rotation_equals_the_plain_one(degrees, axis):
    for seed, shape in enumerate(SHAPES):
        image = np.random.default_rng(seed).random(shape)
        plain = rotate_image(image, degrees, axis=axis, fast=False)
        fast = rotate_image(image, degrees, axis=axis)
        assert fast.shape == shape and fast.flags.c_contiguous
        assert np.abs(fast - plain).max() < 1e-12
        labels = blobs(shape, seed)
        kept = labels.copy()
        plain = rotate_labels(labels, degrees, axis=axis, fast=False)
        fast = rotate_labels(labels, degrees, axis=axis)
        assert fast.dtype == np.uint8 and np.array_equal(fast, plain)
        assert np.array_equal(labels, kept)


@pytest.mark.parametrize('factor', FACTORS)
def test_fast_scaling_equals_the_plain_one(factor):
    for seed, shape in enumerate(SHAPES):
        image = np.random.default_rng(seed).random(shape)
        fast = scale_image(image, factor)
        assert fast.shape == shape and fast.flags.c_contiguous
        assert np.abs(fast - scale_image(image, factor, fast=False)).max() < 1e-12
        labels = blobs(shape, seed)
        kept = labels.copy()
        fast = scale_labels(labels, factor)
        assert fast.dtype == np.uint8
        assert np.array_equal(fast, scale_labels(labels, factor, fast=False))
        assert np.array_equal(labels, kept)


def test_a_factor_of_one_gives_the_same_bits_in_a_new_array():
    image = np.random.default_rng(0).random((4, 5, 6), np.float32)
    labels = blobs((4, 5, 6), 0)
    for array, scale in ((image, scale_image), (labels, scale_labels)):
        same = scale(array, 1.0)
        assert np.array_equal(same, array) and not np.shares_memory(same, array)
    plain = scale_image(image, 1.0, fast=False)
    assert np.array_equal(plain, image)


def test_half_a_turn_and_directions():
    image = np.random.default_rng(0).random((3, 5, 7))
    # Not at the edges: cos and sin of 180 degrees are not quite -1 and 0.
    turned = rotate_image(image, 180)
    assert np.allclose(turned[:, 1:-1, 1:-1], image[:, ::-1, ::-1][:, 1:-1, 1:-1])
    point = np.zeros((9, 9))
    point[4, 6] = 1
    # (a, b) gets the value at (a cos + b sin, b cos - a sin): at 90 degrees (2, 0) takes (0, -2),
    # and (-2, 0) takes (0, 2), where the point is.
    assert np.unravel_index(rotate_image(point, 90).argmax(), (9, 9)) == (2, 4)
    assert np.unravel_index(rotate_labels((point > 0).astype(np.uint8), 90).argmax(), (9, 9)) == (
        2,
        4,
    )


def test_enlarging_and_what_comes_from_outside():
    image = np.zeros((9, 9))
    image[4, 6] = 1
    assert np.unravel_index(scale_image(image, 0.5).argmax(), (9, 9)) == (4, 8)
    ones = np.ones((3, 8, 8))
    assert scale_image(ones, 2.0)[1, 0, 0] == 0 and scale_image(ones, 2.0)[
        1, 4, 4
    ] == pytest.approx(1)
    labels = np.full((3, 8, 8), 4, np.uint8)
    assert (scale_labels(labels, 0.7) == 4).all()
    assert scale_labels(labels, 2.0)[1, 0, 0] == 0
    assert rotate_labels(labels, 45)[1, 0, 0] == 0


def test_a_tie_goes_to_the_larger_label():
    # Half-way between 1 and 2; the factor puts the two places at 0.25 and 0.75.
    assert scale_labels(np.array([[1, 2]], np.uint8), 0.5).tolist() == [[1, 2]]
    # Places of 3 voxels: 0.5, 1, 1.5.
    assert scale_labels(np.array([[2, 1, 3]], np.uint8), 0.5).tolist() == [[2, 1, 3]]
    assert scale_labels(np.array([[0, 1, 0]], np.uint8), 0.5).tolist() == [[1, 1, 1]]
