import math

import pytest
import torch

from mmjoint.models.losses import SampleDiceLoss


def random_batch(num_classes, space, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(3, num_classes, *space, generator=generator, dtype=torch.float64)
    return logits, torch.randint(num_classes, (3, *space), generator=generator)


@pytest.mark.parametrize(
    ('scheme', 'expected'),
    [
        # Foreground 1/4 and 3/4 at classes 0, 1 gives (2 * 3/4 + 1) / (1 + 1 + 1) = 5/6; empty, of
        # 1/2 twice, (0 + 1) / (1 + 0 + 1) = 1/2.
        ('foreground', 1 - (5 / 6 + 1 / 2) / 2),
        # Background: 5/6 again; all of it, (2 * 1 + 1) / (1 + 2 + 1) = 3/4.
        ('all', 1 - (5 / 6 + 1 / 2 + 5 / 6 + 3 / 4) / 4),
    ],
)
def test_hand_values(scheme, expected):
    low, high = -math.log(3), math.log(3)
    logits = torch.tensor([[[0.0, 0.0], [low, high]], [[0.0, 0.0], [0.0, 0.0]]]).double()
    target = torch.tensor([[0, 1], [0, 0]])
    loss = SampleDiceLoss(scheme=scheme)
    assert loss(logits, target).item() == pytest.approx(expected, abs=1e-7)
    weighted = SampleDiceLoss(scheme=scheme, loss_weight=5.0)(logits, target)
    assert weighted.item() == pytest.approx(5 * expected, abs=1e-6)


@pytest.mark.parametrize('space', [(5,), (3, 4), (2, 3, 4)])
def test_two_classes_are_a_sigmoid(space):
    logits, target = random_batch(2, space)
    probs = (logits[:, 1] - logits[:, 0]).sigmoid().flatten(1)
    mask = target.flatten(1).double()
    dice = (2 * (probs * mask).sum(1) + 1) / (probs.sum(1) + mask.sum(1) + 1)
    torch.testing.assert_close(SampleDiceLoss()(logits, target), 1 - dice.mean())


@pytest.mark.parametrize('scheme', ['foreground', 'all'])
@pytest.mark.parametrize('space', [(4,), (2, 3), (2, 1, 2)])
def test_gradcheck(space, scheme):
    logits, target = random_batch(3, space)
    target[0, 0] = 255
    loss = SampleDiceLoss(scheme=scheme)
    assert torch.autograd.gradcheck(lambda x: loss(x, target), logits.requires_grad_())


@pytest.mark.parametrize('scheme', ['foreground', 'all'])
def test_ignored_is_removed(scheme):
    logits, target = random_batch(3, (8,))
    loss = SampleDiceLoss(scheme=scheme)
    ignored = target.clone()
    ignored[:, 5:] = 255
    torch.testing.assert_close(loss(logits, ignored), loss(logits[..., :5], target[:, :5]))
    ignored[1] = 255  # a sample without a mask does not count
    kept = [0, 2]
    torch.testing.assert_close(
        loss(logits, ignored), loss(logits[kept][..., :5], target[kept][:, :5])
    )
    ignored[:] = 255
    logits.requires_grad_()
    total = loss(logits, ignored)
    total.backward()
    assert total == 0 and not logits.grad.any()


def test_half_precision_is_widened():
    logits, target = random_batch(2, (6,))
    assert SampleDiceLoss()(logits.bfloat16(), target).dtype == torch.float32


def test_mistakes():
    with pytest.raises(ValueError, match="'foreground' or 'all', got 'joint'"):
        SampleDiceLoss(scheme='joint')
    with pytest.raises(ValueError, match='smooth must be > 0, got 0'):
        SampleDiceLoss(smooth=0)
