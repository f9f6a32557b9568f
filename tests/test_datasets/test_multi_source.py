import collections
import itertools
import pickle
from types import SimpleNamespace

import pytest
import torch
from mmengine.dataset import pseudo_collate
from torch.utils.data import DataLoader

from mmjoint.datasets import LADataset, MultiSourceDataset
from mmjoint.datasets.samplers import MultiSourceSampler, ResumableSampler
from mmjoint.engine.loops import check_loop_dataloader, skip_batches
from mmjoint.registry import DATASETS
from mmjoint.utils.errors import UserError
from mmjoint.utils.random import SeededIndex

from .volume_set import NUM_LABELLED

BRANCHES = ('labelled', 'unlabelled')


def pairs(indices):
    return [(int(index), index.seed) for index in indices]


def sampler(sizes, counts, rank=0, world_size=1, monkeypatch=None, **options):
    if monkeypatch is not None:
        monkeypatch.setattr(
            'mmjoint.datasets.samplers.multi_source.get_dist_info', lambda: (rank, world_size)
        )
    return MultiSourceSampler(SimpleNamespace(source_sizes=sizes), counts, **options)


def sources_of(indices, sizes):
    ends = list(itertools.accumulate(sizes))
    return [next(s for s, end in enumerate(ends) if index < end) for index in indices]


@pytest.mark.parametrize(
    ('sizes', 'counts', 'batches'),
    [
        ((4, 76), (4, 4), 19),  # LA 5 %
        ((8, 72), (4, 4), 18),  # LA 10 %
        ((4, 16), (2, 2), 8),  # Synapse
        ((16, 13), (2, 2), 8),  # MMWHS: the unlabelled source is the shorter one
        ((8, 382), (4, 4), 95),  # M&Ms, vendor B
        ((3, 10, 4, 7, 5), (1, 2, 1, 1, 3), 7),
        ((10, 101, 1000, 3694), (10, 10, 10, 10), 369),  # JSRT and chest X-rays
        ((3, 2), (4, 2), 1),  # less than a batch
    ],
)
def test_batches_have_a_fixed_composition(sizes, counts, batches):
    drawn = sampler(sizes, counts, seed=1)
    indices = [int(index) for index in drawn]
    assert len(drawn) == len(indices) == batches * sum(counts)
    order = [source for source, count in enumerate(counts) for _ in range(count)]
    assert sources_of(indices, sizes) == order * batches


def test_an_epoch_is_two_repeated_and_shuffled_sets():
    drawn = sampler((4, 18), (4, 4), seed=1)
    counted = collections.Counter(int(index) for index in drawn)
    unlabelled = [counted[number] for number in range(4, 22)]
    # 4 batches of 4 out of 18: two are left out, none comes twice.
    assert sorted(unlabelled) == [0] * 2 + [1] * 16
    labelled = [counted[number] for number in range(4)]
    assert sum(labelled) == 16 and min(labelled) >= 3 and max(labelled) <= 5
    exact = collections.Counter(int(index) for index in sampler((4, 76), (4, 4), seed=1))
    assert [exact[number] for number in range(4)] == [19] * 4


def test_epochs_and_seeds_differ_and_come_back():
    drawn = sampler((4, 18), (4, 4), seed=1)
    first = pairs(drawn)
    drawn.set_epoch(1)
    second = pairs(drawn)
    assert [i for i, _ in first] != [i for i, _ in second]
    assert len({seed for _, seed in first + second}) == len(first + second)
    drawn.set_epoch(0)
    assert pairs(drawn) == first
    assert pairs(sampler((4, 18), (4, 4), seed=2)) != first
    plain = sampler((2, 3), (1, 1), seed=1, shuffle=False)
    assert [int(index) for index in plain] == [0, 2, 1, 3, 0, 4]


@pytest.mark.parametrize('skipped', [0, 8, 3, 24, 32])
def test_skip_leaves_the_tail_until_the_next_epoch(skipped):
    drawn = sampler((4, 18), (4, 4), seed=1)
    whole = pairs(drawn)
    drawn.skip(skipped)
    assert pairs(drawn) == whole[skipped:] and len(drawn) == 32
    drawn.set_epoch(0)
    assert pairs(drawn) == whole


@pytest.mark.parametrize('world_size', [2, 4])
def test_ranks_share_out_the_same_global_batches(monkeypatch, world_size):
    sizes, counts = (4, 35), (4, 8)
    alone = sampler(sizes, counts, seed=4, monkeypatch=monkeypatch)
    share = tuple(count // world_size for count in counts)
    parts = [
        sampler(sizes, share, rank, world_size, monkeypatch, seed=4) for rank in range(world_size)
    ]
    assert {len(part) for part in parts} == {len(alone) // world_size}
    batches = [iter(part) for part in (alone, *parts)]
    for _ in range(alone.num_batches):
        whole = pairs(itertools.islice(batches[0], sum(counts)))
        dealt = [pair for part in batches[1:] for pair in pairs(itertools.islice(part, sum(share)))]
        assert sorted(dealt) == sorted(whole)


def test_ranks_that_have_more_places_than_samples(monkeypatch):
    parts = [sampler((2, 3), (1, 2), r, 4, monkeypatch, seed=4) for r in range(4)]
    drawn = [[int(index) for index in part] for part in parts]
    assert [len(part) for part in drawn] == [3] * 4
    assert sorted(part[0] for part in drawn) == [0, 0, 1, 1]
    assert {i for part in drawn for i in part[1:]} == {2, 3, 4}


def test_the_endless_form_goes_on_at_any_place():
    endless = sampler((4, 18), (4, 4), seed=1, endless=True)
    whole = pairs(itertools.islice(endless, 100))
    epochs = sampler((4, 18), (4, 4), seed=1)
    for epoch in range(3):
        epochs.set_epoch(epoch)
        assert pairs(epochs) == whole[32 * epoch :][:32]
    endless.skip(40)
    endless.set_epoch(7)  # as mmengine's hook does
    assert pairs(itertools.islice(endless, 60)) == whole[40:]


def test_an_epoch_of_a_chosen_length():
    # 4 samples for 8 batches of 2: each comes up 4 times, and 3 batches leave some out.
    long = pairs(sampler((4,), (2,), seed=1, num_batches=8))
    assert sorted(number for number, _ in long) == sorted([0, 1, 2, 3] * 4)
    assert len({seed for _, seed in long}) == 16
    short = sampler((4, 18), (4, 4), seed=1, num_batches=3)
    assert len(short) == 24 and len(pairs(short)) == 24
    assert pairs(sampler((4, 18), (4, 4), seed=1, num_batches=4)) == pairs(
        sampler((4, 18), (4, 4), seed=1)
    )
    with pytest.raises(UserError, match='num_batches >= 1, found 0'):
        sampler((4,), (2,), num_batches=0)


def test_an_epoch_of_a_chosen_source():
    options = dict(seed=1, epoch_source=1)
    drawn = sampler((40, 9), (2, 2), **options)
    first = [int(index) for index in drawn]
    assert drawn.num_batches == 4 and len(first) == 16
    long = [number for number in first if number < 40]
    assert len(set(long)) == 8  # none twice, though others are left out
    drawn.set_epoch(1)
    assert {int(index) for index in drawn if index < 40} != set(long)
    assert sampler((40, 1), (2, 2), **options).num_batches == 1
    for epoch in range(20):
        drawn.set_epoch(epoch)
        numbers = [int(index) for index in drawn]
        assert len(set(numbers)) == len(numbers)
    # All of the long source come up in the end.
    seen = set()
    for epoch in range(40):
        drawn.set_epoch(epoch)
        seen |= {int(index) for index in drawn}
    assert seen == set(range(49))
    same = sampler((10, 101, 1000, 3694), (10,) * 4, seed=1, epoch_source=3)
    assert same.num_batches == 369
    assert pairs(same) == pairs(sampler((10, 101, 1000, 3694), (10,) * 4, seed=1))


def test_sources_that_keep_their_order():
    drawn = sampler((3, 8), (2, 2), seed=1, shuffle=(True, False))
    drawn.set_epoch(1)
    numbers = [int(index) for index in drawn]
    assert [number for number in numbers if number >= 3] == list(range(3, 11))
    shuffled = [number for number in numbers if number < 3]
    drawn.set_epoch(2)
    assert shuffled != [int(index) for index in drawn if index < 3]
    # The order of one source does not depend on the others.
    assert shuffled == [
        number for number, _ in epoch_of(sampler((3, 8), (2, 2), seed=1), 1) if number < 3
    ]


def epoch_of(drawn, number):
    drawn.set_epoch(number)
    return pairs(drawn)


def test_whole_passes():
    drawn = sampler((10, 7, 95), (10, 2, 10), seed=1, whole_passes=True)
    whole = pairs(drawn)
    rows = [[int(number) for number, _ in whole[start : start + 22]] for start in range(0, 198, 22)]
    assert [sorted(row[:10]) for row in rows] == [list(range(10))] * 9
    assert len({tuple(row[:10]) for row in rows}) > 1
    second = [number - 10 for row in rows for number in row[10:12]]
    assert sorted(second[:7]) == sorted(second[7:14]) == list(range(7))
    assert second[:7] != second[7:14]
    assert len(set(second[14:])) == 4
    assert len({number for row in rows for number in row[12:]}) == 90
    assert len({seed for _, seed in whole}) == len(whole)
    drawn.skip(47)
    assert pairs(drawn) == whole[47:]


def test_what_does_not_fit_is_refused():
    for options in (
        dict(epoch_source=2),
        dict(epoch_source=-1),
        dict(epoch_source=0, num_batches=3),
    ):
        with pytest.raises(
            UserError, match='epoch_source to be one of 0 to 1, without num_batches'
        ):
            sampler((4, 18), (4, 4), **options)
    with pytest.raises(UserError, match='shuffle to be True, False or 2 of them'):
        sampler((4, 18), (4, 4), shuffle=(True,))
    with pytest.raises(UserError, match='expected a MultiSourceDataset, found range'):
        MultiSourceSampler(range(4), (1, 1))
    for counts in ((4,), (4, 0)):
        with pytest.raises(UserError, match='counts to be 2 numbers >= 1'):
            sampler((4, 18), counts)
    with pytest.raises(UserError, match=r'samples in every source, found the sizes \(4, 0\)'):
        sampler((4, 0), (1, 1))
    with pytest.raises(ValueError, match='num_samples must be >= 0'):
        sampler((4, 18), (4, 4)).skip(-1)


# With data ------------------------------------------------------------------------------------


def source(volumes, branch):
    return dict(
        type='LADataset',
        data_root=str(volumes.root),
        split=branch,
        labelled=branch == 'labelled',
        serialize_data=False,
        pipeline=[
            dict(type='LoadVolume'),
            dict(type='LoadVolumeAnnotations'),
            dict(type='RandomCropPatch', size=(6, 6, 6)),
            dict(
                type='RandomSubset',
                transforms=[
                    dict(type='RandomRotatePatch'),
                    dict(type='RandomScalePatch'),
                    dict(type='RandomBlurPatch'),
                    dict(type='RandomGammaPatch'),
                ],
            ),
            dict(
                type='MultiBranch',
                branches=BRANCHES,
                pipelines={branch: [dict(type='PackJointInputs')]},
            ),
        ],
    )


@pytest.fixture
def dataset(volumes):
    return DATASETS.build(
        dict(type='MultiSourceDataset', datasets=[source(volumes, name) for name in BRANCHES])
    )


def loader_of(dataset, **options):
    drawn = MultiSourceSampler(dataset, (2, 2), seed=5)
    return DataLoader(
        dataset, batch_size=4, sampler=drawn, collate_fn=pseudo_collate, drop_last=True, **options
    )


def flat(batch):
    """All that a batch holds, in its order, as lists of numbers and texts."""
    rows = []
    for branch in BRANCHES:
        for image, sample in zip(
            batch['inputs'][branch], batch['data_samples'][branch], strict=True
        ):
            if image is not None:
                labels = sample.gt_sem_seg.data.tolist() if 'gt_sem_seg' in sample else None
                rows.append((branch, sample.img_path, image.tolist(), labels))
    return rows


def test_batches_of_labelled_and_unlabelled_volumes(dataset):
    assert dataset.source_sizes == (NUM_LABELLED, 4) and len(dataset) == 6
    batches = list(loader_of(dataset))
    assert len(batches) == 2
    for batch in batches:
        rows = flat(batch)
        assert [row[0] for row in rows] == ['labelled'] * 2 + ['unlabelled'] * 2
        assert all(row[3] is not None for row in rows[:2])
        assert all(row[3] is None for row in rows[2:])
        assert batch['inputs']['labelled'][0].shape == (1, 6, 6, 6)
        assert batch['inputs']['labelled'][2:] == [None, None]


def test_workers_and_resuming_change_nothing(dataset):
    def epochs(loader, start=(0, 0)):
        rows = []
        for epoch in range(start[0], 3):
            loader.sampler.set_epoch(epoch)
            if epoch == start[0]:
                skip_batches(loader, start[1])
            rows += [flat(batch) for batch in loader]
        return rows

    whole = epochs(loader_of(dataset))
    assert len(whole) == 6 and whole[0] != whole[2]
    workers = dict(num_workers=2, multiprocessing_context='fork')
    assert epochs(loader_of(dataset, **workers)) == whole
    assert epochs(loader_of(dataset, **workers), start=(1, 1)) == whole[3:]
    copy = pickle.loads(pickle.dumps(dataset))
    assert epochs(loader_of(copy), start=(2, 1)) == whole[5:]


def test_the_seed_of_a_visit_reaches_the_source(dataset):
    def image(seed):
        return dataset[SeededIndex(4, seed)]['inputs']['unlabelled']

    assert torch.equal(image(1), image(1)) and not torch.equal(image(1), image(2))
    assert dataset.get_data_info(4)['img_path'].endswith('c4.npy')
    assert dataset.metainfo['classes'] == LADataset.METAINFO['classes']


def test_sources_by_name(volumes, dataset):
    parts = {name: source(volumes, name) for name in BRANCHES}
    by_name = MultiSourceDataset(parts)
    assert by_name.source_sizes == dataset.source_sizes
    alone = MultiSourceDataset({**parts, 'unlabelled': None})
    assert alone.source_sizes == dataset.source_sizes[:1]


def test_a_batch_size_that_cuts_batches_differently_is_refused(dataset):
    check_loop_dataloader(loader_of(dataset))
    loader = DataLoader(dataset, batch_size=2, sampler=MultiSourceSampler(dataset, (2, 2)))
    with pytest.raises(
        UserError, match=r'batch_size: expected 4, the sum of the counts .* found 2'
    ):
        check_loop_dataloader(loader)
    plain = DataLoader(dataset, batch_size=3, sampler=ResumableSampler(dataset))
    check_loop_dataloader(plain)


def test_sources_that_do_not_go_together(volumes):
    with pytest.raises(UserError, match='at least one source'):
        MultiSourceDataset([])
    with pytest.raises(UserError, match='at least one source'):
        MultiSourceDataset(dict(labelled=None))
    first, second = (source(volumes, name) for name in BRANCHES)
    second['pipeline'][-1] = dict(second['pipeline'][-1], branches=('unlabelled', 'labelled'))
    with pytest.raises(UserError, match=r"branches \('labelled', 'unlabelled'\) of the first"):
        MultiSourceDataset([first, second])
    second = dict(source(volumes, 'unlabelled'), metainfo=dict(classes=('background', 'x')))
    with pytest.raises(UserError, match=r"classes .* found \('background', 'x'\) in source 1"):
        MultiSourceDataset([first, second])
