"""The network of MultiMix, its saliency, its losses and its training against the original's."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.optim import OptimWrapper
from mmengine.registry import PARAM_SCHEDULERS
from mmengine.structures import PixelData

from mmjoint.functional.categorical import confident_labels, elementwise_kl
from mmjoint.functional.soft_overlap import soft_dice
from mmjoint.models.layers import InstanceDoubleConv, SaliencyBridge
from mmjoint.models.losses import ConfidentLabelLoss, MaskedCrossEntropyLoss, SampleDiceLoss
from mmjoint.structures import JointDataSample
from tests.test_models.tiny import build as build_model

from .loader import reference
from .multimix_model import CONFIGS, CONVERTER, METHOD, filled, official_shapes, without_dropout

KEYS = Path(__file__).resolve().parents[3] / 'shared' / 'methods' / 'multimix_state_dict.json'
OUTPUT, SCALAR = 1e-5, 1e-6
MASK = 3 * OUTPUT  # of the whole network, whose own rounding on another machine is 1.5e-5
LAYERS = {'0': 'conv1', '3': 'conv2'}


def assert_near(actual, expected, tolerance, what=''):
    """Compare absolutely, as the vectors' tolerances are given."""
    if isinstance(actual, torch.Tensor):
        actual = actual.detach().double().numpy()
    expected = np.asarray(expected, np.float64)
    assert np.shape(actual) == expected.shape, what
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance, err_msg=what)


def test_official_names():
    """Those of the published list, where it is at hand."""
    if not KEYS.is_file():
        pytest.skip(f'{KEYS} is not there')
    expected = json.loads(KEYS.read_text('utf-8'))['default']
    assert {key: list(shape) for key, shape in official_shapes().items()} == expected


# ----------------------------------------------------------------------------------------- parts


def test_double_conv():
    arrays = reference(METHOD, 'double_conv')
    names = [name.removesuffix('_out') for name in arrays if name.endswith('_out')]
    assert names
    for name in names:
        x, expected = arrays.tensor(f'{name}_x'), arrays[f'{name}_out']
        weights = arrays.below(f'{name}.')
        block = InstanceDoubleConv(x.shape[1], expected.shape[1]).eval()
        block.load_state_dict(
            {f'{LAYERS[key[0]]}{key[1:]}': value.float() for key, value in weights.items()}
        )
        assert_near(block(x), expected, OUTPUT, name)


def test_saliency():
    """Of a small encoder."""
    arrays = reference(METHOD, 'saliency_tiny')
    weights = {key: value.float() for key, value in arrays.below('w.').items()}
    blocks = sorted({int(match[1]) for key in weights if (match := re.match(r'c(\d+)\.', key))})
    channels = [len(weights[f'c{n}.0.weight']) for n in blocks]
    x, saliency = arrays.tensor('x'), arrays['saliency']
    model = build_model(
        dict(
            type='JointModel',
            backbone=dict(
                type='InstanceUNetEncoder', in_channels=x.shape[1], channels=channels, dropout=0.25
            ),
            cls_head=dict(
                type='PooledLinearClsHead',
                in_channels=channels[-1],
                num_classes=len(weights['fc.weight']),
                loss=dict(type='MaskedCrossEntropyLoss'),
            ),
        )
    )
    names = {f'c{n}.{i}.': f'backbone.blocks.{n - blocks[0]}.{LAYERS[i]}.'
             for n in blocks for i in LAYERS}  # fmt: skip
    names['fc.'] = 'cls_head.fc.'
    model.load_state_dict(
        {
            ours + key.removeprefix(theirs): value
            for key, value in weights.items()
            for theirs, ours in names.items()
            if key.startswith(theirs)
        }
    )
    model.eval()
    assert_near(model(x).cls_logits, arrays['scores'], OUTPUT)
    with torch.no_grad():
        assert_near(model.saliency(x), saliency, OUTPUT)
    # The original leaves the encoder in training mode, whatever it was before. Ours does not.
    assert bool(arrays['encoder_training_after'])
    assert not any(module.training for module in model.modules())
    model.train()
    assert_near(model.saliency(x), saliency, OUTPUT)
    assert all(module.training for module in model.modules())


def test_bridge():
    """The stored input is what the bridge joins: the image, and last the saliency."""
    arrays = reference(METHOD, 'bridge_interp')
    names = [name for name in arrays if name.startswith('x')]
    assert names
    for name in names:
        x, expected = arrays.tensor(name), arrays[f'y{name[1:]}']
        feats = torch.zeros(len(x), 3, *expected.shape[2:]), torch.zeros(len(x), 5, 1, 1)
        joined, other = SaliencyBridge(level=0)(feats, x[:, :-1], x[:, -1:])
        assert_near(joined[:, 3:], expected, OUTPUT, name)
        assert torch.equal(joined[:, :3], feats[0]) and other is feats[1]


# ---------------------------------------------------------------------------------------- losses


def test_losses():
    arrays = reference(METHOD, 'losses')
    dice_weight, ssl_weight, kl_weight, threshold = map(float, arrays['weights'])
    inputs = {
        name: arrays.tensor(f'{name}_logits').requires_grad_() for name in ('cls', 'weak', 'strong')
    }
    seg, seg_unlabelled = (
        arrays.tensor(name).requires_grad_() for name in ('seg_logits', 'seg_logits_unlabelled')
    )
    two_channels = F.pad(seg, (0, 0, 0, 0, 1, 0))
    target = arrays.tensor('seg_target')[:, 0].long()
    dice = SampleDiceLoss(loss_weight=dice_weight)(two_channels, target)
    cls = MaskedCrossEntropyLoss()(inputs['cls'], arrays.tensor('cls_label'))
    ssl = ConfidentLabelLoss(threshold=threshold, loss_weight=ssl_weight)(
        inputs['strong'], inputs['weak']
    )
    kl = elementwise_kl(seg, seg_unlabelled).mean()
    total = cls + dice + ssl + kl_weight * kl
    assert_near(dice / dice_weight, arrays['dice'], SCALAR, 'dice')
    assert_near(cls, arrays['cls_ce'], SCALAR, 'class')
    assert_near(ssl / ssl_weight, arrays['ssl'], SCALAR, 'pseudo')
    assert kl == float(arrays['kl_seg']) == 0
    assert_near(total, arrays['total'], SCALAR * 5, 'total')

    labels = confident_labels(inputs['weak'], threshold)
    assert np.array_equal(labels.label.numpy(), arrays['pseudo_label'])
    assert np.array_equal(labels.accepted.numpy(), arrays['pseudo_mask'] == 1)
    assert_near(labels.confidence, arrays['pseudo_conf'], SCALAR)

    # What the log of the original adds up: values times the batch's size.
    for name, value in (('cls', cls), ('dice', dice / dice_weight), ('loss', total)):
        expected = arrays[f'metric_sum_{name}'] / len(seg)
        assert_near(value, expected, SCALAR * 5, f'logged {name}')

    total.backward()
    assert_near(seg.grad, arrays['grad_seg'], SCALAR)
    assert_near(seg_unlabelled.grad, arrays['grad_seg_unlabelled'], 0)
    assert_near(inputs['cls'].grad, arrays['grad_cls'], SCALAR)
    assert_near(inputs['strong'].grad, arrays['grad_strong'], SCALAR)
    assert bool(arrays['grad_weak_is_none']) and inputs['weak'].grad is None


def test_further_forms_of_the_losses():
    """Divergences of several channels; Dice of probabilities in two channels."""
    arrays = reference(METHOD, 'losses')
    classes = elementwise_kl(arrays.tensor('cls_logits'), arrays.tensor('strong_logits')).mean()
    assert_near(classes, arrays['kl_cls'], SCALAR)
    kl = elementwise_kl(arrays.tensor('kl3_p_logits'), arrays.tensor('kl3_q_logits')).mean()
    assert_near(kl, arrays['kl3'], SCALAR)
    pred, target = arrays.tensor('dice2_pred'), arrays.tensor('dice2_target')
    for name in [name for name in arrays if re.fullmatch(r'dice2(_smooth\d+_\d+)?', name)]:
        smooth = float(name.removeprefix('dice2').removeprefix('_smooth').replace('_', '.') or 1)
        loss = 1 - soft_dice(pred, target, axes=(2, 3), smooth=smooth).mean()
        assert_near(loss, arrays[name], SCALAR, name)


# ------------------------------------------------------------------------------------ whole model


@torch.no_grad()
def test_full_model():
    arrays = reference(METHOD, 'model_full_fill')
    model = filled(arrays['fill_seed0']).eval()
    x = arrays.tensor('x')
    output = model.infer(x)
    assert_near(output.cls_logits, arrays['cls_logits'], OUTPUT)
    assert_near(model.saliency(x), arrays['saliency'], OUTPUT)
    assert_near(output.seg_logits[:, 1:], arrays['seg_logits'], MASK)
    assert not output.seg_logits[:, 0].any()
    feats = model.extract_feat(x)
    assert_near(torch.stack([m.double().mean() for m in feats]), arrays['feat_mean'], OUTPUT)
    assert_near(torch.stack([m.double().std() for m in feats]), arrays['feat_std'], OUTPUT)
    first = torch.stack([m.flatten()[: arrays['feat_first8'].shape[1]] for m in feats])
    assert_near(first, arrays['feat_first8'], OUTPUT)
    model.saliency = lambda x: torch.zeros_like(x)
    assert_near(model.infer(x).seg_logits[:, 1:], arrays['seg_logits_zero_saliency'], MASK)


@torch.no_grad()
def test_prediction_with_the_encoders_dropout_on():
    """The original's mistake, on the random numbers that it drew."""
    arrays = reference(METHOD, 'model_full_fill')
    model = filled(arrays['fill_seed0'], {'model.legacy_eval_dropout': True}).eval()
    torch.manual_seed(int(arrays['torch_seed']))
    output = model.infer(arrays.tensor('x'))
    assert_near(output.cls_logits, arrays['upstream_eval_cls_logits'], OUTPUT)
    seg = output.seg_logits[:, 1].double()
    expected = arrays['upstream_eval_seg_logits_mean_std']
    assert_near(torch.stack([seg.mean(), seg.std()]), expected, OUTPUT)


# --------------------------------------------------------------------------------------- training


def batches(arrays):
    """Inputs and samples of the five branches."""
    names = {
        'seg_labelled': 'seg_x',
        'seg_unlabelled': 'seg_unlabelled_x',
        'cls_labelled': 'cls_x',
        'cls_weak': 'weak_x',
        'cls_strong': 'strong_x',
    }
    inputs = {branch: arrays.tensor(name) for branch, name in names.items()}
    samples = {branch: [JointDataSample() for _ in images] for branch, images in inputs.items()}
    for sample, mask in zip(samples['seg_labelled'], arrays.tensor('seg_y').long(), strict=True):
        sample.gt_sem_seg = PixelData(data=mask)
    for sample, label in zip(samples['cls_labelled'], arrays['cls_y'].tolist(), strict=True):
        sample.set_gt_label(label)
    return inputs, samples


def test_training_steps():
    arrays = reference(METHOD, 'train_steps')
    model = without_dropout(filled(arrays['fill_seed0'])).train()
    inputs, samples = batches(arrays)
    wrapper = OptimWrapper(torch.optim.Adam(model.parameters(), lr=float(arrays['lr'])))
    data = {'inputs': inputs, 'data_samples': samples}
    dice_weight = model.decode_head.loss_decode[0].loss_weight
    joint = torch.cat(list(inputs.values()))
    expected = {name: arrays[name] for name in ('loss', 'cls', 'dice', 'cls_logits')}
    for step in range(len(expected['loss'])):
        with torch.no_grad():
            logits = model.classify(joint)
        assert_near(logits, expected['cls_logits'][step], OUTPUT, f'logits of step {step}')
        log = model.train_step(
            {key: {branch: list(batch) for branch, batch in value.items()}
             for key, value in data.items()},
            wrapper,
        )  # fmt: skip
        assert_near(log['loss'], expected['loss'][step], 5 * SCALAR, f'loss of step {step}')
        cls, dice = log['cls_labelled.loss_ce'], log['seg_labelled.loss_dice'] / dice_weight
        assert_near(cls, expected['cls'][step], 5 * SCALAR, f'class loss of step {step}')
        assert_near(dice, expected['dice'][step], SCALAR, f'Dice loss of step {step}')
        assert log['seg_unlabelled.loss_kl'] == 0
    state = model.state_dict()
    last = f'w{len(expected["loss"])}.'
    for name, value in arrays.below(last).items():
        ours = CONVERTER.rename(name)
        # The gradient of a bias before a norm is rounding noise, of which Adam makes whole steps.
        if ours is not None and not re.search(r'conv[12]\.bias', ours):
            assert_near(state[ours], value.numpy(), SCALAR, name)


def test_learning_rate():
    expected = reference(METHOD, 'steplr')['lr_of_epoch']
    cfg = Config.fromfile(CONFIGS / 'schedules' / 'multimix_100e.py')
    (settings,) = cfg.param_scheduler
    # Another list may be of another step and factor: they are where it first changes.
    changes = np.flatnonzero(expected != expected[0])
    if len(changes):
        gamma = float(expected[changes[0]] / expected[0])
        settings = {**settings, 'step_size': int(changes[0]), 'gamma': gamma}
    (parameter,) = parameters = [torch.nn.Parameter(torch.zeros(1))]
    optimizer = torch.optim.Adam(parameters, lr=float(expected[0]))
    scheduler = PARAM_SCHEDULERS.build({**settings, 'optimizer': optimizer})
    rates = []
    for _ in expected:
        rates.append(optimizer.param_groups[0]['lr'])
        parameter.grad = torch.ones_like(parameter)
        optimizer.step()
        scheduler.step()
    np.testing.assert_allclose(rates, expected, rtol=1e-9)
