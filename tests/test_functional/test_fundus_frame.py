import numpy as np
import pytest

from mmjoint.functional.fundus_frame import to_raw_frame
from mmjoint.utils.image_frame import ImageFrame


def test_probabilities_of_several_channels():
    frame = dict(crop=[1, 2, 3, 1], pad=[1, 1, 0, 0])
    maps = np.arange(18, dtype=np.float32).reshape(2, 3, 3)
    raw = to_raw_frame(maps, frame, [4, 5], outside=np.nan)
    assert raw.shape == (2, 4, 5) and raw.dtype == np.float32
    assert raw[:, 2, 1:4].tolist() == [[3, 4, 5], [12, 13, 14]]
    assert np.isnan(raw).sum() == 2 * (20 - 3)
    again = to_raw_frame(maps, ImageFrame.from_dict(frame), (4, 5), outside=np.nan)
    assert np.array_equal(again, raw, equal_nan=True)


def test_the_frame_of_another_image():
    with pytest.raises(ValueError, match='expected maps of 3x3'):
        to_raw_frame(np.zeros((4, 4)), dict(crop=[1, 2, 3, 1], pad=[1, 1, 0, 0]), (4, 5))
