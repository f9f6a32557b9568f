import nibabel
import numpy as np
import pytest
import torch

from mmjoint.apis.volume_writer import VolumeWriter
from mmjoint.structures import JointDataSample, VolumeData
from mmjoint.utils.errors import UserError

from ..test_functional.test_geometry import inside, prepared, random_grid


def predicted(grid, labels, maps=None):
    sample = JointDataSample(metainfo=dict(img_path='x/case.1.npy', geometry=grid.to_dict()))
    sample.pred_sem_seg = VolumeData(data=torch.from_numpy(labels.astype(np.int64))[None])
    if maps:
        tensors = {name: torch.from_numpy(values.copy())[None] for name, values in maps.items()}
        sample.seg_uncertainty = VolumeData(**tensors)
    return sample


@pytest.mark.parametrize('seed', range(8))
def test_a_perfect_prediction_lies_over_the_raw_file(seed, tmp_path):
    rng = np.random.default_rng(seed)
    grid = random_grid(rng)
    raw = rng.integers(1, 14, grid.raw_shape)
    entropy = rng.random(grid.raw_shape, np.float32)
    sample = predicted(grid, prepared(raw, grid), dict(entropy=prepared(entropy, grid)))
    files = VolumeWriter(tmp_path).write(sample)
    assert {kind: path.name for kind, path in files.items()} == dict(
        pred='case.1_pred.nii.gz', entropy='case.1_entropy.nii.gz'
    )
    stored = {kind: nibabel.load(path) for kind, path in files.items()}
    for image in stored.values():
        assert np.allclose(image.affine, grid.affine, atol=1e-4)
        assert image.shape == grid.raw_shape
        assert image.header.get_zooms() == pytest.approx(grid.raw_spacing, rel=1e-5)
    reached = inside(grid)
    labels = np.asanyarray(stored['pred'].dataobj)
    assert labels.dtype == np.uint8 and np.array_equal(labels, np.where(reached, raw, 0))
    values = np.asanyarray(stored['entropy'].dataobj)
    assert values.dtype == np.float32
    assert np.array_equal(values, np.where(reached, entropy, np.nan), equal_nan=True)


def test_names_and_equal_files(tmp_path):
    grid = random_grid(np.random.default_rng(0))
    sample = predicted(grid, np.ones(grid.shape))
    first = VolumeWriter(tmp_path / 'a', suffix='.nii').write(sample, name='b')
    assert first == dict(pred=tmp_path / 'a' / 'b_pred.nii')
    again = [VolumeWriter(tmp_path / name).write(sample)['pred'].read_bytes() for name in 'cd']
    assert again[0] == again[1]


def test_what_cannot_be_placed(tmp_path):
    grid = random_grid(np.random.default_rng(0))
    sample = predicted(grid, np.ones([length + 1 for length in grid.shape]))
    with pytest.raises(UserError, match=r'case\.1\.npy: its geometry is that of the shape'):
        VolumeWriter(tmp_path).write(sample)
    sample = JointDataSample(metainfo=dict(img_path='a.npy'))
    with pytest.raises(UserError, match=r'a\.npy: expected a geometry in its record'):
        VolumeWriter(tmp_path).write(sample)
    with pytest.raises(ValueError, match='suffix must be'):
        VolumeWriter(tmp_path, suffix='.mha')
    assert not list(tmp_path.iterdir())
