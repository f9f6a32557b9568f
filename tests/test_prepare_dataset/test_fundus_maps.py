import cv2
import numpy as np
import pytest

from .scripts import fundus_maps, fundus_tasks


def disc(shape, centre, radius, value=200):
    image = np.zeros((*shape, 3), np.uint8)
    cv2.circle(image, centre, radius, (value,) * 3, -1)
    return image


def test_box_reaches_two_pixels_beyond_what_is_bright():
    image = disc((60, 80), (30, 28), 20)
    rows, columns = (np.flatnonzero(image[..., 0].any(axis=axis)) for axis in (1, 0))
    left, top, width, height = fundus_maps.fov_box(image)
    assert (top, top + height) == (rows[0] - 2, rows[-1] + 3)
    assert (left, left + width) == (columns[0] - 2, columns[-1] + 3)


def test_streaks_and_specks_are_not_the_field_of_view():
    image = disc((60, 80), (35, 32), 18)
    expected = fundus_maps.fov_box(image)
    image[:, 75:77] = 255  # taller than the disc
    image[2:4, :70] = 255  # wider
    assert fundus_maps.fov_box(image) == expected
    assert np.array_equal(fundus_maps.fov_mask(image) > 0, disc((60, 80), (35, 32), 18)[..., 0] > 0)


def test_dark_image_is_kept_whole():
    image = np.full((20, 30, 3), 20, np.uint8)  # not above the threshold
    assert fundus_maps.fov_box(image) == (0, 0, 30, 20)
    assert fundus_maps.fov_mask(image).all()
    assert fundus_maps.fov_box(image, 19) == (0, 0, 30, 20)


@pytest.mark.parametrize(
    ('shape', 'kept'), [((60, 66), True), ((60, 67), False), ((66, 60), False)]
)
def test_nearly_square_images_can_be_kept(shape, kept):
    image = disc(shape, (30, 30), 20)
    whole = (0, 0, shape[1], shape[0])
    assert (fundus_maps.fov_box(image, keep_square=True) == whole) == kept
    assert fundus_maps.fov_box(image) != whole


def test_field_of_view_has_no_holes_and_reaches_the_border():
    image = disc((40, 60), (30, 20), 28)  # cut at the top and at the bottom
    expected = image[..., 0] > 0
    image[18:24, 25:31] = 0  # a dark macula
    assert np.array_equal(fundus_maps.fov_mask(image) > 0, expected)


def test_label_maps_by_hand():
    masks = {
        'MA': np.array([[255, 0, 0, 0]]),
        'EX': np.array([[255, 1, 0, 255]]),
        'SE': np.array([[0, 7, 0, 0]]),
    }
    assert fundus_maps.lesion_ids(masks, (1, 4)).tolist() == [[4, 3, 0, 1]]
    assert fundus_maps.lesion_ids({}, (1, 2)).tolist() == [[0, 0]]
    assert fundus_maps.optic_ids(np.array([[0, 128, 255]], np.uint8)).tolist() == [[2, 1, 0]]
    assert fundus_maps.vessel_ids(np.array([[0, 1, 255]], np.uint8)).tolist() == [[0, 1, 1]]


def test_tasks_name_every_value_once_per_channel():
    for channels in fundus_tasks.TASKS.values():
        values = sorted({value for listed in channels.values() for value in listed})
        assert values == list(range(1, len(values) + 1))
