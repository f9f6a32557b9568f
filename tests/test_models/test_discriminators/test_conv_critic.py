import pytest
import torch

from mmjoint.models.discriminators import ConvCritic


def test_shapes_and_number_of_weights():
    for channels, expected in ((1, 2_762_689), (4, 2_765_761), (2, 2_763_713)):
        critic = ConvCritic(channels)
        assert sum(parameter.numel() for parameter in critic.parameters()) == expected
    assert critic(torch.rand(2, 2, 64, 96)).shape == (2, 1, 2, 3)


def test_initial_values():
    torch.manual_seed(0)
    critic = ConvCritic(3)
    critic.init_weights()
    stds = [conv.weight.std().item() for conv in critic.convs]
    assert stds == pytest.approx([0.0433, 0.0306, 0.0217, 0.0153, 0.354], rel=0.05)
    assert not any(conv.bias.any() for conv in critic.convs)


@torch.no_grad()
def test_layers():
    """A leaky slope of 0.2 behind all convolutions but the last."""
    critic = ConvCritic(1, channels=(1,))
    for conv in critic.convs:
        conv.weight.fill_(-1)
        conv.bias.zero_()
    # Every 2 x 2 block of ones gives, with its surroundings, -9; four of them, leaky, -1.8 each.
    assert critic(torch.ones(1, 1, 4, 4)).item() == pytest.approx(4 * 1.8)
