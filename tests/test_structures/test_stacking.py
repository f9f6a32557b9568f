import pytest
import torch
from mmengine.structures import PixelData

from mmjoint.structures import (
    JointDataSample,
    VolumeData,
    stack_annotated,
    stack_labels,
    stack_seg_maps,
    stack_task_maps,
)
from mmjoint.utils.errors import UserError


def sample(label=None, seg_map=None, **metainfo):
    made = JointDataSample(metainfo=metainfo)
    if label is not None:
        made.set_gt_label(label)
    if seg_map is not None:
        data = torch.tensor(seg_map)[None]
        made.gt_sem_seg = (PixelData if data.ndim == 3 else VolumeData)(data=data)
    return made


def test_labels_and_their_mask():
    labels, mask = stack_labels([sample(2), sample(), sample(0)])
    assert labels.tolist() == [2, 0, 0] and labels.dtype == torch.int64
    assert mask.tolist() == [True, False, True] and mask.dtype == torch.bool


def test_a_batch_without_labels():
    labels, mask = stack_labels([sample(), sample()])
    assert labels.tolist() == [0, 0]
    assert not mask.any()


def test_an_empty_batch():
    labels, mask = stack_labels([])
    assert labels.shape == mask.shape == (0,)


def test_several_labels_of_one_image_are_refused():
    with pytest.raises(ValueError, match='one class'):
        stack_labels([sample([0, 1])])


def test_labels_go_to_the_device():
    labels, mask = stack_labels([sample(1), sample()], device='meta')
    assert labels.device.type == mask.device.type == 'meta'


def test_masks_with_one_missing():
    maps = stack_seg_maps([sample(seg_map=[[0, 1], [255, 2]]), sample()])
    assert maps.tolist() == [[[0, 1], [255, 2]], [[255, 255], [255, 255]]]
    assert maps.dtype == torch.int64


def test_another_number_for_ignored():
    maps = stack_seg_maps([sample(seg_map=[[0, 255]]), sample()], ignore_index=-100)
    assert maps.tolist() == [[[0, -100]], [[-100, -100]]]


def test_volumes():
    maps = stack_seg_maps([sample(), sample(seg_map=[[[0, 1]], [[1, 0]]])])
    assert maps.shape == (2, 2, 1, 2)
    assert maps[1].flatten().tolist() == [0, 1, 1, 0]


def test_a_batch_without_masks_needs_the_shape():
    with pytest.raises(ValueError, match='pass shape'):
        stack_seg_maps([sample(), sample()])
    assert stack_seg_maps([sample()], 255, (2, 3)).tolist() == [[[255] * 3] * 2]


def test_stacking_copies():
    one = sample(seg_map=[[0, 1]])
    stack_seg_maps([one]).fill_(7)
    assert one.gt_sem_seg.data.tolist() == [[[0, 1]]]


def test_masks_of_different_sizes_are_refused():
    with pytest.raises(ValueError, match=r'b\.png: the mask has the shape \(1, 1, 3\)'):
        stack_seg_maps([sample(seg_map=[[0, 1]]), sample(seg_map=[[0, 1, 2]], img_path='b.png')])
    with pytest.raises(ValueError, match=r'expected \(1, 4, 4\)'):
        stack_seg_maps([sample(seg_map=[[0, 1]])], shape=(4, 4))


def test_annotated_classes():
    annotated = stack_annotated([sample(), sample(annotated_classes=(0, 2))], 3)
    assert annotated.tolist() == [[True, True, True], [True, False, True]]


def test_annotated_classes_out_of_range():
    with pytest.raises(ValueError, match=r'c\.png: annotated_classes \(0, 3\) has 3'):
        stack_annotated([sample(annotated_classes=(0, 3), img_path='c.png')], 3)


def of_tasks(path='a.png', **maps):
    made = JointDataSample(metainfo=dict(img_path=path))
    made.gt_tasks = PixelData(**{name: torch.tensor(rows)[None] for name, rows in maps.items()})
    return made


def test_maps_of_a_task():
    batch = [of_tasks(disc=[[0, 1]], vessel=[[1, 1]]), of_tasks(disc=[[255, 2]])]
    maps = stack_task_maps(batch, 'disc')
    assert maps.tolist() == [[[0, 1]], [[255, 2]]] and maps.dtype == torch.int64
    maps.fill_(7)
    assert batch[0].gt_tasks.disc.tolist() == [[[0, 1]]]


def test_a_task_that_is_not_annotated():
    batch = [of_tasks(disc=[[0, 1]]), of_tasks('b.png', vessel=[[1, 1]])]
    with pytest.raises(UserError, match=r"b\.png: expected .* 'disc', found maps of \['vessel'\]"):
        stack_task_maps(batch, 'disc')
    with pytest.raises(UserError, match=r'sample 0 of the batch: .* found maps of \[\]'):
        stack_task_maps([JointDataSample()], 'disc')


def test_maps_of_a_task_of_different_sizes():
    batch = [of_tasks(disc=[[0, 1]]), of_tasks('b.png', disc=[[1]])]
    with pytest.raises(ValueError, match=r'b\.png: the map of the task .*\(1, 1, 1\).*\(1, 1, 2\)'):
        stack_task_maps(batch, 'disc')
