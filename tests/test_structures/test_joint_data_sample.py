import pickle
from io import BytesIO
from multiprocessing.reduction import ForkingPickler

import pytest
import torch
from mmengine.dataset import pseudo_collate
from mmengine.structures import BaseDataElement, PixelData

from mmjoint.structures import JointDataSample, VolumeData


def full_sample():
    sample = JointDataSample(metainfo=dict(img_path='a.png', ori_shape=(2, 3)))
    sample.set_gt_label(1).set_pred_label(0).set_pred_score(torch.tensor([0.75, 0.25]))
    sample.gt_sem_seg = PixelData(data=torch.arange(6).reshape(1, 2, 3))
    sample.pred_sem_seg = PixelData(data=torch.zeros(1, 2, 3, dtype=torch.int64))
    sample.seg_logits = PixelData(data=torch.rand(4, 2, 3))
    sample.seg_uncertainty = PixelData(
        vacuity=torch.full((1, 2, 3), 0.5), predictive_entropy=torch.ones(1, 2, 3)
    )
    sample.cls_uncertainty = BaseDataElement(vacuity=torch.tensor(0.5))
    sample.cls_alpha = torch.tensor([3.0, 1.0])
    sample.explanations = PixelData(saliency=torch.full((1, 2, 3), 0.25))
    return sample


def check(sample):
    assert sample.gt_label.tolist() == [1]
    assert sample.pred_label.tolist() == [0]
    assert sample.cls_alpha.tolist() == [3.0, 1.0]
    assert sample.gt_sem_seg.data.tolist() == [[[0, 1, 2], [3, 4, 5]]]
    assert sample.seg_uncertainty.vacuity.unique().tolist() == [0.5]
    assert sample.cls_uncertainty.vacuity.item() == 0.5
    assert sample.explanations.saliency.tolist() == [[[0.25] * 3] * 2]
    assert sample.metainfo == dict(img_path='a.png', ori_shape=(2, 3), num_classes=2)


def test_both_vocabularies_on_one_object():
    check(full_sample())


def test_fields_are_what_was_set():
    assert set(full_sample().keys()) == {
        'gt_label', 'pred_label', 'pred_score', 'cls_alpha', 'gt_sem_seg', 'pred_sem_seg',
        'seg_logits', 'seg_uncertainty', 'cls_uncertainty', 'explanations',
    }  # fmt: skip


def test_absent_fields_are_absent():
    sample = JointDataSample()
    for name in ('gt_label', 'gt_sem_seg', 'seg_uncertainty', 'cls_uncertainty', 'explanations'):
        assert name not in sample
        assert sample.get(name) is None


@pytest.mark.parametrize(
    'name', ['gt_sem_seg', 'seg_uncertainty', 'cls_uncertainty', 'cls_alpha', 'explanations']
)
def test_a_deleted_field_is_absent(name):
    sample = full_sample()
    delattr(sample, name)
    assert name not in sample
    assert name not in sample.to_dict()


def test_to_dict_nests():
    values = full_sample().to_dict()
    assert values['gt_sem_seg']['data'].shape == (1, 2, 3)
    assert values['cls_uncertainty']['vacuity'] == 0.5
    assert values['seg_uncertainty']['vacuity'].shape == (1, 2, 3)
    assert values['cls_alpha'].tolist() == [3.0, 1.0]
    assert values['img_path'] == 'a.png'
    assert not any(name.startswith('_') for name in values)


@pytest.mark.parametrize('move', [lambda s: s.to('cpu'), lambda s: s.cpu(), lambda s: s.clone()])
def test_moving_and_copying_keep_everything(move):
    moved = move(full_sample())
    assert type(moved) is JointDataSample
    check(moved)


def test_to_changes_the_type_of_all_tensors():
    moved = full_sample().to(torch.float64)
    assert moved.seg_logits.data.dtype == moved.cls_alpha.dtype == torch.float64
    assert moved.cls_uncertainty.vacuity.dtype == torch.float64


def test_plain_pickling():
    check(pickle.loads(pickle.dumps(full_sample())))


def test_pickling_to_another_process():
    sample = full_sample()
    buffer = BytesIO()
    ForkingPickler(buffer).dump(sample)
    received = pickle.loads(buffer.getvalue())
    assert type(received) is JointDataSample
    check(received)
    check(sample)  # sending does not touch it
    received.set_pred_label(1)
    assert received.pred_label.tolist() == [1]


def test_collating_keeps_samples_as_a_list():
    batch = [dict(inputs=torch.zeros(3, 2, 2), data_samples=full_sample()) for _ in range(2)]
    collated = pseudo_collate(batch)
    assert len(collated['data_samples']) == 2
    check(collated['data_samples'][1])


def test_volume_as_mask():
    sample = JointDataSample()
    sample.gt_sem_seg = VolumeData(data=torch.ones(1, 2, 3, 4, dtype=torch.int64))
    assert sample.gt_sem_seg.shape == (2, 3, 4)
    assert sample.to('cpu').to_dict()['gt_sem_seg']['data'].sum() == 24


def test_wrong_types_are_refused():
    sample = JointDataSample()
    with pytest.raises(AssertionError, match='should be a'):
        sample.seg_uncertainty = torch.zeros(1, 2, 2)
    with pytest.raises(AssertionError, match='should be a'):
        sample.cls_alpha = [1.0, 2.0]
    with pytest.raises(ValueError, match=r'shape \(K,\), got \(1, 2\)'):
        sample.cls_alpha = torch.ones(1, 2)


def test_score_of_another_length_is_refused():
    sample = JointDataSample(metainfo=dict(num_classes=2))
    with pytest.raises(AssertionError, match='num_classes 2'):
        sample.set_pred_score([0.2, 0.3, 0.5])
