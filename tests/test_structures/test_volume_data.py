import pickle

import numpy as np
import pytest
import torch

from mmjoint.structures import VolumeData


def volume():
    return VolumeData(
        metainfo=dict(spacing=(2.0, 1.0, 1.0)), data=torch.arange(24).reshape(1, 2, 3, 4)
    )


def test_shape_is_that_of_space():
    assert volume().shape == (2, 3, 4)
    assert VolumeData().shape is None


def test_fields_may_differ_in_channels_only():
    data = volume()
    data.logits = np.zeros((5, 2, 3, 4))
    assert data.logits.shape == (5, 2, 3, 4)
    with pytest.raises(ValueError, match=r'space axes \(2, 3, 5\), the other fields \(2, 3, 4\)'):
        data.other = torch.zeros(1, 2, 3, 5)


def test_the_only_field_may_change_its_shape():
    data = volume()
    data.data = torch.zeros(1, 5, 6, 7)
    assert data.shape == (5, 6, 7)


@pytest.mark.parametrize('shape', [(2, 3), (2, 3, 4), (1, 1, 2, 3, 4)])
def test_four_axes_are_needed(shape):
    with pytest.raises(ValueError, match=r'shape \(C, D, H, W\)'):
        VolumeData(data=torch.zeros(shape))


def test_lists_are_refused():
    with pytest.raises(TypeError, match='tensor or an array, got list'):
        VolumeData(data=[[[[1]]]])


def test_cutting():
    cut = volume()[1, 0:2, -1]
    assert cut.data.tolist() == [[[[15], [19]]]]
    assert cut.metainfo == dict(spacing=(2.0, 1.0, 1.0))


def test_wrong_cuts():
    with pytest.raises(TypeError, match='each of D, H and W'):
        volume()[0]
    with pytest.raises(TypeError, match='integers and slices'):
        volume()[0, 0, [1]]
    with pytest.raises(IndexError, match='index 2 is outside an axis of length 2'):
        volume()[2, 0, 0]


def test_moving_and_pickling():
    assert volume().to(torch.float32).data.dtype == torch.float32
    copy = pickle.loads(pickle.dumps(volume()))
    assert type(copy) is VolumeData
    assert copy.data.sum() == 276
