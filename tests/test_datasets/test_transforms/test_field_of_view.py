import numpy as np
import pytest

from mmjoint.datasets.transforms import CropFieldOfView, PackJointInputs, TTAViews
from mmjoint.functional.fundus_frame import to_raw_frame


def photograph(height=40, width=60, centre=(18, 35), radius=12):
    """A red disc on black, with a pattern."""
    rows, columns = np.indices((height, width))
    inside = (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 <= radius**2
    image = np.stack([200 + rows, 3 * columns, rows + columns], -1).astype(np.uint8)
    return image * inside[..., None]


def results(image):
    return dict(img=image, img_shape=image.shape[:2], ori_shape=image.shape[:2], seg_fields=[])


def test_crop_padding_and_the_way_back():
    image = photograph()
    found = CropFieldOfView()(results(image))
    left, top, width, height = found['frame']['crop']
    # The disc spans 25 pixels; its box is two wider on each side.
    assert (left, top) == (35 - 12 - 2, 18 - 12 - 2) and (width, height) == (29, 29)
    assert found['raw_shape'] == (40, 60)
    assert found['img_shape'] == found['ori_shape'] == found['img'].shape[:2] == (29, 29)
    back = to_raw_frame(np.moveaxis(found['img'], -1, 0), found['frame'], found['raw_shape'])
    assert np.array_equal(np.moveaxis(back, 0, -1), image)


def test_what_the_file_cuts_off_becomes_black():
    image = photograph(centre=(5, 35))
    found = CropFieldOfView()(results(image))
    side = found['img'].shape[0]
    top, bottom, left, right = found['frame']['pad']
    assert found['img'].shape == (side, side, 3) and (left, right) == (0, 0)
    assert top + bottom == side - found['frame']['crop'][3] > 0
    assert not found['img'][:top].any() and not found['img'][side - bottom :].any()


def test_a_threshold_and_no_crop():
    dim = photograph() // 12  # of red alone, hardly bright
    assert CropFieldOfView(threshold=200)(results(dim))['frame']['crop'] == [0, 0, 60, 40]
    found = CropFieldOfView(crop=False)(results(photograph()))
    assert found['frame'] == dict(crop=[0, 0, 60, 40], pad=[10, 10, 0, 0])
    with pytest.raises(ValueError, match='threshold must be in'):
        CropFieldOfView(threshold=255)


def test_views_are_of_the_cropped_image():
    packed = TTAViews([CropFieldOfView(), PackJointInputs()])(results(photograph()))
    sample = packed['data_samples']
    assert sample.metainfo['frame']['crop'] == [21, 4, 29, 29]
    assert [view.shape for view in sample.view_images] == [(3, 29, 29)] * 2
    assert np.array_equal(sample.view_images[0], packed['inputs'].numpy())
