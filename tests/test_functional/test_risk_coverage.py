import itertools

import numpy as np
import pytest

from mmjoint.functional.risk_coverage import (
    area_under_risk_coverage,
    area_under_sparsification_error,
    excess_area_under_risk_coverage,
    group_by_uncertainty,
    risk_coverage_curve,
)


def area_in_order(errors):
    """The definition, for one order."""
    return np.mean(np.cumsum(errors) / np.arange(1, len(errors) + 1))


def area_over_orders(uncertainty, errors):
    """The mean over all orders that the uncertainty allows."""
    members = [np.flatnonzero(uncertainty == value) for value in np.unique(uncertainty)]
    orders = itertools.product(*(itertools.permutations(group) for group in members))
    return np.mean([area_in_order(errors[np.concatenate(order)]) for order in orders])


def test_by_hand():
    # Right, wrong, right in rising order of uncertainty: risks 0, 1/2, 1/3; best order: 0, 0, 1/3.
    counts, errors = group_by_uncertainty([0.5, 0.1, 0.9], [1, 0, 0])
    assert counts.tolist() == [1, 1, 1] and errors.tolist() == [0, 1, 0]
    curve = risk_coverage_curve(counts, errors)
    np.testing.assert_allclose(curve.coverage, [1 / 3, 2 / 3, 1])
    np.testing.assert_allclose(curve.risk, [0, 1 / 2, 1 / 3])
    assert area_under_risk_coverage(counts, errors) == pytest.approx(5 / 18)
    best = (2, 1), (0, 1)
    assert excess_area_under_risk_coverage(counts, errors, *best) == pytest.approx(3 / 18)
    # The mean error is 1/3. Sparsification curves / (1/3): 1, 3/2, 0 and 1, 0, 0.
    ause = area_under_sparsification_error(counts, errors, *best)
    assert ause == pytest.approx((1 + 1.5 + 0) / 3 - 1 / 3)


@pytest.mark.parametrize('kind', ['wrong', 'real'])
def test_without_ties_against_the_definition(kind):
    rng = np.random.default_rng(0)
    uncertainty = rng.permutation(200) / 200
    errors = rng.random(200) * uncertainty
    if kind == 'wrong':
        errors = (errors > 0.3).astype(float)
    groups = group_by_uncertainty(uncertainty, errors)
    best = group_by_uncertainty(errors, errors)
    area = area_in_order(errors[np.argsort(uncertainty)])
    oracle = area_in_order(np.sort(errors))
    assert area_under_risk_coverage(*groups) == pytest.approx(area, rel=1e-12)
    assert area_under_risk_coverage(*best) == pytest.approx(oracle, rel=1e-12)
    excess = excess_area_under_risk_coverage(*groups, *best)
    assert excess == pytest.approx(area - oracle, rel=1e-9)
    # Plain definition of AUSE: mean error of what stays after taking out the k most uncertain.
    curves = [
        [errors[order[: 200 - k]].mean() / errors.mean() for k in range(200)]
        for order in (np.argsort(uncertainty), np.argsort(errors))
    ]
    ause = area_under_sparsification_error(*groups, *best)
    assert ause == pytest.approx(np.mean(curves[0]) - np.mean(curves[1]), rel=1e-9)


@pytest.mark.parametrize('seed', range(4))
def test_ties_are_the_mean_over_all_orders(seed):
    rng = np.random.default_rng(seed)
    uncertainty = rng.integers(0, 3, 8)
    for errors in (rng.integers(0, 2, 8), rng.random(8)):
        found = area_under_risk_coverage(*group_by_uncertainty(uncertainty, errors))
        assert found == pytest.approx(area_over_orders(uncertainty, errors), rel=1e-12)


def test_large_histograms_are_as_exact_as_single_items():
    rng = np.random.default_rng(1)
    counts = rng.integers(0, 10_000, 100)
    errors = rng.binomial(counts, np.linspace(0, 0.9, 100))
    # Each item of a group has the expected error of its group.
    each = np.repeat(errors / np.maximum(counts, 1), counts)
    found = area_under_risk_coverage(counts, errors)
    assert found == pytest.approx(area_in_order(each), rel=1e-10)


def test_all_right_all_wrong_nothing():
    nothing, all_right, all_wrong = ([], []), ([2, 3], [0, 0]), ([2, 3], [2, 3])
    assert np.isnan(area_under_risk_coverage(*nothing))
    assert area_under_risk_coverage(*all_right) == 0
    assert area_under_risk_coverage(*all_wrong) == pytest.approx(1)
    for groups, best in ((all_right, ((5, 0), (0, 0))), (all_wrong, ((0, 5), (0, 5)))):
        assert excess_area_under_risk_coverage(*groups, *best) == pytest.approx(0, abs=1e-12)
    assert np.isnan(area_under_sparsification_error(*all_right, (5, 0), (0, 0)))
    assert area_under_sparsification_error(*all_wrong, (0, 5), (0, 5)) == pytest.approx(0)
    assert np.isnan(area_under_sparsification_error(*nothing, *nothing))
    assert np.isnan(excess_area_under_risk_coverage(*nothing, *nothing))
    assert risk_coverage_curve(*nothing).risk.size == 0


def test_chance_and_the_worst_order():
    same = group_by_uncertainty(np.zeros(100), np.arange(100) < 20)
    assert area_under_risk_coverage(*same) == pytest.approx(0.2)
    oracle = (80, 20), (0, 20)
    worst = area_under_risk_coverage((20, 80), (20, 0))
    assert worst > 0.2 > area_under_risk_coverage(*oracle)


def test_infinite_is_the_most_uncertain_and_nan_is_refused():
    counts, errors = group_by_uncertainty([np.inf, 1e30, np.inf], [1, 0, 0])
    assert counts.tolist() == [1, 2] and errors.tolist() == [0, 1]
    with pytest.raises(ValueError, match='must not be NaN'):
        group_by_uncertainty([np.nan, 1.0], [1, 0])
    with pytest.raises(ValueError, match=r'must be \(N,\), got \(2,\) and \(3,\)'):
        group_by_uncertainty([1.0, 1.0], [1, 0, 0])
    with pytest.raises(ValueError, match=r'must be \(G,\)'):
        area_under_risk_coverage([1, 2], [1])
