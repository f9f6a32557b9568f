import pickle
import random

import cv2
import numpy as np
import pytest
import torch
from mmcv.transforms import BaseTransform
from mmengine.dataset import pseudo_collate
from torch.utils.data import DataLoader

from mmjoint.datasets import BaseJointDataset, ISPY1Dataset, REFUGEJointDataset
from mmjoint.registry import DATASETS
from mmjoint.utils.errors import UserError
from mmjoint.utils.random import SeededIndex

LOAD = [dict(type='LoadJointImage'), dict(type='LoadJointAnnotations')]
PIPELINE = [*LOAD, dict(type='PackJointInputs')]


def refuge(prepared, **options):
    return REFUGEJointDataset(
        str(prepared.root), **dict(dict(split='train', pipeline=PIPELINE), **options)
    )


def error(prepared, **options):
    with pytest.raises(UserError) as caught:
        refuge(prepared, **options)
    message = str(caught.value)
    assert '\n' not in message
    return message


class Draw(BaseTransform):
    """Puts one draw of each generator into the results."""

    def transform(self, results):
        results['draws'] = (random.random(), np.random.rand(), torch.rand(()).item())
        return results


class Spoil(BaseTransform):
    """Writes into the arrays that it gets."""

    def transform(self, results):
        results['img'][:] = 0
        results['gt_seg_map'][:] = 0
        return results


def test_a_sample_as_the_model_gets_it(prepared):
    item = refuge(prepared)[1]
    expected = torch.from_numpy(prepared.images[1]).permute(2, 0, 1)
    assert torch.equal(item['inputs'], expected)
    assert item['inputs'].dtype == torch.uint8 and item['inputs'].is_contiguous()
    sample = item['data_samples']
    assert sample.gt_label.tolist() == [1]
    assert torch.equal(sample.gt_sem_seg.data, torch.from_numpy(prepared.masks[1]).long()[None])
    assert sample.metainfo == dict(
        img_path=str(prepared.root / 'images/train/p1.png'),
        ori_shape=(16, 24),
        img_shape=(16, 24),
        raw_shape=(160, 240),
        sample_idx=1,
        spacing=(0.5, 0.25),
        domain='zeiss',
        patient_id='p1',
    )


def test_length_and_names(prepared):
    dataset = DATASETS.build(
        dict(type='REFUGEJointDataset', data_root=str(prepared.root), split='train')
    )
    assert len(dataset) == 3
    assert dataset.metainfo['classes'] == ('background', 'rim', 'cup')
    assert dataset.metainfo['cls_classes'] == ('non-glaucoma', 'glaucoma')
    assert len(dataset.metainfo['palette']) == 3
    assert ISPY1Dataset.METAINFO['classes'] == ('background', 'tumour')


def test_annotation_file_by_name(prepared):
    path = prepared.annotate(prepared.records[:2], split='few')
    assert len(refuge(prepared, split=None, ann_file='annotations/few.json')) == 2
    assert len(refuge(prepared, split=None, ann_file=str(path))) == 2


def test_part_of_the_samples(prepared):
    assert refuge(prepared, indices=[2])[0]['data_samples'].patient_id == 'p2'
    assert len(refuge(prepared, indices=2)) == 2


def test_missing_labels_are_missing_fields(prepared):
    del prepared.records[0]['gt_label']
    del prepared.records[1]['seg_map_path']
    prepared.annotate()
    dataset = refuge(prepared)
    samples = [dataset[index]['data_samples'] for index in range(3)]
    assert ['gt_label' in sample for sample in samples] == [False, True, True]
    assert ['gt_sem_seg' in sample for sample in samples] == [True, False, True]
    assert [dataset.get_cat_ids(index) for index in range(3)] == [[], [1], [0]]


@pytest.mark.parametrize(
    ('options', 'kept'),
    [
        (dict(labelled=False), (False, False)),
        (dict(with_cls=False), (False, True)),
        (dict(with_seg=False), (True, False)),
        (dict(), (True, True)),
    ],
)
def test_dropped_labels_are_nowhere(prepared, options, kept):
    dataset = refuge(prepared, **options)
    info, sample = dataset.get_data_info(0), dataset[0]['data_samples']
    assert ('gt_label' in info, 'seg_map_path' in info) == kept
    assert ('gt_label' in sample, 'gt_sem_seg' in sample) == kept


def test_masks_of_unlabelled_sets_need_not_exist(prepared):
    (prepared.root / 'masks/train/p0.png').unlink()
    assert len(refuge(prepared, labelled=False)) == 3


def test_some_classes_of_a_mask(prepared):
    sample = refuge(prepared, annotated_classes=(0, 2))[0]['data_samples']
    assert sample.annotated_classes == (0, 2)
    expected = np.where(prepared.masks[0] == 1, 0, prepared.masks[0])
    assert np.array_equal(sample.gt_sem_seg.data[0].numpy(), expected)
    assert 255 in expected


def test_classes_of_record_and_option_are_cut(prepared):
    prepared.records[0]['annotated_classes'] = [1, 0]
    prepared.records[1]['annotated_classes'] = [1]
    prepared.annotate()
    dataset = refuge(prepared, annotated_classes=(0, 2))
    samples = [dataset[index]['data_samples'] for index in range(3)]
    assert samples[0].annotated_classes == (0,)
    assert set(samples[0].gt_sem_seg.data.unique().tolist()) == {0, 255}
    assert 'gt_sem_seg' not in samples[1] and 'annotated_classes' not in samples[1]
    assert samples[2].annotated_classes == (0, 2)


def test_cache_changes_no_result(prepared):
    plain = refuge(prepared)
    cached = refuge(prepared, cache=True, pipeline=[*LOAD, Spoil(), PIPELINE[-1]])
    assert cached[0]['inputs'].sum() == 0
    cached.pipeline = plain.pipeline
    for _ in range(2):
        for index in range(3):
            first, second = plain[index], cached[index]
            assert torch.equal(first['inputs'], second['inputs'])
            first, second = first['data_samples'], second['data_samples']
            assert torch.equal(first.gt_sem_seg.data, second.gt_sem_seg.data)
    assert len(cached.cache) == 6


def test_cache_reads_once(prepared):
    dataset = refuge(prepared, cache=True)
    before = dataset[0]['inputs']
    prepared.write('images/train/p0.png', np.zeros((16, 24, 3), np.uint8))
    assert torch.equal(dataset[0]['inputs'], before)
    assert refuge(prepared)[0]['inputs'].sum() == 0
    assert len(pickle.loads(pickle.dumps(dataset)).cache) == 0


def test_cached_mask_stays_whole_under_dropped_classes(prepared):
    dataset = refuge(prepared, cache=True, annotated_classes=(2,))
    for _ in range(2):
        assert dataset[0]['data_samples'].gt_sem_seg.data.unique().tolist() == [0, 2, 255]


def test_seeded_index_fixes_the_draws(prepared):
    dataset = refuge(prepared, pipeline=[Draw()])
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    first = dataset[SeededIndex(0, seed=5)]['draws']
    state = (random.random(), np.random.rand(), torch.rand(()).item())
    assert dataset[SeededIndex(1, seed=5)]['draws'] == first
    assert dataset[SeededIndex(0, seed=6)]['draws'] != first
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    assert (random.random(), np.random.rand(), torch.rand(()).item()) == state


def test_plain_index_draws_from_the_global_state(prepared):
    dataset = refuge(prepared, pipeline=[Draw()])
    assert dataset[0]['draws'] != dataset[0]['draws']


def test_two_workers_give_what_one_process_gives(prepared):
    dataset = refuge(prepared, cache=True)

    def batches(workers):
        loader = DataLoader(dataset, 2, num_workers=workers, collate_fn=pseudo_collate)
        return [
            (image, sample.gt_label, sample.gt_sem_seg.data)
            for batch in loader
            for image, sample in zip(batch['inputs'], batch['data_samples'], strict=True)
        ]

    for one, other in zip(batches(0), batches(2), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_options_exclude_each_other(prepared):
    assert 'exactly one of split and ann_file' in error(prepared, ann_file='x.json')
    assert 'exactly one of split and ann_file' in error(prepared, split=None)


def test_misspelt_option(prepared):
    with pytest.raises(TypeError, match='lablled'):
        refuge(prepared, lablled=False)


def test_missing_annotation_file_names_the_command(prepared):
    message = error(prepared, split='test')
    assert str(prepared.root / 'annotations/test.json') in message
    assert 'python prepare_dataset/refuge.py RAW data/refuge' in message


@pytest.mark.parametrize(
    ('text', 'part'),
    [
        ('[{', 'expected JSON, found a fault in line 1'),
        ('{}', 'expected a list of records, found dict'),
        ('[]', 'found an empty list'),
    ],
)
def test_damaged_annotation_file(prepared, text, part):
    path = prepared.annotate()
    path.write_text(text)
    message = error(prepared)
    assert part in message and str(path) in message


def test_annotation_file_of_other_bytes(prepared):
    prepared.annotate().write_bytes(b'\xff\xfe\x00')
    assert 'expected JSON in UTF-8' in error(prepared)


@pytest.mark.parametrize(
    ('change', 'part'),
    [
        (dict(img_path=None), 'expected a text under img_path, found None'),
        (dict(img_path=''), "expected a text under img_path, found ''"),
        (dict(gt_label=2), r'expected a gt_label in [0, 2), found 2'),
        (dict(gt_label=-1), r'expected a gt_label in [0, 2), found -1'),
        (dict(gt_label='1'), "found '1'"),
        (dict(gt_label=True), 'found True'),
        (dict(gt_label=None), 'found None'),
        (dict(annotated_classes=[0, 3]), 'annotated_classes to be a list of classes in [0, 3)'),
        (dict(annotated_classes=1), 'found 1'),
        (dict(spacing=[0, 1]), 'spacing to be null or 2 or 3 lengths > 0 in mm, found [0, 1]'),
        (dict(spacing=0.5), 'found 0.5'),
        (dict(ori_shape=[16.5, 24]), 'found [16.5, 24]'),
        (dict(patient_id=7), 'expected a text under patient_id, found 7'),
    ],
)
def test_malformed_record(prepared, change, part):
    prepared.records[1].update(change)
    path = prepared.annotate()
    message = error(prepared)
    assert message.startswith(f'{path}: record 1: ')
    assert part in message


def test_record_without_image_or_of_another_kind(prepared):
    del prepared.records[0]['img_path']
    prepared.annotate()
    assert 'record 0: img_path is missing, found the keys' in error(prepared)
    prepared.annotate(['a.png'])
    assert 'record 0: expected an object, found str' in error(prepared)


def test_missing_image_and_mask_file(prepared):
    (prepared.root / 'masks/train/p2.png').unlink()
    message = error(prepared)
    assert message.startswith(f'{prepared.root}/masks/train/p2.png: not found; 1 of 3 masks')
    (prepared.root / 'images/train/p1.png').unlink()
    message = error(prepared)
    assert message.startswith(f'{prepared.root}/images/train/p1.png: not found; 1 of 3 images')


def test_annotated_class_out_of_range(prepared):
    assert 'annotated_classes=(0, 3) has 3' in error(prepared, annotated_classes=(0, 3))


def test_resizing_and_flipping_transforms_of_mmcv(prepared):
    transforms = [
        *LOAD,
        dict(type='mmcv.Resize', scale=(12, 8)),
        dict(type='mmcv.RandomFlip', prob=1.0, direction='horizontal'),
        dict(type='PackJointInputs'),
    ]
    del prepared.records[1]['seg_map_path']
    prepared.annotate()
    dataset = refuge(prepared, pipeline=transforms)
    item = dataset[0]
    small = cv2.resize(prepared.images[0], (12, 8))[:, ::-1]
    assert np.array_equal(item['inputs'].permute(1, 2, 0).numpy(), small)
    sample = item['data_samples']
    assert sample.gt_sem_seg.shape == sample.img_shape == (8, 12)
    assert sample.ori_shape == (16, 24)
    assert sample.flip and sample.flip_direction == 'horizontal'
    assert 'gt_sem_seg' not in dataset[1]['data_samples']


def test_resizing_to_the_same_size_changes_nothing(prepared):
    dataset = refuge(
        prepared, pipeline=[*LOAD, dict(type='mmcv.Resize', scale=(24, 16)), PIPELINE[-1]]
    )
    plain = refuge(prepared)
    assert torch.equal(dataset[0]['inputs'], plain[0]['inputs'])
    one, other = dataset[0]['data_samples'], plain[0]['data_samples']
    assert torch.equal(one.gt_sem_seg.data, other.gt_sem_seg.data)


def test_mask_read_after_resizing_keeps_the_size_of_its_file(prepared):
    pipeline = [LOAD[0], dict(type='mmcv.Resize', scale=(8, 8)), LOAD[1], PIPELINE[-1]]
    item = refuge(prepared, pipeline=pipeline)[0]
    assert item['inputs'].shape == (3, 8, 8)
    assert item['data_samples'].gt_sem_seg.shape == item['data_samples'].ori_shape == (16, 24)


def test_another_set_needs_only_names(prepared):
    options = dict(split='train', metainfo=dict(classes=('a', 'b', 'c'), cls_classes=('x', 'y')))
    assert len(BaseJointDataset(str(prepared.root), **options)) == 3
    options['metainfo'] = dict(classes=('a', 'b', 'c'))
    with pytest.raises(UserError, match=r'expected a gt_label in \[0, 0\), found 0'):
        BaseJointDataset(str(prepared.root), **options)
