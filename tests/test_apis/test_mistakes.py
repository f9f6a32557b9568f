"""What a user gets wrong ends in one line and an exit code, and leaves nothing half-written."""

import re

import pytest
import torch

from mmjoint.apis import launch, test, train
from mmjoint.engine.checkpoint import write_checkpoint
from mmjoint.utils.cli import run_cli
from tests.test_engine.helpers import write_config

PROGRAMS = {'train': train.main, 'test': test.main, 'launch': launch.main}


def fail(program, arguments, capsys):
    """Run a program that must fail; gives the exit code and the lines on stderr."""
    with pytest.raises(SystemExit) as stop:
        run_cli(PROGRAMS[program], [str(word) for word in arguments])
    return stop.value.code, capsys.readouterr().err.splitlines()


def assert_one_line(outcome, message):
    code, lines = outcome
    assert code == 1
    assert len(lines) == 1, lines
    assert lines[0].startswith('error: ')
    assert re.search(message, lines[0]), lines[0]


@pytest.fixture(scope='module')
def checkpoints(tmp_path_factory):
    """Checkpoints of several kinds, made by one short training."""
    from mmengine.logging import MessageHub, MMLogger
    from mmengine.registry import DefaultScope
    from mmengine.visualization import Visualizer

    folder = tmp_path_factory.mktemp('trained')
    config = write_config(folder, 'default_hooks = dict(checkpoint=dict(interval=7))\n')
    options = ['default_hooks.checkpoint.by_epoch=False', 'train_cfg.max_epochs=2']
    work_dir = str(folder / 'work')
    train.main([str(config), '--work-dir', work_dir, '--seed', '3', '--cfg-options', *options])
    for kind in (MMLogger, MessageHub, Visualizer, DefaultScope):
        kind._instance_dict.clear()
    whole = folder / 'work' / 'iter_7.pth'
    stored = torch.load(whole, weights_only=True)
    (folder / 'cut.pth').write_bytes(whole.read_bytes()[:3000])
    (folder / 'text.pth').write_text('hello')
    write_checkpoint({'state_dict': stored['state_dict']}, folder / 'weights.pth')
    other = {'state_dict': {'encoder.weight': torch.ones(2)}, 'meta': {'model_name': 'Other'}}
    write_checkpoint(other, folder / 'other.pth')
    return {
        'whole': whole,
        **{name: folder / f'{name}.pth' for name in ('cut', 'text', 'weights', 'other')},
    }


# (what is appended to the config, what the line must say)
CONFIG_MISTAKES = {
    'model type': (
        "model = dict(type='ToyModle')",
        r'model\.type: ToyModle is not a known model; did you mean .*ToyModel',
    ),
    'dataset type': (
        "train_dataloader = dict(dataset=dict(type='ToyDatset'))",
        r'train_dataloader\.dataset\.type: ToyDatset is not a known dataset.*ToyDataset',
    ),
    'unknown scope': ("model = dict(type='mmsegg.FCNHead')", r'model\.type: mmsegg\.FCNHead'),
    'foreign type': (
        "model = dict(_delete_=True, type='mmseg.FCNHed')",
        r'model\.type: mmseg\.FCNHed is not a known model; did you mean mmseg\.FCNHead',
    ),
    'model key': (
        'model = dict(chanels=3)',
        r'model\.chanels: ToyModel has no such argument; did you mean channels',
    ),
    'optimizer key': (
        'optim_wrapper = dict(optimizer=dict(weigth_decay=0.1))',
        r'optim_wrapper\.optimizer\.weigth_decay: Adam has no such argument.*weight_decay',
    ),
    'hook key': (
        'default_hooks = dict(checkpoint=dict(max_keep_ckpt=1))',
        r'default_hooks\.checkpoint\.max_keep_ckpt: JointCheckpointHook.*max_keep_ckpts',
    ),
    'sampler key': (
        'val_dataloader = dict(sampler=dict(shufle=True))',
        r'val_dataloader\.sampler\.shufle: ResumableSampler.*shuffle',
    ),
    'scheduler key': (
        'param_scheduler = dict(chnge_epoch=3)',
        r'param_scheduler\.chnge_epoch: PolyAfterLR has no such argument.*change_epoch',
    ),
    'loader key': (
        'train_dataloader = dict(batchsize=3)',
        r'train_dataloader\.batchsize is unknown.*batch_size',
    ),
    'top-level key': (
        'optim_wraper = dict()',
        r'optim_wraper is unknown; did you mean optim_wrapper',
    ),
    'env key': (
        'env_cfg = dict(cudnn_benchmrk=True)',
        r'env_cfg\.cudnn_benchmrk is unknown.*cudnn_benchmark',
    ),
    'randomness key': (
        'randomness = dict(sed=1)',
        r'randomness\.sed is unknown; did you mean seed',
    ),
    'batch size': (
        'train_dataloader = dict(batch_size=-2)',
        r'train_dataloader\.batch_size: expected an integer >= 1, found -2',
    ),
    'workers': (
        'val_dataloader = dict(num_workers=-1)',
        r'val_dataloader\.num_workers: expected an integer >= 0, found -1',
    ),
    'epochs': (
        'train_cfg = dict(max_epochs=0)',
        r'train_cfg\.max_epochs: expected an integer >= 1, found 0',
    ),
    'interval': (
        'train_cfg = dict(val_interval=0)',
        r'train_cfg\.val_interval: expected an integer >= 1, found 0',
    ),
    'rate': (
        'optim_wrapper = dict(optimizer=dict(lr=-1e-3))',
        r'optimizer\.lr: expected a number > 0, found -0\.001',
    ),
    'rate as text': (
        "optim_wrapper = dict(optimizer=dict(lr='1e-3'))",
        r"optimizer\.lr: expected a number > 0, found '1e-3'",
    ),
    'seed': (
        'randomness = dict(seed=-1)',
        r'randomness\.seed: expected an integer in \[0, 2\*\*32\), found -1',
    ),
    'incomplete validation': (
        'val_evaluator = None',
        r'val_dataloader, val_cfg given without val_evaluator',
    ),
    'no model': ('model = None', r'model is missing'),
    'no sampler': (
        'train_dataloader = dict(sampler=None)',
        r'train_dataloader\.sampler: expected a dict with a type, found None',
    ),
    'empty data set': (
        'train_dataloader = dict(dataset=dict(size=0))',
        r'train_dataloader\.dataset holds no sample',
    ),
    'unprepared data': (
        "train_dataloader = dict(dataset=dict(_delete_=True, type='REFUGEJointDataset', "
        "data_root='missing/', split='train'))",
        r'missing/annotations/train\.json.*prepare_dataset/refuge\.py',
    ),
    'missing argument': (
        "optim_wrapper = dict(optimizer=dict(type='SGD', lr=None))",
        r'optimizer\.lr: expected a number',
    ),
}


@pytest.mark.parametrize('name', CONFIG_MISTAKES)
def test_config_mistakes(name, tmp_path, capsys, runner_state):
    extra, message = CONFIG_MISTAKES[name]
    config = write_config(tmp_path, extra + '\n')
    work_dir = tmp_path / 'work'
    assert_one_line(fail('train', [config, '--work-dir', work_dir], capsys), message)
    assert not work_dir.exists()


# (content of the file, what the line must say)
BROKEN_FILES = {
    'syntax': ('model = dict(\nx = = 2\n', r'broken\.py: not a valid config'),
    'base': (
        "_base_ = ['nowhere.py']\n",
        r'broken\.py: a file that it builds on is missing: .*nowhere\.py',
    ),
    'name': ('model = undefined\n', r'broken\.py: not a valid config: .*undefined'),
    'import': (
        "custom_imports = dict(imports=['no_such_module'])\n",
        r'broken\.py: not a valid config: .*no_such_module',
    ),
}


@pytest.mark.parametrize('name', BROKEN_FILES)
def test_broken_config_files(name, tmp_path, capsys):
    content, message = BROKEN_FILES[name]
    path = tmp_path / 'broken.py'
    path.write_text(content)
    assert_one_line(fail('train', [path], capsys), message)


def test_missing_config_files(tmp_path, capsys):
    write_config(tmp_path)
    assert_one_line(
        fail('train', [tmp_path / 'toi.py'], capsys),
        r'toi\.py: no such config file; did you mean toy\.py',
    )
    assert_one_line(fail('train', [tmp_path], capsys), 'expected a config file, found a folder')
    (tmp_path / 'a.yaml').touch()
    assert_one_line(fail('train', [tmp_path / 'a.yaml'], capsys), r'ending in \.py')


# (options, what the line must say)
OPTION_MISTAKES = {
    'unknown key': (
        ['optim_wraper.optimizer.lr=1'],
        r'optim_wraper is no key of .*toy\.py; did you mean optim_wrapper',
    ),
    'unknown argument': (
        ['train_cfg.max_epoch=3'],
        r'train_cfg\.max_epoch: JointEpochBasedTrainLoop has no such argument.*max_epochs',
    ),
    'list index': (
        ['visualizer.vis_backends.4.type=X'],
        r'visualizer\.vis_backends\.4 does not exist, the list .* has 1 items',
    ),
    'below a value': (['log_level.x=1'], r"log_level is 'INFO'.*hold no further keys"),
    'type': (['model.type=UMLL'], r'model\.type: UMLL'),
}


@pytest.mark.parametrize('name', OPTION_MISTAKES)
def test_option_mistakes(name, tmp_path, capsys):
    options, message = OPTION_MISTAKES[name]
    config = write_config(tmp_path)
    arguments = [config, '--work-dir', tmp_path / 'work', '--cfg-options', *options]
    assert_one_line(fail('train', arguments, capsys), message)
    assert not (tmp_path / 'work').exists()


def test_malformed_arguments_exit_with_2(tmp_path, capsys):
    config = write_config(tmp_path)
    for program, arguments, message in (
        ('train', [], 'required: config'),
        ('train', [config, '--sed', '3'], 'unrecognized arguments: --sed 3'),
        ('train', [config, '--seed', 'x'], "invalid int value: 'x'"),
        ('train', [config, '--launcher', 'mpirun'], 'invalid choice'),
        ('train', [config, '--cfg-options', 'a.b'], "expected KEY=VALUE, found 'a.b'"),
        ('test', [config], 'required: checkpoint'),
        ('launch', ['fly', '2', config], 'invalid choice'),
    ):
        code, lines = fail(program, arguments, capsys)
        assert code == 2
        assert message in lines[-1]


# (arguments after config and work folder, what the line must say); {x} is a checkpoint
TRAIN_MISTAKES = {
    'resume what is not there': (
        ['--resume', '{whole}x'],
        r'iter_7\.pthx: no such checkpoint file; in that folder are .*iter_7\.pth',
    ),
    'resume a cut file': (
        ['--resume', '{cut}'],
        r'cut\.pth: not a readable checkpoint: the file is truncated or damaged',
    ),
    'resume a text file': (['--resume', '{text}'], r'text\.pth: not a readable checkpoint'),
    'resume weights': (
        ['--resume', '{weights}'],
        r'weights\.pth: holds weights, but not the state of a training \(meta, message_hub, ',
    ),
    'resume another model': (
        ['--resume', '{other}'],
        r'other\.pth: weights of another model \(Other\), they do not fit ToyModel',
    ),
    'resume with another seed': (
        ['--resume', '{whole}', '--seed', '4'],
        r'--seed 4: .*iter_7\.pth was trained with seed 3',
    ),
    'resume other batches': (
        ['--resume', '{whole}', '--cfg-options', 'train_dataloader.batch_size=4'],
        r'inside an epoch, after 2 of 5 batches.*batch_size 3 -> 4',
    ),
    'resume by iterations': (
        ['--resume', '{whole}', '--cfg-options', 'train_dataloader.sampler.type=DefaultSampler'],
        r'DefaultSampler has no skip\(\), so training cannot be resumed after 2 batches',
    ),
    'load a cut file': (
        ['--cfg-options', 'load_from={cut}'],
        r'cut\.pth: not a readable checkpoint',
    ),
    'mixed precision': (['--amp'], r'--amp: mixed precision needs a CUDA device'),
    'seed': (['--seed', '-3'], r'--seed: expected an integer in \[0, 2\*\*32\), found -3'),
    'launcher': (
        ['--launcher', 'pytorch'],
        r'--launcher pytorch expects the environment variables RANK',
    ),
    'no whole batch': (
        ['--cfg-options', 'train_dataloader.batch_size=14', 'train_dataloader.drop_last=True'],
        r'no batch comes out of 13 samples with batch_size=14',
    ),
    'best by an unknown result': (
        ['--cfg-options', 'default_hooks.checkpoint.save_best=seg/mIuO', 'train_cfg.max_epochs=1'],
        r'save_best: seg/mIuO is not among the results \(cls/ACC, cls/confidence',
    ),
    'keep no checkpoint': (
        ['--cfg-options', 'default_hooks.checkpoint.max_keep_ckpts=0'],
        r'interval and max_keep_ckpts must be -1 or at least 1, got 1 and 0',
    ),
}


@pytest.mark.skipif(torch.cuda.is_available(), reason='--amp is no mistake with a CUDA device')
@pytest.mark.parametrize('name', TRAIN_MISTAKES)
def test_train_mistakes(name, tmp_path, capsys, checkpoints, runner_state, monkeypatch):
    monkeypatch.delenv('RANK', raising=False)
    arguments, message = TRAIN_MISTAKES[name]
    config = write_config(tmp_path)
    words = [str(word).format(**checkpoints) for word in arguments]
    outcome = fail('train', [config, '--work-dir', tmp_path / 'work', *words], capsys)
    assert_one_line(outcome, message)
    # Whatever stands under a final name is whole.
    for path in tmp_path.rglob('*.pth'):
        torch.load(path, weights_only=True)
    assert not list(tmp_path.rglob('.*'))


def test_training_by_iterations_wants_an_endless_sampler(tmp_path, capsys, runner_state):
    config = write_config(
        tmp_path, 'train_cfg = dict(_delete_=True, by_epoch=False, max_iters=3)\n'
    )
    assert_one_line(
        fail('train', [config, '--work-dir', tmp_path / 'work'], capsys),
        'ResumableSampler ends with the data.*use InfiniteResumableSampler',
    )


@pytest.mark.parametrize('workers', [0, 1])
def test_a_broken_image_is_named_from_wherever_it_is_read(tmp_path, capsys, runner_state, workers):
    config = write_config(
        tmp_path,
        f'train_dataloader = dict(num_workers={workers}, dataset=dict(broken=4))\n',
    )
    assert_one_line(
        fail('train', [config, '--work-dir', tmp_path / 'work'], capsys),
        '^error: toy/4.png: truncated image; make it anew$',
    )


def test_a_work_folder_that_cannot_be_one(tmp_path, capsys):
    config = write_config(tmp_path)
    (tmp_path / 'taken').touch()
    for path in ('taken', 'taken/below'):
        assert_one_line(
            fail('train', [config, '--work-dir', tmp_path / path], capsys),
            'work_dir: .*taken is a file, expected a folder',
        )


# (arguments after config, what the line must say)
TEST_MISTAKES = {
    'missing': (['{whole}x'], r'iter_7\.pthx: no such checkpoint file'),
    'cut': (['{cut}'], r'cut\.pth: not a readable checkpoint'),
    'text': (['{text}'], r'text\.pth: not a readable checkpoint'),
    'another model': (
        ['{other}'],
        r'other\.pth: weights of another model \(Other\).*9 keys missing \(first conv\.weight, ',
    ),
    'unknown metric': (
        ['{whole}', '--eval', 'mIoU'],
        r'--eval: expected names .* found mIoU; use some of ACC, confidence',
    ),
    'estimator': (
        ['{whole}', '--uq', 'mcdropout'],
        r"--uq: expected one of ensemble, .*, found 'mcdropout'; did you mean mc_dropout\?",
    ),
    'estimator of a foreign model': (
        ['{whole}', '--uq', 'softmax'],
        r'estimator softmax: expected a model of this toolbox \(InferringModel\), found ToyModel',
    ),
    'samples without estimator': (
        ['{whole}', '--samples', '3'],
        r'--samples: needs an estimator of the uncertainty; add --uq NAME',
    ),
    'temperature of nobody': (
        ['{whole}', '--temperature', 'nowhere.json'],
        r'nowhere\.json: cannot read the temperatures \(No such file or directory\)',
    ),
    'out': (['{whole}', '--out', 'x.pkl'], r'--out x\.pkl: expected a name that ends in \.json'),
    'no test data': (
        ['{whole}', '--cfg-options', 'test_dataloader=None'],
        r'test_dataloader is missing',
    ),
}


@pytest.mark.parametrize('name', TEST_MISTAKES)
def test_test_mistakes(name, tmp_path, capsys, checkpoints, runner_state):
    arguments, message = TEST_MISTAKES[name]
    config = write_config(tmp_path)
    words = [str(word).format(**checkpoints) for word in arguments]
    outcome = fail('test', [config, *words, '--work-dir', tmp_path / 'work'], capsys)
    assert_one_line(outcome, message)
    assert not list(tmp_path.rglob('metrics.json'))


# (environment, devices, arguments, what the line must say)
LAUNCH_MISTAKES = {
    'no number': ({}, 0, ['four'], "expected a number of processes .* found 'four'"),
    'zero': ({}, 0, ['0'], "found '0'"),
    'fewer devices': ({}, 3, ['4'], '4 processes need 4 CUDA devices, this machine has 3'),
    'one device': ({}, 1, ['2'], '2 processes need 2 CUDA devices, this machine has 1'),
    'nodes': ({'NNODES': 'two'}, 0, ['2'], "NNODES: expected an integer >= 1, found 'two'"),
    'rank': ({'NODE_RANK': '1'}, 0, ['2'], 'NODE_RANK: expected a number below NNODES=1, got 1'),
    'address': ({'NNODES': '2'}, 0, ['2'], 'NNODES=2: set MASTER_ADDR'),
    'port': ({'PORT': 'x'}, 0, ['2'], "PORT: expected an integer >= 1, found 'x'"),
}


@pytest.mark.parametrize('name', LAUNCH_MISTAKES)
def test_launch_mistakes_start_nothing(name, tmp_path, capsys, monkeypatch, runner_state):
    environment, devices, arguments, message = LAUNCH_MISTAKES[name]
    for key in ('NNODES', 'NODE_RANK', 'MASTER_ADDR', 'PORT'):
        monkeypatch.delenv(key, raising=False)
    for key, value in environment.items():
        monkeypatch.setenv(key, value)
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: devices)
    config = write_config(tmp_path)
    work_dir = tmp_path / 'work'
    outcome = fail('launch', ['train', *arguments, config, '--work-dir', work_dir], capsys)
    assert_one_line(outcome, message)
    assert not work_dir.exists()
