import math

import pytest
import torch
import torch.nn.functional as F

from mmjoint.functional.adversarial import critic_losses, fooling_losses, score_loss

LN2 = math.log(2)
# Probabilities 1/2 and 3/4 of being real.
SCORES = torch.tensor([[[[0.0, math.log(3)]]]], dtype=torch.float64)


def test_score_loss_by_hand():
    assert float(score_loss(SCORES, real=True)) == pytest.approx((LN2 + math.log(4 / 3)) / 2)
    assert float(score_loss(SCORES, real=False)) == pytest.approx((LN2 + math.log(4)) / 2)


def test_score_loss_is_the_mean_cross_entropy_against_a_constant():
    scores = 5 * torch.randn(3, 1, 4, 5, generator=torch.Generator().manual_seed(0))
    for real, make in ((True, torch.ones_like), (False, torch.zeros_like)):
        expected = F.binary_cross_entropy_with_logits(scores, make(scores))
        assert torch.allclose(score_loss(scores, real=real), expected)
        half = score_loss(scores.bfloat16(), real=real)
        assert half.dtype == torch.float32 and torch.allclose(half, expected, atol=0.02)
    extreme = torch.tensor([200.0, -200.0], requires_grad=True)
    score_loss(extreme, real=True).backward()
    assert extreme.grad.tolist() == [0.0, -0.5]


def test_generator_pays_for_each_source():
    losses = fooling_losses({'a': SCORES, 'b': -SCORES}, weight=0.1)
    assert float(losses['a']) == pytest.approx(0.05 * (LN2 + math.log(4 / 3)))
    assert float(losses['b']) == pytest.approx(0.05 * (LN2 + math.log(4)))
    assert fooling_losses({}) == {}


def test_critic_gives_half_of_the_weight_to_each_side():
    zero = torch.zeros(2, 1, 1, 1)
    losses = critic_losses({'a': zero}, {'b': zero, 'c': SCORES, 'd': zero, 'e': zero})
    shares = {source: float(value) / LN2 for source, value in losses.items() if source != 'c'}
    assert shares == pytest.approx({'a': 0.5, 'b': 0.125, 'd': 0.125, 'e': 0.125})
    assert float(losses['c']) == pytest.approx(0.125 * (LN2 + math.log(4)) / 2)
    equal = critic_losses({1: zero, 2: zero}, {3: zero})
    assert [float(value) / LN2 for value in equal.values()] == pytest.approx([0.25, 0.25, 0.5])


@pytest.mark.parametrize(('real', 'fake'), [('', 'a'), ('a', ''), ('ab', 'b')])
def test_critic_needs_two_sides(real, fake):
    with pytest.raises(ValueError, match='real sources and others'):
        critic_losses({name: SCORES for name in real}, {name: SCORES for name in fake})
