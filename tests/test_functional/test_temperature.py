import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from mmjoint.functional.temperature import (
    MAX_TEMPERATURE,
    MIN_TEMPERATURE,
    fit_temperature,
    temperature_grid,
    temperature_sums,
)


def sampled(num_classes, temperature, spread, count=4000, seed=0):
    """Log-probabilities that are off by ``temperature``, and labels drawn from the true ones."""
    rng = np.random.default_rng(seed)
    logits = spread * rng.standard_t(3, (num_classes, count))
    true = np.exp(log_softmax(logits, 0))
    labels = (rng.random(count) < np.cumsum(true, 0)).argmax(0)
    return log_softmax(logits * temperature, 0), labels


def brute_force(log_probs, labels):
    def likelihood(log_temperature):
        tempered = log_softmax(log_probs / np.exp(log_temperature), 0)
        return -tempered[labels, np.arange(len(labels))].mean()

    best = minimize_scalar(likelihood, bounds=(-3, 3), method='bounded', options={'xatol': 1e-9})
    return np.exp(best.x), likelihood(0.0), best.fun


@pytest.mark.parametrize('num_classes', [2, 3, 7])
@pytest.mark.parametrize('temperature', [0.11, 0.6, 1.0, 1.37, 4.2, 14.0])
@pytest.mark.parametrize('spread', [0.3, 2.0])
def test_against_scipy_on_the_raw_arrays(num_classes, temperature, spread):
    log_probs, labels = sampled(num_classes, temperature, spread)
    tensors = torch.from_numpy(log_probs), torch.from_numpy(labels)
    # In parts, as images come.
    parts = zip(tensors[0].split(1700, 1), tensors[1].split(1700), strict=True)
    fit = fit_temperature(sum(temperature_sums(*part) for part in parts), len(labels))
    best, before, after = brute_force(log_probs, labels)
    assert fit.temperature == pytest.approx(best, rel=1e-4)
    assert fit.nll_before == pytest.approx(before, rel=1e-5)
    assert fit.nll_after == pytest.approx(after, rel=1e-5)
    assert not fit.at_bound


def test_by_hand():
    # Three of four are right at p = 0.9: the tempered probability must be 0.75.
    log_probs = torch.tensor([[0.9, 0.9, 0.9, 0.1], [0.1, 0.1, 0.1, 0.9]]).log()
    target = torch.zeros(4, dtype=torch.int64)
    fit = fit_temperature(temperature_sums(log_probs, target), 4)
    assert fit.temperature == pytest.approx(np.log(9) / np.log(3), rel=1e-5)
    assert fit.nll_before == pytest.approx(-(3 * np.log(0.9) + np.log(0.1)) / 4, rel=1e-6)
    assert fit.nll_after == pytest.approx(-(3 * np.log(0.75) + np.log(0.25)) / 4, rel=1e-5)


def test_two_classes_as_many():
    log_probs, labels = (torch.from_numpy(each) for each in sampled(2, 2.0, 1.0))
    # A third class without any probability changes nothing.
    three = torch.cat([log_probs, torch.full_like(log_probs[:1], -80.0)])
    grid = temperature_grid()
    some = grid < 1.5  # hotter, the third class gets its share
    two, many = temperature_sums(log_probs, labels), temperature_sums(three, labels)
    np.testing.assert_allclose(two[:, some], many[:, some], rtol=1e-4)


def test_derivatives_are_those_of_the_likelihood():
    log_probs, labels = (torch.from_numpy(each) for each in sampled(3, 2.0, 1.0, count=50))
    sums = temperature_sums(log_probs, labels)
    for place, temperature in enumerate(temperature_grid()[::8]):
        beta = torch.tensor(1 / temperature, requires_grad=True)
        value = torch.nn.functional.cross_entropy((log_probs * beta).T, labels, reduction='sum')
        (first,) = torch.autograd.grad(value, beta, create_graph=True)
        (second,) = torch.autograd.grad(first, beta)
        expected = [float(each.detach()) for each in (value, first, second)]
        np.testing.assert_allclose(sums[:, 8 * place], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(('label', 'expected'), [(0, MIN_TEMPERATURE), (1, MAX_TEMPERATURE)])
@pytest.mark.parametrize('num_classes', [2, 4])
def test_without_an_optimum_the_range_ends(label, expected, num_classes):
    """All right, or all wrong."""
    log_probs = torch.tensor([2.0] + [0.0] * (num_classes - 1))[:, None].repeat(1, 5)
    target = torch.full((5,), label)
    fit = fit_temperature(temperature_sums(log_probs, target), 5)
    assert (fit.temperature, fit.at_bound) == (expected, True)
    assert fit.nll_after < fit.nll_before


@pytest.mark.parametrize('num_classes', [2, 3])
def test_where_nothing_is_preferred_the_temperature_stays_1(num_classes):
    log_probs = torch.full((num_classes, 4), -1.0)
    fit = fit_temperature(temperature_sums(log_probs, torch.tensor([0, 1, 1, 0])), 4)
    assert (fit.temperature, fit.at_bound) == (1.0, False)
    assert fit.nll_before == fit.nll_after == pytest.approx(np.log(num_classes))


def test_saturated_probabilities():
    tiny = float(torch.finfo(torch.float32).tiny)
    log_probs = torch.tensor([[1.0, 1.0, tiny, 0.5], [tiny, tiny, 1.0, 0.5]]).log()
    fit = fit_temperature(temperature_sums(log_probs, torch.tensor([0, 1, 1, 0])), 4)
    assert np.isfinite(fit.nll_after) and fit.nll_after < fit.nll_before


def test_what_is_refused():
    with pytest.raises(ValueError, match='no predictions'):
        fit_temperature(np.zeros((3, len(temperature_grid()))), 0)
    with pytest.raises(ValueError, match=r'target must lie in \[0, 2\), got 0..255'):
        temperature_sums(torch.zeros(2, 2), torch.tensor([0, 255]))
    with pytest.raises(ValueError, match='must be finite'):
        temperature_sums(torch.tensor([[0.0], [-torch.inf]]), torch.tensor([0]))
