import itertools

import numpy as np
import pytest
from scipy import ndimage

from mmjoint.functional.aggregation import (
    AGGREGATIONS,
    aggregate_map,
    aggregate_maps,
    away_from_borders,
    merge_sums,
    scores_from_sums,
    sum_maps,
)


def brute_force(values, pred, patch_size, width):
    """The definitions by loops."""
    sides = [min(patch_size, length) for length in values.shape]
    corners = itertools.product(
        *(range(length - side + 1) for length, side in zip(values.shape, sides, strict=True))
    )
    patches = [
        values[tuple(slice(c, c + s) for c, s in zip(corner, sides, strict=True))].mean()
        for corner in corners
    ]
    steady = np.zeros(values.shape, bool)
    for index in np.ndindex(values.shape):
        around = tuple(slice(max(0, i - width), i + width + 1) for i in index)
        steady[index] = len(np.unique(pred[around])) == 1
    foreground = pred != 0
    with np.errstate(invalid='ignore'):
        return {
            'mean': values.mean(),
            'mean_foreground': values[foreground].mean() if foreground.any() else np.nan,
            'patch_max': np.nanmax(patches),
            'mean_off_boundary': values[steady].mean() if steady.any() else np.nan,
            'per_predicted_volume': (
                values.sum() / foreground.sum() if foreground.any() else np.nan
            ),
        }


def blobs(shape, seed, num_classes=3):
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(rng.normal(size=shape), 2)
    return np.digitize(smooth, np.quantile(smooth, [0.6, 0.8])[: num_classes - 1])


@pytest.mark.parametrize('shape', [(17,), (15, 22), (9, 11, 14)])
@pytest.mark.parametrize(('patch_size', 'width'), [(4, 1), (10, 2)])
def test_against_loops(shape, patch_size, width):
    rng = np.random.default_rng(len(shape))
    values, pred = rng.random(shape).astype(np.float32), blobs(shape, 0)
    found = aggregate_map(values, pred, patch_size=patch_size, boundary_width=width)
    assert tuple(found) == AGGREGATIONS
    assert all(type(value) is float for value in found.values())
    expected = brute_force(values.astype(float), pred, patch_size, width)
    assert found == pytest.approx(expected, rel=1e-10, nan_ok=True)
    assert not np.isnan(found['mean_off_boundary'])


def test_by_hand():
    values = np.zeros((6, 12))
    values[0, :4] = 1  # in the background
    values[5, 11] = 0.5  # in the object
    pred = np.zeros((6, 12), int)
    pred[3:, 8:] = 1
    found = aggregate_map(values, pred, patch_size=2, boundary_width=1)
    # 12 object pixels. Close to its border: a row of 5 and a column of 2 outside, a row of 4 and a
    # column of 2 inside.
    assert found == pytest.approx(
        {
            'mean': 4.5 / 72,
            'mean_foreground': 0.5 / 12,
            'patch_max': 0.5,
            'mean_off_boundary': 4.5 / (72 - 8 - 6),
            'per_predicted_volume': 4.5 / 12,
        }
    )


def test_borders_between_classes_and_in_both_directions():
    pred = np.array([0, 0, 0, 0, 1, 1, 2, 2, 2, 2])
    assert away_from_borders(pred, 1).astype(int).tolist() == [1, 1, 1, 0, 0, 0, 0, 1, 1, 1]
    assert away_from_borders(pred, 3).astype(int).tolist() == [1, 0, 0, 0, 0, 0, 0, 0, 0, 1]


def test_nothing_predicted_and_everything_predicted():
    values = np.arange(12.0).reshape(3, 4)
    nothing = aggregate_map(values, np.zeros((3, 4), int))
    assert np.isnan(nothing['mean_foreground']) and np.isnan(nothing['per_predicted_volume'])
    # Without a border nothing is close to one; the patch is as large as the map.
    assert nothing['mean'] == nothing['mean_off_boundary'] == nothing['patch_max'] == 5.5
    everything = aggregate_map(values, np.ones((3, 4), int))
    assert set(everything.values()) == {5.5}
    only_borders = aggregate_map(values, np.array([[0, 1, 0, 1]] * 3))
    assert np.isnan(only_borders['mean_off_boundary'])
    unknown = aggregate_map(values, None)
    assert unknown['mean'] == unknown['patch_max'] == 5.5
    assert [name for name in AGGREGATIONS if np.isnan(unknown[name])] == [
        'mean_foreground', 'mean_off_boundary', 'per_predicted_volume',
    ]  # fmt: skip


def test_values_that_are_not_finite_count_nowhere():
    rng = np.random.default_rng(0)
    values, pred = rng.random((8, 9)), np.zeros((8, 9), int)
    pred[:, 6:] = 1
    values[2, 2], values[7, 8] = np.nan, np.inf
    found = aggregate_map(values, pred, patch_size=3, boundary_width=1)
    finite = np.isfinite(values)
    assert found['mean'] == pytest.approx(values[finite].mean())
    assert found['mean_foreground'] == pytest.approx(values[finite & (pred == 1)].mean())
    windows = np.lib.stride_tricks.sliding_window_view(values, (3, 3)).mean((2, 3))
    assert found['patch_max'] == pytest.approx(windows[np.isfinite(windows)].max())
    off = finite & ((np.arange(9) < 5) | (np.arange(9) > 6))
    assert found['mean_off_boundary'] == pytest.approx(values[off].mean())
    assert found['per_predicted_volume'] == pytest.approx(values[finite].sum() / 23)
    nothing = aggregate_map(np.full((8, 9), np.nan), pred)
    assert all(np.isnan(value) for value in nothing.values())


def test_several_maps_are_what_each_gives_alone():
    rng = np.random.default_rng(0)
    pred = blobs((20, 21), 1)
    maps = {'vacuity': rng.random((20, 21)), 'variance': rng.random((20, 21)) / 4}
    found = aggregate_maps(maps, pred, patch_size=5)
    assert found == {m: aggregate_map(v, pred, patch_size=5) for m, v in maps.items()}


def test_slices_give_the_means_of_their_volume():
    rng = np.random.default_rng(0)
    values, pred = rng.random((4, 12, 13)), blobs((4, 12, 13), 2)
    pred[1] = 0
    parts = [sum_maps({'m': v}, p, patch_size=5, boundary_width=1)['m']
             for v, p in zip(values, pred, strict=True)]  # fmt: skip
    merged = scores_from_sums(merge_sums(parts))
    assert merged['mean'] == pytest.approx(values.mean())
    assert merged['mean_foreground'] == pytest.approx(values[pred != 0].mean())
    assert merged['per_predicted_volume'] == pytest.approx(values.sum() / (pred != 0).sum())
    alone = [aggregate_map(v, p, patch_size=5, boundary_width=1)
             for v, p in zip(values, pred, strict=True)]  # fmt: skip
    assert merged['patch_max'] == max(each['patch_max'] for each in alone)
    away = np.stack([away_from_borders(p, 1) for p in pred])
    assert merged['mean_off_boundary'] == pytest.approx(values[away].mean())


def test_ill_input():
    with pytest.raises(ValueError, match=r'one shape, got \(2, 2\) and \(2, 3\)'):
        aggregate_map(np.zeros((2, 2)), np.zeros((2, 3), int))
    with pytest.raises(ValueError, match='must be >= 1, got 0 and 3'):
        aggregate_map(np.zeros((2, 2)), None, patch_size=0)
