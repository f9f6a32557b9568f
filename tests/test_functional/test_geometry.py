import dataclasses
import itertools
import json

import nibabel
import numpy as np
import pytest
import SimpleITK
import torch
import torch.nn.functional as F
from scipy import ndimage

from mmjoint.functional.geometry import file_grid, restore_labels, restore_map
from mmjoint.utils.volume_grid import VolumeGrid

ORDERS = list(itertools.permutations(range(3)))
FLIPS = list(itertools.product((False, True), repeat=3))


def random_grid(rng, *, resized=False):
    """A grid of any axis order and flips, with a random affine and a crop of at least 2 voxels."""
    raw_shape = tuple(rng.integers(3, 9, 3).tolist())
    axes = ORDERS[rng.integers(6)]
    crop = []
    for axis in axes:
        start = int(rng.integers(0, raw_shape[axis] - 2))
        crop.append((start, int(rng.integers(start + 2, raw_shape[axis] + 1))))
    size = tuple(stop - start for start, stop in crop)
    return VolumeGrid(
        raw_path='a.nii.gz',
        raw_shape=raw_shape,
        affine=tuple(map(tuple, random_affine(rng).tolist())),
        axes=axes,
        flips=FLIPS[rng.integers(8)],
        crop=tuple(crop),
        shape=tuple(rng.integers(2, 13, 3).tolist()) if resized else size,
        alignment=('corners', 'centres', 'starts')[rng.integers(3)],
    )


def random_affine(rng):
    """Rotation (or reflection) by any angles, unequal spacing, any origin."""
    rotation, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    affine = np.eye(4)
    affine[:3, :3] = rotation * rng.uniform(0.4, 3, 3)
    affine[:3, 3] = rng.uniform(-100, 100, 3)
    return affine


def prepared(raw, grid):
    """Turn and cut a raw volume, written independently of the grid's own methods."""
    turned = np.moveaxis(raw, grid.axes, (0, 1, 2))
    for axis, flipped in enumerate(grid.flips):
        turned = turned if not flipped else turned.take(np.arange(turned.shape[axis])[::-1], axis)
    return turned[tuple(slice(*bounds) for bounds in grid.crop)]


def inside(grid):
    """Which raw voxels the prepared volume reaches, voxel by voxel."""
    marks = np.zeros(grid.raw_shape, bool)
    for place in np.ndindex(*grid.raw_shape):
        turned = [place[axis] for axis in grid.axes]
        turned = [
            length - 1 - at if flipped else at
            for at, length, flipped in zip(turned, grid.full_shape, grid.flips, strict=True)
        ]
        marks[place] = all(a <= at < b for at, (a, b) in zip(turned, grid.crop, strict=True))
    return marks


@pytest.mark.parametrize('seed', range(40))
def test_a_perfect_prediction_comes_back_exactly(seed):
    rng = np.random.default_rng(seed)
    grid = random_grid(rng)
    grid = VolumeGrid.from_dict(json.loads(json.dumps(grid.to_dict())))
    raw = rng.integers(1, 14, grid.raw_shape).astype(np.uint8)
    reached = inside(grid)
    back = restore_labels(prepared(raw, grid), grid.to_dict())
    assert back.dtype == np.uint8
    assert np.array_equal(back, np.where(reached, raw, 0))
    values = rng.normal(size=grid.raw_shape).astype(np.float32)
    back = restore_map(prepared(values, grid), grid)
    assert back.dtype == np.float32
    assert np.array_equal(back, np.where(reached, values, np.nan), equal_nan=True)
    back = restore_map(prepared(values, grid), grid, outside=-1)
    assert np.array_equal(back, np.where(reached, values, -1))


@pytest.mark.parametrize('seed', range(20))
def test_resized_labels_come_back_up_to_nearest_voxels(seed):
    """Independently: each raw voxel's centre is brought to the prepared grid and rounded."""
    rng = np.random.default_rng(seed)
    grid = random_grid(rng, resized=True)
    labels = rng.integers(1, 14, grid.shape).astype(np.uint8)
    back = prepared(restore_labels(labels, grid), grid)
    for place in np.ndindex(*grid.crop_shape):
        choices = []
        for at, old, new in zip(place, grid.crop_shape, grid.shape, strict=True):
            if grid.alignment == 'corners':
                position = at * (new - 1) / (old - 1)
            elif grid.alignment == 'starts':
                position = (at + 0.5) * new / old - 1e-6  # halves go down
            else:
                position = (at + 0.5) * new / old - 0.5
            near = {
                int(np.clip(np.floor(position + 0.5 + nudge), 0, new - 1))
                for nudge in (0, 1e-9, -1e-9)
            }
            choices.append(near)
        assert back[place] in {labels[voxel] for voxel in itertools.product(*choices)}


@pytest.mark.parametrize('factor', [2, 3])
def test_enlarged_labels_come_back_exactly(factor):
    rng = np.random.default_rng(factor)
    grid = random_grid(rng)
    grid = dataclasses.replace(
        grid, shape=tuple(factor * length for length in grid.crop_shape), alignment='centres'
    )
    raw = rng.integers(1, 14, grid.raw_shape).astype(np.uint8)
    large = prepared(raw, grid)
    for axis in range(3):
        large = large.repeat(factor, axis)
    assert np.array_equal(restore_labels(large, grid), np.where(inside(grid), raw, 0))


@pytest.mark.parametrize('seed', range(10))
def test_labels_that_torch_enlarged_come_back_exactly(seed):
    """By any factors: its nearest rule starts at the border of index 0."""
    rng = np.random.default_rng(seed)
    grid = random_grid(rng)
    larger = tuple(int(rng.integers(length, 3 * length)) for length in grid.crop_shape)
    grid = dataclasses.replace(grid, shape=larger, alignment='starts')
    raw = rng.integers(1, 14, grid.raw_shape).astype(np.uint8)
    cut = torch.from_numpy(prepared(raw, grid).copy())[None, None]
    large = F.interpolate(cut.float(), larger, mode='nearest')[0, 0].byte().numpy()
    assert np.array_equal(restore_labels(large, grid), np.where(inside(grid), raw, 0))


@pytest.mark.parametrize('seed', range(10))
def test_resized_maps_are_interpolated_linearly(seed):
    rng = np.random.default_rng(seed)
    grid = random_grid(rng, resized=True)
    values = rng.normal(size=grid.shape)
    ends = []
    for old, new in zip(grid.crop_shape, grid.shape, strict=True):
        if grid.alignment == 'corners':
            ends.append(np.linspace(0, new - 1, old))
        elif grid.alignment == 'starts':
            ends.append(np.arange(old) if old == new else (np.arange(old) + 0.5) * new / old)
        else:
            ends.append((np.arange(old) + 0.5) * new / old - 0.5)
    places = np.meshgrid(*ends, indexing='ij')
    expected = ndimage.map_coordinates(values, places, order=1, mode='nearest')
    assert np.allclose(prepared(restore_map(values, grid), grid), expected, atol=1e-12)


def test_slices_lie_in_their_volume():
    grid = VolumeGrid(
        raw_path='a.nii.gz',
        raw_shape=(4, 3, 5),
        affine=tuple(map(tuple, np.eye(4).tolist())),
        axes=(2, 1, 0),
        flips=(False,) * 3,
        crop=((2, 3), (0, 3), (0, 4)),
        shape=(1, 3, 4),
    )
    back = restore_labels(np.full((3, 4), 7, np.uint8), grid)
    assert (back[:, :, 2] == 7).all() and back.sum() == 7 * 12
    back = restore_map(np.full((3, 4), 0.5), grid, outside=0)
    assert (back[:, :, 2] == 0.5).all() and back.sum() == 6


@pytest.mark.parametrize('seed', range(12))
def test_a_volume_turned_to_the_body_is_what_simpleitk_gives(seed, tmp_path):
    rng = np.random.default_rng(seed)
    raw = rng.integers(0, 1000, (3, 4, 5)).astype(np.int16)
    affine = random_affine(rng)
    nibabel.save(nibabel.Nifti1Image(raw, affine), tmp_path / 'a.nii')
    stored = SimpleITK.ReadImage(str(tmp_path / 'a.nii'))
    # A reflection is no rotation for ITK, but its axes are turned all the same.
    expected = SimpleITK.GetArrayFromImage(SimpleITK.DICOMOrient(stored, 'LPS'))
    assert np.array_equal(file_grid('a.nii', raw.shape, affine, 'body').turned(raw), expected)
    plain = SimpleITK.GetArrayFromImage(stored)
    assert np.array_equal(file_grid('a.nii', raw.shape, affine, 'reversed').turned(raw), plain)
    grid = file_grid('a.nii', raw.shape, affine)
    assert np.array_equal(grid.turned(raw), raw)
    assert grid.spacing == pytest.approx(stored.GetSpacing(), rel=1e-5)


def test_misuse():
    rng = np.random.default_rng(0)
    grid = random_grid(rng)
    with pytest.raises(ValueError, match='expected values of the shape'):
        restore_map(np.zeros((2, 2)), grid)
    with pytest.raises(TypeError, match='floating-point'):
        restore_map(np.zeros(grid.shape, int), grid)
    with pytest.raises(ValueError, match=r"axes must be one of \('file', 'reversed', 'body'\)"):
        file_grid('a', (1, 1, 1), np.eye(4), 'xyz')
    with pytest.raises(ValueError, match='prepare the data set again'):
        restore_labels(np.zeros((2, 2, 2), np.uint8), {'axes': (0, 1, 2)})
