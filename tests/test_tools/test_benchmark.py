import json
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope

from mmjoint.apis import benchmark
from mmjoint.apis.benchmark import BenchmarkOptions, run_benchmark
from mmjoint.apis.config import load_config
from mmjoint.apis.synthetic import synthetic_batch
from mmjoint.utils.cli import run_cli
from mmjoint.utils.errors import UserError
from tests.test_datasets import xray_sets
from tests.test_datasets.test_dataset_configs import prepare
from tools.analysis_tools.benchmark import main

from . import tiny

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def leave_no_trace():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    DefaultScope._instance_dict.clear()


@pytest.fixture
def config(tmp_path):
    path = tmp_path / 'tiny.py'
    path.write_text(tiny.CONFIG)
    return str(path)


@pytest.fixture
def models(monkeypatch):
    """The models that the benchmark builds."""
    built = []
    build = benchmark.build_model
    monkeypatch.setattr(
        benchmark, 'build_model', lambda *args: built.append(build(*args)) or built[-1]
    )
    return built


def test_training_on_made_up_input(config, models, tmp_path, capsys):
    out = tmp_path / 'out' / 'result.json'
    options = '--synthetic 16 24 --batch-size 2 --iters 3 --warmup 1 --threads 1 --progress 0.25'
    main([config, *options.split(), '--device', 'cpu', '--out', str(out)])
    result = json.loads(out.read_text())
    assert json.loads(capsys.readouterr().out) == result
    assert result['input_shape'] == [2, 3, 16, 24]
    assert result['threads'] == 1 and result['mode'] == 'train' and result['input'] == 'synthetic'
    seconds = result['seconds']
    assert set(seconds) == {'data', 'forward', 'backward', 'optimizer', 'total'}
    assert all(value > 0 for value in seconds.values())
    assert result['seconds_min'] <= seconds['total'] <= result['seconds_max']
    assert result['images_per_second'] == pytest.approx(2 / seconds['total'])
    assert result['num_parameters'] == 3 * 3 * 9 + 3 + 3 * 2 + 2
    memory = result['memory_mib']
    assert 50 < memory['rss_before'] <= memory['peak_rss'] < 1e5
    (model,) = models
    assert model.calls == [('loss', True, True)] * 4
    assert model.progress == 0.25


def test_training_changes_the_weights(config, models, monkeypatch):
    before = []
    step = benchmark._TrainStep.__call__

    def spy(self, *args):
        before.append(self.model.conv.weight.detach().clone())
        step(self, *args)

    monkeypatch.setattr(benchmark._TrainStep, '__call__', spy)
    options = BenchmarkOptions(synthetic=(8, 8), iters=2, warmup=0, device='cpu')
    run_benchmark(load_config(config), options)
    assert not torch.equal(before[0], before[1])
    assert models[0].conv.weight.grad is None  # zeroed after the step


def test_prediction(config, models):
    options = BenchmarkOptions(
        mode='infer', synthetic=(8, 8), iters=2, warmup=1, device='cpu', batch_size=2
    )
    result = run_benchmark(load_config(config), options)
    assert set(result['seconds']) == {'data', 'forward', 'total'}
    assert models[0].calls == [('predict', False, False)] * 3


def test_prediction_in_bfloat16(config):
    options = BenchmarkOptions(
        mode='infer', synthetic=(8, 8), iters=1, warmup=0, device='cpu', amp=True
    )
    assert run_benchmark(load_config(config), options)['amp'] is True


def test_real_data_goes_round(config, tmp_path, models):
    prepare(tmp_path / 'data', size=(16, 16))
    cfg = load_config(config, {'train_dataloader.dataset.data_root': str(tmp_path / 'data')})
    options = BenchmarkOptions(iters=3, warmup=0, device='cpu', batch_size=2)
    result = run_benchmark(cfg, options)
    assert result['input'] == 'data' and result['input_shape'] == [2, 3, 16, 16]
    assert len(models[0].calls) == 3


def test_a_model_with_its_own_train_step(config, monkeypatch):
    def train_step(self, data, optim_wrapper):
        assert isinstance(data['inputs'], list)  # as it comes from the loader
        losses = self(**self.data_preprocessor(data, True), mode='loss')
        optim_wrapper.update_params(sum(losses.values()))
        return losses

    monkeypatch.setattr(tiny.TinyJointModel, 'train_step', train_step)
    options = BenchmarkOptions(synthetic=(8, 8), iters=2, warmup=0, device='cpu')
    result = run_benchmark(load_config(config), options)
    assert set(result['seconds']) == {'data', 'step', 'total'}
    assert result['input_shape'][1:] == [3, 8, 8]


def test_made_up_batch(config):
    batch = synthetic_batch(load_config(config), (40, 50), 3)
    assert [tuple(image.shape) for image in batch['inputs']] == [(3, 40, 50)] * 3
    assert batch['inputs'][0].dtype == torch.uint8
    sample = batch['data_samples'][2]
    assert [one.gt_label.item() for one in batch['data_samples']] == [0, 1, 0]
    assert sample.gt_sem_seg.data.unique().tolist() == [0, 1, 2]
    volume = synthetic_batch(load_config(config), (4, 5, 6), 1)
    assert volume['inputs'][0].shape == (1, 4, 5, 6)
    assert volume['data_samples'][0].gt_sem_seg.shape == (4, 5, 6)


def test_made_up_batches_of_two_tasks(tmp_path):
    cfg = Config(
        dict(
            model=dict(backbone=dict(in_channels=1)),
            train_dataloader=dict(
                sampler=dict(type='MultiSourceSampler', counts=xray_sets.COUNTS),
                dataset=dict(type='MultiSourceDataset', datasets=xray_sets.sources(tmp_path)),
            ),
        )
    )
    batch = synthetic_batch(cfg, (16, 16), sum(xray_sets.COUNTS), training=True)
    found = {
        branch: {field for sample in samples if sample for field in ('gt_label', 'gt_sem_seg')
                 if field in sample}
        for branch, samples in batch['data_samples'].items()
    }  # fmt: skip
    labels = dict(seg_labelled={'gt_sem_seg'}, cls_labelled={'gt_label'})
    assert found == {branch: labels.get(branch, set()) for branch in xray_sets.BRANCHES}
    weak, strong = batch['inputs']['cls_weak'], batch['inputs']['cls_strong']
    assert [image is None for image in weak] == [image is None for image in strong]


FUNDUS = ROOT / 'configs' / '_base_' / 'datasets' / 'fundus-tasks-pseudo_512x512.py'
FUNDUS_TASKS = dict(
    reta=('vessel',),
    ddr=('lesion',),
    refuge=('odoc',),
    reta_pseudo=('lesion', 'odoc'),
    ddr_pseudo=('vessel', 'odoc'),
    refuge_pseudo=('vessel',),
)


def test_made_up_batches_of_partly_labelled_sets():
    batch = synthetic_batch(Config.fromfile(FUNDUS), (16, 16), 12, training=True)
    values = dict(vessel=[0, 1], lesion=[0, 1, 2, 3, 4], odoc=[0, 1, 2])
    assert batch['inputs'].keys() == FUNDUS_TASKS.keys()
    for branch, tasks in FUNDUS_TASKS.items():
        samples = [sample for sample in batch['data_samples'][branch] if sample is not None]
        assert len(samples) == 2
        for sample in samples:
            assert set(sample.gt_tasks.keys()) == set(tasks) and 'gt_sem_seg' not in sample
            for task in tasks:
                assert sample.gt_tasks.get(task).unique().tolist() == values[task]


def test_several_optimizers(tmp_path):
    from ..test_engine import adversarial_toy  # registers

    text = f"""
_base_ = ['{FUNDUS}', '{ROOT}/configs/_base_/schedules/pssnet_60k.py']
default_scope = 'mmjoint'
tasks = dict(
    vessel=dict(vessel=(1,)),
    lesion=dict(EX=(1,), HE=(2,), SE=(3,), MA=(4,)),
    odoc=dict(disc=(1, 2), cup=(2,)),
)
model = dict(
    type='PSSNet', tasks=tasks, generator=dict(type='{adversarial_toy.ToyGenerator.__name__}'),
    weights=dict(reta=dict(vessel=1.0), ddr=dict(lesion=1.0), refuge=dict(odoc=1.0)),
    pseudo_weights=dict(reta_pseudo=dict(lesion=0.1)),
    critic=dict(type='ConvCritic', channels=(4,)),
    data_preprocessor=dict(
        type='MultiBranchDataPreprocessor', data_preprocessor=dict(type='JointDataPreprocessor')),
)
"""
    path = tmp_path / 'adversarial.py'
    path.write_text(text)
    options = BenchmarkOptions(synthetic=(8, 8), iters=2, warmup=0, device='cpu')
    result = run_benchmark(load_config(str(path)), options)
    assert set(result['seconds']) == {'data', 'step', 'total'}
    assert result['input_shape'] == {branch: [1, 3, 8, 8] for branch in FUNDUS_TASKS}
    assert result['images_per_second'] == pytest.approx(6 / result['seconds']['total'])


def error(config, *args):
    with pytest.raises(UserError) as caught:
        main([config, *args])
    assert '\n' not in str(caught.value)
    return str(caught.value)


def test_missing_data_name_the_prepare_command(config):
    message = error(config)
    assert 'nowhere/annotations/train.json' in message
    assert 'python prepare_dataset/refuge.py' in message


@pytest.mark.parametrize(
    ('args', 'part'),
    [
        (['--synthetic', '8'], '--synthetic: expected H W or D H W, all >= 1, found [8]'),
        (['--iters', '0'], '--iters: expected a number >= 1, found 0'),
        (['--batch-size', '-1'], '--batch-size: expected a number >= 1, found -1'),
        (['--warmup', '-1'], '--warmup: expected a number >= 0, found -1'),
        (['--progress', '2'], '--progress: expected a number in [0, 1], found 2.0'),
        (['--device', 'abacus'], '--device: expected auto, cpu, cuda or cuda:N, found abacus'),
        (['--device', 'cuda:99'], '--device: expected a CUDA device cuda:99, found'),
        (['--device', 'cpu', '--amp', '--synthetic', '8', '8'], '--amp: expected a CUDA device'),
        (['--cfg-options', 'model.num_clases=2'], 'num_clases'),
    ],
)
def test_impossible_options(config, args, part):
    assert part in error(config, *args)


def test_no_classes_to_make_up(config):
    overrides = ['--cfg-options', 'train_dataloader.dataset.type=BaseJointDataset',
                 'test_dataloader.dataset.type=BaseJointDataset']  # fmt: skip
    assert 'whose METAINFO has classes' in error(config, '--synthetic', '8', '8', *overrides)


def test_missing_config_ends_in_one_line(capsys):
    with pytest.raises(SystemExit) as caught:
        run_cli(main, ['no_such_config.py'])
    assert caught.value.code == 1
    stderr = capsys.readouterr().err
    assert stderr.startswith('error: no_such_config.py') and stderr.count('\n') == 1
