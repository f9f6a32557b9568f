import numpy as np
import pytest

from mmjoint.functional.noise_levels import (
    cosine_betas,
    linear_betas,
    respaced_betas,
    spaced_steps,
    strided_steps,
)


def test_linear():
    assert linear_betas(5, start=0.1, end=0.5) == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])
    assert linear_betas(1000)[[0, -1]] == pytest.approx([1e-4, 0.02])


def test_cosine():
    betas = cosine_betas(50)
    level = np.cumprod(1 - betas)
    time = (25 / 50 + 0.008) / 1.008 * np.pi / 2
    start = 0.008 / 1.008 * np.pi / 2
    assert level[24] == pytest.approx((np.cos(time) / np.cos(start)) ** 2)
    assert (np.diff(betas) > 0).all() and betas[-1] == 0.999


def test_steps():
    assert spaced_steps(10, 10) == list(range(10))
    assert spaced_steps(10, 2) == [0, 9]
    assert spaced_steps(10, 1) == [0]
    # Sections of 4, 3 and 3 steps.
    assert spaced_steps(10, [2, 3, 1]) == [0, 3, 4, 5, 6, 7]
    for counts in (11, [2, 6], 0):
        with pytest.raises(ValueError, match='cannot keep'):
            spaced_steps(10, counts)
    assert strided_steps(10, 4) == [0, 3, 6, 9]
    with pytest.raises(ValueError, match='no whole stride leaves 6 of 10'):
        strided_steps(10, 6)


def test_respaced_betas_keep_the_levels():
    betas, steps = linear_betas(100), [0, 7, 50, 99]
    levels = np.cumprod(1 - betas)[steps]
    np.testing.assert_allclose(np.cumprod(1 - respaced_betas(betas, steps)), levels, rtol=1e-12)
    np.testing.assert_allclose(respaced_betas(betas, range(100)), betas, rtol=1e-9)
