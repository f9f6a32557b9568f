import math

import pytest
import torch

from mmjoint.functional.difficulty import (
    advance_difficulty,
    difficulty_weights,
    initial_difficulty,
)


def test_two_steps_by_hand():
    state = initial_difficulty(torch.zeros(2, dtype=torch.float64))
    # Before anything was learned all classes are hard: ratio 1, undice 1.
    assert difficulty_weights(state).tolist() == [2, 2]
    state = advance_difficulty(state, torch.tensor([0.5, 1e-8], dtype=torch.float64), 0.9)
    first = 0.1 * (0.5 - 1e-8) * math.log(0.5 / 1e-8)
    assert state.learned.tolist() == pytest.approx([first, 0])
    assert state.unlearned.tolist() == [0, 0]
    assert state.undice.tolist() == pytest.approx([0.95, 1])
    state = advance_difficulty(state, torch.tensor([0.4, 0.2], dtype=torch.float64), 0.9)
    fall, rise = -0.1 * math.log(0.4 / 0.5), 0.2 * math.log(0.2 / 1e-8)
    assert state.learned.tolist() == pytest.approx([0.9 * first, 0.1 * rise], rel=1e-6)
    assert state.unlearned.tolist() == pytest.approx([0.1 * fall, 0])
    weights = difficulty_weights(state)
    undice = 0.9 * 0.95 + 0.1 * 0.6
    assert weights[0].item() == pytest.approx(2 * (0.1 * fall / (0.9 * first)) ** 0.2 * undice)
    assert weights[1] < weights[0]  # the class that is being learned counts less


def test_a_class_that_is_never_hit_counts_as_many_as_there_are():
    state = initial_difficulty(torch.zeros(5))
    for _ in range(100):
        state = advance_difficulty(state, torch.tensor([0.9, 1e-9, 0.5, 0.5, 0.5]), 0.98)
    weights = difficulty_weights(state)
    assert weights[1].item() == pytest.approx(5, rel=0.02)
    assert weights[0] < 1
