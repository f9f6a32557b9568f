"""What the deterministic start of a pipeline makes is kept; nothing else is."""

import copy
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from mmcv.transforms import BaseTransform

from mmjoint.datasets import ArrayCache, REFUGEJointDataset
from mmjoint.datasets.cache import leading_deterministic
from mmjoint.datasets.transforms import PillowResize

LOAD = [dict(type='LoadJointImage'), dict(type='LoadJointAnnotations')]
SMALL = dict(type='PillowResize', size=(12, 8))
PACK = dict(type='PackJointInputs')


class Count(BaseTransform):
    """Counts its calls and adds a random number."""

    def __init__(self):
        self.calls = 0

    def transform(self, results):
        self.calls += 1
        results['draw'] = np.random.rand()
        return results


class CountSafely(Count):
    deterministic = True

    def __repr__(self):
        return 'CountSafely()'


class Spoil(BaseTransform):
    def transform(self, results):
        results['img'][:] = 0
        results['gt_seg_map'][:] = 0
        results['seg_fields'].clear()
        return results


def refuge(prepared, **options):
    return REFUGEJointDataset(
        str(prepared.root), split='train', **dict(dict(pipeline=[*LOAD, SMALL, PACK]), **options)
    )


def assert_equal_items(one, other):
    assert torch.equal(one['inputs'], other['inputs'])
    one, other = one['data_samples'], other['data_samples']
    assert one.metainfo == other.metainfo
    assert torch.equal(one.gt_label, other.gt_label)
    assert torch.equal(one.gt_sem_seg.data, other.gt_sem_seg.data)


@pytest.fixture
def no_files(monkeypatch):
    """Call it, and from then on every reading of a file fails."""

    def forbid():
        def refuse(path):
            raise AssertionError(f'{path} is read again')

        monkeypatch.setattr(Path, 'read_bytes', refuse)

    return forbid


def test_second_epoch_reads_and_resizes_nothing_and_gives_the_same(prepared, no_files, monkeypatch):
    plain, cached = refuge(prepared), refuge(prepared, cache=True)
    expected = [plain[index] for index in range(3)]
    for index in range(3):
        assert_equal_items(cached[index], expected[index])
    no_files()
    monkeypatch.setattr(PillowResize, 'transform', None)
    for index in range(3):
        assert_equal_items(cached[index], expected[index])
    with pytest.raises(AssertionError, match='is read again'):
        plain[0]


def test_the_small_arrays_are_kept_not_the_decoded_ones(prepared):
    dataset = refuge(prepared, cache=True)
    assert len(dataset.cache) == 0
    dataset[0]
    (kept,) = dataset.cache._results.values()
    shapes = {key: value.shape for key, value in kept.items() if isinstance(value, np.ndarray)}
    assert shapes == dict(img=(8, 12, 3), gt_seg_map=(8, 12))
    assert len(dataset.cache) == 2


def test_mask_behind_the_resizing_keeps_its_size(prepared, no_files):
    dataset = refuge(prepared, cache=True, pipeline=[LOAD[0], SMALL, LOAD[1], PACK])
    first = dataset[0]
    no_files()
    assert_equal_items(dataset[0], first)
    assert first['data_samples'].gt_sem_seg.shape == (16, 24)


def test_random_transforms_run_each_time(prepared):
    counter = Count()
    dataset = refuge(prepared, cache=True, pipeline=[*LOAD, counter, SMALL])
    draws = {dataset[0]['draw'] for _ in range(4)}
    assert counter.calls == 4 and len(draws) == 4
    # What stands behind a random transform is not kept, though it is deterministic itself.
    (kept,) = dataset.cache._results.values()
    assert 'draw' not in kept and kept['img'].shape == (16, 24, 3)


def test_deterministic_transforms_run_once(prepared):
    counter = CountSafely()
    dataset = refuge(prepared, cache=True, pipeline=[*LOAD, counter])
    assert len({dataset[index]['draw'] for index in (0, 1, 0, 1)}) == 2
    assert counter.calls == 2


def test_a_subclass_has_to_say_it_again():
    class Jitter(PillowResize):
        pass

    same, subclass = PillowResize((4, 4)), Jitter((4, 4))
    assert leading_deterministic([same, subclass, same]) == [same]
    assert leading_deterministic([lambda results: results, same]) == []


def test_later_transforms_may_change_everything(prepared):
    dataset = refuge(prepared, cache=True, pipeline=[*LOAD, SMALL, Spoil()])
    whole = refuge(prepared, pipeline=[*LOAD, SMALL])[0]
    for _ in range(2):
        assert dataset[0]['img'].sum() == 0
    (kept,) = dataset.cache._results.values()
    assert np.array_equal(kept['img'], whole['img'])
    assert np.array_equal(kept['gt_seg_map'], whole['gt_seg_map'])
    assert kept['seg_fields'] == ['gt_seg_map']


def test_a_part_of_the_data_set_shares_the_cache_without_mixing_samples(prepared):
    dataset = refuge(prepared, cache=True)
    for index in range(3):
        dataset[index]
    part = dataset.get_subset([2])
    assert part.cache is dataset.cache
    assert part[0]['data_samples'].patient_id == 'p2'
    dataset.get_subset_([1])
    assert dataset[0]['data_samples'].patient_id == 'p1'


def test_another_size_is_another_entry(prepared):
    one, other = refuge(prepared, cache=True), refuge(prepared, cache=True)
    other.cache = one.cache
    other.pipeline.transforms[2] = PillowResize((6, 4))
    assert one[0]['inputs'].shape == (3, 8, 12) and other[0]['inputs'].shape == (3, 4, 6)
    assert one[0]['inputs'].shape == (3, 8, 12)


def test_a_sample_that_is_left_out_is_not_kept(prepared):
    class Refuse(BaseTransform):
        deterministic = True

        def transform(self, results):
            return None

    dataset = refuge(prepared, cache=True, pipeline=[*LOAD, Refuse(), PACK])
    assert dataset.prepare_data(0) is None
    assert len(dataset.cache) == 0


def test_copies_share_and_pickles_are_empty():
    cache = ArrayCache()
    cache.get(dict(name='a'), [lambda info: dict(info, img=np.zeros(3))])
    assert copy.copy(cache) is copy.deepcopy(cache) is cache and len(cache) == 1
    assert len(pickle.loads(pickle.dumps(cache))) == 0
