import pytest
import torch

from mmjoint.models.losses import SoftDiceLoss

SCHEMES = ('joint', 'per_class', 'foreground')
schemes = pytest.mark.parametrize('scheme', SCHEMES)


def random_batch(num_classes, space, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(3, num_classes, *space, generator=generator, dtype=torch.float64)
    return logits.softmax(1), torch.randint(num_classes, (3, *space), generator=generator)


@pytest.mark.parametrize(
    ('scheme', 'expected'),
    [
        # Pixels (1, 0), (3/4, 1/4) with classes 0, 1: overlaps 1 and 1/4, sizes 7/4 + 1, 1/4 + 1.
        ('joint', 1 - 2 * 1.25 / 4),
        ('per_class', 1 - (8 / 11 + 2 / 5) / 2),
        ('foreground', 1 - 2 / 5),
    ],
)
def test_hand_values(scheme, expected):
    probs = torch.tensor([[[1.0, 0.75], [0.0, 0.25]]], dtype=torch.float64)
    target = torch.tensor([[0, 1]])
    loss = SoftDiceLoss(scheme=scheme, smooth=1e-12)(probs, target)
    assert loss.item() == pytest.approx(expected, abs=1e-10)
    half = SoftDiceLoss(scheme=scheme, smooth=1e-12, loss_weight=0.5)(probs, target)
    assert half.item() == pytest.approx(expected / 2, abs=1e-10)
    split = probs.permute(2, 1, 0), target.T  # one pixel per image: the batch is summed over
    assert SoftDiceLoss(scheme=scheme, smooth=1e-12)(*split).item() == pytest.approx(expected)


@pytest.mark.parametrize('space', [(7,), (3, 4), (2, 3, 4)])
def test_joint_is_the_mean_probability_of_the_wrong_classes(space):
    probs, target = random_batch(3, space)
    target[0, 0] = 255
    valid = target != 255
    right = probs.gather(1, target.masked_fill(~valid, 0)[:, None])[:, 0][valid]
    loss = SoftDiceLoss()(probs, target)
    assert loss.item() == pytest.approx(1 - right.mean().item(), abs=1e-7)


@schemes
@pytest.mark.parametrize('space', [(4,), (2, 3, 2)])
def test_gradcheck(space, scheme):
    probs, target = random_batch(3, space)
    target[0, 0] = 255
    loss = SoftDiceLoss(scheme=scheme, smooth=0.1)
    assert torch.autograd.gradcheck(lambda p: loss(p, target), probs.requires_grad_())


@schemes
@pytest.mark.parametrize('space', [(8,), (3, 4), (2, 3, 4)])
def test_ignored_target_is_a_removed_target(space, scheme):
    probs, target = random_batch(3, space)
    keep = torch.rand(target.shape, generator=torch.Generator().manual_seed(1)) < 0.6
    loss = SoftDiceLoss(scheme=scheme)
    removed = loss(probs.movedim(1, -1)[keep], target[keep])
    torch.testing.assert_close(loss(probs, target.masked_fill(~keep, 255)), removed)
    other = loss(probs, target.masked_fill(~keep, -1), ignore_index=-1)
    torch.testing.assert_close(other, removed)


@schemes
def test_nothing_valid_is_zero_with_a_graph(scheme):
    probs, target = random_batch(2, (2, 2))
    probs.requires_grad_()
    loss = SoftDiceLoss(scheme=scheme)(probs, torch.full_like(target, 255))
    assert loss.item() == 0.0
    loss.backward()
    assert torch.equal(probs.grad, torch.zeros_like(probs))


def test_impossible_options():
    with pytest.raises(ValueError, match="scheme must be .* got 'global'"):
        SoftDiceLoss(scheme='global')
    with pytest.raises(ValueError, match='smooth must be > 0, got 0'):
        SoftDiceLoss(smooth=0)
