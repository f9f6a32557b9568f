import math

import pytest

from mmjoint.functional.uncertainty_scale import primary_measure, uncertainty_upper_bound


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
