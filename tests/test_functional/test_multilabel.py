import pytest
import torch

from mmjoint.functional.multilabel import channel_masks


def test_nested_channels_share_a_value():
    labels = torch.tensor([[[0, 1], [2, 255]]])
    masks = channel_masks(labels, dict(disc=(1, 2), cup=(2,)))
    assert masks.dtype == torch.bool
    assert masks.tolist() == [[[[False, True], [True, False]], [[False, False], [True, False]]]]


def test_exclusive_channels_of_a_volume():
    labels = torch.arange(5).view(1, 5, 1, 1)
    masks = channel_masks(labels, {name: (i + 1,) for i, name in enumerate('abcd')})
    assert torch.equal(masks[0, :, :, 0, 0], torch.eye(5, dtype=torch.bool)[1:])


def test_an_unknown_value_is_named():
    with pytest.raises(ValueError, match=r'found \[3\]'):
        channel_masks(torch.tensor([[0, 3]]), dict(vessel=(1,)))
