import numpy as np
import pytest

from mmjoint.functional.intensity import normalize_volume, rescale_to_unit


def test_clip_by_hand():
    image = np.array([-200, -75, 100, 275, 900], np.int16)
    result = normalize_volume(image, clip=(-75, 275))
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, [0, 0, 0.5, 1, 1])
    assert image.tolist() == [-200, -75, 100, 275, 900]


def test_range_is_that_of_the_clipped_volume():
    # Nothing reaches the limits: the ends are those of the values.
    np.testing.assert_allclose(
        normalize_volume(np.array([0.0, 10, 20]), clip=(-75, 275)), [0, 0.5, 1]
    )


def test_percentiles_by_hand():
    image = np.arange(201, dtype=np.int32)  # the 0.5 % and 99.5 % percentiles are 1 and 199
    result = normalize_volume(image, percentiles=(0.5, 99.5))
    assert result[:2].tolist() == [0, 0] and result[-2:].tolist() == [1, 1]
    np.testing.assert_allclose(result[100], 0.5)


def test_percentiles_of_integers_are_not_rounded():
    image = np.array([0, 1], np.uint8)
    np.testing.assert_allclose(normalize_volume(image, percentiles=(25, 75)), [0, 1])


def test_without_limits():
    np.testing.assert_allclose(normalize_volume(np.array([[2.0, 4], [3, 2]])), [[0, 1], [0.5, 0]])


def test_a_constant_image_becomes_zero():
    assert not rescale_to_unit(np.full((2, 3), 7.0)).any()
    assert not normalize_volume(np.full((2, 3), -500), clip=(-75, 275)).any()


@pytest.mark.parametrize(
    ('limits', 'message'),
    [
        (dict(clip=(1, 0)), r'clip must rise, got \(1, 0\)'),
        (dict(percentiles=(50, 50)), 'percentiles must rise'),
        (dict(clip=(0, 1), percentiles=(0, 1)), 'not both'),
    ],
)
def test_wrong_limits(limits, message):
    with pytest.raises(ValueError, match=message):
        normalize_volume(np.arange(4), **limits)
