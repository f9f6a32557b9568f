import numpy as np
import pytest
import torch
from monai.metrics import compute_average_surface_distance, compute_hausdorff_distance

from mmjoint.functional.surface import (
    SURFACE_MEASURES,
    mask_border,
    surface_distance,
    surface_distances,
)


def blob(rng, shape):
    """A random mask of several ragged parts, which may touch the image's edge."""
    centre = [rng.uniform(0, n) for n in shape]
    grid = np.indices(shape)
    radius = rng.uniform(2, min(shape) / 2)
    distance = np.sqrt(sum((g - c) ** 2 for g, c in zip(grid, centre, strict=True)))
    mask = (distance < radius) & (rng.random(shape) > 0.1)
    mask[tuple(rng.integers(0, n) for n in shape)] = True
    return mask


def brute_force(pred, target, spacing, connectivity):
    """Borders by looking at every neighbour, distances between all pairs."""

    def border(mask):
        padded = np.pad(mask, 1)
        points = []
        offsets = np.array(list(np.ndindex(*(3,) * mask.ndim))) - 1
        offsets = [o for o in offsets if 0 < np.abs(o).sum() <= connectivity]
        for point in np.argwhere(mask):
            if not all(padded[tuple(point + 1 + offset)] for offset in offsets):
                points.append(point * np.asarray(spacing))
        return np.array(points)

    a, b = border(pred), border(target)
    pairs = np.sqrt(((a[:, None] - b[None]) ** 2).sum(-1))
    to_target, to_pred = pairs.min(1), pairs.min(0)
    both = np.concatenate([to_target, to_pred])
    return dict(
        ASD=to_target.mean(),
        ASSD=(to_target.mean() + to_pred.mean()) / 2,
        HD95=np.percentile(both, 95),
        HD=both.max(),
    )


def test_border_by_hand():
    mask = np.zeros((5, 6), bool)
    mask[0:4, 1:5] = True  # touches the upper edge of the image
    inside = np.zeros_like(mask)
    inside[1:3, 2:4] = True
    np.testing.assert_array_equal(mask_border(mask), mask & ~inside)
    mask[3, 4] = False  # a missing corner opens its diagonal neighbour only to 8-neighbours
    assert not mask_border(mask, connectivity=1)[2, 3]
    assert mask_border(mask, connectivity=2)[2, 3]


def test_measures_by_hand():
    pred, target = np.zeros((2, 4, 9), bool)
    pred[1, 2] = True
    target[1, [2, 6]] = True  # 0 and 4 columns away
    values = {name: surface_distance(pred, target, name) for name in SURFACE_MEASURES}
    assert values == dict(ASD=0.0, ASSD=1.0, HD95=pytest.approx(3.6), HD=4.0)
    assert surface_distance(pred, target, 'HD', spacing=(7.0, 0.5)) == 2.0
    assert surface_distance(target, pred, 'ASD') == 2.0


@pytest.mark.parametrize('shape', [(13, 17), (6, 8, 7)])
@pytest.mark.parametrize('seed', range(4))
def test_against_brute_force(shape, seed):
    rng = np.random.default_rng(seed)
    pred, target = blob(rng, shape), blob(rng, shape)
    spacing = rng.uniform(0.3, 3, len(shape))
    for connectivity in range(1, len(shape) + 1):
        expected = brute_force(pred, target, spacing, connectivity)
        for name, value in expected.items():
            actual = surface_distance(
                pred, target, name, spacing=spacing, connectivity=connectivity
            )
            assert actual == pytest.approx(value, rel=1e-9, abs=1e-12), (name, connectivity)


@pytest.mark.parametrize('seed', range(6))
def test_cropping_changes_nothing(seed):
    rng = np.random.default_rng(seed)
    pred, target = blob(rng, (24, 31)), blob(rng, (24, 31))
    spacing = (2.0, 0.5)
    cropped = surface_distances(pred, target, spacing=spacing)
    whole = surface_distances(pred, target, spacing=spacing, crop=False)
    for one, other in zip(cropped, whole, strict=True):
        np.testing.assert_array_equal(one, other)


def test_against_monai():
    rng = np.random.default_rng(7)
    pred, target = blob(rng, (20, 22)), blob(rng, (20, 22))
    # MONAI crops so that masks at the image's edge have no border there: keep them off the edge.
    pred, target = np.pad(pred, 2), np.pad(target, 2)
    pair = [torch.from_numpy(mask)[None, None].float() for mask in (pred, target)]
    options = dict(include_background=True, spacing=(1.5, 0.7))
    expected = dict(
        ASD=compute_average_surface_distance(*pair, **options),
        HD=compute_hausdorff_distance(*pair, **options),
    )
    for name, value in expected.items():
        actual = surface_distance(pred, target, name, spacing=(1.5, 0.7))
        assert actual == pytest.approx(float(value), rel=1e-5)


def test_empty_masks():
    nothing = np.zeros((4, 4), bool)
    some = nothing.copy()
    some[1, 1] = True
    assert surface_distances(nothing, some) is None
    for pair in ((nothing, some), (some, nothing), (nothing, nothing)):
        assert surface_distance(*pair) == 10.0
        assert np.isnan(surface_distance(*pair, empty=None))
        expected = 0.0 if pair[0] is pair[1] else 128.0
        assert surface_distance(*pair, empty=128.0, both_empty=0.0) == expected


def test_full_masks_have_their_border_at_the_edge():
    full = np.ones((5, 5), bool)
    centre = np.zeros((5, 5), bool)
    centre[2, 2] = True
    assert surface_distance(full, full, 'HD') == 0
    assert surface_distance(centre, full, 'ASD') == 2.0
    assert surface_distance(full, centre, 'HD') == pytest.approx(np.sqrt(8))


def test_ill_input():
    with pytest.raises(ValueError, match='one shape'):
        surface_distances(np.ones((3, 3)), np.ones((3, 4)))
    with pytest.raises(ValueError, match='spacing must be 2 positive numbers'):
        surface_distances(np.ones((3, 3)), np.ones((3, 3)), spacing=(1.0, 1.0, 1.0))
    with pytest.raises(ValueError, match='positive'):
        surface_distances(np.ones((3, 3)), np.ones((3, 3)), spacing=(1.0, 0.0))
