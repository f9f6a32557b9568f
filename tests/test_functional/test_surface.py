import numpy as np
import pytest
import torch
from monai.metrics import (
    compute_average_surface_distance,
    compute_hausdorff_distance,
    compute_surface_dice,
)
from scipy import ndimage

from mmjoint.functional import surface
from mmjoint.functional.surface import (
    SURFACE_MEASURES,
    ahd_from_distances,
    mask_border,
    normalised_surface_dice,
    set_distances,
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
        ASSD_pooled=both.mean(),
        HD95=np.percentile(both, 95),
        HD95_max=max(np.percentile(to_target, 95), np.percentile(to_pred, 95)),
        HD=both.max(),
        NSD=lambda tolerance: (both <= tolerance).mean(),
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
    assert values == dict(
        ASD=0.0,
        ASSD=1.0,
        ASSD_pooled=pytest.approx(4 / 3),
        HD95=pytest.approx(3.6),
        HD95_max=pytest.approx(3.8),
        HD=4.0,
    )
    assert surface_distance(pred, target, 'HD', spacing=(7.0, 0.5)) == 2.0
    assert surface_distance(target, pred, 'ASD') == 2.0
    assert normalised_surface_dice(pred, target, 3.9) == pytest.approx(2 / 3)
    assert normalised_surface_dice(pred, target, 4.0) == 1.0
    assert normalised_surface_dice(pred, target, 2.0, spacing=(7.0, 0.5)) == 1.0


@pytest.mark.parametrize('shape', [(13, 17), (6, 8, 7)])
@pytest.mark.parametrize('seed', range(4))
@pytest.mark.parametrize('way', ['tree', 'transform'])
def test_against_brute_force(monkeypatch, shape, seed, way):
    monkeypatch.setattr(surface, '_ELEMENTS_PER_POINT', 0 if way == 'tree' else 1e9)
    rng = np.random.default_rng(seed)
    pred, target = blob(rng, shape), blob(rng, shape)
    spacing = rng.uniform(0.3, 3, len(shape))
    for connectivity in range(1, len(shape) + 1):
        expected = brute_force(pred, target, spacing, connectivity)
        nsd = expected.pop('NSD')
        for tolerance in (0.0, 0.7, 2.0):
            actual = normalised_surface_dice(
                pred, target, tolerance, spacing=spacing, connectivity=connectivity
            )
            assert actual == pytest.approx(nsd(tolerance), abs=1e-12)
        assert set(expected) == set(SURFACE_MEASURES)
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
        np.testing.assert_allclose(one, other, rtol=1e-14)


@pytest.mark.parametrize('shape', [(1,), (7,), (9, 1), (8, 11), (5, 6, 7)])
def test_borders_equal_an_erosion(shape):
    rng = np.random.default_rng(8)
    for density in (0.3, 0.8, 0.97, 1.0):
        mask = rng.random(shape) <= density
        cross = ndimage.generate_binary_structure(len(shape), 1)
        expected = mask & ~ndimage.binary_erosion(mask, cross, border_value=0)
        np.testing.assert_array_equal(mask_border(mask), expected)


@pytest.mark.filterwarnings('ignore:.*always_return_as_numpy')
@pytest.mark.parametrize('shape', [(20, 22), (9, 11, 10)])
def test_against_monai(shape):
    rng = np.random.default_rng(7)
    pred, target = blob(rng, shape), blob(rng, shape)
    # MONAI crops so that masks at the image's edge have no border there: keep them off the edge.
    pred, target = np.pad(pred, 2), np.pad(target, 2)
    pair = [torch.from_numpy(mask)[None, None].float() for mask in (pred, target)]
    spacing = (1.5, 0.7, 2.2)[: len(shape)]
    options = dict(include_background=True, spacing=spacing)
    expected = dict(
        ASD=compute_average_surface_distance(*pair, **options),
        ASSD_pooled=compute_average_surface_distance(*pair, symmetric=True, **options),
        HD95_max=compute_hausdorff_distance(*pair, percentile=95, **options),
        HD=compute_hausdorff_distance(*pair, **options),
    )
    for name, value in expected.items():
        actual = surface_distance(pred, target, name, spacing=spacing)
        assert actual == pytest.approx(float(value), rel=1e-5)
    for tolerance in (0.5, 1.6, 3.0):
        value = compute_surface_dice(*pair, [tolerance], **options)
        actual = normalised_surface_dice(pred, target, tolerance, spacing=spacing)
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
    assert normalised_surface_dice(nothing, some, 9.0, both_empty=1.0) == 0.0
    assert normalised_surface_dice(some, nothing, 9.0, both_empty=1.0) == 0.0
    assert normalised_surface_dice(nothing, nothing, 9.0, both_empty=1.0) == 1.0
    assert np.isnan(normalised_surface_dice(nothing, nothing, 9.0))


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


@pytest.mark.parametrize('shape', [(9, 11), (5, 6, 4)])
@pytest.mark.parametrize('stretched', [False, True])
def test_average_hausdorff_against_all_pairs(shape, stretched):
    rng = np.random.default_rng(8)
    spacing = (0.5, 2.0, 1.5)[: len(shape)] if stretched else None
    for share in (0.02, 0.3, 0.8):
        pred, target = rng.random((2, *shape)) < share
        pred.flat[0] = target.flat[-1] = True
        points = [np.argwhere(mask) * (spacing or 1.0) for mask in (pred, target)]
        pairs = np.linalg.norm(points[0][:, None] - points[1][None], axis=-1)
        expected = max(pairs.min(1).mean(), pairs.min(0).mean())
        distances = set_distances(pred, target, spacing=spacing)
        assert ahd_from_distances(distances) == pytest.approx(expected)
        assert distances.pred_to_target == pytest.approx(pairs.min(1))


def test_average_hausdorff_by_hand():
    # Of the four pixels of the one mask two are 1 and 2 away from the other, which lies inside it.
    pred, target = np.array([[1, 1, 1, 1, 0]], bool), np.array([[1, 1, 0, 0, 0]], bool)
    assert ahd_from_distances(set_distances(pred, target)) == 3 / 4
    assert ahd_from_distances(set_distances(target, pred)) == 3 / 4
    assert ahd_from_distances(set_distances(pred, pred)) == 0
    assert set_distances(pred, np.zeros_like(pred)) is None
    with pytest.raises(ValueError, match='one shape'):
        set_distances(pred, target[:, :3])
    with pytest.raises(ValueError, match='spacing must be 2 positive numbers'):
        set_distances(pred, target, spacing=(1.0,))
