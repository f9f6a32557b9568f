import math

import pytest
import torch

from mmjoint.models.losses import TaskDiceLoss

ONE = dict(vessel=(1,))
NERVE = dict(disc=(1, 2), cup=(2,))


def random_batch(channels, space=(3, 4), seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(3, len(channels), *space, generator=generator, dtype=torch.float64)
    highest = max(max(values) for values in channels.values())
    return logits, torch.randint(highest + 1, (3, *space), generator=generator)


def hand_logits():
    """Probabilities 3/4 and 1/2 of two pixels."""
    return torch.tensor([[[[math.log(3), 0.0]]]], dtype=torch.float64)


def test_hand_values():
    """2 * 3/4 / (9/16 + 1/4 + 1) = 24/29; -ln(3/4) and -ln(1/2)."""
    labels = torch.tensor([[[1, 0]]])
    dice = 1 - 24 / 29
    cross = (math.log(4 / 3) + math.log(2)) / 2
    for kind, expected in (('dice', dice), ('bce', cross), ('bce_dice', dice + cross)):
        loss = TaskDiceLoss(kind=kind, smooth=1e-12)(hand_logits(), labels, ONE)
        assert loss.item() == pytest.approx(expected, abs=1e-9), kind
    smooth = TaskDiceLoss(smooth=1.0, loss_weight=0.4)(hand_logits(), labels, ONE)
    assert smooth.item() == pytest.approx(0.4 * (1 - 2.5 / 2.8125), abs=1e-9)


def test_channels_overlap():
    """The cup belongs to the disc as well."""
    logits, labels = random_batch(NERVE)
    loss = TaskDiceLoss()
    disc = loss(logits[:, :1], (labels > 0).long(), ONE)
    cup = loss(logits[:, 1:], (labels == 2).long(), ONE)
    torch.testing.assert_close(loss(logits, labels, NERVE), (disc + cup) / 2)


def test_mean_over_samples():
    logits, labels = random_batch(NERVE)
    for kind in ('dice', 'bce', 'bce_dice'):
        loss = TaskDiceLoss(kind=kind)
        each = [loss(logits[i : i + 1], labels[i : i + 1], NERVE) for i in range(3)]
        torch.testing.assert_close(loss(logits, labels, NERVE), torch.stack(each).mean())


def test_class_weights():
    logits, labels = random_batch(NERVE)
    single = TaskDiceLoss()
    disc = single(logits[:, :1], (labels > 0).long(), ONE)
    cup = single(logits[:, 1:], (labels == 2).long(), ONE)
    weighted = TaskDiceLoss(class_weight=dict(cup=3.0))(logits, labels, NERVE)
    torch.testing.assert_close(weighted, (disc + 3 * cup) / 2)
    normalised = TaskDiceLoss(class_weight=dict(cup=3.0), normalise=True)(logits, labels, NERVE)
    torch.testing.assert_close(normalised, (disc + 3 * cup) / 4)


@pytest.mark.parametrize('kind', ['dice', 'bce', 'bce_dice'])
def test_unlabelled_pixels(kind):
    """255 is background, or left out as if it were not there."""
    logits, labels = random_batch(NERVE, (8,))
    marked = labels.clone()
    marked[:, 5:] = 255
    background = torch.where(marked == 255, 0, marked)
    plain, valid = TaskDiceLoss(kind=kind), TaskDiceLoss(kind=kind, ignore_unlabelled=True)
    assert plain(logits, marked, NERVE) == plain(logits, background, NERVE)
    torch.testing.assert_close(
        valid(logits, marked, NERVE), plain(logits[..., :5], labels[:, :5], NERVE)
    )
    assert valid(logits, labels, NERVE) == pytest.approx(plain(logits, labels, NERVE).item())
    marked[1] = 255
    kept = [0, 2]
    torch.testing.assert_close(
        valid(logits, marked, NERVE), plain(logits[kept][..., :5], labels[kept][:, :5], NERVE)
    )
    marked[:] = 255
    logits.requires_grad_()
    total = valid(logits, marked, NERVE)
    total.backward()
    assert total == 0 and not logits.grad.any()


@pytest.mark.parametrize('kind', ['dice', 'bce', 'bce_dice'])
@pytest.mark.parametrize('space', [(4,), (2, 3), (2, 1, 2)])
def test_gradcheck(space, kind):
    logits, labels = random_batch(NERVE, space)
    labels.view(-1)[0] = 255
    loss = TaskDiceLoss(kind=kind, ignore_unlabelled=True, class_weight=dict(cup=2.0))
    assert torch.autograd.gradcheck(lambda x: loss(x, labels, NERVE), logits.requires_grad_())


def test_a_channel_that_lacks():
    """It costs 1 with next to no gradient."""
    logits = torch.zeros(1, 1, 8, 8, requires_grad=True)
    loss = TaskDiceLoss()(logits, torch.zeros(1, 8, 8, dtype=torch.int64), ONE)
    loss.backward()
    assert loss.item() == pytest.approx(1, abs=1e-6)
    assert logits.grad.abs().max() < 1e-7


def test_half_precision_is_widened():
    logits, labels = random_batch(NERVE)
    assert TaskDiceLoss()(logits.bfloat16(), labels, NERVE).dtype == torch.float32


def test_mistakes():
    with pytest.raises(ValueError, match="'bce_dice'.*got 'ce'"):
        TaskDiceLoss(kind='ce')
    with pytest.raises(ValueError, match='smooth must be > 0, got 0'):
        TaskDiceLoss(smooth=0)
    logits, labels = random_batch(NERVE)
    with pytest.raises(ValueError, match=r"2 channels, expected .* \['vessel'\]"):
        TaskDiceLoss()(logits, labels, ONE)
    with pytest.raises(ValueError, match=r'found \[2\]'):
        TaskDiceLoss()(logits[:, :1], labels, ONE)
