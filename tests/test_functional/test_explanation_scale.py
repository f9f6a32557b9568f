import numpy as np
import pytest

from mmjoint.functional.explanation_scale import explanation_upper


@pytest.mark.parametrize(
    ('values', 'expected'),
    [
        (np.arange(101.0).reshape(1, 101), 99.0),
        (np.append(np.zeros(999), 0.3), 0.3),  # the percentile is 0
        (np.zeros((4, 4)), 1.0),
        (np.array([np.nan, 2.0, 2.0]), 2.0),
        (np.full(3, np.nan), 1.0),
    ],
)
def test_range_of_drawings(values, expected):
    assert explanation_upper(values) == pytest.approx(expected)
