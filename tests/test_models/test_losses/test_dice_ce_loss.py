import math

import pytest
import torch
import torch.nn.functional as F

from mmjoint.models.losses import DiceCELoss
from tests.test_models.test_semi.plain import PlainLoss


def random_batch(space, num_classes=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, num_classes, *space, generator=generator, dtype=torch.float64)
    return logits, torch.randint(num_classes, (2, *space), generator=generator)


def test_by_hand():
    # Voxels with probabilities (3/4, 1/4) and (1/2, 1/2), classes 0 and 1.
    logits = torch.tensor([[[3.0, 1.0], [1.0, 1.0]]], dtype=torch.float64).log()
    target = torch.tensor([[0, 1]])
    entropy = -(math.log(0.75) + math.log(0.5)) / 2
    dice = (2 * 0.5 + 1) / (0.75 + 1 + 1)
    assert DiceCELoss()(logits, target).item() == pytest.approx(entropy - dice)
    half = DiceCELoss(loss_weight=0.5)(logits, target)
    assert half.item() == pytest.approx((entropy - dice) / 2)
    weight = torch.tensor([1.0, 3.0])
    weighted = -(math.log(0.75) + 3 * math.log(0.5)) / 4 - 3 * dice
    assert DiceCELoss()(logits, target, weight).item() == pytest.approx(weighted)
    # Certain and right.
    assert DiceCELoss()(torch.tensor([[[99.0, -99], [-99, 99]]]), target).item() == -1


@pytest.mark.parametrize('space', [(4,), (3, 4), (2, 3, 4)])
@pytest.mark.parametrize('with_weight', [False, True])
def test_equal_to_the_plain_form(space, with_weight):
    logits, target = random_batch(space)
    weight = torch.tensor([0.2, 1.5, 2.0], dtype=torch.float64) if with_weight else None
    results = []
    for loss, options in (
        (PlainLoss(), {}),
        (DiceCELoss(), {}),
        (DiceCELoss(), {'ignore_index': None}),
    ):
        x = logits.clone().requires_grad_()
        value = loss(x, target, weight, **options)
        value.backward()
        results.append((value.detach(), x.grad))
    for result in results[1:]:
        torch.testing.assert_close(result, results[0], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize('space', [(4,), (2, 3, 2)])
def test_gradcheck(space):
    logits, target = random_batch(space)
    target[0, 0] = 255
    weight = torch.tensor([0.2, 1.5, 2.0], dtype=torch.float64)
    loss = DiceCELoss(smooth=0.1)
    logits.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: loss(x, target, weight), logits)
    known = target.masked_fill(target == 255, 1)
    assert torch.autograd.gradcheck(lambda x: loss(x, known, weight, ignore_index=None), logits)


def test_an_ignored_target_is_a_removed_target():
    logits, target = random_batch((30,))
    keep = torch.rand(30, generator=torch.Generator().manual_seed(1)) < 0.6
    ignored = target.masked_fill(~keep, 255)
    weight = torch.tensor([0.2, 1.5, 2.0], dtype=torch.float64)
    for class_weight in (None, weight):
        whole = DiceCELoss()(logits, ignored, class_weight)
        part = DiceCELoss()(logits[..., keep], target[:, keep], class_weight)
        assert whole.item() == pytest.approx(part.item())


def test_no_valid_target_is_zero_with_a_graph():
    logits, target = random_batch((3, 4))
    logits.requires_grad_()
    loss = DiceCELoss()(logits, torch.full_like(target, 255))
    assert loss.item() == 0
    loss.backward()
    assert (logits.grad == 0).all()


def test_half_precision_is_widened():
    logits, target = random_batch((3, 4))
    half = DiceCELoss()(logits.half(), target)
    assert half.dtype == torch.float32
    wide = DiceCELoss()(logits.half().float(), target)
    assert torch.equal(half, wide)


def test_gradient_of_cross_entropy_alone():
    """The two parts add; the cross-entropy is PyTorch's."""
    logits, target = random_batch((3, 4))
    weight = torch.tensor([0.2, 1.5, 2.0], dtype=torch.float64)
    entropy = F.cross_entropy(logits, target, weight)
    dice = DiceCELoss()(logits, target, weight) - entropy
    assert -2 < dice.item() < 0


def test_smooth_must_be_positive():
    with pytest.raises(ValueError, match='smooth must be > 0, got 0'):
        DiceCELoss(smooth=0)
