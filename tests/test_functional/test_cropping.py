import itertools

import numpy as np
import pytest

from mmjoint.functional.cropping import (
    centre_offset,
    cut_patch,
    patch_padding,
    random_offset_bounds,
)


@pytest.mark.parametrize(
    ('shape', 'size', 'margin', 'padding', 'bounds', 'centre'),
    [
        ((10, 12), (4, 5), 1, (0, 0), (6, 7), (3, 4)),
        ((10, 5), (4, 5), 1, (0, 1), (6, 2), (3, 1)),
        ((10, 5), (4, 5), 2, (0, 2), (6, 4), (3, 2)),
        ((3, 4), (8, 4), 1, (3, 1), (1, 2), (0, 1)),
        ((5, 9, 4), (8, 4, 3), 1, (2, 0, 0), (1, 5, 1), (0, 2, 0)),
    ],
)
def test_hand_worked(shape, size, margin, padding, bounds, centre):
    assert patch_padding(shape, size, margin=margin) == padding
    assert random_offset_bounds(shape, size, padding) == bounds
    assert centre_offset(shape, size, padding) == centre


def test_cutting_equals_padding_and_slicing(tmp_path):
    rng = np.random.default_rng(0)
    for shape in itertools.product((2, 5, 9), repeat=3):
        size = (4, 5, 6)
        padding = patch_padding(shape, size)
        for array in (rng.random(shape), rng.random((*shape, 2))):
            padded = np.pad(array, [(p, p) for p in padding] + [(0, 0)] * (array.ndim - 3))
            for ends in ((0, 0, 0), [b - 1 for b in random_offset_bounds(shape, size, padding)]):
                window = tuple(slice(o, o + n) for o, n in zip(ends, size, strict=True))
                patch = cut_patch(array, ends, size, padding)
                assert np.array_equal(patch, padded[window])
                assert not np.shares_memory(patch, array)


def test_a_patch_that_lies_in_the_padding_alone():
    patch = cut_patch(np.ones((2, 2)), (0, 0), (3, 3), (3, 3))
    assert patch.shape == (3, 3) and not patch.any()
