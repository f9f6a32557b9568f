import gzip

import nibabel
import numpy as np
import pytest

from mmjoint.phantoms import volumes
from mmjoint.phantoms.common import case_rng


@pytest.fixture
def places():
    return volumes.space(case_rng(0), (20, 30, 40), bend=0)


def test_space_runs_from_0_to_1_and_bends(places):
    assert places.shape == (3, 20, 30, 40)
    assert places[0, :, 3, 4] == pytest.approx((np.arange(20) + 0.5) / 20)
    assert places[2, 1, 2] == pytest.approx((np.arange(40) + 0.5) / 40)
    bent = volumes.space(case_rng(0), (20, 30, 40), bend=0.02) - places
    assert bent.std(axis=(1, 2, 3)) == pytest.approx([0.02] * 3, rel=0.2)
    for axis in range(3):  # nothing is folded: places keep their order along each axis
        assert np.diff(places[axis] + bent[axis], axis=axis).min() > 0


def test_rotation_turns_about_the_named_axis():
    assert volumes.rotation((0, 0, 90)) @ [1, 0, 0] == pytest.approx([0, 1, 0])
    assert volumes.rotation((90, 0, 0)) @ [0, 1, 0] == pytest.approx([0, 0, 1])
    both = volumes.rotation((90, 0, 90)) @ [0, 1, 0]  # first about axis 0, then about axis 2
    assert both == pytest.approx([0, 0, 1])


def test_volume_and_direction_of_an_ellipsoid(places):
    inside = volumes.ellipsoid(places, (0.5, 0.5, 0.5), (0.3, 0.2, 0.25)) < 1
    assert inside.mean() == pytest.approx(4 / 3 * np.pi * 0.3 * 0.2 * 0.25, rel=0.03)
    turned = volumes.ellipsoid(places, (0.5, 0.5, 0.5), (0.4, 0.1, 0.1), (0, 0, 90)) < 1
    spread = np.argwhere(turned).std(axis=0) / turned.shape
    assert spread.argmax() == 1


def test_tube_by_hand(places):
    distance = volumes.tube(places, ((0.2, 0.5, 0.5), (0.8, 0.5, 0.5)), 0.1)
    middle = np.hypot(places[1] - 0.5, places[2] - 0.5) / 0.1
    between = (places[0] > 0.2) & (places[0] < 0.8)
    assert distance[between] == pytest.approx(middle[between], abs=1e-5)
    assert distance[0, 14, 19] > middle[0, 14, 19]  # beyond its end


def test_turned_space_turns_what_is_drawn(places):
    turned = volumes.turned(places, volumes.rotation((0, 0, 30)), (0.5, 0.5, 0.5))
    direct = volumes.ellipsoid(places, (0.5, 0.5, 0.5), (0.3, 0.1, 0.2), (0, 0, 30))
    through = volumes.ellipsoid(turned, (0.5, 0.5, 0.5), (0.3, 0.1, 0.2))
    assert through == pytest.approx(direct, abs=1e-5)


def test_paint_leaves_at_least_one_voxel():
    target = np.zeros((3, 3), int)
    volumes.paint(target, np.array([[5.0, 4, 5]] * 2 + [[5, 3, 5]]), 7)
    assert target.tolist() == [[0, 0, 0], [0, 0, 0], [0, 7, 0]]
    volumes.paint(target, np.zeros((3, 3)), 2, over=False)
    assert target.tolist() == [[2, 2, 2], [2, 2, 2], [2, 7, 2]]


def test_noise_and_bias():
    rng = case_rng(1)
    field = volumes.bias_field(rng, (32, 32, 16), 0.3)
    assert field.min() > 0 and np.log(field).std() == pytest.approx(0.3, rel=0.2)
    noisy = volumes.rician(rng, np.full((64, 64), 5.0), 0.1)
    assert noisy.std() == pytest.approx(0.1, rel=0.1)
    dark = volumes.rician(rng, np.zeros((64, 64)), 0.1)
    assert dark.mean() == pytest.approx(0.1 * np.sqrt(np.pi / 2), rel=0.05)


def test_files_depend_on_their_content_alone(tmp_path):
    data, affine = np.arange(24, dtype=np.int16).reshape(2, 3, 4), np.diag([2.0, 3, 4, 1])
    for name in ('a.nii.gz', 'sub/b.nii.gz'):
        volumes.save_nifti(tmp_path / name, data, affine)
    packed = (tmp_path / 'a.nii.gz').read_bytes()
    assert packed == (tmp_path / 'sub/b.nii.gz').read_bytes()
    assert gzip.decompress(packed)[344:348] == b'n+1\0'
    stored = nibabel.load(tmp_path / 'a.nii.gz')
    assert np.array_equal(stored.dataobj, data) and stored.get_data_dtype() == np.int16
    assert np.array_equal(stored.affine, affine)
    assert stored.header.get_xyzt_units()[0] == 'mm'
