import numpy as np
import torch

from mmjoint.datasets.transforms import PackJointInputs
from mmjoint.registry import TRANSFORMS
from mmjoint.structures import VolumeData


def test_only_the_image():
    image = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    packed = PackJointInputs().transform(dict(img=image))
    assert set(packed) == {'inputs', 'data_samples'}
    assert torch.equal(packed['inputs'][1], torch.from_numpy(image[..., 1]))
    assert packed['data_samples'].all_keys() == []


def test_labels_and_metainfo():
    results = dict(
        img=np.zeros((2, 4, 1), np.float64),
        gt_label=np.int64(1),
        gt_seg_map=np.array([[0, 1, 2, 255]] * 2, np.uint8),
        spacing=None,
        slice=7,
        annotated_classes=(0, 1),
        array_cache=object(),
    )
    packed = TRANSFORMS.build(dict(type='PackJointInputs')).transform(results)
    assert packed['inputs'].shape == (1, 2, 4) and packed['inputs'].dtype == torch.float32
    sample = packed['data_samples']
    assert sample.gt_label.tolist() == [1] and sample.gt_label.dtype == torch.int64
    assert sample.gt_sem_seg.data.tolist() == [[[0, 1, 2, 255]] * 2]
    assert sample.gt_sem_seg.data.dtype == torch.int64
    assert sample.metainfo == dict(slice=7, annotated_classes=(0, 1))


def test_volumes():
    image = np.random.RandomState(0).rand(5, 2, 4, 1).astype(np.float32)
    packed = PackJointInputs().transform(dict(img=image, gt_seg_map=np.ones((5, 2, 4), np.uint8)))
    assert torch.equal(packed['inputs'], torch.from_numpy(image[..., 0])[None])
    seg_map = packed['data_samples'].gt_sem_seg
    assert type(seg_map) is VolumeData and seg_map.data.shape == (1, 5, 2, 4)


def test_chosen_metainfo():
    packed = PackJointInputs(meta_keys=['a']).transform(dict(img=np.zeros((2, 2, 1)), a=1, flip=0))
    assert packed['data_samples'].metainfo == dict(a=1)


def test_flipped_images_are_packed():
    image = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)[:, ::-1]
    assert PackJointInputs().transform(dict(img=image))['inputs'][0].tolist() == [[3, 0], [9, 6]]
