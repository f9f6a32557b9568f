import json

import nibabel
import numpy as np
import pytest
from scipy import ndimage

from mmjoint.utils.volume_grid import VolumeGrid


def make_grid(**changes):
    values = dict(
        raw_path='a/b.nii.gz',
        raw_shape=(5, 6, 7),
        affine=((-0.5, 0, 0, 1.0), (0, 0, 2.0, 2.0), (0, 3.0, 0, 3.0), (0, 0, 0, 1)),
        axes=(2, 0, 1),
        flips=(True, False, True),
        crop=((1, 6), (0, 5), (2, 5)),
        shape=(5, 5, 3),
    )
    return VolumeGrid(**{**values, **changes})


def random_grid(rng, *, shape=None):
    """A grid with random axes, flips, crop and affine, resized to ``shape`` or not at all."""
    raw_shape = tuple(rng.integers(3, 9, 3).tolist())
    axes = tuple(rng.permutation(3).tolist())
    crop = tuple(
        tuple(np.sort(rng.choice(raw_shape[axis] + 1, 2, False)).tolist()) for axis in axes
    )
    affine = np.eye(4)
    affine[:3] = rng.normal(size=(3, 4))
    return make_grid(
        raw_shape=raw_shape,
        affine=tuple(map(tuple, affine.tolist())),
        axes=axes,
        flips=tuple(rng.random(3) < 0.5),
        crop=crop,
        shape=shape or tuple(stop - start for start, stop in crop),
        alignment=str(rng.choice(['corners', 'centres'])),
    )


def forward(grid, raw):
    """What a prepare script does, written with loops over nothing but numpy's basics."""
    volume = np.transpose(raw, grid.axes)
    for axis, flipped in enumerate(grid.flips):
        volume = np.flip(volume, axis) if flipped else volume
    return volume[tuple(slice(start, stop) for start, stop in grid.crop)]


def test_shapes_and_spacing_by_hand():
    grid = make_grid()
    assert grid.full_shape == (7, 5, 6) and grid.crop_shape == (5, 5, 3)
    assert grid.raw_spacing == (0.5, 3.0, 2.0)
    assert grid.spacing == (2.0, 0.5, 3.0)
    assert make_grid(shape=(10, 5, 3)).spacing == (1.0, 0.5, 3.0)
    # Five centres over the same length as nine: every step is halved.
    assert make_grid(shape=(9, 5, 3), alignment='corners').spacing == (1.0, 0.5, 3.0)
    # One voxel has no two centres: its extent counts.
    assert make_grid(shape=(1, 5, 3), alignment='corners').spacing == (10.0, 0.5, 3.0)


@pytest.mark.parametrize('seed', range(20))
def test_without_resizing_labels_come_back_exactly(seed):
    rng = np.random.default_rng(seed)
    grid = random_grid(rng)
    raw = rng.integers(1, 200, grid.raw_shape).astype(np.uint8)
    back = grid.restore(forward(grid, raw), fill=255)
    inside = forward(grid, np.arange(raw.size).reshape(raw.shape))
    expected = np.full(raw.size, 255, np.uint8)
    expected[inside.ravel()] = raw.ravel()[inside.ravel()]
    assert back.dtype == np.uint8
    assert np.array_equal(back, expected.reshape(raw.shape))


@pytest.mark.parametrize('seed', range(8))
def test_enlarging_by_scipy_is_undone_exactly(seed):
    rng = np.random.default_rng(seed)
    grid = random_grid(rng, shape=(11, 12, 17))
    grid = make_grid(**{**grid.__dict__, 'alignment': 'corners'})
    raw = rng.integers(1, 200, grid.raw_shape)
    zoom = [new / old for old, new in zip(grid.crop_shape, grid.shape, strict=True)]
    prepared = ndimage.zoom(forward(grid, raw), zoom, order=0, mode='nearest')
    assert np.array_equal(forward(grid, grid.restore(prepared)), forward(grid, raw))


def test_each_raw_voxel_takes_the_prepared_voxel_around_it():
    # Three prepared voxels over six raw ones, and the other way round.
    grid = make_grid(
        raw_shape=(1, 1, 6), axes=(0, 1, 2), flips=(False,) * 3,
        crop=((0, 1), (0, 1), (0, 6)), shape=(1, 1, 3),
    )  # fmt: skip
    assert grid.restore(np.array([[[7, 8, 9]]])).tolist() == [[[7, 7, 8, 8, 9, 9]]]
    assert grid.restore(np.array([7.5, 8, 9])).tolist() == [[[7.5, 7.5, 8, 8, 9, 9]]]
    wide = make_grid(**{**grid.__dict__, 'shape': (1, 1, 12)})
    assert wide.restore(np.arange(12)).tolist() == [[[1, 3, 5, 7, 9, 11]]]


def test_restored_volumes_lie_where_the_prepared_voxels_were():
    """Through the affine: a marked voxel is found at the place that its own spacing says."""
    grid = make_grid(flips=(False, False, False))
    prepared = np.zeros(grid.shape)
    prepared[3, 4, 1] = 1
    (place,) = np.argwhere(nibabel.Nifti1Image(grid.restore(prepared), grid.affine).get_fdata())
    assert place.tolist() == [4, 2 + 1, 1 + 3]


def test_json_and_back():
    grid = make_grid(frame=3, alignment='corners')
    assert VolumeGrid.from_dict(json.loads(json.dumps(grid.to_dict()))) == grid


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(axes=[0, 0, 1]), 'axes must be an order of 0, 1, 2'),
        (dict(affine=[[1, 0], [0, 1]]), 'affine must be a 4x4 matrix'),
        (dict(alignment='edges'), "alignment must be 'corners', 'centres' or 'starts'"),
        (dict(crop=[[0, 8], [0, 5], [0, 6]]), 'must lie within the shape'),
        (dict(crop=[[2, 2], [0, 5], [0, 6]]), 'must lie within the shape'),
        (dict(shape=[0, 5, 3]), 'three positive lengths'),
        (dict(zoom=2), "got .*'zoom'.*; prepare the data set again"),
    ],
)
def test_wrong_fields_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        VolumeGrid.from_dict({**make_grid().to_dict(), **changes})


def test_values_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r'expected values of the shape \(5, 5, 3\), got \(5, 3\)'):
        make_grid().restore(np.zeros((5, 3)))
