"""The MC-dropout U-Net, its losses, its training and its validation against the original's."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MessageHub
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DefaultScope, init_default_scope
from mmengine.structures import PixelData
from torch import nn

from mmjoint.apis.converters import CONVERTERS, check_fit
from mmjoint.engine import PlateauLR
from mmjoint.evaluation.metrics import SegmentationMetric
from mmjoint.functional.overlap import dice
from mmjoint.functional.soft_overlap import soft_dice
from mmjoint.models.backbones.mc_unet import UpSkip
from mmjoint.models.layers import DoubleConv
from mmjoint.registry import MODELS
from mmjoint.structures import JointDataSample

from .loader import ROOT, reference

METHOD = 'mc_unet_uq'
CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
KEYS = Path(__file__).resolve().parents[3] / 'shared' / 'methods' / 'mc_unet_uq_state_dict.json'
FORMS = {'tconv': 'default', 'bilinear': 'bilinear'}
LAYERS = {'0': 'conv1', '1': 'bn1', '3': 'conv2', '4': 'bn2'}
OUTPUT, SCALAR = 1e-5, 1e-6
# The vectors were made channels first; in the other order of sums rounding errors add up.
LAYOUTS = {'channels_first': OUTPUT, 'channels_last': 3 * OUTPUT}
FORMATS = {'channels_first': torch.contiguous_format, 'channels_last': torch.channels_last}


@pytest.fixture(autouse=True)
def scope():
    init_default_scope('mmjoint')
    yield
    DefaultScope._instance_dict.clear()


def assert_near(actual, expected, tolerance, what=''):
    """Compare absolutely, as the vectors' tolerances are given."""
    if isinstance(actual, torch.Tensor):
        actual = actual.detach().double().numpy()
    expected = np.asarray(expected, np.float64)
    assert np.shape(actual) == expected.shape, what
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance, err_msg=what)


def files(pattern):
    """Stems of the stored files that match a regular expression, with its groups."""
    stems = sorted(path.stem for path in (ROOT / METHOD).glob('*.npz'))
    return [(stem, *m.groups()) for stem in stems if (m := re.fullmatch(pattern, stem))]


def official_names(bilinear):
    """The original's keys in the order of its state dict."""
    norm = ('weight', 'bias', 'running_mean', 'running_var', 'num_batches_tracked')

    def double_conv(prefix):
        for conv, bn in (('0', '1'), ('3', '4')):
            yield f'{prefix}.double_conv.{conv}.weight'
            yield from (f'{prefix}.double_conv.{bn}.{name}' for name in norm)

    yield from double_conv('inc')
    for i in range(1, 5):
        yield from double_conv(f'down{i}.maxpool_conv.1')
    for i in range(1, 5):
        if not bilinear:
            yield from (f'up{i}.up.{name}' for name in ('weight', 'bias'))
        yield from double_conv(f'up{i}.conv')
    yield from ('outc.conv.weight', 'outc.conv.bias')


def config(options=None):
    cfg = Config.fromfile(CONFIGS / 'mc_unet' / 'mc-unet_isic2016-128x128.py')
    cfg.merge_from_dict(options or {})
    return cfg


def load(weights):
    """A model of the original's weights, as the converter makes it."""
    converter = CONVERTERS['mc_unet']
    model = MODELS.build(config(converter.options(weights)).model)
    state = converter.convert({key: value.float() for key, value in weights.items()})
    counts = {k: v for k, v in model.state_dict().items() if k.endswith('num_batches_tracked')}
    check_fit(model, {**counts, **state}, 'weights')
    model.load_state_dict(state, strict=False)
    return model


def lay_out(model, layout):
    model.memory_format = layout
    model.lay_out()


def forward(model, x):
    with torch.no_grad():
        return model.eval().infer(model.arrange(x)).seg_logits


# ---------------------------------------------------------------------------------------- blocks


def renamed(name):
    name = re.sub(r'^maxpool_conv\.1\.', '', name)
    return re.sub(r'double_conv\.(\d)', lambda match: LAYERS[match[1]], name)


def block_of(name, weights, inputs, out):
    """The module for a stored block, and the function that runs it."""
    c_in, c_out = inputs[0].shape[1], out.shape[1]
    if 'conv.weight' in weights:  # the output convolution
        block = nn.ModuleDict({'conv': nn.Conv2d(c_in, c_out, 1)})
        return block, block['conv']
    if len(inputs) == 2:
        bilinear = 'up.weight' not in weights
        block = UpSkip(c_in, inputs[1].shape[1], c_out, bilinear=bilinear, options=dict(bias=False))
        return block, block
    mid = weights['conv1.weight'].shape[0]
    block = DoubleConv(c_in, c_out, mid_channels=mid, bias=False, dropout=0.5, recompute=False)
    if any(key.startswith('maxpool') for key in weights.original):
        return block, lambda x: block(nn.functional.max_pool2d(x, 2))
    return block, block


class Weights(dict):
    """Weights under our names; ``original`` are the stored ones."""

    def __init__(self, stored):
        super().__init__({renamed(key): value for key, value in stored.items()})
        self.original = tuple(stored)


@pytest.mark.parametrize('recompute', [False, True])
@pytest.mark.parametrize('layout', LAYOUTS)
def test_blocks(layout, recompute):
    arrays = reference(METHOD, 'blocks')
    names = [name.removesuffix('_out') for name in arrays if name.endswith('_out')]
    assert names
    for name in names:
        weights = Weights({k: v.float() for k, v in arrays.below(f'{name}.').items()})
        count = sum(re.fullmatch(rf'{name}_in\d', key) is not None for key in arrays)
        inputs = [arrays.tensor(f'{name}_in{i}') for i in range(count)]
        expected = arrays[f'{name}_out']
        module, run = block_of(name, weights, inputs, expected)
        for child in module.modules():
            if isinstance(child, DoubleConv):
                child.recompute = recompute
        missing, unexpected = module.load_state_dict(weights, strict=False)
        assert not unexpected and all('num_batches_tracked' in key for key in missing)
        module = module.to(memory_format=FORMATS[layout]).eval()
        after = arrays.below(f'{name}_after.')
        if after:
            module.train()
            for child in module.modules():
                if isinstance(child, nn.Dropout2d):
                    child.p = 0.0
        out = run(*(x.contiguous(memory_format=FORMATS[layout]) for x in inputs))
        assert_near(out, expected, LAYOUTS[layout], name)
        buffers = dict(module.named_buffers())
        for key, value in after.items():
            assert_near(buffers[renamed(key)], value.numpy(), LAYOUTS[layout], f'{name} {key}')


# ---------------------------------------------------------------------------------- whole networks


@pytest.mark.parametrize('layout', LAYOUTS)
def test_small_networks(layout):
    found = files(r'unet_w(\d+)_(\w+)')
    if not found:
        pytest.skip(f'{METHOD} has no small networks among the reference vectors')
    for stem, width, form in found:
        arrays = reference(METHOD, stem)
        model = load(arrays.below('w.'))
        assert model.backbone.stem.conv1.out_channels == int(width)
        assert (model.backbone.ups[0].up is None) == (form == 'bilinear')
        lay_out(model, layout)
        inputs = [name for name in arrays if re.fullmatch(r'x(_\w+)?', name)]
        assert inputs
        for name in inputs:
            logits = forward(model, arrays.tensor(name))
            assert_near(
                logits, arrays['logits' + name.removeprefix('x')], LAYOUTS[layout], stem + name
            )


def filled(names, shapes, seed):
    """Weights by the rule of the vectors' README."""
    state = {}
    for k, name in enumerate(names):
        shape = shapes[name]
        if name.endswith('num_batches_tracked'):
            state[name] = torch.tensor(0)
            continue
        u = np.random.RandomState(seed + k).uniform(-1, 1, shape)
        if len(shape) >= 2:
            u = u * np.sqrt(6 / np.prod(shape[1:]))
        elif name.endswith('running_var'):
            u = 1 + 0.5 * u
        elif name.endswith('.weight'):
            u = 1 + 0.2 * u
        else:
            u = 0.1 * u
        state[name] = torch.from_numpy(u.astype(np.float32))
    return state


@pytest.mark.parametrize('form', FORMS)
def test_full_networks(form):
    arrays = reference(METHOD, 'unet_full_fill')
    x, logits = arrays.tensor(f'{form}_x'), arrays[f'{form}_logits']
    bilinear = form == 'bilinear'
    options = {'model.backbone.bilinear': bilinear, 'model.backbone.in_channels': x.shape[1]}
    options['model.decode_head.num_classes'] = logits.shape[1]
    plan = MODELS.build(config(options).model)
    converter = CONVERTERS['mc_unet']
    names = list(official_names(bilinear))
    own = plan.state_dict()
    shapes = {name: tuple(own[converter.rename(name)].shape) for name in names}
    model = load(filled(names, shapes, arrays['fill_seed0'].item()))

    lay_out(model, 'channels_first')
    stages = {}
    backbone = model.backbone
    modules = {'inc': backbone.stem}
    modules |= {f'down{i}': module for i, module in enumerate(backbone.downs, start=1)}
    modules |= {f'up{i}': module for i, module in enumerate(backbone.ups, start=1)}
    for name, module in modules.items():
        module.register_forward_hook(lambda _, __, out, name=name: stages.update({name: out}))
    assert_near(forward(model, x), logits, OUTPUT, form)
    moments = {part: arrays[f'{form}_stage_{part}'] for part in ('mean', 'std', 'first8')}
    for i, name in enumerate(arrays[f'{form}_stage_names']):
        values = stages[str(name)].double().contiguous().flatten().numpy()
        assert_near(values.mean(), moments['mean'][i], OUTPUT, name)
        assert_near(values.std(ddof=1), moments['std'][i], OUTPUT, name)
        assert_near(values[:8], moments['first8'][i], OUTPUT, name)


@pytest.mark.parametrize('form', FORMS)
def test_the_keys_of_the_official_checkpoint(form):
    if not KEYS.is_file():
        pytest.skip(f'{KEYS} is not there')
    stored = json.loads(KEYS.read_text())
    shapes = stored[FORMS[form]]
    assert list(shapes) == list(official_names(form == 'bilinear'))
    for num_outputs in (1, 2, 3):
        state = {key: torch.zeros(shape) for key, shape in shapes.items()}
        for key in ('outc.conv.weight', 'outc.conv.bias'):
            state[key] = torch.zeros(num_outputs, *shapes[key][1:])
        state |= {key: [0, 255] for key in stored['extra_non_tensor_keys']}
        converter = CONVERTERS['mc_unet']
        assert set(stored['extra_non_tensor_keys']) == set(converter.metadata)
        model = MODELS.build(config(converter.options(state)).model)
        converted = converter.convert(state)
        assert len(converted) == len(shapes)
        check_fit(model, converted, 'stored keys')


# ------------------------------------------------------------------------------- losses, training


def samples(masks):
    made = []
    for mask in masks:
        sample = JointDataSample()
        sample.gt_sem_seg = PixelData(data=torch.as_tensor(mask.astype(np.int64))[None])
        made.append(sample)
    return made


def head(num_outputs):
    weights = {'inc.double_conv.0.weight': torch.zeros(32, 3, 3, 3)}
    weights['outc.conv.weight'] = torch.zeros(num_outputs, 32, 1, 1)
    return MODELS.build(config(CONVERTERS['mc_unet'].options(weights)).model.decode_head)


def test_training_losses():
    arrays = reference(METHOD, 'train_loss')
    for case in arrays.cases(r'c\d+_'):
        num_outputs = int(case.prefix[1:-1])
        decode_head = head(num_outputs)
        logits = case.tensor('logits').requires_grad_()
        assert logits.shape[1] == num_outputs
        # What `cls_seg` makes of the classifier's output.
        decode_head.conv_seg = nn.Identity()
        losses = decode_head.loss_by_feat(decode_head.cls_seg(logits), samples(case['target']))
        ce = case['bce' if num_outputs == 1 else 'ce']
        assert_near(losses['loss_ce'], ce, SCALAR, 'cross-entropy')
        assert_near(losses['loss_dice'], case['dice_loss'], SCALAR, 'Dice')
        total = sum(losses.values())
        assert_near(total, case['loss'], SCALAR, 'sum')
        total.backward()
        assert_near(logits.grad, case['grad'], SCALAR, 'gradient')
        if 'one_minus_mean_true_prob' in case:
            expected = case['one_minus_mean_true_prob']
            assert_near(losses['loss_dice'], expected, SCALAR, 'mean probability')


def test_dice_function():
    arrays = reference(METHOD, 'dice')
    cases = {case.prefix[:-1]: case for case in arrays.cases(r'\w+?_(?=(?:input|target)$)')}
    assert cases
    values = {}
    for name, case in cases.items():
        pred, target = case.tensor('input'), case.tensor('target')
        together = bool(case['reduce_batch_first'])
        if pred.dim() == 4:  # every class of every image is an item
            pred, target = pred.flatten(0, 1), target.flatten(0, 1)
        axes = None if together or pred.dim() == 2 else (1, 2)
        values[name] = soft_dice(pred, target, axes=axes).mean()
        assert_near(values[name], case['dice'], SCALAR, name)
        if case['dice'] == 1:
            assert not pred.any() and not target.any()
    # Losses of the binary and of the multiclass pair, all sums global.
    pairs = {'binary': 'd3_global', 'multiclass': 'mc_global'}
    for name in arrays:
        if match := re.fullmatch(r'loss_([a-z]+)(?:_eps(.+))?', name):
            case = cases[pairs[match[1]]]
            smooth = float(match[2]) if match[2] else 1e-6
            dice_value = soft_dice(case.tensor('input'), case.tensor('target'), smooth=smooth)
            assert_near(1 - dice_value, arrays[name], SCALAR, name)


@pytest.mark.parametrize('layout', LAYOUTS)
def test_training_steps(layout):
    found = files(r'train_steps_w\d+')
    if not found:
        pytest.skip(f'{METHOD} has no training steps among the reference vectors')
    # RMSprop divides gradients by their own magnitude, so those that are 0 but for rounding move
    # weights all the same: only sums in the original's order give its weights.
    exact = SCALAR if layout == 'channels_first' else OUTPUT
    for (stem,) in found:
        arrays = reference(METHOD, stem)
        model = load(arrays.below('w0.')).train()
        lay_out(model, layout)
        for module in model.modules():
            if isinstance(module, nn.Dropout2d):
                module.p = 0.0
        settings = config().optim_wrapper
        settings.optimizer.lr = arrays['lr'].item()
        wrapper = build_optim_wrapper(model, settings)
        x, batch = model.arrange(arrays.tensor('x')), samples(arrays['y'])
        norms = arrays['grad_norms_before_clip']
        for i, expected in enumerate(arrays['losses']):
            loss = sum(model.loss(x, batch).values())
            assert_near(loss, expected, exact, f'loss {i}')
            wrapper.update_params(loss)
            norm = MessageHub.get_current_instance().get_scalar('train/grad_norm').current()
            assert_near(norm, norms[i], 5 * exact, f'norm {i}')
        if layout == 'channels_last':
            continue
        state = model.state_dict()
        steps = len(arrays['losses'])
        moved = 0
        for name, expected in arrays.below(f'w{steps}.').items():
            ours = state[CONVERTERS['mc_unet'].rename(name)]
            assert_near(ours, expected.numpy(), SCALAR, name)
            moved += not torch.equal(ours, arrays.tensor(f'w0.{name}').float())
        assert moved == len(arrays.below(f'w{steps}.'))


def test_learning_rate_on_a_plateau():
    arrays = reference(METHOD, 'plateau')
    scores, rates = arrays['scores'], arrays['lr_after']
    (settings,) = config().param_scheduler
    settings = {key: value for key, value in settings.items() if key != 'type'}
    parameters = [nn.Parameter(torch.zeros(1)) for _ in range(2)]
    # A first score is always an improvement, so the first rate is the initial one.
    groups = [{'params': [parameters[0]]}, {'params': [parameters[1]], 'lr': 10 * rates[0]}]
    optimizer = torch.optim.RMSprop(groups, lr=float(rates[0]))
    scheduler = PlateauLR(optimizer, **settings)
    for i, (score, rate) in enumerate(zip(scores, rates, strict=True)):
        scheduler.step({settings['monitor']: float(score), 'seg/other': -float(i)})
        now = [group['lr'] for group in optimizer.param_groups]
        np.testing.assert_allclose(now[0], rate, rtol=1e-9, err_msg=f'score {i}')
    assert len(np.unique(rates)) > 1


# ------------------------------------------------------------------------------------- validation


def test_validation_dice():
    """The original's mean of batch means, from our Dice per image; ours is the mean of images."""
    arrays = reference(METHOD, 'evaluate')
    numbers = sorted(int(m[1]) for name in arrays if (m := re.fullmatch(r'logits(\d+)', name)))
    metric = SegmentationMetric(empty_dice=1.0)
    metric.dataset_meta = dict(classes=('background', 'lesion'))
    batches = []
    for number in numbers:
        pred, masks = arrays[f'logits{number}'].argmax(1), arrays[f'mask{number}']
        pairs = zip(pred, masks, strict=True)
        batches.append([dice(p == 1, m == 1, empty=1.0) for p, m in pairs])
        for p, m in zip(pred, masks, strict=True):
            sample = samples([m])[0]
            sample.pred_sem_seg = PixelData(data=torch.from_numpy(p)[None])
            metric.process({}, [sample.to_dict()])
    assert_near(np.mean([np.mean(batch) for batch in batches]), arrays['score'], SCALAR)
    ours = metric.evaluate(sum(map(len, batches)))['seg/Dice.lesion']
    assert_near(ours, np.mean(np.concatenate(batches)), SCALAR)
