import math

import pytest
import torch

from mmjoint.models.losses import ConfidentLabelLoss


def test_hand_values():
    """Sure of class 0 and of 1, and unsure: the last one counts as 0 in the mean."""
    target = torch.tensor([[0.8, 0.2], [0.2, 0.8], [0.6, 0.4]]).log()
    logits = torch.tensor([[0.5, 0.5], [0.25, 0.75], [0.1, 0.9]]).log()
    expected = -(math.log(0.5) + math.log(0.75)) / 3
    assert ConfidentLabelLoss()(logits, target).item() == pytest.approx(expected, abs=1e-6)
    half = ConfidentLabelLoss(loss_weight=0.5)(logits, target)
    assert half.item() == pytest.approx(expected / 2, abs=1e-6)
    lower = ConfidentLabelLoss(threshold=0.5)(logits, target)
    assert lower.item() == pytest.approx(expected - math.log(0.1) / 3, abs=1e-6)


def test_gradients():
    generator = torch.Generator().manual_seed(0)
    logits, target = (torch.randn(6, 3, generator=generator).double() for _ in range(2))
    loss = ConfidentLabelLoss(threshold=0.6)
    target.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: loss(x, target), logits.requires_grad_())
    loss(logits, target).backward()
    assert target.grad is None
    accepted = target.softmax(1).max(1).values >= 0.6
    assert 0 < accepted.sum() < 6
    assert torch.equal(logits.grad.any(1), accepted)


def test_nothing_accepted():
    logits = torch.randn(4, 2, requires_grad=True)
    loss = ConfidentLabelLoss(threshold=0.9)(logits, torch.zeros(4, 2))
    loss.backward()
    assert loss == 0 and not logits.grad.any()


def test_half_precision_is_widened():
    logits = torch.randn(4, 2).bfloat16()
    assert ConfidentLabelLoss(threshold=0.0)(logits, logits).dtype == torch.float32


def test_mistakes():
    with pytest.raises(ValueError, match=r'threshold must be in \[0, 1\], got 1.5'):
        ConfidentLabelLoss(threshold=1.5)
    with pytest.raises(ValueError, match=r'two views .* \(3, 2\) and \(2, 2\)'):
        ConfidentLabelLoss()(torch.zeros(3, 2), torch.zeros(2, 2))
