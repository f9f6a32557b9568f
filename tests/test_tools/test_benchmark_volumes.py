"""The benchmark on volumes: models with branches, their hooks and their loaders; the yardstick."""

import json
import sys

import numpy as np
import pytest
import torch
from mmengine.registry import DefaultScope, init_default_scope

from mmjoint.apis import benchmark
from mmjoint.apis.config import load_config
from mmjoint.apis.synthetic import synthetic_batch
from mmjoint.registry import DATASETS, MODELS, TRANSFORMS
from mmjoint.utils.errors import UserError
from mmjoint.utils.random import SeededIndex
from tests.test_datasets.volume_set import VolumeSet
from tools.analysis_tools.benchmark import main

FAST = 'configs/aggregate_decouple/aggregate-decouple_vnet_synapse-20p.py'
SLICES = 'configs/aggregate_decouple/aggregate-decouple_vnet_mnms2d-toA-2p.py'
TEACHER = 'configs/mean_teacher/mean-teacher_vnet_synapse-20p.py'
SUPERVISED = 'configs/vnet/vnet_synapse-20p.py'
PLAIN = 'tests/yardsticks/plain-aggregate-decouple_vnet_synapse-20p.py'
SOURCES = 'train_dataloader.dataset.datasets'


def width(*parts, prefix='model'):
    return [f'{prefix}.{part}.base_channels=2' for part in parts]


THREE = [*width('backbone', 'decode_head', 'denoising_stem'), 'model.diffusion.sampling_steps=2']
SMALL = {
    FAST: THREE,
    PLAIN: THREE,
    SLICES: THREE,
    TEACHER: width('backbone', 'decode_head', prefix='model.segmentor'),
    SUPERVISED: width('backbone', 'decode_head'),
}
BASE = '--iters 1 --warmup 1 --threads 1 --device cpu --no-keep-memory'.split()


@pytest.fixture(autouse=True, scope='module')
def forget_the_yardstick():
    yield
    # A later import registers it again.
    sys.modules.pop('tests.yardsticks.aggregate_decouple', None)
    for registry in (MODELS, TRANSFORMS):
        for name, kind in list(registry._module_dict.items()):
            if name.startswith('Plain') and kind.__module__.startswith('tests.'):
                del registry._module_dict[name]


@pytest.fixture(autouse=True)
def leave_no_trace():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    DefaultScope._instance_dict.clear()


@pytest.fixture
def volumes(tmp_path):
    """Options that point a config at a few tiny volumes."""
    VolumeSet(tmp_path)
    options = []
    for source in ('labelled', 'unlabelled'):
        options += [
            f'{SOURCES}.{source}.data_root={tmp_path}',
            f'{SOURCES}.{source}.split={source}',
            f'{SOURCES}.{source}.pipeline.2.size=(16,16,32)',
        ]
    # No labels are loaded in the fast form.
    options[-1] = f'{SOURCES}.unlabelled.pipeline.1.size=(16,16,32)'
    return options


def measure(capsys, config, *args, options=()):
    main([config, *BASE, *args, '--cfg-options', *SMALL[config], *options])
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    ('config', 'shape', 'hook'),
    [
        (FAST, (16, 16, 32), 'DecoderAveragingHook'),
        (SLICES, (16, 32), 'DecoderAveragingHook'),
        (TEACHER, (16, 16, 32), 'MeanTeacherHook'),
    ],
)
def test_branches_on_made_up_input(capsys, config, shape, hook):
    words = [str(length) for length in shape]
    result = measure(capsys, config, '--synthetic', *words, '--batch-size', '2')
    assert result['input_shape'] == {b: [1, 1, *shape] for b in ('labelled', 'unlabelled')}
    phases = {'data', 'forward', 'backward', 'optimizer', 'hooks', 'total'}
    assert set(result['seconds']) == set(result['seconds_mean']) == phases
    assert all(seconds > 0 for seconds in result['seconds'].values())
    assert result['images_per_second'] == pytest.approx(2 / result['seconds']['total'])
    assert result['cpu_seconds'] > 0
    assert result['hooks'] == [hook]
    assert set(result['hooks_left_out']) <= {'PseudoLabelHealthHook'}
    assert result['keep_memory'] is False


def test_one_source_on_made_up_input(capsys):
    args = '--synthetic 16 16 32 --batch-size 1'.split()
    result = measure(capsys, SUPERVISED, *args)
    assert result['input_shape'] == [1, 1, 16, 16, 32]
    assert 'hooks' not in result['seconds'] and result['hooks'] == []


def test_made_up_branches_are_as_the_loaders():
    batch = synthetic_batch(load_config(FAST), (4, 5, 6), 4, training=True)
    for items in batch.values():
        present = {name: [item is not None for item in own] for name, own in items.items()}
        assert present == dict(labelled=[True, True, False, False],
                               unlabelled=[False, False, True, True])  # fmt: skip
    samples = batch['data_samples']
    assert samples['labelled'][0].gt_sem_seg.data.max() == 13
    assert 'gt_sem_seg' not in samples['unlabelled'][2]


def test_hooks_act_and_those_that_watch_are_left_out(capsys, monkeypatch):
    models = []
    build = benchmark.build_model

    def spy(*args):
        models.append(build(*args))
        models[-1].kept = []
        models[-1].average_decoders = models[-1].kept.append
        return models[-1]

    monkeypatch.setattr(benchmark, 'build_model', spy)
    options = ['custom_hooks=[]']
    args = '--synthetic 16 16 32 --batch-size 2'.split()
    assert measure(capsys, FAST, *args, options=options)['hooks'] == []
    cfg = load_config(FAST, {key: int(n) for key, n in (option.split('=') for option in THREE)})
    cfg.custom_hooks = [
        dict(type='PseudoLabelHealthHook'),
        dict(type='DecoderAveragingHook', keep=0.25, priority='LOW'),
    ]
    settings = benchmark.BenchmarkOptions(
        synthetic=(16, 16, 32), batch_size=2, iters=2, warmup=1, device='cpu', keep_memory=False
    )
    result = benchmark.run_benchmark(cfg, settings)
    assert result['hooks'] == ['DecoderAveragingHook']
    assert result['hooks_left_out'] == ['PseudoLabelHealthHook']
    assert models[0].kept == [] and models[1].kept == [0.25] * 3


@pytest.mark.parametrize('workers', ['0', '1'])
def test_a_loader_of_two_sources(capsys, volumes, workers):
    args = ['--batch-size', '2', '--workers', workers]
    result = measure(capsys, FAST, *args, options=volumes)
    assert result['input'] == 'data' and result['workers'] == int(workers)
    assert result['input_shape']['labelled'] == [1, 1, 16, 16, 32]


@pytest.mark.parametrize(
    ('args', 'text'),
    [
        ('--synthetic 16 16 32 --batch-size 3', r'--batch-size: expected a number that divides as'),
        ('--batch-size 3', r'the \(2, 2\) samples of train_dataloader.sampler.counts, found 3'),
        ('--workers -1', '--workers: expected a number >= 0, found -1'),
        ('--synthetic 16 16 32 --workers 1', '--workers: load'),
    ],
)
def test_impossible_options(args, text):
    with pytest.raises(UserError, match=text):
        main([FAST, *BASE, *args.split()])


def test_the_yardstick_is_measured_alike(capsys):
    args = '--synthetic 16 16 32 --batch-size 2'.split()
    results = [measure(capsys, config, *args) for config in (FAST, PLAIN)]
    for key in ('input_shape', 'num_parameters', 'hooks', 'progress'):
        assert results[0][key] == results[1][key], key
    assert results[0]['seconds'].keys() == results[1]['seconds'].keys()


def test_the_yardstick_loads_the_same(volumes):
    """Image and labels of both sources, whatever the augmentation does."""
    init_default_scope('mmjoint')
    datasets = []
    for config in (FAST, PLAIN):
        own = list(volumes)
        if config == PLAIN:
            own[-1] = own[-1].replace('pipeline.1', 'pipeline.2')
        pairs = [option.split('=', 1) for option in own]
        options = {key: eval(v) if 'size' in key else v for key, v in pairs}
        datasets.append(DATASETS.build(load_config(config, options).train_dataloader.dataset))
    for index in range(6):
        branch = 'labelled' if index < 2 else 'unlabelled'
        for seed in range(4):
            fast, plain = (dataset[SeededIndex(index, seed)] for dataset in datasets)
            images = [packed['inputs'][branch] for packed in (fast, plain)]
            np.testing.assert_allclose(*images, atol=1e-6)
            samples = [packed['data_samples'][branch] for packed in (fast, plain)]
            assert ('gt_sem_seg' in samples[0]) == ('gt_sem_seg' in samples[1]) == (index < 2)
            if index < 2:
                assert torch.equal(*(sample.gt_sem_seg.data for sample in samples))
