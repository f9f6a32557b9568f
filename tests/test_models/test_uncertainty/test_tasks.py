"""Estimators around models that predict the channels of several tasks."""

import math

import numpy as np
import pytest
import torch
from scipy.special import entr, expit, logit
from torch import nn

from mmjoint.functional.predictive import StreamingProbs
from mmjoint.models.data_preprocessors import JointDataPreprocessor
from mmjoint.models.joint import BatchPrediction, InferringModel
from mmjoint.models.uncertainty import (
    Ensemble,
    Evidential,
    MCDropout,
    Softmax,
    TestTimeAugmentation,
)
from mmjoint.models.uncertainty.base import Streams
from mmjoint.structures import JointDataSample
from mmjoint.utils.errors import UserError

from ..test_adversarial.test_multi_task_model import config
from ..test_adversarial.toy import TASKS as ALL_TASKS
from ..test_adversarial.toy import PointwiseGenerator
from ..tiny import build
from .models import close, make_inputs, watched
from .test_tta import picture, through_pipeline

TASKS = dict(one=dict(a=(1,)), other=dict(disc=(1, 2), cup=(2,), rim=(3,)))
MEASURES = ('predictive_entropy', 'expected_entropy', 'mutual_information', 'variance')


class TinyTasks(InferringModel):
    """One convolution; the channels of all tasks."""

    tasks = TASKS

    def __init__(self, seed=0):
        super().__init__(data_preprocessor=JointDataPreprocessor([0.0], [255.0]))
        torch.manual_seed(seed)
        self.head = nn.Conv2d(3, 4, 3, padding=1)
        self.drop = nn.Dropout2d(0.5)

    def forward(self, inputs, data_samples=None, mode='tensor'):
        raise NotImplementedError

    def infer(self, inputs):
        return BatchPrediction(task_logits=4 * self.head(self.drop(inputs)))


MAKERS = {
    'softmax': Softmax,
    'mc_dropout': lambda model, **options: MCDropout(model, num_samples=5, **options),
    'tta': TestTimeAugmentation,
    'ensemble': lambda model, **options: Ensemble(
        model, checkpoints=[TinyTasks(seed).eval() for seed in (1, 2)], **options
    ),
}
PASSES = dict(softmax=1, mc_dropout=5, tta=8, ensemble=3)


def by_definition(probs):
    """Mean ``(C, H, W)``, and all measures of each channel, of passes ``(M, C, H, W)``."""
    mean = probs.mean(0)
    total = entr(mean) + entr(1 - mean)
    expected = (entr(probs) + entr(1 - probs)).mean(0)
    return mean, dict(zip(MEASURES, (total, expected, total - expected, probs.var(0)), strict=True))


def check(sample, probs, tolerance=1e-6):
    mean, measures = by_definition(probs)
    ranges = dict(one=slice(0, 1), other=slice(1, 4))
    assert set(sample.pred_tasks.keys()) == set(ranges)
    assert set(sample.seg_uncertainty.keys()) == {f'{m}_{t}' for m in MEASURES for t in ranges}
    assert 'pred_sem_seg' not in sample and 'seg_logits' not in sample
    for task, channels in ranges.items():
        close(sample.pred_tasks.get(task), mean[channels], tolerance)
        for name, values in measures.items():
            found = sample.seg_uncertainty.get(f'{name}_{task}')
            assert found.shape == (1, *mean.shape[1:]) and found.dtype == torch.float32
            close(found[0], values[channels].max(0), tolerance)
        if 'task_std' in sample:
            close(sample.task_std.get(task), probs.std(0)[channels], tolerance)


@pytest.mark.parametrize('name', MAKERS)
def test_streamed_equals_stacked(name):
    estimator = MAKERS[name](TinyTasks().eval(), keep_std=True)
    samples, probs = watched(estimator, make_inputs(), original=(9, 7))
    assert probs.shape == (PASSES[name], 4, 9, 7)
    assert 'task_std' in samples[-1]
    check(samples[-1], probs)


def test_by_hand():
    """Two passes over one pixel: of a channel 0.2 and 0.6, of another 0.5 and 0.5."""
    streams = Streams(StreamingProbs(), StreamingProbs(), StreamingProbs())
    estimator = Softmax(TinyTasks())
    sample = JointDataSample()
    for values in ([0.2, 0.5, 0.1, 0.1], [0.6, 0.5, 0.3, 0.1]):
        logits = torch.tensor(logit(np.array(values)), dtype=torch.float32)[None, :, None, None]
        estimator._take_in(BatchPrediction(task_logits=logits), sample, streams)
    estimator.fill(sample, streams)
    assert sample.pred_tasks.one.item() == pytest.approx(0.4)
    close(sample.pred_tasks.other.flatten(), [0.5, 0.2, 0.1])
    maps = {name: value.item() for name, value in sample.seg_uncertainty.items()}
    # In nats: H(0.4) = 0.6730, H(0.2) = 0.5004, H(0.5) = 0.6931, H(0.1) = 0.3251, H(0.3) = 0.6109.
    expected = {
        'predictive_entropy_one': 0.6730,
        'expected_entropy_one': 0.5867,
        'mutual_information_one': 0.0863,
        'variance_one': 0.04,
        # The first channel of the task is the least certain, though both passes agree; ...
        'predictive_entropy_other': math.log(2),
        'expected_entropy_other': math.log(2),
        # ... about the second they do not: H(0.2) - (H(0.1) + H(0.3)) / 2, and 0.1 squared.
        'mutual_information_other': 0.0324,
        'variance_other': 0.01,
    }
    assert maps == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize('name', MAKERS)
def test_without_the_spread_the_mean_is_the_same(name):
    inputs, model = make_inputs(), TinyTasks().eval()
    full, _ = watched(MAKERS[name](model), inputs)
    lean, _ = watched(MAKERS[name](model, spread=False), inputs)
    assert set(lean[0].seg_uncertainty.keys()) == {f'predictive_entropy_{t}' for t in TASKS}
    for task in TASKS:
        close(lean[0].pred_tasks.get(task), full[0].pred_tasks.get(task))
        key = f'predictive_entropy_{task}'
        close(lean[0].seg_uncertainty.get(key), full[0].seg_uncertainty.get(key))


def test_a_temperature_divides_the_logits_of_the_mean():
    inputs, model = make_inputs(), TinyTasks().eval()
    _, probs = watched(MAKERS['ensemble'](model), inputs)
    samples, _ = watched(MAKERS['ensemble'](model, seg_temperature=2.0), inputs)
    expected = expit(logit(probs.mean(0)) / 2)
    close(samples[-1].pred_tasks.one, expected[:1], 1e-5)
    entropy = samples[-1].seg_uncertainty.predictive_entropy_one[0]
    close(entropy, (entr(expected) + entr(1 - expected))[0], 1e-5)


@pytest.mark.parametrize('shrink', [None, 0.8])
def test_views_of_the_image(shrink):
    """Made in front of the pipeline; the shortcuts change nothing."""
    model = TinyTasks().eval()
    options = dict(source='image', views='dihedral', shrink=shrink)
    samples = [
        through_pipeline(TestTimeAugmentation(model, fused=fused, **options), picture((40, 50)))
        for fused in (True, False)
    ]
    for field in ('pred_tasks', 'seg_uncertainty'):
        for name, values in samples[1].get(field).items():
            assert values.shape[1:] == (40, 50)
            close(samples[0].get(field).get(name), values, 1e-4)
    assert samples[0].seg_uncertainty.mutual_information_other.max() > 0.01


@pytest.mark.parametrize('dropout', ['task', 'channel'])
def test_passes_of_a_real_model_are_fused(dropout):
    head = dict(dropout_ratio=0.4, dropout=dropout)
    cfg = config()
    for name in ('decode_head', 'auxiliary_head'):
        cfg['generator'][name] = cfg['generator'][name] | head
    torch.manual_seed(0)
    model = build(cfg).eval()
    inputs = torch.randn(1, 3, 16, 24)
    fused, probs = watched(MCDropout(model, num_samples=4), inputs)
    assert probs.shape == (4, 3, 16, 24) and probs.std(0).max() > 1e-3
    plain, same = watched(MCDropout(model, num_samples=4, fused=False), inputs)
    close(probs, same, 1e-5)
    # Whole maps of a task go: then what it says is the same everywhere.
    flat = probs.reshape(4, 3, -1).std(2) < 1e-6
    assert not flat.all() and (flat[:, 1] == flat[:, 2]).all()
    if dropout == 'task':
        assert flat.any()
    for name, values in plain[0].seg_uncertainty.items():
        close(fused[0].seg_uncertainty.get(name), values, 1e-5)


def test_a_model_alone_says_how_certain_it_is():
    model = build(config()).eval()
    inputs = torch.randn(2, 3, 16, 24)
    alone = [JointDataSample(metainfo=dict(ori_shape=(20, 30))) for _ in inputs]
    with torch.no_grad():
        model.predict(inputs, alone)
    samples, _ = watched(Softmax(model), inputs, original=(20, 30))
    for one, other in zip(alone, samples, strict=True):
        assert set(one.seg_uncertainty.keys()) == {
            'predictive_entropy_vessel',
            'predictive_entropy_nerve',
        }
        for name, values in one.seg_uncertainty.items():
            close(values, other.seg_uncertainty.get(name))
        for task, values in one.pred_tasks.items():
            close(values, other.pred_tasks.get(task))


def test_a_model_with_critics():
    cfg = dict(
        type='PSSNet',
        tasks=ALL_TASKS,
        generator=PointwiseGenerator(),
        weights=dict(reta=dict(vessel=1.0), ddr=dict(lesion=1.0), refuge=dict(odoc=1.0)),
        critic=dict(type='ConvCritic', channels=(4,)),
    )
    model = build(cfg)
    samples, probs = watched(TestTimeAugmentation(model.eval()), make_inputs())
    assert probs.shape == (8, 7, 6, 8)
    # Each pixel is looked at by itself, so all views say the same.
    close(probs.std(0), 0.0)
    for task, channels in ALL_TASKS.items():
        assert len(samples[0].pred_tasks.get(task)) == len(channels)
        assert samples[0].seg_uncertainty.get(f'mutual_information_{task}').max() < 1e-6


def test_evidential_does_not_fit():
    with pytest.raises(UserError, match='evidential: expected a model .*TinyTasks, whose tasks'):
        watched(Evidential(TinyTasks()), make_inputs())
