import math

import pytest
import torch

from mmjoint.models.losses import EvidentialLoss

forms = pytest.mark.parametrize('fused', [True, False])


def make(kl_weight, **options):
    loss = EvidentialLoss(annealing=0.5, **options)
    loss.set_train_progress(0.5 * kl_weight)
    return loss


def random_batch(num_classes, space, seed=0):
    generator = torch.Generator().manual_seed(seed)
    alpha = 1 + 5 * torch.rand(3, num_classes, *space, generator=generator, dtype=torch.float64)
    return alpha, torch.randint(num_classes, (3, *space), generator=generator)


@forms
@pytest.mark.parametrize(
    ('alpha', 'target', 'nll', 'divergence'),
    [
        # Two classes: psi gaps are sums of 1/n; divergence ln a + 1/a - 1.
        (((4, 1), (4, 1)), (0, 1), (1 / 4, 25 / 12), (0, math.log(4) - 3 / 4)),
        # Three: the wrong opinions (1, 1, 3) and (2, 2, 1).
        (
            ((1, 7, 3), (2, 2, 5)),
            (1, 2),
            (1 / 7 + 1 / 8 + 1 / 9 + 1 / 10, 1 / 5 + 1 / 6 + 1 / 7 + 1 / 8),
            (math.log(6) - 7 / 6, math.log(12) - 13 / 6),
        ),
    ],
)
@pytest.mark.parametrize('kl_weight', [0.0, 0.4, 1.0])
@pytest.mark.parametrize('space', [(), (2, 3), (2, 3, 2)])
def test_hand_values(alpha, target, nll, divergence, kl_weight, space, fused):
    alpha = torch.tensor(alpha, dtype=torch.float64)
    alpha = alpha.view(*alpha.shape, *([1] * len(space))).expand(-1, -1, *space)
    target = torch.tensor(target).view(-1, *([1] * len(space))).expand(-1, *space)
    loss = make(kl_weight, fused=fused, loss_weight=0.5)(alpha, target)
    expected = 0.5 * (sum(nll) + kl_weight * sum(divergence)) / 2
    assert loss.shape == ()
    assert loss.item() == pytest.approx(expected, abs=1e-11)


@pytest.mark.parametrize('num_classes', [2, 3, 5])
@pytest.mark.parametrize('kl_weight', [0.0, 0.4])
@pytest.mark.parametrize('space', [(), (4, 3), (2, 3, 2)])
def test_fused_equals_plain(num_classes, kl_weight, space):
    alpha, target = random_batch(num_classes, space)
    if space:
        target[0, 0] = 255
    results = []
    for fused in (True, False):
        leaf = alpha.clone().requires_grad_()
        value = make(kl_weight, fused=fused)(leaf, target)
        value.backward()
        results.append((value.detach(), leaf.grad))
    (value, gradient), (plain, plain_gradient) = results
    assert abs(value - plain) <= 1e-9 * abs(plain)
    assert (gradient - plain_gradient).abs().max() <= 1e-9 * plain_gradient.abs().max()


@forms
@pytest.mark.parametrize('num_classes', [2, 3, 5])
def test_gradcheck(num_classes, fused):
    alpha, target = random_batch(num_classes, (2,))
    target[0, 0] = 255
    loss = make(0.7, fused=fused)
    assert torch.autograd.gradcheck(lambda a: loss(a, target), alpha.requires_grad_())


@forms
@pytest.mark.parametrize('space', [(6,), (2, 3), (2, 3, 2)])
def test_ignored_target_is_a_removed_target(space, fused):
    alpha, target = random_batch(3, space)
    keep = torch.rand(target.shape, generator=torch.Generator().manual_seed(1)) < 0.6
    loss = make(0.5, fused=fused)
    ignored = loss(alpha, target.masked_fill(~keep, 255))
    removed = loss(alpha.movedim(1, -1)[keep], target[keep])
    torch.testing.assert_close(ignored, removed)
    other = loss(alpha, target.masked_fill(~keep, -1), ignore_index=-1)
    torch.testing.assert_close(other, removed)
    leaf = alpha.clone().requires_grad_()
    loss(leaf, target.masked_fill(~keep, 255)).backward()
    assert (leaf.grad.movedim(1, -1)[~keep] == 0).all()


@forms
@pytest.mark.parametrize('by_weight', [True, False])
def test_nothing_valid_is_zero_with_a_graph(by_weight, fused):
    alpha, target = random_batch(3, (2, 2))
    alpha.requires_grad_()
    weight = torch.zeros(target.shape, dtype=torch.float64) if by_weight else None
    if not by_weight:
        target[:] = 255
    loss = make(1.0, fused=fused)(alpha, target, weight)
    assert loss.item() == 0.0
    loss.backward()
    assert torch.equal(alpha.grad, torch.zeros_like(alpha))


def test_weights_are_a_weighted_mean():
    alpha, target = random_batch(3, ())
    loss = make(0.5)
    each = torch.stack([loss(alpha[i : i + 1], target[i : i + 1]) for i in range(3)])
    weight = torch.tensor([1.0, 0.0, 3.0], dtype=torch.float64)
    expected = (each[0] + 3 * each[2]) / 4
    torch.testing.assert_close(loss(alpha, target, weight), expected)


def test_annealing_follows_the_progress():
    loss = EvidentialLoss(annealing=0.5)
    assert loss.kl_weight == 0.0
    for progress, expected in ((0.0, 0.0), (0.01, 0.02), (0.25, 0.5), (0.5, 1.0), (0.99, 1.0)):
        loss.set_train_progress(progress)
        assert loss.kl_weight == pytest.approx(expected, abs=1e-15)
    assert EvidentialLoss(annealing=0.0).kl_weight == 1.0


def test_a_low_precision_input_and_large_evidence_stay_finite():
    alpha = torch.tensor([[1.0, 1e6], [1.0 + 1e-6, 1.0]], requires_grad=True)
    loss = make(1.0)(alpha, torch.tensor([0, 1]))
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(alpha.grad).all()


@pytest.mark.parametrize('annealing', [-0.1, 1.5])
def test_impossible_annealing(annealing):
    with pytest.raises(ValueError, match=rf'annealing .*\[0, 1\], got {annealing}'):
        EvidentialLoss(annealing=annealing)


def test_misspelt_option():
    with pytest.raises(TypeError, match='anealing'):
        EvidentialLoss(anealing=0.5)


def test_logits_in_place_of_alpha_are_refused():
    with pytest.raises(ValueError, match='alpha must be > 0, got min -1; pass evidence'):
        EvidentialLoss()(torch.tensor([[2.0, -1.0]]), torch.tensor([0]))
