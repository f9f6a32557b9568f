import numpy as np
import pytest
import torch

from mmjoint.utils.pictures import to_picture, without_padding


@pytest.mark.parametrize(
    ('inputs', 'expected'),
    [
        (torch.tensor([[[0, 128, 255]]], dtype=torch.uint8), [0, 128, 255]),
        (torch.tensor([[[0.0, 1.6, 254.0]]]).repeat(3, 1, 1), [0, 2, 254]),
        (torch.tensor([[[0.0, 0.65, 1.3]]]), [0, 128, 255]),
        (torch.tensor([[[-1.0, 0.0, 1.0]]]), [0, 128, 255]),
    ],
)
def test_pictures_of_inputs(inputs, expected):
    picture = to_picture(inputs)
    assert picture.dtype == np.uint8 and picture.shape == (1, 3, 3)
    assert picture[0].tolist() == [[value] * 3 for value in expected]


def test_padding_is_cut_off():
    picture = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    assert without_padding(picture, {}).shape == (2, 4, 3)
    assert np.array_equal(without_padding(picture, dict(img_shape=(2, 3))), picture[:, :3])
    assert np.array_equal(without_padding(picture, dict(img_shape=(1, 4, 3))), picture[:1])
