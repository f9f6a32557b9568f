import math

import pytest
import torch

from mmjoint.functional.time_embedding import sinusoidal_embedding


def test_by_hand():
    values = sinusoidal_embedding(torch.tensor([0, 3]), 5, dtype=torch.float64)
    assert values.shape == (2, 5) and values.dtype == torch.float64
    assert values[0].tolist() == [0, 0, 1, 1, 0]
    expected = [math.sin(3), math.sin(3e-4), math.cos(3), math.cos(3e-4), 0]
    assert values[1].tolist() == pytest.approx(expected, abs=1e-6)
