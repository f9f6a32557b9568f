import pickle
from multiprocessing.reduction import ForkingPickler

import numpy as np
import pytest
import torch
from mmengine.dataset import pseudo_collate
from torch.utils.data import DataLoader

from mmjoint.datasets import LADataset, MMWHSDataset, MnMsDataset, SynapseVolumeDataset
from mmjoint.datasets.samplers import ResumableSampler

from ..test_prepare_dataset.scripts import la, mmwhs, mnms, synapse

PIPELINE = (
    dict(type='LoadVolume'),
    dict(type='LoadVolumeAnnotations'),
    dict(type='RandomCropPatch', size=(6, 6, 6)),
    dict(type='PackJointInputs'),
)


@pytest.mark.parametrize(
    ('dataset', 'script'),
    [
        (LADataset, la),
        (SynapseVolumeDataset, synapse),
        (MMWHSDataset, mmwhs),
        (MnMsDataset, mnms),
    ],
)
def test_classes_are_those_of_the_script(dataset, script):
    assert dataset.METAINFO['classes'] == script.CLASSES
    palette = dataset.METAINFO['palette']
    assert len({tuple(colour) for colour in palette}) == len(script.CLASSES)
    assert dataset.PREPARE_COMMAND.startswith(f'python prepare_dataset/{script.__name__}.py')


def test_labels_can_be_dropped(volumes):
    seen = LADataset(str(volumes.root), split='all', pipeline=PIPELINE, serialize_data=False)[3]
    assert 'gt_sem_seg' in seen['data_samples']
    assert seen['data_samples'].patient_id == 'p3'
    assert seen['data_samples'].raw_shape == tuple(volumes.records[3]['ori_shape'])
    hidden = LADataset(str(volumes.root), split='all', pipeline=PIPELINE, labelled=False)
    assert 'seg_map_path' not in hidden.get_data_info(3)
    assert 'gt_sem_seg' not in hidden[3]['data_samples']


def batches(dataset, **options):
    """Images and label maps of two epochs."""
    loader = DataLoader(
        dataset,
        batch_size=2,
        sampler=ResumableSampler(dataset, seed=3),
        collate_fn=pseudo_collate,
        persistent_workers='num_workers' in options,
        **options,
    )
    return [
        (image, sample.gt_sem_seg.data)
        for _ in range(2)
        for batch in loader
        for image, sample in zip(batch['inputs'], batch['data_samples'], strict=True)
    ]


def same(first, second):
    return len(first) == len(second) == 12 and all(
        torch.equal(a, b)
        for pair in zip(first, second, strict=True)
        for a, b in zip(*pair, strict=True)
    )


@pytest.mark.parametrize('cache', [False, True])
def test_workers_give_the_same(volumes, cache):
    dataset = LADataset(str(volumes.root), split='all', pipeline=PIPELINE, cache=cache)
    alone = batches(dataset)
    assert same(alone, batches(dataset, num_workers=2, multiprocessing_context='fork'))
    # What a spawned process gets.
    assert same(alone, batches(pickle.loads(ForkingPickler.dumps(dataset))))


@pytest.mark.slow  # each process imports everything anew
def test_spawned_workers_give_the_same(volumes):
    dataset = LADataset(str(volumes.root), split='all', pipeline=PIPELINE, serialize_data=False)
    spawned = batches(dataset, num_workers=2, multiprocessing_context='spawn')
    assert same(batches(dataset), spawned)


def test_the_cache_changes_nothing_and_keeps_the_file_unchanged(volumes):
    plain = LADataset(str(volumes.root), split='all', pipeline=PIPELINE[:2], serialize_data=False)
    cached = LADataset(
        str(volumes.root), split='all', pipeline=PIPELINE[:2], serialize_data=False, cache=True
    )
    for _ in range(2):
        results = cached[0]
        assert np.array_equal(results['img'], plain[0]['img'])
        results['img'][:] = 0
        results['gt_seg_map'][:] = 0
    assert np.array_equal(np.load(plain[0]['seg_map_path']), volumes.masks[0])
