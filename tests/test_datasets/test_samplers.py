import itertools
import pickle

import pytest
from torch.utils.data import DataLoader

from mmjoint.datasets.samplers import InfiniteResumableSampler, ResumableSampler
from mmjoint.utils.random import SeededIndex


def pairs(indices):
    return [(int(index), index.seed) for index in indices]


def of_rank(monkeypatch, kind, rank, world_size, size, **options):
    monkeypatch.setattr(
        'mmjoint.datasets.samplers.resumable.get_dist_info', lambda: (rank, world_size)
    )
    return kind(range(size), **options)


def test_an_epoch_is_a_permutation_and_epochs_differ():
    sampler = ResumableSampler(range(50), seed=1)
    first = pairs(sampler)
    sampler.set_epoch(1)
    second = pairs(sampler)
    assert sorted(i for i, _ in first) == list(range(50)) == sorted(i for i, _ in second)
    assert [i for i, _ in first] != [i for i, _ in second]
    assert len({seed for _, seed in first + second}) == 100
    sampler.set_epoch(0)
    assert pairs(sampler) == first


def test_without_shuffle_the_order_is_kept_but_seeds_change_with_the_epoch():
    sampler = ResumableSampler(range(4), shuffle=False, seed=1)
    first = pairs(sampler)
    sampler.set_epoch(3)
    assert [i for i, _ in first] == [0, 1, 2, 3] == [i for i, _ in pairs(sampler)]
    assert [s for _, s in first] != [s for _, s in pairs(sampler)]


@pytest.mark.parametrize('skipped', [0, 1, 6, 7])
def test_skip_leaves_the_tail_until_the_next_epoch(skipped):
    sampler = ResumableSampler(range(7), seed=1)
    whole = pairs(sampler)
    sampler.skip(skipped)
    assert pairs(sampler) == whole[skipped:]
    assert len(sampler) == 7
    sampler.set_epoch(0)
    assert pairs(sampler) == whole


def test_ranks_share_out_one_order_with_the_same_seeds(monkeypatch):
    alone = pairs(of_rank(monkeypatch, ResumableSampler, 0, 1, 7, seed=4))
    parts = [pairs(of_rank(monkeypatch, ResumableSampler, r, 3, 7, seed=4)) for r in range(3)]
    assert [len(part) for part in parts] == [3, 3, 3]
    together = [pair for row in zip(*parts, strict=True) for pair in row]
    assert together[:7] == alone
    assert [i for i, _ in together[7:]] == [i for i, _ in alone[:2]]
    exact = [
        pairs(of_rank(monkeypatch, ResumableSampler, r, 3, 7, seed=4, round_up=False))
        for r in range(3)
    ]
    assert [len(part) for part in exact] == [3, 2, 2]
    assert sorted(i for part in exact for i, _ in part) == list(range(7))


def test_more_ranks_than_samples(monkeypatch):
    parts = [
        pairs(of_rank(monkeypatch, ResumableSampler, r, 4, 2, seed=4, round_up=False))
        for r in range(4)
    ]
    assert [len(part) for part in parts] == [1, 1, 0, 0]


def test_the_endless_sampler_goes_on_at_any_place(monkeypatch):
    def take(sampler, count):
        return pairs(itertools.islice(sampler, count))

    whole = take(InfiniteResumableSampler(range(5), seed=2), 23)
    for start in range(0, 20):
        sampler = InfiniteResumableSampler(range(5), seed=2)
        sampler.skip(start)
        assert take(sampler, 3) == whole[start : start + 3]
    for at in range(0, 20, 5):
        assert sorted(i for i, _ in whole[at : at + 5]) == list(range(5))
    parts = [
        take(of_rank(monkeypatch, InfiniteResumableSampler, r, 2, 5, seed=2), 8) for r in (0, 1)
    ]
    assert [pair for row in zip(*parts, strict=True) for pair in row] == whole[:16]


@pytest.mark.parametrize('kind', [ResumableSampler, InfiniteResumableSampler])
def test_impossible_arguments(kind):
    with pytest.raises(ValueError, match='dataset is empty'):
        kind([])
    with pytest.raises(ValueError, match='num_samples must be >= 0, got -1'):
        kind(range(3), seed=0).skip(-1)


class Seeds:
    def __len__(self):
        return 9

    def __getitem__(self, index):
        assert isinstance(index, SeededIndex)
        return index.seed


@pytest.mark.parametrize('workers', [0, 2])
def test_the_seed_reaches_worker_processes(workers):
    sampler = ResumableSampler(range(9), seed=2)
    loader = DataLoader(
        Seeds(), batch_size=4, sampler=sampler, num_workers=workers, collate_fn=list
    )
    assert [seed for batch in loader for seed in batch] == [index.seed for index in sampler]
    sampler.skip(4)
    assert len(list(loader)[0]) == 4
    assert [seed for batch in loader for seed in batch] == [index.seed for index in sampler]


def test_a_seeded_index_is_an_integer_that_survives_pickling():
    index = pickle.loads(pickle.dumps(SeededIndex(3, 77)))
    assert (index, index.seed, [10, 11, 12, 13][index]) == (3, 77, 13)
