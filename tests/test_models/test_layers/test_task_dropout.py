import pytest
import torch

from mmjoint.models.layers import TaskDropout


def test_whole_maps_go():
    torch.manual_seed(0)
    out = TaskDropout(0.25).train()(torch.ones(4000, 3, 2, 2)).flatten(1)
    assert torch.equal(out, out[:, :1].expand_as(out))  # all channels and pixels alike
    values = out[:, 0]
    assert values.unique().tolist() == pytest.approx([0, 4 / 3])
    assert (values == 0).float().mean().item() == pytest.approx(0.25, abs=0.03)


def test_evaluation_and_none():
    x = torch.rand(2, 3, 4, 5)
    assert torch.equal(TaskDropout(0.9).eval()(x), x)
    assert torch.equal(TaskDropout(0.0).train()(x), x)
    assert not TaskDropout(1.0).train()(x).any()


def test_mistakes():
    with pytest.raises(ValueError, match=r'p must lie in \[0, 1\], got 1.5'):
        TaskDropout(1.5)
