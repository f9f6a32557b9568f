import pytest
import torch
from mmengine.structures import PixelData

from mmjoint.models.data_preprocessors import VolumeDataPreprocessor
from mmjoint.registry import MODELS
from mmjoint.structures import JointDataSample, VolumeData
from mmjoint.utils.errors import UserError


def sample(shape, name='a', labelled=True):
    made = JointDataSample(metainfo=dict(img_path=name, img_shape=shape))
    if labelled:
        kind = VolumeData if len(shape) == 3 else PixelData
        made.gt_sem_seg = kind(data=torch.ones((1, *shape), dtype=torch.int64))
    return made


def batch(*shapes, dtype=torch.float32, channels=1):
    inputs = [torch.full((channels, *shape), i + 1).to(dtype) for i, shape in enumerate(shapes)]
    return dict(
        inputs=inputs, data_samples=[sample(s, f'v{i}', i == 0) for i, s in enumerate(shapes)]
    )


def test_volumes_of_one_size_are_stacked():
    data = batch((3, 4, 5), (3, 4, 5), dtype=torch.int16)
    out = MODELS.build(dict(type='VolumeDataPreprocessor'))(data, True)
    assert out['inputs'].shape == (2, 1, 3, 4, 5) and out['inputs'].dtype == torch.float32
    assert out['inputs'][:, 0, 0, 0, 0].tolist() == [1, 2]
    assert [s.img_path for s in out['data_samples']] == ['v0', 'v1']


def test_padding_in_training():
    out = VolumeDataPreprocessor(size_divisor=4, pad_val=-1)(batch((3, 4, 5), (2, 6, 5)), True)
    assert out['inputs'].shape == (2, 1, 4, 8, 8)
    assert (out['inputs'][0, 0, :3, :4, :5] == 1).all()
    assert (out['inputs'] == -1).sum() == 2 * 4 * 8 * 8 - 60 - 60
    labels = out['data_samples'][0].gt_sem_seg
    assert isinstance(labels, VolumeData) and labels.shape == (4, 8, 8)
    assert labels.data.sum() == 60 + (256 - 60) * 255 and (labels.data[0, :3, :4, :5] == 1).all()
    assert 'gt_sem_seg' not in out['data_samples'][1]
    assert out['data_samples'][1].pad_shape == (4, 8, 8)


def test_images_of_two_axes():
    out = VolumeDataPreprocessor()(batch((4, 5), (3, 6)), True)
    assert out['inputs'].shape == (2, 1, 4, 6)
    assert type(out['data_samples'][0].gt_sem_seg) is PixelData


def test_nothing_is_padded_outside_training():
    out = VolumeDataPreprocessor(size_divisor=4)(batch((3, 4, 5)))
    assert out['inputs'].shape == (1, 1, 3, 4, 5)
    with pytest.raises(UserError, match=r'v1: expected the shape \(1, 3, 4, 5\) .* found'):
        VolumeDataPreprocessor()(batch((3, 4, 5), (3, 4, 6)))


def test_normalisation_by_channel():
    data = batch((2, 2, 2), channels=2)
    out = VolumeDataPreprocessor(mean=[0.5, 0], std=[0.25, 2])(data, True)
    assert out['inputs'][0, :, 0, 0, 0].tolist() == [2, 0.5]
    out = VolumeDataPreprocessor(mean=[1], std=[2])(batch((2, 2, 2), channels=2))
    assert not out['inputs'].any()


def test_what_cannot_be_stacked_or_is_not_finite():
    data = batch((2, 2, 2), (2, 2, 2))
    data['inputs'][1][0, 0, 0] = torch.tensor([float('nan'), float('inf')])
    with pytest.raises(UserError, match='v1: expected finite values, found 2'):
        VolumeDataPreprocessor()(data, True)
    assert VolumeDataPreprocessor(check_finite=False)(data, True)['inputs'].isnan().sum() == 1
    data['inputs'][1] = torch.ones(2, 2, 2, 2)
    with pytest.raises(UserError, match='v1: expected the shape'):
        VolumeDataPreprocessor()(data, True)
    # A sum that leaves float32 is no fault of the values.
    data['inputs'] = [torch.full((1, 2, 2, 2), 3e38)] * 2
    VolumeDataPreprocessor()(data, True)


def test_without_samples():
    assert VolumeDataPreprocessor()(dict(inputs=torch.ones(1, 1, 2, 2, 2)))['data_samples'] is None


@pytest.mark.parametrize(
    'options', [dict(mean=[0.0]), dict(mean=[0.0], std=[1.0, 1.0]), dict(mean=[0], std=[0])]
)
def test_wrong_options(options):
    with pytest.raises(ValueError, match='std must'):
        VolumeDataPreprocessor(**options)
    with pytest.raises(ValueError, match='size_divisor must be >= 1'):
        VolumeDataPreprocessor(size_divisor=0)
