import math

import pytest
import torch
import torch.nn.functional as F

from mmjoint.functional.dirichlet import (
    dirichlet_kl,
    dissonance,
    evidence_from_logits,
    evidential_kl,
    evidential_kl_plain,
    evidential_nll,
    expected_entropy,
    expected_probs,
    opinion_measures,
    predictive_entropy,
    vacuity,
    wrong_class_index,
)

LN2, LN3 = math.log(2), math.log(3)
# psi(1) = -0.57721..., psi(n + 1) = psi(n) + 1 / n: differences of psi at whole numbers are sums.


def row(*alpha):
    return torch.tensor([alpha], dtype=torch.float64)


def random_alpha(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return 1 + 8 * torch.rand(shape, generator=generator, dtype=torch.float64)


# Worked out by hand: alpha -> S, vacuity, mean entropy of the drawn categoricals.
HAND = [
    ((1.0, 1.0), 1.0, 0.5),  # psi(3) - psi(2) = 1/2
    ((1.0, 1.0, 1.0), 1.0, 5 / 6),  # psi(4) - psi(2) = 1/2 + 1/3
    ((3.0, 1.0), 0.5, 3 / 4 * (1 / 4) + 1 / 4 * (1 / 2 + 1 / 3 + 1 / 4)),
    ((2.0, 2.0, 2.0), 0.5, 1 / 3 + 1 / 4 + 1 / 5 + 1 / 6),  # psi(7) - psi(3)
]


@pytest.mark.parametrize(('alpha', 'expected_vacuity', 'expected_mean_entropy'), HAND)
def test_hand_values(alpha, expected_vacuity, expected_mean_entropy):
    alpha = row(*alpha)
    assert vacuity(alpha).item() == pytest.approx(expected_vacuity, abs=1e-14)
    assert expected_entropy(alpha).item() == pytest.approx(expected_mean_entropy, abs=1e-12)
    measures = opinion_measures(alpha)
    probs = (alpha / alpha.sum())[0].tolist()
    total = -sum(p * math.log(p) for p in probs)
    assert measures['predictive_entropy'].item() == pytest.approx(total, abs=1e-14)
    assert measures['mutual_information'].item() == pytest.approx(
        total - expected_mean_entropy, abs=1e-12
    )


@pytest.mark.parametrize(
    ('alpha', 'expected'),
    [
        ((1, 1, 1), 0.0),  # nothing believed, nothing in conflict
        ((9, 1, 1), 0.0),  # all mass on one class
        ((5, 5), 0.8),  # b = (.4, .4), balance 1: .4 + .4
        ((4, 2), 1 / 3),  # b = (1/2, 1/6), balance 1/2: each class counts half its mass
        ((3, 3, 1), 4 / 7),  # b = (2/7, 2/7, 0): the class without mass changes nothing
        ((2, 2, 2), 0.5),  # b = 1/6 each, balance 1
        # b = (3, 1, 1)/8: balances 1/2 and 1 -> 3/8*1/2 + 2 * 1/8 * (3*1/2 + 1)/4
        ((4, 2, 2), 3 / 16 + 5 / 32),
    ],
)
def test_dissonance_by_hand(alpha, expected):
    assert dissonance(row(*alpha)).item() == pytest.approx(expected, abs=1e-12)


def test_dissonance_against_a_loop_over_the_definition():
    alpha = random_alpha(6, 4, 3)
    belief = (alpha - 1) / alpha.sum(1, keepdim=True)
    actual = dissonance(alpha)
    for i in range(6):
        for n in range(3):
            b = belief[i, :, n].tolist()
            total = 0.0
            for k in range(4):
                others = [b[j] for j in range(4) if j != k]
                balances = [1 - abs(o - b[k]) / (o + b[k]) for o in others]
                shared = sum(o * bal for o, bal in zip(others, balances, strict=True))
                total += b[k] * shared / sum(others)
            assert actual[i, 0, n].item() == pytest.approx(total, abs=1e-13)


@pytest.mark.parametrize('alpha', [(1.0, 1.0), (3.0, 1.5), (1.0, 1.0, 1.0), (6.0, 2.0, 1.2)])
def test_measures_against_sampling(alpha):
    torch.manual_seed(0)
    alpha = row(*alpha)
    draws = torch.distributions.Dirichlet(alpha[0]).sample((200_000,))
    entropies = torch.special.entr(draws).sum(1)
    error = 5 * entropies.std().item() / math.sqrt(len(draws))
    measures = {name: value.item() for name, value in opinion_measures(alpha).items()}
    assert measures['expected_entropy'] == pytest.approx(entropies.mean().item(), abs=error)
    mean = draws.mean(0)
    total = torch.special.entr(mean).sum().item()
    assert measures['predictive_entropy'] == pytest.approx(total, abs=3e-3)
    # Mutual information of class and probabilities: mean divergence of a draw from the mean.
    divergence = (torch.xlogy(draws, draws) - draws * mean.log()).sum(1)
    error = 5 * divergence.std().item() / math.sqrt(len(draws))
    assert measures['mutual_information'] == pytest.approx(divergence.mean().item(), abs=error)
    torch.testing.assert_close(expected_probs(alpha)[0], mean, atol=3e-3, rtol=0)


@pytest.mark.parametrize('alpha', [(3.0, 1.5), (6.0, 2.0, 1.2)])
def test_losses_against_sampling(alpha):
    torch.manual_seed(0)
    alpha = row(*alpha)
    target = torch.tensor([1])
    drawn = torch.distributions.Dirichlet(alpha[0])
    draws = drawn.sample((200_000,))
    for values, exact in (
        (-draws[:, 1].log(), evidential_nll(alpha, target)),
        (  # ratio to the uniform density, Gamma(K)
            drawn.log_prob(draws) - math.lgamma(alpha.shape[1]),
            dirichlet_kl(alpha),
        ),
    ):
        error = 5 * values.std().item() / math.sqrt(len(values))
        assert exact.item() == pytest.approx(values.mean().item(), abs=error)


def test_predictive_entropy_counts_zero_log_zero_as_zero():
    probs = torch.tensor([[1.0, 0.0], [0.5, 0.5]])
    assert predictive_entropy(probs).flatten().tolist() == pytest.approx([0.0, LN2])


def test_softplus_evidence():
    logits = torch.tensor([[0.0, 100.0, -100.0]], dtype=torch.float64)
    assert evidence_from_logits(logits)[0].tolist() == pytest.approx([LN2, 100.0, 0.0], abs=1e-40)


# ------------------------------------------------------------------------------------- losses


@pytest.mark.parametrize(
    ('alpha', 'target', 'nll', 'divergence'),
    [
        ((1, 1), 0, 1.0, 0.0),  # psi(2) - psi(1) = 1; no evidence
        ((4, 1), 0, 1 / 4, 0.0),  # psi(5) - psi(4)
        ((4, 1), 1, 1 + 1 / 2 + 1 / 3 + 1 / 4, math.log(4) + 1 / 4 - 1),
        ((1, 3, 2), 1, 1 / 3 + 1 / 4 + 1 / 5, None),
        # wrong (1, 1, 3) -> S = 5: ln 24 - ln 2 - ln 2 + 2 (psi(3) - psi(5)), psi gap 1/3 + 1/4
        ((1, 7, 3), 1, 1 / 7 + 1 / 8 + 1 / 9 + 1 / 10, math.log(6) - 2 * (1 / 3 + 1 / 4)),
        # wrong (2, 2, 1) -> S = 5: ln 24 - ln 2 + 2 (psi(2) - psi(5))
        ((2, 2, 5), 2, 1 / 5 + 1 / 6 + 1 / 7 + 1 / 8, math.log(12) - 2 * (1 / 2 + 1 / 3 + 1 / 4)),
    ],
)
@pytest.mark.parametrize('space', [(), (2, 3), (2, 3, 2)])
def test_evidential_terms_by_hand(alpha, target, nll, divergence, space):
    alpha = row(*alpha).view(1, -1, *([1] * len(space))).expand(2, -1, *space)
    target = torch.full((2, *space), target)
    result = evidential_nll(alpha, target)
    assert result.shape == (2, *space)
    torch.testing.assert_close(result, torch.full_like(result, nll))
    for function in (evidential_kl, evidential_kl_plain):
        result = function(alpha, target)
        assert result.shape == (2, *space)
        if divergence is not None:
            torch.testing.assert_close(result, torch.full_like(result, divergence))
    torch.testing.assert_close(evidential_kl(alpha, target), evidential_kl_plain(alpha, target))


def test_divergence_from_uniform_by_hand():
    # Dirichlet(2, 2, 2): ln 120 - ln 2 + 3 (psi(2) - psi(6)), psi gap 1/2 + 1/3 + 1/4 + 1/5
    expected = math.log(60) - 3 * (1 / 2 + 1 / 3 + 1 / 4 + 1 / 5)
    assert dirichlet_kl(row(2, 2, 2)).item() == pytest.approx(expected, abs=1e-12)
    assert dirichlet_kl(row(1, 1, 1)).item() == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize('num_classes', [2, 3, 5])
@pytest.mark.parametrize('space', [(), (4, 3), (2, 3, 2)])
def test_wrong_evidence_against_its_definition(num_classes, space):
    alpha = random_alpha(3, num_classes, *space)
    target = torch.randint(num_classes, (3, *space))
    results = []
    for function in (evidential_kl, evidential_kl_plain):
        leaf = alpha.clone().requires_grad_()
        value = function(leaf, target)
        (value * torch.linspace(0.5, 2, value.numel()).view_as(value)).sum().backward()
        results.append((value.detach(), leaf.grad))
    (value, gradient), (plain_value, plain_gradient) = results
    # Of two classes the fused form is elementary; the trigamma of the plain one is good to 1e-10.
    torch.testing.assert_close(value, plain_value, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(gradient, plain_gradient, rtol=1e-9, atol=1e-9)
    assert (gradient.gather(1, target.unsqueeze(1)) == 0).all()


@pytest.mark.parametrize('num_classes', [2, 3, 5])
def test_gradcheck(num_classes):
    alpha = random_alpha(2, num_classes, 2).requires_grad_()
    target = torch.randint(num_classes, (2, 2))
    for function in (evidential_nll, evidential_kl, evidential_kl_plain):
        assert torch.autograd.gradcheck(lambda a, f=function: f(a, target), alpha)
    assert torch.autograd.gradcheck(dirichlet_kl, alpha)


def test_hand_written_gradient_by_its_formula():
    alpha = random_alpha(4, 4).requires_grad_()
    target = torch.tensor([0, 1, 2, 3])
    evidential_kl(alpha, target).sum().backward()
    wrong = alpha.detach().masked_fill(F.one_hot(target, 4).bool(), 1.0)
    strength = wrong.sum(1, keepdim=True)
    own = (wrong - 1) * torch.polygamma(1, wrong)
    common = (strength - 4) * torch.polygamma(1, strength)
    expected = (own - common).masked_fill(F.one_hot(target, 4).bool(), 0.0)
    torch.testing.assert_close(alpha.grad, expected, rtol=1e-12, atol=1e-12)


def test_wrong_class_index():
    index = wrong_class_index(torch.tensor([[0, 1], [2, 1]]), 3)
    assert index[:, :, 0].tolist() == [[1, 2], [0, 1]]
    assert index[:, :, 1].tolist() == [[2, 0], [2, 0]]


def test_shared_index_changes_nothing():
    alpha, target = random_alpha(2, 3, 4), torch.randint(3, (2, 4))
    index = wrong_class_index(target, 3)
    torch.testing.assert_close(
        evidential_kl(alpha, target, wrong_index=index), evidential_kl(alpha, target)
    )


def test_ranges_over_random_opinions():
    alpha = 1 + torch.distributions.Exponential(0.1).sample((1000, 3))
    alpha[::7] = 1.0
    alpha[::5, 1] = 1e6
    for name, value in opinion_measures(alpha).items():
        high = LN3 + 1e-6 if 'entropy' in name or 'mutual' in name else 1.0
        assert value.shape == (1000, 1), name
        assert torch.isfinite(value).all() and (value >= 0).all() and (value <= high).all(), name
