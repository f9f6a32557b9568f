import numpy as np
import pytest

from mmjoint.functional.bootstrap import bootstrap_interval
from mmjoint.functional.ranking import auroc


def test_interval_of_a_mean_is_that_of_the_normal_distribution():
    rng = np.random.default_rng(0)
    values = rng.normal(3, 2, 400)
    low, high = bootstrap_interval(np.mean, values, num_resamples=4000)
    half = 1.96 * values.std() / np.sqrt(400)
    assert low == pytest.approx(values.mean() - half, abs=0.02)
    assert high == pytest.approx(values.mean() + half, abs=0.02)


def test_seed_and_constant():
    values = np.arange(20.0)
    first = bootstrap_interval(np.mean, values, num_resamples=50, seed=3)
    assert first == bootstrap_interval(np.mean, values, num_resamples=50, seed=3)
    assert first != bootstrap_interval(np.mean, values, num_resamples=50, seed=4)
    assert bootstrap_interval(np.mean, np.full(7, 2.5), num_resamples=20) == (2.5, 2.5)


def test_whole_groups_are_drawn():
    # Ten copies of each of 30 values tell no more than the 30 values.
    rng = np.random.default_rng(1)
    values = rng.normal(size=30)
    copies, patients = np.repeat(values, 10), np.repeat([f'p{i}' for i in range(30)], 10)

    def width(*args, **kwargs):
        low, high = bootstrap_interval(np.mean, *args, num_resamples=2000, **kwargs)
        return high - low

    single = width(values)
    assert width(copies, groups=patients) == pytest.approx(single, rel=0.1)
    assert width(copies) == pytest.approx(single / np.sqrt(10), rel=0.1)


def test_several_arrays_and_draws_without_a_value():
    scores, positives = np.array([0.1, 0.2, 0.9]), np.array([False, False, True])
    # A draw without the only positive has no AUC; in all others it is 1.
    assert bootstrap_interval(auroc, scores, positives, num_resamples=100) == (1, 1)
    alone = bootstrap_interval(auroc, scores[:2], positives[:2], num_resamples=5)
    assert np.isnan(alone).all()


def test_ill_input():
    with pytest.raises(ValueError, match=r'one length > 0, got \[2, 3\]'):
        bootstrap_interval(auroc, np.zeros(2), np.zeros(3))
    with pytest.raises(ValueError, match='one length > 0'):
        bootstrap_interval(np.mean, np.zeros(0))
