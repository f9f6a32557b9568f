import json

import numpy as np
import pytest

from mmjoint.utils.image_frame import ImageFrame


@pytest.mark.parametrize(
    ('crop', 'pad'),
    [
        ((24, 5, 81, 81), (0, 0, 0, 0)),
        ((0, 0, 768, 576), (96, 96, 0, 0)),  # ARIA
        ((0, 0, 2124, 2056), (34, 34, 0, 0)),  # REFUGE, train
        ((0, 0, 5, 8), (0, 0, 1, 2)),  # the odd pixel goes to the right
        ((0, 0, 8, 5), (1, 2, 0, 0)),  # or to the bottom
    ],
)
def test_squares(crop, pad):
    frame = ImageFrame.square(crop)
    assert frame.pad == pad
    assert frame.shape == (max(crop[2:]),) * 2


def test_crop_and_padding_by_hand():
    image = np.arange(12).reshape(3, 4)
    frame = ImageFrame((1, 0, 3, 2), (0, 1, 2, 0))
    expected = [[9, 9, 1, 2, 3], [9, 9, 5, 6, 7], [9, 9, 9, 9, 9]]
    assert frame.apply(image, fill=9).tolist() == expected
    assert frame.restore(frame.apply(image), (3, 4), fill=8).tolist() == [
        [8, 1, 2, 3],
        [8, 5, 6, 7],
        [8, 8, 8, 8],
    ]


@pytest.mark.parametrize('seed', range(5))
def test_way_there_and_back(seed):
    rng = np.random.default_rng(seed)
    height, width = rng.integers(5, 30, 2).tolist()
    left, top = int(rng.integers(0, width - 2)), int(rng.integers(0, height - 2))
    box = (left, top, int(rng.integers(1, width - left)), int(rng.integers(1, height - top)))
    frame = ImageFrame.from_dict(json.loads(json.dumps(ImageFrame.square(box).to_dict())))
    assert frame == ImageFrame.square(box)
    image = rng.integers(1, 255, (height, width, 3)).astype(np.uint8)
    framed = frame.apply(image)
    assert framed.dtype == np.uint8 and framed.shape == (*frame.shape, 3)
    assert framed.sum() == image[top : top + box[3], left : left + box[2]].sum()
    back = frame.restore(framed.transpose(2, 0, 1), (height, width)).transpose(1, 2, 0)
    inside = np.zeros((height, width, 1), bool)
    inside[top : top + box[3], left : left + box[2]] = True
    assert np.array_equal(back, image * inside)


@pytest.mark.parametrize(
    ('values', 'message'),
    [
        (dict(crop=[0, 0, 0, 4], pad=[0] * 4), 'crop must be left, top >= 0'),
        (dict(crop=[-1, 0, 3, 4], pad=[0] * 4), 'crop must be'),
        (dict(crop=[0, 0, 3, 4], pad=[0, 0, -1, 0]), 'pad must be top, bottom, left, right >= 0'),
        (dict(crop=[0, 0, 3, 4]), "must have the entries 'crop' and 'pad', got \\['crop'\\]"),
    ],
)
def test_numbers_that_are_no_frame(values, message):
    with pytest.raises(ValueError, match=message):
        ImageFrame.from_dict(values)


def test_frames_of_other_images():
    frame = ImageFrame((2, 0, 4, 4))
    with pytest.raises(ValueError, match='does not lie in an image of 4x5'):
        frame.apply(np.zeros((4, 5)))
    with pytest.raises(ValueError, match='frame of another image'):
        frame.restore(np.zeros((4, 4)), (3, 6))
    with pytest.raises(ValueError, match=r'expected maps of 4x4 .* got the shape \(2, 4, 5\)'):
        frame.restore(np.zeros((2, 4, 5)), (4, 6))
