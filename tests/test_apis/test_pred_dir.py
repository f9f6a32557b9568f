"""``tools/test.py --pred-dir``: what a model predicts lies where the raw file lies."""

import json
import multiprocessing
import os
import re
import socket

import cv2
import h5py
import nibabel
import numpy as np
import pytest
import torch

from mmjoint.apis import test
from mmjoint.apis.volume_writer import SampleWriter
from mmjoint.engine.checkpoint import write_checkpoint
from mmjoint.structures import JointDataSample
from mmjoint.utils.cli import run_cli
from mmjoint.utils.errors import UserError

from ..test_engine.helpers import ROOT
from ..test_prepare_dataset.scripts import la, make_phantoms, synapse

CONFIG = """
_base_ = ['{root}/configs/_base_/default_runtime.py']
custom_imports = dict(imports=['tests.test_apis.volume_toy'])
model = dict(type='LevelModel', {model})
test_dataloader = dict(
    batch_size={batch_size},
    num_workers=0,
    sampler=dict(type='ResumableSampler', shuffle=False, round_up=False),
    dataset=dict(
        type='{dataset}', data_root='{data}', split='{split}', test_mode=True, pipeline={pipeline}
    ),
)
test_evaluator = dict(type='SegmentationMetric', measures=('Dice',))
test_cfg = dict()
visualizer = dict(_delete_=True, type='Visualizer', vis_backends=[dict(type='LocalVisBackend')])
"""
VOLUMES = [
    dict(type='LoadVolume'),
    dict(type='LoadVolumeAnnotations'),
    dict(type='PackJointInputs'),
]


def write_config(folder, dataset, data, model, *, split='test', pipeline=VOLUMES, batch_size=1):
    config = folder / 'toy.py'
    text = CONFIG.format(
        root=ROOT,
        dataset=dataset,
        data=data,
        split=split,
        pipeline=pipeline,
        batch_size=batch_size,
        model=', '.join(f'{key}={value!r}' for key, value in model.items()),
    )
    config.write_text(text)
    from .volume_toy import LevelModel  # registers it, so not when tests are collected

    built = LevelModel(**model)
    write_checkpoint({'state_dict': built.state_dict(), 'meta': {}}, folder / 'toy.pth')
    return [str(config), str(folder / 'toy.pth'), '--work-dir', str(folder / 'work')]


def answers(raw):
    """Make each volume of LA its own label map, in other numbers."""
    for path in raw.rglob('mri_norm2.h5'):
        with h5py.File(path, 'r+') as stored:
            stored['image'][...] = stored['label'][...] * 3.0 - 1
    return raw


def split_of(data, split):
    return json.loads((data / 'annotations' / f'{split}.json').read_text())


@pytest.fixture(scope='module')
def atria(tmp_path_factory):
    """Raw and prepared folder of LA; images that show their labels."""
    folder = tmp_path_factory.mktemp('la')
    make_phantoms.make_phantoms('la', folder / 'raw', num_cases=10, seed=0, size=24)
    la.prepare(answers(folder / 'raw'), folder / 'data', ratios=(0.5,))
    return folder


def assert_exact(atria, out):
    records = split_of(atria / 'data', 'train')
    assert len(records) == 8
    for record in records:
        name = record['patient_id']
        with h5py.File(atria / 'raw' / record['geometry']['raw_path']) as stored:
            labels = stored['label'][...]
        pred = nibabel.load(out / f'{name}_pred.nii.gz')
        assert np.array_equal(np.asanyarray(pred.dataobj), labels) and labels.any()
        assert np.array_equal(pred.affine, np.diag([0.625, 0.625, 0.625, 1]))
        entropy = nibabel.load(out / f'{name}_predictive_entropy.nii.gz')
        assert entropy.shape == labels.shape
    assert len(list(out.iterdir())) == 16


@pytest.mark.parametrize('bounded', [False, True])
def test_a_perfect_model_gives_the_raw_labels_back(bounded, atria, tmp_path, runner_state):
    windows = dict(mode='slide', roi_size=(16, 16, 12), overlap=0.5, bounded=bounded)
    model = dict(num_classes=2, test_cfg=windows)
    words = write_config(tmp_path, 'LADataset', atria / 'data', model, split='train')
    test.main([*words, '--pred-dir', str(tmp_path / 'out')])
    assert_exact(atria, tmp_path / 'out')
    results = json.loads(next((tmp_path / 'work').glob('*/metrics.json')).read_text())
    assert results['seg/mDice'] == pytest.approx(1)


def _test(rank, port, words):
    os.environ.update(
        RANK=str(rank),
        LOCAL_RANK=str(rank),
        WORLD_SIZE='2',
        MASTER_ADDR='127.0.0.1',
        MASTER_PORT=str(port),
    )
    test.main([*words, '--launcher', 'pytorch'])


def test_two_processes_write_their_own_samples(atria, tmp_path):
    words = write_config(tmp_path, 'LADataset', atria / 'data', dict(num_classes=2), split='train')
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        port = probe.getsockname()[1]
    context = multiprocessing.get_context('fork')
    words = [*words, '--pred-dir', str(tmp_path / 'out')]
    processes = [
        context.Process(target=_test, args=(rank, port, words), daemon=True) for rank in (0, 1)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0, 0]
    assert_exact(atria, tmp_path / 'out')


@pytest.mark.parametrize('shape', [(14, 24, 24), (21, 45, 53)])
def test_resizing_is_undone(shape, tmp_path, runner_state):
    """Synapse on a coarser and on a finer grid than the raw one."""
    make_phantoms.make_phantoms('synapse', tmp_path / 'raw', num_cases=4, seed=1, size=32)
    synapse.prepare(tmp_path / 'raw', tmp_path / 'data', shape=shape)
    model = dict(num_classes=14, echo=True)
    words = write_config(tmp_path, 'SynapseVolumeDataset', tmp_path / 'data', model, split='train')
    test.main([*words, '--pred-dir', str(tmp_path / 'out')])
    records = split_of(tmp_path / 'data', 'train')
    assert records
    for record in records:
        image = nibabel.load(tmp_path / 'raw' / record['geometry']['raw_path'])
        label = next((tmp_path / 'raw').rglob(f'label{record["patient_id"]}.nii.gz'))
        labels = np.asanyarray(nibabel.load(label).dataobj)
        stored = nibabel.load(tmp_path / 'out' / f'{record["patient_id"]}_pred.nii.gz')
        pred = np.asanyarray(stored.dataobj)
        assert pred.shape == labels.shape and np.allclose(stored.affine, image.affine, atol=1e-5)
        assert np.array_equal(stored.header.get_zooms(), image.header.get_zooms())
        if min(np.subtract(shape, labels.transpose().shape)) >= 0:
            assert np.array_equal(pred, labels)
        else:
            same = (pred == labels) & (labels > 0)
            assert 2 * same.sum() / ((pred > 0).sum() + (labels > 0).sum()) > 0.8


def test_masks_of_images_have_their_original_size(tmp_path, runner_state):
    rng = np.random.default_rng(0)
    labels, records = {}, []
    for number, shape in enumerate([(24, 32), (30, 20)]):
        small = rng.integers(0, 3, (12, 16)).astype(np.uint8)
        labels[f'p{number}'] = cv2.resize(small, shape[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
        record = dict(img_path=f'images/p{number}.png', seg_map_path=f'masks/p{number}.png')
        for path, array in ((record['img_path'], small * 127), (record['seg_map_path'], small)):
            (tmp_path / path).parent.mkdir(exist_ok=True)
            cv2.imwrite(str(tmp_path / path), array)
        records.append({**record, 'gt_label': 0, 'patient_id': str(number), 'ori_shape': shape})
    (tmp_path / 'annotations').mkdir()
    (tmp_path / 'annotations/test.json').write_text(json.dumps(records))
    pipeline = [
        dict(type='LoadJointImage'),
        dict(type='LoadJointAnnotations'),
        dict(type='PackJointInputs'),
    ]
    preprocessor = dict(type='JointDataPreprocessor', mean=[0.0], std=[254.0])
    model = dict(num_classes=3, num_axes=2, data_preprocessor=preprocessor)
    words = write_config(
        tmp_path, 'REFUGEJointDataset', tmp_path, model, pipeline=pipeline, batch_size=2
    )
    test.main([*words, '--pred-dir', str(tmp_path / 'out'), '--uq', 'softmax'])
    for name, expected in labels.items():
        pred = cv2.imread(str(tmp_path / 'out' / f'{name}_pred.png'), cv2.IMREAD_UNCHANGED)
        assert pred.dtype == np.uint8 and np.array_equal(pred, expected)
        entropy = np.load(tmp_path / 'out' / f'{name}_predictive_entropy.npy')
        assert entropy.dtype == np.float32 and entropy.shape == expected.shape
    assert not list((tmp_path / 'out').glob('*.nii*'))


def test_mistakes(atria, tmp_path, runner_state, capsys):
    def fail(words, message):
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            run_cli(test.main, [*words, '--pred-dir', str(tmp_path / 'out')])
        lines = [line for line in capsys.readouterr().err.splitlines() if 'error' in line]
        assert stop.value.code == 1 and len(lines) == 1, lines
        assert re.search(message, lines[0]), lines[0]

    patch = [*VOLUMES[:2], dict(type='CenterCropPatch', size=(8, 8, 8)), VOLUMES[2]]
    words = write_config(tmp_path, 'LADataset', atria / 'data', dict(num_classes=2), pipeline=patch)
    fail(words, r'\.npy: expected a geometry in its record, found none \(a patch has none\)')
    assert not (tmp_path / 'out').exists()
    (tmp_path / 'out').touch()
    fail(words, '--pred-dir .*out: expected a folder for the predictions, found that .* is a file')


def test_two_images_of_one_name(tmp_path, atria, runner_state):
    """Refused before anything is predicted."""
    records = split_of(atria / 'data', 'test')
    for number, record in enumerate(records):
        path = tmp_path / f'images/{number}/same.npy'
        path.parent.mkdir(parents=True)
        path.write_bytes((atria / 'data' / record['img_path']).read_bytes())
        record['img_path'] = f'images/{number}/same.npy'
        del record['seg_map_path']
    (tmp_path / 'annotations').mkdir()
    (tmp_path / 'annotations/test.json').write_text(json.dumps(records))
    words = write_config(tmp_path, 'LADataset', tmp_path, dict(num_classes=2))
    with pytest.raises(UserError, match=r'1/same\.npy: expected a name of its own .*0/same\.npy'):
        test.main([*words, '--pred-dir', str(tmp_path / 'out')])
    assert not (tmp_path / 'out').exists()


def test_a_sample_without_a_mask(tmp_path):
    sample = JointDataSample(metainfo=dict(img_path='a.png'))
    sample.set_pred_score(torch.ones(2) / 2)
    with pytest.raises(UserError, match=r'a\.png: expected a predicted mask to write, found none'):
        SampleWriter(tmp_path)(sample, 'a')
