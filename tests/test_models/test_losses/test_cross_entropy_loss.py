import math

import pytest
import torch

from mmjoint.models.losses import MaskedCrossEntropyLoss, full_precision, masked_mean


def random_batch(num_classes, space, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(3, num_classes, *space, generator=generator, dtype=torch.float64)
    return logits, torch.randint(num_classes, (3, *space), generator=generator)


@pytest.mark.parametrize(
    ('logits', 'target', 'expected'),
    [
        (((0.0, 0.0),), (1,), math.log(2)),
        (((math.log(3), 0.0), (0.0, 0.0)), (0, 1), (math.log(4 / 3) + math.log(2)) / 2),
        (((0.0, math.log(2), math.log(5)),), (1,), math.log(4)),
    ],
)
@pytest.mark.parametrize('space', [(), (2, 3), (2, 2, 2)])
def test_hand_values(logits, target, expected, space):
    logits = torch.tensor(logits, dtype=torch.float64)
    logits = logits.view(*logits.shape, *([1] * len(space))).expand(-1, -1, *space)
    target = torch.tensor(target).view(-1, *([1] * len(space))).expand(-1, *space)
    loss = MaskedCrossEntropyLoss(loss_weight=0.4)(logits, target)
    assert loss.item() == pytest.approx(0.4 * expected, abs=1e-12)


@pytest.mark.parametrize('space', [(), (3, 4), (2, 3, 2)])
def test_gradcheck(space):
    logits, target = random_batch(3, space)
    target[0] = 255
    loss = MaskedCrossEntropyLoss()
    assert torch.autograd.gradcheck(lambda x: loss(x, target), logits.requires_grad_())


@pytest.mark.parametrize('space', [(8,), (3, 4), (2, 3, 4)])
def test_ignored_target_is_a_removed_target(space):
    logits, target = random_batch(3, space)
    keep = torch.rand(target.shape, generator=torch.Generator().manual_seed(1)) < 0.6
    loss = MaskedCrossEntropyLoss()
    ignored = loss(logits, target.masked_fill(~keep, 255))
    removed = loss(logits.movedim(1, -1)[keep], target[keep])
    torch.testing.assert_close(ignored, removed)
    other = loss(logits, target.masked_fill(~keep, -1), ignore_index=-1)
    torch.testing.assert_close(other, removed)


@pytest.mark.parametrize('by_weight', [True, False])
def test_nothing_valid_is_zero_with_a_graph(by_weight):
    logits, target = random_batch(3, (2, 2))
    logits.requires_grad_()
    weight = torch.zeros(target.shape, dtype=torch.float64) if by_weight else None
    if not by_weight:
        target[:] = 255
    loss = MaskedCrossEntropyLoss()(logits, target, weight)
    assert loss.item() == 0.0
    loss.backward()
    assert torch.equal(logits.grad, torch.zeros_like(logits))


def test_weights_are_a_weighted_mean():
    logits, target = random_batch(3, ())
    loss = MaskedCrossEntropyLoss()
    each = [loss(logits[i : i + 1], target[i : i + 1]) for i in range(3)]
    weight = torch.tensor([1.0, 0.0, 3.0], dtype=torch.float64)
    torch.testing.assert_close(loss(logits, target, weight), (each[0] + 3 * each[2]) / 4)


def test_masked_mean():
    values = torch.tensor([1.0, 5.0, 9.0])
    assert masked_mean(values, torch.tensor([1.0, 1.0, 0.0])) == 3.0
    assert masked_mean(values, torch.zeros(3)) == 0.0


@pytest.mark.parametrize(
    ('dtype', 'expected'),
    [
        (torch.float16, torch.float32),
        (torch.bfloat16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ],
)
def test_full_precision(dtype, expected):
    assert full_precision(torch.ones(2, dtype=dtype)).dtype == expected
