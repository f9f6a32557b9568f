import math

import pytest

from mmjoint.functional.uncertainty_scale import (
    primary_measure,
    split_measure,
    task_measure,
    uncertainty_upper_bound,
)


@pytest.mark.parametrize(
    'measure, num_classes, expected',
    [
        ('vacuity', 5, 1.0),
        ('dissonance', 5, 1.0),
        ('variance', 5, 0.25),
        ('predictive_entropy', 2, math.log(2)),
        ('mutual_information', 3, math.log(3)),
        ('expected_entropy', 4, math.log(4)),
    ],
)
def test_upper_bound(measure, num_classes, expected):
    assert uncertainty_upper_bound(measure, num_classes) == expected


def test_unknown_measure_names_the_known_ones():
    with pytest.raises(ValueError, match="unknown uncertainty measure 'doubt'.*vacuity"):
        uncertainty_upper_bound('doubt', 2)


def test_one_class_has_no_range():
    with pytest.raises(ValueError, match='num_classes must be >= 2, got 1'):
        uncertainty_upper_bound('vacuity', 1)


def test_primary_measure_prefers_vacuity():
    assert primary_measure(['predictive_entropy', 'dissonance', 'vacuity']) == 'vacuity'
    assert primary_measure(['dissonance', 'expected_entropy']) == 'expected_entropy'
    assert primary_measure(['zeta', 'eta']) == 'eta'
    assert primary_measure([]) is None


def test_measures_of_tasks():
    assert split_measure('expected_entropy_od_oc') == ('expected_entropy', 'od_oc')
    assert split_measure('variance') == ('variance', None)
    assert split_measure('variances_x') == ('variances_x', None)
    assert task_measure('variance', 'vessel') == 'variance_vessel'
    # Two classes, yes and no, however many the mask has.
    assert uncertainty_upper_bound('predictive_entropy_vessel', 7) == math.log(2)
    assert uncertainty_upper_bound('variance_vessel', 7) == 0.25
    names = ['variance_b', 'variance_a', 'mutual_information_b', 'predictive_entropy_b']
    assert primary_measure(names) == 'predictive_entropy_b'
    assert primary_measure([*names, 'variance']) == 'variance'
