import math

import pytest

from mmjoint.functional.ramps import linear_ramp_up, sigmoid_ramp_up


@pytest.mark.parametrize(
    ('current', 'length', 'expected'),
    [(0, 50, 0.0), (1, 50, 0.02), (25, 50, 0.5), (50, 50, 1.0), (99, 50, 1.0), (0.125, 0.5, 0.25)],
)
def test_linear_ramp_up(current, length, expected):
    assert linear_ramp_up(current, length) == pytest.approx(expected, abs=1e-15)


@pytest.mark.parametrize('current', [0, 0.5, 3])
def test_ramp_of_length_zero_is_over(current):
    assert linear_ramp_up(current, 0) == 1.0


@pytest.mark.parametrize(('current', 'length'), [(-1, 5), (1, -5)])
def test_negative_times_are_refused(current, length):
    with pytest.raises(ValueError, match=f'got current={current} and length={length}'):
        linear_ramp_up(current, length)


def test_sigmoid_ramp_up():
    assert sigmoid_ramp_up(0, 8) == pytest.approx(math.exp(-5))
    assert sigmoid_ramp_up(4, 8) == pytest.approx(math.exp(-5 / 4))
    assert sigmoid_ramp_up(8, 8) == sigmoid_ramp_up(100, 8) == sigmoid_ramp_up(0, 0) == 1
    with pytest.raises(ValueError, match='current=-1'):
        sigmoid_ramp_up(-1, 8)
