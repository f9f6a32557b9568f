import math

import pytest
import torch

from mmjoint.models.losses import LogDiceLoss, one_hot_map


def random_batch(num_classes, space, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(3, num_classes, *space, generator=generator, dtype=torch.float64)
    return logits.softmax(1), torch.randint(num_classes, (3, *space), generator=generator)


def test_hand_value_of_two_classes():
    # Pixels (1, 0), (3/4, 1/4) with classes 0, 1: D_0 = 2*1/(7/4 + 1), D_1 = 2*(1/4)/(1/4 + 1).
    probs = torch.tensor([[[1.0, 0.75], [0.0, 0.25]]], dtype=torch.float64)
    loss = LogDiceLoss(smooth=1e-12, loss_weight=0.4)(probs, torch.tensor([[0, 1]]))
    expected = -0.4 * (math.log(8 / 11) + math.log(2 / 5)) / 2
    assert loss.item() == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize('space', [(2, 2), (1, 2, 2)])
def test_hand_value_of_three_classes_sums_over_the_batch(space):
    # Uniform thirds; two samples of four pixels with classes 0 0 0 0 and 0 0 1 1, class 2 absent.
    probs = torch.full((2, 3, *space), 1 / 3, dtype=torch.float64)
    target = torch.tensor([[0, 0, 0, 0], [0, 0, 1, 1]]).view(2, *space)
    smooth = 0.5
    total = 8 / 3
    dices = [
        (2 * 6 / 3 + smooth) / (total + 6 + smooth),
        (2 * 2 / 3 + smooth) / (total + 2 + smooth),
        smooth / (total + smooth),
    ]
    expected = -sum(math.log(dice) for dice in dices) / 3
    assert LogDiceLoss(smooth=smooth)(probs, target).item() == pytest.approx(expected, abs=1e-12)


def test_perfect_prediction_costs_nothing():
    target = torch.tensor([[[0, 1], [2, 1]]])
    probs = one_hot_map(target, 3, torch.zeros(1))
    assert LogDiceLoss()(probs, target).item() == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize('space', [(4,), (3, 4), (2, 3, 4)])
def test_gradcheck(space):
    probs, target = random_batch(3, space)
    target[0, 0] = 255
    loss = LogDiceLoss(smooth=0.1)
    assert torch.autograd.gradcheck(lambda p: loss(p, target), probs.requires_grad_())


@pytest.mark.parametrize('space', [(8,), (3, 4), (2, 3, 4)])
def test_ignored_target_is_a_removed_target(space):
    probs, target = random_batch(3, space)
    keep = torch.rand(target.shape, generator=torch.Generator().manual_seed(1)) < 0.6
    ignored = LogDiceLoss()(probs, target.masked_fill(~keep, 255))
    removed = LogDiceLoss()(probs.movedim(1, -1)[keep], target[keep])
    torch.testing.assert_close(ignored, removed)
    other = LogDiceLoss()(probs, target.masked_fill(~keep, -1), ignore_index=-1)
    torch.testing.assert_close(other, removed)


def test_nothing_valid_is_zero_with_a_graph():
    probs, target = random_batch(3, (2, 2))
    probs.requires_grad_()
    loss = LogDiceLoss()(probs, torch.full_like(target, 255))
    assert loss.item() == 0.0
    loss.backward()
    assert torch.equal(probs.grad, torch.zeros_like(probs))


def test_shared_one_hot_changes_nothing():
    probs, target = random_batch(3, (3, 4))
    target[0, 0] = 255
    one_hot = one_hot_map(target, 3, probs)
    assert LogDiceLoss()(probs, target, one_hot=one_hot) == LogDiceLoss()(probs, target)


def test_one_hot_map():
    one_hot = one_hot_map(torch.tensor([[2, 255, 0]]), 3, torch.zeros(1, dtype=torch.float64))
    assert one_hot.dtype == torch.float64
    assert one_hot.tolist() == [[[0, 0, 1], [0, 0, 0], [1, 0, 0]]]


@pytest.mark.parametrize('smooth', [0, -1.0])
def test_smoothing_must_be_positive(smooth):
    with pytest.raises(ValueError, match=f'smooth must be > 0, got {smooth}'):
        LogDiceLoss(smooth=smooth)
