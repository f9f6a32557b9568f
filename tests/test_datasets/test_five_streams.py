"""Batches of two tasks, labelled and not, with two views of the same images."""

import pytest
import torch
from mmengine.dataset import pseudo_collate
from torch.utils.data import DataLoader

from mmjoint.datasets import MultiSourceDataset
from mmjoint.datasets.samplers import MultiSourceSampler
from mmjoint.datasets.transforms import LoadJointImage
from mmjoint.engine.loops import skip_batches
from mmjoint.models.data_preprocessors import MultiBranchDataPreprocessor
from mmjoint.utils.errors import UserError
from mmjoint.utils.random import SeededIndex

from .xray_sets import BRANCHES, COUNTS, NUM_BATCHES, SIDE, SIZES, sources, write_sets

PREPROCESSOR = dict(type='JointDataPreprocessor')


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp('xrays')
    write_sets(folder)
    return folder


@pytest.fixture
def dataset(root):
    return MultiSourceDataset(sources(root))


def loader_of(dataset, **options):
    # The unlabelled masks would last longer.
    sampler = MultiSourceSampler(dataset, COUNTS, epoch_source=3, seed=5)
    return DataLoader(
        dataset,
        batch_size=sum(COUNTS),
        sampler=sampler,
        collate_fn=pseudo_collate,
        drop_last=True,
        **options,
    )


def rows(batch):
    """What the model gets of a batch: branch, file, image and labels, in order."""
    batch = MultiBranchDataPreprocessor(PREPROCESSOR)(batch, training=True)
    return [
        (
            branch,
            sample.img_path,
            image.tolist(),
            sample.gt_label.item() if 'gt_label' in sample else None,
            sample.gt_sem_seg.data.tolist() if 'gt_sem_seg' in sample else None,
        )
        for branch in batch['inputs']
        for image, sample in zip(
            batch['inputs'][branch], batch['data_samples'][branch], strict=True
        )
    ]


def test_what_the_model_gets(dataset):
    loader = loader_of(dataset)
    assert dataset.source_sizes == tuple(SIZES.values()) and len(loader) == NUM_BATCHES
    seen = []
    for raw in loader:
        assert {len(images) for images in raw['inputs'].values()} == {sum(COUNTS)}
        batch = MultiBranchDataPreprocessor(PREPROCESSOR)(raw, training=True)
        inputs, samples = batch['inputs'], batch['data_samples']
        assert tuple(inputs) == tuple(samples) == BRANCHES
        for branch, count in zip(BRANCHES, (*COUNTS, COUNTS[-1]), strict=True):
            assert inputs[branch].shape == (count, 1, SIDE, SIDE), branch
            assert inputs[branch].dtype == torch.float32 and len(samples[branch]) == count
            low = -1 if branch.startswith('seg') else 0
            assert low <= inputs[branch].min() and inputs[branch].max() <= 1
            for sample in samples[branch]:
                assert ('gt_label' in sample) == (branch == 'cls_labelled'), branch
                assert ('gt_sem_seg' in sample) == (branch == 'seg_labelled'), branch
                assert sample.img_shape == (SIDE, SIDE)
        assert inputs['seg_labelled'].min() < -0.5 and inputs['cls_weak'].min() >= 0
        pairs = [
            [sample.img_path for sample in samples[view]] for view in ('cls_weak', 'cls_strong')
        ]
        assert pairs[0] == pairs[1]
        assert not torch.equal(inputs['cls_weak'], inputs['cls_strong'])
        seen += pairs[0]
    # The unlabelled images of the classification go by once; the last, short batch is left out.
    assert len(set(seen)) == len(seen) == NUM_BATCHES * COUNTS[-1]


def test_views_are_of_one_image(root):
    configs = sources(root)
    for pipeline in configs['cls_unlabelled']['pipeline'][-1]['pipelines'].values():
        del pipeline[:-2]  # what draws
    dataset = MultiSourceDataset(configs)
    packed = dataset[sum(list(SIZES.values())[:-1]) + 3]
    weak, strong = (packed['inputs'][view] for view in ('cls_weak', 'cls_strong'))
    assert torch.equal(weak, strong)
    assert [branch for branch in BRANCHES if packed['inputs'][branch] is None] == list(BRANCHES[:3])


def test_a_visit_follows_from_its_seed(dataset):
    index = len(dataset) - 1

    def views(seed):
        inputs = dataset[SeededIndex(index, seed)]['inputs']
        return torch.stack([inputs['cls_weak'], inputs['cls_strong']])

    visits = [views(seed) for seed in range(4)]
    assert all(torch.equal(views(seed), visit) for seed, visit in enumerate(visits))
    for view in range(2):
        assert len({visit[view].numpy().tobytes() for visit in visits}) > 1


def test_workers_cache_and_resuming_change_nothing(root, dataset):
    def epochs(loader, start=(0, 0)):
        found = []
        for epoch in range(start[0], 2):
            loader.sampler.set_epoch(epoch)
            if epoch == start[0]:
                skip_batches(loader, start[1])
            found += [rows(batch) for batch in loader]
        return found

    whole = epochs(loader_of(dataset))
    assert len(whole) == 2 * NUM_BATCHES and whole[0] != whole[NUM_BATCHES]
    workers = dict(num_workers=2, multiprocessing_context='fork')
    assert epochs(loader_of(dataset, **workers)) == whole
    cached = MultiSourceDataset(sources(root, cache=True))
    assert epochs(loader_of(cached)) == whole
    assert epochs(loader_of(cached, **workers), start=(0, 3)) == whole[3:]
    assert epochs(loader_of(dataset), start=(1, 1)) == whole[NUM_BATCHES + 1 :]


def test_the_cache_keeps_small_grey_images(root, monkeypatch):
    dataset = MultiSourceDataset(sources(root, cache=True))
    first = [dataset[SeededIndex(index, index)] for index in range(len(dataset))]
    kept = [
        value
        for part in dataset.datasets
        for results in part.cache._results.values()
        for key, value in results.items()
        if key == 'img'
    ]
    assert len(kept) == len(dataset)
    assert {(image.dtype.name, image.shape) for image in kept} == {('uint8', (SIDE, SIDE, 1))}
    monkeypatch.setattr(LoadJointImage, 'transform', None)  # nothing is decoded again
    again = [dataset[SeededIndex(index, index)] for index in range(len(dataset))]
    for one, two in zip(first, again, strict=True):
        for branch in BRANCHES:
            assert one['inputs'][branch] is two['inputs'][branch] or torch.equal(
                one['inputs'][branch], two['inputs'][branch]
            )


def test_classes_come_from_the_sources_that_have_them(root, dataset):
    assert dataset.metainfo['classes'] == ('background', 'lung')
    assert dataset.metainfo['cls_classes'] == ('normal', 'pneumonia')
    assert len(dataset.metainfo['palette']) == 2
    reverse = MultiSourceDataset(list(sources(root).values())[::-1])
    assert reverse.metainfo == dataset.metainfo
    assert dataset.datasets[0].metainfo['cls_classes'] == ()
    configs = sources(root)
    configs['cls_unlabelled']['metainfo'] = dict(cls_classes=('normal', 'other'))
    with pytest.raises(
        UserError,
        match=r"cls_classes \('normal', 'pneumonia'\) of source 2 in all of them, found "
        r"\('normal', 'other'\) in source 3",
    ):
        MultiSourceDataset(configs)


def test_streams_without_samples_are_left_out(dataset):
    batch = pseudo_collate([dataset[0], dataset[len(dataset) - 1]])
    found = MultiBranchDataPreprocessor(PREPROCESSOR)(batch, training=True)
    assert list(found['inputs']) == ['seg_labelled', 'cls_weak', 'cls_strong']
