"""What the hook on pseudo-labels logs, that it changes nothing, and when it warns."""

import itertools
import json
import shutil
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MessageHub
from torch import nn

from mmjoint.apis import train
from mmjoint.engine.checkpoint import to_plain
from mmjoint.engine.hooks import PseudoLabelHealthHook
from mmjoint.engine.hooks.pseudo_label_health_hook import _table, _without_trace
from mmjoint.structures import JointDataSample, VolumeData
from mmjoint.utils.errors import UserError

from ..test_datasets.volume_set import VolumeSet
from .helpers import ROOT, differences, load

CONFIG = """
_base_ = ['{root}/configs/_base_/default_runtime.py',
          '{root}/configs/_base_/models/diffusion-vnet_3d.py']
branches = ('labelled', 'unlabelled')
start = [
    dict(type='LoadVolume'),
    dict(type='LoadVolumeAnnotations'),
    dict(type='RandomCropPatch', size=(16, 16, 16)),
]
sources = [
    dict(
        type='LADataset', data_root='{data}', split=branch, labelled=branch == 'labelled',
        serialize_data=False,
        pipeline=start + [dict(
            type='MultiBranch', branches=branches,
            pipelines={{branch: [dict(type='PackJointInputs')]}},
        )],
    ) for branch in branches
]
model = dict(
    backbone=dict(base_channels=4),
    decode_head=dict(base_channels=4, num_classes=2),
    denoising_stem=dict(base_channels=4, num_classes=2),
    difficulty=dict(num_classes=2),
    diffusion=dict(sampling_steps=2),
    ramp_up_epochs=0,
    data_preprocessor=dict(
        type='MultiBranchDataPreprocessor', data_preprocessor=dict(type='VolumeDataPreprocessor')),
)
train_dataloader = dict(
    batch_size=4,
    num_workers=0,
    sampler=dict(type='MultiSourceSampler', counts=(2, 2)),
    dataset=dict(type='MultiSourceDataset', datasets=sources),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=0,
    sampler=dict(type='ResumableSampler', shuffle=False, round_up=False),
    dataset=dict(
        type='LADataset', data_root='{data}', split='unlabelled', serialize_data=False,
        pipeline=start[:2] + [dict(type='CenterCropPatch', size=(16, 16, 16)),
                              dict(type='PackJointInputs')],
    ),
)
val_evaluator = dict(type='SegmentationMetric')
val_cfg = dict()
train_cfg = dict(by_epoch=True, max_epochs=3, val_interval=9, val_begin=9)
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.1, momentum=0.9))
default_hooks = dict(
    logger=dict(interval=2),
    checkpoint=dict(by_epoch=False, interval=3), prediction_images=dict(num_samples=0),
    iter_seed=dict(type='{iter_seed}'),
)
custom_hooks = {hooks}
visualizer = dict(_delete_=True, type='Visualizer', vis_backends=[dict(type='LocalVisBackend')])
"""
AVERAGING = dict(type='DecoderAveragingHook')


@pytest.fixture
def trained(tmp_path, runner_state, monkeypatch):
    # Formatting nested configs would take most of the time.
    monkeypatch.setattr(Config, 'pretty_text', '')
    VolumeSet(tmp_path / 'la')
    numbers = itertools.count()

    def run(hook, *options, work_dir=None, iter_seed='IterSeedHook'):
        number = next(numbers)
        hooks = [AVERAGING] + ([dict(type='PseudoLabelHealthHook', **hook)] if hook else [])
        config = tmp_path / f'toy{number}.py'
        config.write_text(
            CONFIG.format(root=ROOT, data=tmp_path / 'la', hooks=hooks, iter_seed=iter_seed)
        )
        work_dir = work_dir or tmp_path / f'work{number}'
        train.main([str(config), '--work-dir', str(work_dir), '--seed', '1', *options])
        return work_dir

    return run


def lines(work_dir):
    (file,) = work_dir.glob('*/vis_data/scalars.json')
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_the_training_cannot_tell(trained):
    """Also where nothing seeds the generators anew before each iteration."""
    plain = load(trained(None, iter_seed='EmptyCacheHook') / 'iter_6.pth')
    for held_out in ('labelled', 'validation'):
        hook = dict(interval=1, held_out_interval=2, held_out=held_out)
        watched = load(trained(hook, iter_seed='EmptyCacheHook') / 'iter_6.pth')
        assert differences(plain['state_dict'], watched['state_dict']) == []
        assert differences(plain['optimizer'], watched['optimizer']) == []


def test_what_is_logged(trained):
    work_dir = trained(dict(interval=2, held_out_interval=3))
    found = {
        step: {key: value for line in group for key, value in line.items() if '/' in key}
        for step, group in itertools.groupby(lines(work_dir), key=lambda line: line['step'])
    }
    names = ('background', 'left atrium')
    seen = [
        f'pseudo/{branch}.{measure}.{name}'
        for branch in ('denoiser', 'psi', 'fused')
        for measure in ('coverage', 'confidence', 'agreement')
        for name in names
    ]
    compared = [f'pseudo/{branch}.dice.{n}' for branch in ('denoiser', 'psi') for n in names]
    for step, expected in {1: seen + compared, 2: seen, 3: compared, 4: seen, 6: seen}.items():
        # Where a branch has no voxel of a class there is nothing to log.
        missing = set(expected) - set(found[step])
        assert all(key.split('.')[1] in ('confidence', 'agreement', 'dice') for key in missing)
    assert f'pseudo/labels.coverage.{names[1]}' in found[3]
    for values in found.values():
        assert all(0 <= value <= 1 for value in values.values())
        for branch in ('denoiser', 'psi', 'fused'):
            shares = [values.get(f'pseudo/{branch}.coverage.{name}') for name in names]
            assert shares == [None, None] or sum(shares) == pytest.approx(1)
    (log,) = work_dir.glob('*/*.log')
    text = log.read_text()
    assert text.count('Dice of denoiser') == 3
    (line,) = [line for line in text.splitlines() if 'Epoch(train)' in line and '[2/2]' in line][:1]
    assert 'pseudo/denoiser.dice: ' in line
    assert 'pseudo/fused.dice: ' in line
    assert 'left atrium' not in line


def test_resuming_repeats_the_bits(trained, tmp_path):
    hook = dict(interval=2, held_out_interval=2, window=2, warm_up=0)
    whole, parts = trained(hook), tmp_path / 'parts'
    parts.mkdir()
    shutil.copy(whole / 'iter_3.pth', parts)
    trained(hook, '--resume', work_dir=parts)
    first, second = (load(folder / 'iter_6.pth') for folder in (whole, parts))
    state = first['message_hub']['runtime_info']['pseudo_label_health']
    assert [len(state['entries']), state['entries'][0]['counts'].shape] == [2, (3, 3, 2)]
    assert differences(first, second) == []


def test_other_models_are_refused():
    runner = SimpleNamespace(model=nn.Linear(1, 1))
    with pytest.raises(UserError, match='pseudo_health and make_pseudo_labels, found Linear'):
        PseudoLabelHealthHook().before_train(runner)


@pytest.mark.parametrize(
    'options', [dict(interval=0), dict(window=0), dict(warm_up=-1), dict(held_out='test')]
)
def test_impossible_options(options):
    with pytest.raises(ValueError, match=r'expected interval|held_out must be'):
        PseudoLabelHealthHook(**options)


class Source:
    def __init__(self):
        self.generator = torch.Generator().manual_seed(0)


def test_no_trace_is_left():
    model = nn.Sequential(nn.BatchNorm1d(2), nn.Dropout())
    model.random_source = source = Source()
    model[1].eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state, own = torch.get_rng_state(), source.generator.get_state()
    drawn = []
    for _ in range(2):
        with pytest.raises(KeyError), _without_trace(model, 5):
            model.train()
            model(torch.randn(4, 2))
            drawn.append((torch.rand(()), torch.rand((), generator=model.random_source.generator)))
            raise KeyError
    assert drawn[0] == drawn[1]
    assert [model[0].training, model[1].training] == [True, False]
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    assert model.random_source is source
    assert torch.equal(source.generator.get_state(), own)


def test_table():
    rows = [('Dice of psi', torch.tensor([0.5, torch.nan])), ('share', torch.tensor([1, 1e-5]))]
    assert _table(['background', 'LV'], rows).splitlines() == [
        '             background      LV',
        'Dice of psi      0.5000       -',
        'share            1.0000   1e-05',
    ]


# Warnings -------------------------------------------------------------------------------------

TRUTH = torch.zeros(2, 8, 8, 8, dtype=torch.int64)
TRUTH[:, 2:6, 2:6, 2:6] = 1
TRUTH[:, 6:, 6:, 6:] = 2
NOISE = torch.randint(3, TRUTH.shape, generator=torch.Generator().manual_seed(0))


class Voters(nn.Module):
    """Two branches whose labels, on labelled and on unlabelled images, are told from outside."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.pseudo_health = None
        self.held_out = self.unlabelled = None

    def data_preprocessor(self, data, training):
        return data

    def arrange(self, inputs):
        return inputs

    def make_pseudo_labels(self, inputs):
        return SimpleNamespace(branch_labels=lambda: self.held_out)

    def vote(self, held_out, unlabelled=None):
        self.held_out = dict(zip(('one', 'two', 'fused'), held_out, strict=True))
        labels = self.held_out if unlabelled is None else unlabelled
        labels = dict(zip(self.held_out, labels, strict=True)) if unlabelled else labels
        self.pseudo_health = {}
        for branch, label in labels.items():
            hits = torch.stack([label == c for c in range(3)])
            same = [(labels['fused'][hit] == c).float().mean() for c, hit in enumerate(hits)]
            self.pseudo_health[branch] = dict(
                coverage=hits.float().mean((1, 2, 3, 4)),
                confidence=torch.ones(3),
                agreement=torch.stack(same),
            )


class Run:
    """As much of a runner as the hook looks at."""

    def __init__(self, name, state=None, **options):
        self.seed, self.rank, self.iter, self.val_loop = 0, 0, 0, None
        self.model = Voters()
        self.message_hub = MessageHub.get_instance(name)
        if state is not None:
            self.message_hub.update_info('pseudo_label_health', state)
        self.visualizer = SimpleNamespace(add_scalars=lambda values, step: None)
        self.optim_wrapper = SimpleNamespace(optim_context=lambda model: nullcontext())
        metainfo = dict(classes=('background', 'heart', 'gland'))
        self.train_dataloader = SimpleNamespace(dataset=SimpleNamespace(metainfo=metainfo))
        self.warnings = []
        self.logger = SimpleNamespace(info=lambda text: None, warning=self.warnings.append)
        samples = [JointDataSample() for _ in TRUTH]
        for sample, truth in zip(samples, TRUTH, strict=True):
            sample.gt_sem_seg = VolumeData(data=truth[None])
        self.batch = dict(
            inputs=dict(labelled=torch.zeros(2, 1, 8, 8, 8)), data_samples=dict(labelled=samples)
        )
        settings = dict(interval=1, held_out_interval=1, window=2, warm_up=0) | options
        self.hook = PseudoLabelHealthHook(**settings)
        self.hook.before_train(self)

    def train(self, *votes, iters=1):
        """Iterate; give the warnings of these iterations."""
        for _ in range(iters):
            self.model.vote(*votes)
            self.hook.after_train_iter(self, 0, self.batch)
            self.iter += 1
        told = list(self.warnings)
        self.warnings.clear()
        return told


@pytest.fixture
def run(runner_state):
    numbers = itertools.count()
    return lambda **options: Run(f'health{next(numbers)}', **options)


WELL = (TRUTH, TRUTH, TRUTH)


def test_good_labels_give_no_warning(run):
    assert run().train(WELL, iters=5) == []


def test_everything_noise_names_nobody(run):
    """Nothing is better than it: the training has not learnt anything yet."""
    assert run().train((NOISE, NOISE.flip(1), NOISE.flip(2)), iters=5) == []


def test_a_noisy_branch_is_named_once_and_again(run):
    runner = run()
    noisy = (NOISE, TRUTH, TRUTH)
    assert runner.train(noisy) == []  # a window is not full yet
    told = runner.train(noisy)
    assert len(told) == 2
    assert told[0].startswith('pseudo-labels: one gives noise: over the last 2 comparisons')
    assert 'that of two 1.00' in told[0]
    assert told[1].startswith('pseudo-labels: one gives noise on unlabelled images')
    assert runner.train(noisy, iters=5) == []
    assert runner.train(WELL, iters=5) == []
    assert [text.split(':')[1] for text in runner.train(noisy, iters=5)] == [
        ' one gives noise',
        ' one gives noise on unlabelled images',
    ]


def test_a_frequent_class_does_not_hide_noise(run):
    """A branch that calls everything one class has a Dice well above 0, and knows nothing."""
    runner = run()
    all_heart = torch.ones_like(TRUTH)
    told = runner.train((all_heart, TRUTH, TRUTH), iters=2)
    assert any(text.startswith('pseudo-labels: one gives noise:') for text in told)


def test_noise_on_unlabelled_images_alone(run):
    told = run().train(WELL, (TRUTH, NOISE, TRUTH), iters=3)
    assert len(told) == 1
    assert told[0].startswith('pseudo-labels: two gives noise on unlabelled images: over')


def test_noise_wins(run):
    """Where the fused label follows the noise, the noise is named, not the good branch."""
    told = run().train((NOISE, TRUTH, NOISE), iters=3)
    assert [text.split(': ')[1] for text in told] == ['one gives noise', 'fused gives noise']


def test_a_vanished_class(run):
    runner = run()
    without = TRUTH.where(TRUTH < 2, 0)
    assert runner.train((TRUTH, TRUTH, without), iters=1) == []
    # Recovered within the window: half of its voxels on average.
    assert runner.train(WELL) == []
    told = runner.train((TRUTH, TRUTH, without), iters=4)
    assert len(told) == 1
    assert told[0].startswith('pseudo-labels: the class gland has vanished: over the last 2 ')
    assert '0 of the voxels got it, 0.016 of the labels have it' in told[0]
    assert runner.train(WELL, iters=2) == []
    assert len(runner.train((TRUTH, TRUTH, without), iters=4)) == 1


def test_a_class_that_labels_lack_has_not_vanished(run):
    runner = run()
    without = TRUTH.where(TRUTH < 2, 0)
    for sample, labels in zip(runner.batch['data_samples']['labelled'], without, strict=True):
        sample.gt_sem_seg = VolumeData(data=labels[None])
    assert runner.train((without, without, without), iters=4) == []


def test_ignored_voxels_count_nowhere(run):
    """The branch is wrong where the label says nothing."""
    runner = run()
    ignored = TRUTH.where(TRUTH != 2, 255)
    for sample, labels in zip(runner.batch['data_samples']['labelled'], ignored, strict=True):
        sample.gt_sem_seg = VolumeData(data=labels[None])
    wrong = TRUTH.where(TRUTH != 2, 1)
    runner.train((TRUTH, wrong, wrong))
    dice = runner.message_hub.get_scalar('pseudo/two.dice.heart').current()
    assert dice == pytest.approx(1)


def test_warm_up_and_interval(run):
    noisy = (NOISE, TRUTH, TRUTH)
    runner = run(held_out_interval=3, warm_up=9, window=2)
    assert runner.train(noisy, iters=8) == []
    assert len(runner.train(noisy)) == 2


def test_events_survive_resuming(run):
    """Neither is a warning repeated nor a window begun anew."""
    noisy = (NOISE, TRUTH, TRUTH)
    first = run()
    first.train(noisy, iters=3)
    stored = to_plain(first.message_hub.state_dict())['runtime_info']['pseudo_label_health']
    second = run(state=stored)
    assert second.train(noisy, iters=3) == []
    early = run()
    early.train(noisy)
    stored = to_plain(early.message_hub.state_dict())['runtime_info']['pseudo_label_health']
    assert len(run(state=stored).train(noisy)) == 2


def test_means_over_an_interval(run):
    """Shares are averaged over iterations, agreement over voxels."""
    runner = run(interval=2, held_out_interval=9)
    runner.train(WELL)
    runner.train((NOISE, TRUTH, TRUTH))
    hub = runner.message_hub
    runner.train(WELL)
    hits = NOISE == 2
    number = TRUTH.numel()
    # Logged at iterations 1 and 2; the second time over the second alone.
    assert hub.get_scalar('pseudo/one.coverage.gland').data[0].tolist() == pytest.approx(
        [16 / number, int(hits.sum()) / number]
    )
    runner.train((NOISE, TRUTH, TRUTH))
    agreed = int((hits & (TRUTH == 2)).sum())
    assert hub.get_scalar('pseudo/one.coverage.gland').current() == pytest.approx(
        (16 + int(hits.sum())) / 2 / number
    )
    assert hub.get_scalar('pseudo/one.agreement.gland').current() == pytest.approx(
        (16 + agreed) / (16 + int(hits.sum()))
    )


def test_the_message_hub_does_not_print_classes(run):
    runner = run()
    runner.train(WELL)
    logged = [key for key in runner.message_hub.log_scalars if key.startswith('train/')]
    assert sorted(logged) == [
        'train/pseudo/fused.dice',
        'train/pseudo/one.agreement',
        'train/pseudo/one.dice',
        'train/pseudo/two.agreement',
        'train/pseudo/two.dice',
    ]
