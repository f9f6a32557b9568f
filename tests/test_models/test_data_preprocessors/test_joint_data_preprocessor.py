import numpy as np
import pytest
import torch
from mmengine.structures import PixelData

from mmjoint.registry import MODELS
from mmjoint.structures import JointDataSample
from mmjoint.utils.errors import UserError


def build(**options):
    options = dict(type='JointDataPreprocessor', mean=[0.0], std=[255.0]) | options
    return MODELS.build(options)


def sample(name, seg_map=None):
    made = JointDataSample(metainfo=dict(img_path=name))
    if seg_map is not None:
        made.gt_sem_seg = PixelData(data=seg_map[None])
    return made


def all_values():
    return torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16).repeat(3, 1, 1)


@pytest.mark.parametrize('training', [True, False])
def test_division_by_255_is_exact(training):
    data = dict(inputs=[all_values()], data_samples=[sample('a.png')])
    inputs = build()(data, training)['inputs']
    assert inputs.dtype == torch.float32 and inputs.shape == (1, 3, 16, 16)
    assert np.array_equal(inputs[0, 2].flatten().numpy(), (np.arange(256) / 255).astype('float32'))


def test_samples_without_ground_truth_stay_without():
    seg_map = torch.ones(16, 16, dtype=torch.int64)
    samples = [sample('a.png'), sample('b.png', seg_map).set_gt_label(1)]
    out = build()(dict(inputs=[all_values()] * 2, data_samples=samples), True)['data_samples']
    assert 'gt_sem_seg' not in out[0] and 'gt_label' not in out[0]
    assert out[1].gt_label.tolist() == [1]
    assert torch.equal(out[1].gt_sem_seg.data[0], seg_map)


def test_no_samples():
    assert build()(dict(inputs=[all_values()]), False)['data_samples'] is None


def test_a_tensor_of_images():
    assert build()(dict(inputs=all_values()[None]), False)['inputs'].max() == 1


def test_three_means():
    preprocessor = build(mean=[1.0, 2.0, 3.0], std=[2.0, 2.0, 4.0])
    inputs = preprocessor(dict(inputs=[torch.full((3, 2, 2), 5.0)]), False)['inputs']
    assert inputs[0, :, 0, 0].tolist() == [2.0, 1.5, 0.5]


def test_padding_in_training():
    images = [torch.full((3, 4, 6), 255.0), torch.full((3, 5, 3), 255.0)]
    samples = [sample('a.png', torch.ones(4, 6, dtype=torch.int64)), sample('b.png')]
    out = build(size_divisor=4)(dict(inputs=images, data_samples=samples), True)
    assert out['inputs'].shape == (2, 3, 8, 8)
    assert out['inputs'].sum(dim=(1, 2, 3)).tolist() == [72.0, 45.0]
    seg_map = out['data_samples'][0].gt_sem_seg.data
    assert seg_map.shape == (1, 8, 8)
    assert (seg_map == 1).sum() == 24 and (seg_map == 255).sum() == 40


def test_different_sizes_outside_training():
    data = dict(
        inputs=[torch.zeros(3, 4, 6), torch.zeros(3, 5, 6)],
        data_samples=[sample('a.png'), sample('b.png')],
    )
    with pytest.raises(UserError) as caught:
        build()(data, False)
    assert str(caught.value) == (
        'b.png: expected the shape (3, 4, 6) of the first image of the batch (a.png), found '
        '(3, 5, 6); put a resizing transform into the pipeline or set batch_size=1'
    )


def test_different_channels_in_training():
    data = dict(inputs=[torch.zeros(3, 4, 6), torch.zeros(1, 4, 6)], data_samples=None)
    with pytest.raises(UserError, match=r'image 1 of the batch: .* found \(1, 4, 6\)'):
        build()(data, True)


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_values_that_are_not_finite(value):
    image = torch.zeros(3, 4, 4)
    image[1, 2, 3] = value
    data = dict(inputs=[torch.zeros(3, 4, 4), image], data_samples=[sample('a'), sample('b.png')])
    with pytest.raises(UserError, match='b.png: expected finite values, found 1 that are NaN'):
        build()(data, True)
    assert not build(check_finite=False)(data, True)['inputs'].isfinite().all()


def test_the_stock_preprocessor_agrees():
    stock = MODELS.build(
        dict(type='mmseg.SegDataPreProcessor', mean=[0.0], std=[255.0], size_divisor=8)
    )
    data = dict(inputs=[all_values()], data_samples=[sample('a.png')])
    assert torch.equal(stock(data, True)['inputs'], build()(data, True)['inputs'])


def test_label_maps_of_tasks_are_padded_with_the_image():
    samples = [sample('a.png'), sample('b.png')]
    maps = dict(vessel=torch.ones(1, 4, 6, dtype=torch.int64), odoc=torch.zeros(1, 4, 6).long())
    samples[0].gt_tasks = PixelData(**maps)
    images = [torch.full((3, 4, 6), 255.0), torch.full((3, 8, 8), 255.0)]
    out = build(size_divisor=4)(dict(inputs=images, data_samples=samples), True)['data_samples']
    assert 'gt_tasks' not in out[1]
    for task, labels in maps.items():
        padded = out[0].gt_tasks.get(task)
        assert padded.dtype == torch.int64 and padded.shape == (1, 8, 8)
        assert torch.equal(padded[:, :4, :6], labels) and (padded == 255).sum() == 40
    kept = out[0].gt_tasks
    build()(dict(inputs=[torch.zeros(3, 8, 8)], data_samples=[out[0]]), True)
    assert out[0].gt_tasks is kept
