import torch
from torch import nn

from mmjoint.models.layers import InstanceDoubleConv


def test_definition():
    torch.manual_seed(0)
    block = InstanceDoubleConv(2, 3, dropout=0.5).double().eval()
    plain = nn.Sequential(
        block.conv1, nn.InstanceNorm2d(3), nn.LeakyReLU(0.2),
        block.conv2, nn.InstanceNorm2d(3), nn.LeakyReLU(0.2),
    )  # fmt: skip
    x = torch.randn(2, 2, 5, 7, dtype=torch.float64)
    torch.testing.assert_close(block(x), plain(x))
    assert not list(block.buffers()) and len(list(block.parameters())) == 4


def test_samples_are_independent_and_gradients_right():
    torch.manual_seed(0)
    block = InstanceDoubleConv(1, 2, dropout=0.0).double().train()
    x = torch.randn(3, 1, 3, 4, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(block(x)[1:2], block(x[1:2]))
    assert torch.autograd.gradcheck(block, x)


def test_dropout_is_elementwise():
    torch.manual_seed(0)
    block = InstanceDoubleConv(1, 4, dropout=0.25).train()
    out = block(torch.randn(1, 1, 64, 64))
    share = (out == 0).float().mean((2, 3))
    assert (share - 0.25).abs().max() < 0.05
