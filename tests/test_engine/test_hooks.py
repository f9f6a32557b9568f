import json
import shlex
import sys

import numpy as np
import pytest
import torch
from torch import nn

from mmjoint.apis import train
from mmjoint.engine.hooks import (
    IterSeedHook,
    JointCheckpointHook,
    PredictionImageHook,
    TrainProgressHook,
    collect_environment,
)

from .helpers import load, write_config


class Runner:
    """As much of a runner as a hook looks at."""

    def __init__(self, **values):
        self.__dict__.update(rank=0, seed=3, iter=0, epoch=0, train_loop=None, **values)


def draw(hook, runner, stage='train', batch=0):
    getattr(hook, f'before_{stage}_iter')(runner, batch)
    return float(torch.rand(())), float(np.random.rand())


def test_draws_depend_on_seed_rank_iteration_and_stage_only():
    hook = IterSeedHook()
    runner = Runner()
    first = draw(hook, runner)
    torch.rand(5)
    assert draw(hook, runner, batch=4) == first
    others = {first, draw(hook, runner, 'val'), draw(hook, runner, 'test')}
    for name in ('seed', 'rank', 'iter'):
        before = getattr(runner, name)
        setattr(runner, name, before + 1)
        others.add(draw(hook, runner))
        setattr(runner, name, before)
    assert len(others) == 6
    assert draw(hook, runner, 'val', 1) != draw(hook, runner, 'val', 2)


class Listener(nn.Module):
    def __init__(self):
        super().__init__()
        self.heard = []

    def set_train_progress(self, progress):
        self.heard.append(progress)


def test_progress_is_constant_within_an_epoch_and_reaches_submodules():
    listener = Listener()
    runner = Runner(model=nn.Sequential(nn.Identity(), listener), max_epochs=4, max_iters=20)
    hook = TrainProgressHook()
    hook.before_train(runner)
    for runner.iter in range(20):
        runner.epoch = runner.iter // 5
        hook.before_train_iter(runner, runner.iter % 5)
    assert listener.heard == [0, 0.25, 0.5, 0.75]


class Visualizer:
    def __init__(self):
        self.drawn = []

    def add_datasample(self, name, image, data_sample, step):
        self.drawn.append((name, image.shape, step))


def test_the_first_validation_samples_are_drawn():
    from mmjoint.structures import JointDataSample

    runner = Runner(visualizer=Visualizer())
    runner.iter = 9
    hook = PredictionImageHook(num_samples=3, interval=2)
    samples = [JointDataSample(metainfo=dict(img_path=f'a/b{i}.png')) for i in range(2)]
    batch = {'inputs': [torch.zeros(3, 4, 5)] * 2}
    for _ in range(3):
        hook.before_val_epoch(runner)
        for index in range(3):
            hook.after_val_iter(runner, index, batch, samples)
    once = [('val/b0', (4, 5, 3), 9), ('val/b1', (4, 5, 3), 9), ('val/b0', (4, 5, 3), 9)]
    assert runner.visualizer.drawn == once * 2
    with pytest.raises(ValueError, match='interval >= 1, got 3, 0'):
        PredictionImageHook(num_samples=3, interval=0)


def test_pictures_of_resized_and_padded_inputs_have_the_original_size():
    from mmjoint.structures import JointDataSample

    runner = Runner(visualizer=Visualizer())
    runner.iter = 1
    hook = PredictionImageHook()
    sample = JointDataSample(metainfo=dict(ori_shape=(30, 60), img_shape=(12, 16)))
    hook.before_val_epoch(runner)
    drawn = []
    runner.visualizer.add_datasample = lambda name, image, *args, **kwargs: drawn.append(image)
    image = torch.zeros(3, 16, 16)
    image[:, :12, 8:] = 200  # its right half; the last rows are padding
    hook.after_val_iter(runner, 0, {'inputs': [image]}, [sample])
    assert drawn[0].shape == (30, 60, 3)
    assert drawn[0][:, :28].max() == 0 and drawn[0][:, 32:].min() == 200


@pytest.mark.parametrize(
    ('key', 'rule'),
    [
        ('seg/mIoU', 'greater'),
        ('seg/Dice.cup', 'greater'),
        ('cls/AUC', 'greater'),
        ('cls/AUPR', 'greater'),
        ('selection_score', 'greater'),
        ('seg/HD95.cup', 'less'),
        ('seg/ASSD.rim', 'less'),
        ('cls/ECE', 'less'),
        ('cls/NLL', 'less'),
    ],
)
def test_the_checkpoint_hook_knows_which_way_is_better(key, rule):
    assert JointCheckpointHook(save_best=key).rules == [rule]


def test_a_training_leaves_log_scalars_environment_and_config(tmp_path, runner_state):
    config = write_config(
        tmp_path,
        "visualizer = dict(vis_backends=[dict(type='LocalVisBackend'), "
        "dict(type='TensorboardVisBackend')])\n"
        'default_hooks = dict(logger=dict(interval=2), checkpoint=dict(save_best=None))\n',
    )
    work_dir = tmp_path / 'work'
    train.main([str(config), '--work-dir', str(work_dir), '--seed', '3'])
    log_dir = next(path for path in work_dir.iterdir() if path.is_dir())

    environment = json.loads((log_dir / 'environment.json').read_text())
    assert environment['run']['seed'] == 3
    assert environment['run']['world_size'] == 1
    assert environment['packages']['torch'].split('+')[0] == torch.__version__.split('+')[0]
    assert shlex.split(environment['command']) == [sys.executable, *sys.argv]
    assert len(environment['mmjoint']['git_commit'] or 'x' * 40) == 40

    lines = (log_dir / 'vis_data' / 'scalars.json').read_text().splitlines()
    scalars = [json.loads(line) for line in lines]
    losses = [entry['loss'] for entry in scalars if 'loss' in entry]
    assert len(losses) == 4 * 2  # after the batches 2 and 4 of 4 epochs
    assert [entry['cls/ACC'] for entry in scalars if 'cls/ACC' in entry] != []
    events = list((log_dir / 'vis_data').glob('events.out.tfevents.*'))
    assert events and events[0].stat().st_size > 500

    log = next(log_dir.glob('*.log')).read_text()
    assert 'eta: ' in log and 'max_epochs=4' in log
    assert "type='ToyModel'" in (work_dir / 'toy.py').read_text()
    assert sorted(path.name for path in work_dir.glob('*.pth')) == ['epoch_3.pth', 'epoch_4.pth']
    assert load(work_dir / 'epoch_4.pth')['message_hub']['runtime_info']['keep_ckpt_ids'] == [3, 4]


def test_the_best_checkpoint_replaces_the_one_before(tmp_path, runner_state):
    config = write_config(tmp_path)
    train.main([str(config), '--work-dir', str(tmp_path / 'work'), '--seed', '3'])
    best = list((tmp_path / 'work').glob('best_*'))
    assert len(best) == 1
    stored = load(best[0])
    assert 'optimizer' not in stored
    hub = load(tmp_path / 'work' / 'epoch_4.pth')['message_hub']
    history = hub['log_scalars']['val/cls/confidence']['values']
    assert hub['runtime_info']['best_score'] == history.max().item()
    epoch = int(history.argmax()) + 1
    assert best[0].name == f'best_cls_confidence_epoch_{epoch}.pth'
    assert stored['meta']['epoch'] == epoch


def test_left_over_temporary_files_are_cleared(tmp_path, runner_state):
    work_dir = tmp_path / 'work'
    work_dir.mkdir()
    (work_dir / '.epoch_1.abcd_123.pth').write_bytes(b'half')
    (work_dir / '.hidden_notes').write_text('mine')
    config = write_config(tmp_path)
    train.main(
        [str(config), '--work-dir', str(work_dir), '--cfg-options', 'train_cfg.max_epochs=1']
    )
    assert [path.name for path in work_dir.glob('.*')] == ['.hidden_notes']


def test_the_environment_is_plain():
    assert json.loads(json.dumps(collect_environment()))['threads'] >= 1
