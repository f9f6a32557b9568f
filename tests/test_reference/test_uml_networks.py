import re
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData
from mmpretrain.models.backbones.res2net import Bottle2neck
from torch import nn

from mmjoint.apis.converters import CONVERTERS, check_fit
from mmjoint.models.backbones import Res2NetV1b
from mmjoint.models.layers import (
    DoubleConv,
    PolarizedSelfAttention,
    SeparableConv,
    UncertaintyNavigator,
    UpConv,
    freeze_batch_norms,
    resample,
)
from mmjoint.models.necks import shuffle_index
from mmjoint.registry import MODELS
from mmjoint.structures import JointDataSample

from .loader import assert_close, reference

BLOCK, GRADIENT = 2e-5, 1e-4
CONFIGS = Path(__file__).resolve().parents[2] / 'configs' / '_base_' / 'models'
DOUBLE_CONV = {'double_conv.0': 'conv1', 'double_conv.1': 'bn1'}
DOUBLE_CONV |= {'double_conv.3': 'conv2', 'double_conv.4': 'bn2'}
NAVIGATOR = {'W_x': 'w_x', 'W_m': 'w_m'}
SEPARABLE = {'point_wise_conv': 'pointwise', 'conv': 'depthwise'}


def renamed(name, names):
    for old, new in names.items():
        if re.search(rf'(^|\.){re.escape(old)}(\.|$)', name):
            return re.sub(rf'(^|\.){re.escape(old)}(?=\.|$)', rf'\g<1>{new}', name)
    return name


def without_dropout(module):
    for child in module.modules():
        if isinstance(child, nn.Dropout2d):
            child.p = 0.0
    return module


def check_block(arrays, module, names, *, outputs, num_inputs=1, skip_grad=()):
    """Compare outputs, gradients and running statistics with a stored pass."""
    weights = {renamed(name, names): value for name, value in arrays.below('w.').items()}
    module.load_state_dict(weights)
    module = without_dropout(module)
    if 'out_eval' in outputs:
        inputs = [arrays.tensor(f'in{i}') for i in range(num_inputs)]
        with torch.no_grad():
            assert_close(module.eval()(*inputs), arrays['out_eval'], BLOCK, 'eval')
    inputs = [arrays.tensor(f'in{i}').requires_grad_() for i in range(num_inputs)]
    out = module.train()(*inputs)
    assert_close(out, arrays[outputs[-1]], BLOCK, outputs[-1])
    (out * arrays.tensor('grad_out')).sum().backward()
    for i, x in enumerate(inputs):
        assert_close(x.grad, arrays[f'grad_in{i}'], GRADIENT, f'gradient of input {i}')
    parameters = dict(module.named_parameters())
    for name, expected in arrays.below('grad.').items():
        ours = parameters[renamed(name, names)].grad
        if name in skip_grad:  # a true zero, stored as rounding noise
            assert ours.abs().max() < 1e-4 and expected.abs().max() < 1e-4
            continue
        if expected.abs().max() < 1e-4:  # biases before a batch norm: gradient 0 up to rounding
            assert ours.abs().max() < 1e-4
        else:
            assert_close(ours, expected.numpy(), GRADIENT, f'gradient of {name}')
    buffers = dict(module.named_buffers())
    for name, expected in arrays.below('after_train.').items():
        assert_close(buffers[renamed(name, names)], expected.numpy(), BLOCK, f'{name} after')


TRAINED = ('out_eval', 'out_train_nodropout')


@pytest.mark.parametrize('fused', [True, False])
@pytest.mark.parametrize('channels_last', [True, False])
def test_polarized_self_attention(fused, channels_last):
    arrays = reference('uml', 'psa')
    module = PolarizedSelfAttention(arrays['in0'].shape[1], fused=fused)
    if channels_last:
        module = module.to(memory_format=torch.channels_last)
    check_block(arrays, module, {}, outputs=TRAINED, skip_grad=('ch_wq.bias',))


def test_double_conv():
    arrays = reference('uml', 'double_conv')
    module = DoubleConv(arrays['in0'].shape[1], arrays['out_eval'].shape[1])
    check_block(arrays, module, DOUBLE_CONV, outputs=TRAINED)


def test_up_conv():
    arrays = reference('uml', 'up_conv')
    module = UpConv(arrays['in0'].shape[1], arrays['in1'].shape[1])
    check_block(arrays, module, DOUBLE_CONV, outputs=TRAINED, num_inputs=2)


def test_separable_conv():
    arrays = reference('uml', 'separable_conv_dil2')
    module = SeparableConv(arrays['in0'].shape[1], arrays['out_eval'].shape[1])
    check_block(arrays, module, SEPARABLE, outputs=TRAINED)


@pytest.mark.parametrize('fused', [True, False])
def test_uncertainty_navigator(fused):
    arrays = reference('uml', 'uncertainty_navigator')
    module = UncertaintyNavigator(arrays['in0'].shape[1], arrays['in3'].item(), fused=fused)
    check_block(arrays, module, NAVIGATOR, outputs=TRAINED, num_inputs=3)


@pytest.mark.parametrize('fused', [True, False])
@pytest.mark.parametrize(
    'name', ['res2net_block_normal', 'res2net_block_stage_s1', 'res2net_block_stage_s2']
)
def test_res2net_block(name, fused):
    arrays = reference('uml', name)
    in_channels, out_channels = arrays['in0'].shape[1], arrays['out'].shape[1]
    stride = arrays['in0'].shape[2] // arrays['out'].shape[2]
    is_stage = 'stage' in name
    downsample = None
    if is_stage:
        pool = nn.AvgPool2d(stride, stride, ceil_mode=True, count_include_pad=False)
        conv = nn.Conv2d(in_channels, out_channels, 1, bias=False)
        downsample = nn.Sequential(pool, conv, nn.BatchNorm2d(out_channels))
    block = Bottle2neck(
        in_channels,
        out_channels,
        stride=stride,
        downsample=downsample,
        stage_type='stage' if is_stage else 'normal',
    )
    freeze_batch_norms(block)
    backbone = Res2NetV1b(base_channels=8, fused=fused)
    block.forward = lambda x: backbone._block(block, x)
    check_block(arrays, block, {}, outputs=('out',))


def test_channel_shuffle():
    arrays = reference('uml', 'channel_shuffle')
    x = arrays.tensor('x')
    index = shuffle_index(x.shape[1], arrays['groups'].item())
    np.testing.assert_array_equal(index, arrays['index'])
    np.testing.assert_array_equal(x[:, index], arrays['out'])


def test_resample():
    arrays = reference('uml', 'resample')
    x = arrays.tensor('x')
    for name in arrays:
        if match := re.fullmatch(r'(up|down)(\d+)', name):
            factor = int(match[2])
            if match[1] == 'up':
                out = resample(x[:, :, :6, :5], factor)
            else:
                out = resample(x, 1 / factor)
            assert_close(out, arrays[name], BLOCK, name)


# ------------------------------------------------------------------------------ whole networks


def build(name, *, fused, channels_last=True, width=64, num_classes=3, num_cls_classes=2):
    """A published config at another width or number of classes, by the width rule."""
    init_default_scope('mmjoint')
    cfg = Config.fromfile(CONFIGS / f'{name}.py').model
    cfg.memory_format = 'channels_last' if channels_last else 'channels_first'

    def scaled(value):
        if isinstance(value, (list, tuple)):
            return tuple(scaled(v) for v in value)
        return value if value is None else value * width // 64

    for part in ('backbone', 'seg_backbone', 'neck', 'mutual_head', 'decode_head', 'cls_head'):
        for key in cfg[part]:
            if key.endswith('channels'):
                cfg[part][key] = scaled(cfg[part][key])
        cfg[part].fused = fused
        if 'num_classes' in cfg[part]:
            cfg[part].num_classes = num_cls_classes if part == 'cls_head' else num_classes
    for part in ('mutual_head', 'cls_head'):
        for key in ('loss_evidential', 'loss'):
            if key in cfg[part]:
                cfg[part][key].fused = fused
    return MODELS.build(cfg)


def samples(labels, targets):
    made = []
    for label, target in zip(labels, targets, strict=True):
        sample = JointDataSample()
        sample.set_gt_label(int(label))
        sample.gt_sem_seg = PixelData(data=torch.as_tensor(target.astype(np.int64)))
        made.append(sample)
    return made


def set_epoch(model, epoch, annealing_epochs=50):
    for module in model.modules():
        if hasattr(module, 'set_train_progress'):
            module.set_train_progress(epoch / annealing_epochs * module.annealing)


def group_losses(losses):
    """Unweighted sums per branch, as the original's log has them, and the trained total."""
    weights = {'cls': 0.5, 'decode': 0.4, 'mutual': 0.1}
    total = sum(losses.values())
    return {
        prefix: sum(v for k, v in losses.items() if k.startswith(prefix)) / weight
        for prefix, weight in weights.items()
    } | {'sum': total}


@pytest.mark.parametrize('channels_last', [True, False])
@pytest.mark.parametrize('fused', [True, False])
def test_tail_outputs_losses_and_gradients(fused, channels_last):
    weights = reference('uml', 'tail_tiny_weights')
    arrays = reference('uml', 'tail_tiny_io')
    model = build(
        'uml_res2net',
        fused=fused,
        channels_last=channels_last,
        width=arrays['base_width'].item(),
        num_classes=arrays['seg_classes'].item(),
        num_cls_classes=arrays['cls_classes'].item(),
    )
    converter = CONVERTERS['uml']
    state = converter.convert(weights.below('w.'))
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected
    assert all('backbone' in key or 'num_batches' in key for key in missing)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    cls_feats = [
        arrays.tensor(f'cls_feat{i}').contiguous(memory_format=layout) for i in range(1, 5)
    ]
    seg_feats = [
        arrays.tensor(f'seg_feat{i}').contiguous(memory_format=layout) for i in range(1, 5)
    ]
    data_samples = samples(arrays['label'], arrays['target'])
    epoch = {name: re.search(r'epoch(\d+)', name) for name in arrays}
    epoch = next(int(match[1]) for match in epoch.values() if match)
    set_epoch(model, epoch)

    model.eval()
    with torch.no_grad():
        mixed = model.neck(cls_feats, seg_feats)
        out = model.decode(cls_feats, seg_feats)
        losses = group_losses(model.loss_by_output(out, data_samples))
        x = out.mixed[3] if fused else model.mutual_head.adjust[2](out.mixed[3])
        info = [x]
        skips = (
            out.mixed
            if fused
            else [out.mixed[0]]
            + [
                conv(feat)
                for conv, feat in zip(model.mutual_head.adjust, out.mixed[1:], strict=True)
            ]
        )
        for level in (2, 1, 0):
            info.insert(0, model.mutual_head.ups[level](info[0], skips[level]))
    full = out.mutual.evidence[0].shape[2]
    for i in range(4):
        assert_close(mixed[i], arrays[f'eval_mixer_out{i + 1}'], BLOCK, f'mixer {i + 1}')
        assert_close(info[i], arrays[f'eval_mut_info{i + 1}'], BLOCK, f'information {i + 1}')
        evidence = out.mutual.evidence[i]
        scale = full // evidence.shape[2]
        strength = evidence.sum(1, keepdim=True) + evidence.shape[1]
        name = f'eval_mut_evidence{i + 1}'
        assert_close(resample(evidence, scale), arrays[name], BLOCK, name)
        name = f'eval_mut_uncertainty{i + 1}'
        assert_close(resample(evidence.shape[1] / strength, scale), arrays[name], BLOCK, name)
    alpha = out.cls_evidence + 1
    assert_close(out.guided.guide, arrays['eval_eta'], BLOCK, 'guide')
    assert_close(out.guided.logits[0], arrays['eval_final_seg'], BLOCK, 'mask')
    assert_close(alpha, arrays['eval_cls_alpha'], BLOCK, 'class')
    uncertainty = alpha.shape[1] / alpha.sum(1, keepdim=True)
    assert_close(uncertainty, arrays['eval_cls_uncertainty'], BLOCK, 'class vacuity')
    check_losses(losses, arrays, 'eval_loss', epoch, 'decode')

    without_dropout(model).train()
    out = model.decode(cls_feats, seg_feats)
    assert_close(out.cls_evidence + 1, arrays['train_cls_alpha'], BLOCK, 'class in training')
    assert_close(out.guided.logits[0], arrays['train_final_seg'], BLOCK, 'mask in training')
    losses = group_losses(model.loss_by_output(out, data_samples))
    check_losses(losses, arrays, 'train_loss', epoch, 'decode')
    losses['sum'].backward()
    parameters = dict(model.named_parameters())
    stored = reference('uml', 'tail_tiny_grads').below('grad.')
    largest = max(float(value.abs().max()) for value in stored.values())
    for name, expected in stored.items():
        ours = parameters[converter.rename(name)].grad
        size = float(expected.abs().max())
        if size < 1e-5 * largest:  # zero but for rounding: biases before a norm or a softmax
            assert ours.abs().max() < 1e-5 * largest, name
        else:
            # A small gradient is a difference of large terms: 1e-6 of the largest is rounding.
            tolerance = max(GRADIENT, 1e-6 * largest / size)
            assert_close(ours, expected.numpy(), tolerance, name)


def check_losses(losses, arrays, prefix, epoch, decode):
    names = {'cls': 'cls', 'decode': 'seg', 'mutual': 'mut', 'sum': 'sum'}
    for ours, theirs in names.items():
        expected = arrays[f'{prefix}_{theirs}_epoch{epoch}']
        assert_close(losses[ours].double(), expected, 1e-5, f'{prefix} {theirs}')


def rule_weights(keys_and_shapes, salt):
    """Weights that the reference folder's README gives by a rule in place of storing them."""
    state = {}
    for key, shape in keys_and_shapes.items():
        shape = tuple(shape)
        rng = np.random.RandomState(zlib.crc32((salt + key).encode('utf-8')))
        if key.endswith('num_batches_tracked'):
            state[key] = torch.tensor(0)
            continue
        if key.endswith('running_var'):
            value = 0.5 + rng.rand(*shape)
        elif key.endswith('running_mean'):
            value = 0.1 * rng.randn(*shape)
        elif len(shape) == 1:
            value = float(key.endswith('weight')) + 0.1 * rng.randn(*shape)
        else:
            value = rng.randn(*shape) * np.sqrt(1.0 / np.prod(shape[1:]))
        state[key] = torch.from_numpy(np.asarray(value).astype(np.float32))
    return state


def official_keys(model, converter_name, template):
    """Shapes under the official names, at the model's numbers of classes."""
    converter = CONVERTERS[converter_name]
    shapes = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    return {key: shapes[new] for key in template if (new := converter.rename(str(key))) is not None}


def assert_moments(feats, means, stds):
    assert_close(torch.stack([f.mean() for f in feats]), means, BLOCK, 'means')
    if stds is not None:
        assert_close(torch.stack([f.std() for f in feats]), stds, BLOCK, 'deviations')


def load_by_rule(model, converter_name, template, salt):
    state = rule_weights(official_keys(model, converter_name, template), salt)
    converted = CONVERTERS[converter_name].convert(state)
    check_fit(model, converted, 'rule')
    model.load_state_dict(converted)
    return model.eval()


@pytest.mark.parametrize('fused', [True, False])
def test_full_network(fused):
    arrays = reference('uml', 'full_net_rule_weights')
    num_cls, num_seg = arrays['cls_alpha'].shape[1], arrays['final_seg'].shape[1]
    model = build('uml_res2net', fused=fused, num_classes=num_seg, num_cls_classes=num_cls)
    model = load_by_rule(model, 'uml', official_names('uml'), arrays['salt'].item())
    image = arrays.tensor('image_uint8').float() / 255
    with torch.no_grad():
        out = model.decode(*model.extract_feat(image.contiguous(memory_format=torch.channels_last)))
    assert_moments(out.cls_feats, arrays['enc_means'], arrays['enc_stds'])
    assert_close(out.cls_feats[3][:, ::16], arrays['enc_x4'], BLOCK, 'fourth map')
    alpha = out.cls_evidence + 1
    assert_close(alpha, arrays['cls_alpha'], BLOCK, 'class')
    uncertainty = alpha.shape[1] / alpha.sum(1, keepdim=True)
    assert_close(uncertainty, arrays['cls_uncertainty'], BLOCK, 'class vacuity')
    assert_close(out.guided.logits[0], arrays['final_seg'], BLOCK, 'mask')
    full = image.shape[2]
    for i, evidence in enumerate(out.mutual.evidence, start=1):
        scale = full // evidence.shape[2]
        strength = evidence.sum(1, keepdim=True) + evidence.shape[1]
        assert_close(resample(evidence, scale), arrays[f'mut_evidence{i}'], BLOCK, f'evidence {i}')
        name = f'mut_uncertainty{i}'
        assert_close(resample(evidence.shape[1] / strength, scale), arrays[name], BLOCK, name)


def official_names(variant):
    """Official key names; of the repository's version they follow from the stored tail's."""
    if variant == 'uml-paper':
        return [str(key) for key in reference('uml', 'paper_variant_state_dict')['keys']]
    tail = reference('uml', 'tail_tiny_weights')
    names = [name.removeprefix('w.') for name in tail]
    paper = reference('uml', 'paper_variant_state_dict')['keys']
    for key in map(str, paper):
        if key.startswith('cls_feature_encoder.'):
            names += [key, key.replace('cls_', 'seg_', 1)]
    return names + [
        name.replace('running_mean', 'num_batches_tracked')
        for name in names
        if name.endswith('running_mean') and 'encoder' not in name
    ]


def test_full_paper_variant():
    arrays = reference('uml', 'paper_variant_full_net_rule_weights')
    num_cls, num_seg = arrays['cls_alpha'].shape[1], arrays['mut_evidence'].shape[1]
    for fused in (True, False):
        model = build(
            'uml-paper_res2net-vgg16', fused=fused, num_classes=num_seg, num_cls_classes=num_cls
        )
        names = official_names('uml-paper')
        model = load_by_rule(model, 'uml-paper', names, arrays['salt'].item())
        image = arrays.tensor('image_uint8').float() / 255
        epoch = next(int(m[1]) for name in arrays if (m := re.search(r'epoch(\d+)', name)))
        set_epoch(model, epoch)
        with torch.no_grad():
            out = model.decode(
                *model.extract_feat(image.contiguous(memory_format=torch.channels_last))
            )
            losses = model.loss_by_output(out, samples(arrays['label'], arrays['target']))
        assert_moments(out.seg_feats, arrays['seg_enc_means'], None)
        alpha = out.cls_evidence + 1
        assert_close(alpha, arrays['cls_alpha'], BLOCK, 'class')
        uncertainty = alpha.shape[1] / alpha.sum(1, keepdim=True)
        assert_close(uncertainty, arrays['cls_uncertainty'], BLOCK, 'class vacuity')
        evidence = out.mutual.evidence[0]
        strength = evidence.sum(1, keepdim=True) + evidence.shape[1]
        assert_close(evidence, arrays['mut_evidence'], BLOCK, 'evidence')
        assert_close(evidence.shape[1] / strength, arrays['mut_uncertainty'], BLOCK, 'vacuity')
        assert_close(out.guided.reliable_mask, arrays['reliable_mask4'], BLOCK, 'reliable mask')
        for i, logits in enumerate(out.guided.logits, start=1):
            assert_close(logits, arrays[f'seg{i}_native'], BLOCK, f'mask {i}')
        grouped = group_losses(losses)
        for ours, theirs in (
            ('cls', f'loss_cls_epoch{epoch}'),
            ('decode', 'loss_seg'),
            ('mutual', f'loss_mut_epoch{epoch}'),
            ('sum', 'loss_sum'),
        ):
            assert_close(grouped[ours].double(), arrays[theirs], 1e-5, theirs)


def test_converted_keys_are_all_of_the_paper_variant():
    arrays = reference('uml', 'paper_variant_state_dict')
    shapes = {
        str(key): tuple(int(n) for n in str(shape).split('x')) if str(shape) else ()
        for key, shape in zip(arrays['keys'], arrays['shapes'], strict=True)
    }
    state = {key: torch.empty(shape) for key, shape in shapes.items()}
    converter = CONVERTERS['uml-paper']
    options = converter.options(state)
    model = build(
        'uml-paper_res2net-vgg16',
        fused=True,
        num_classes=options['model.decode_head.num_classes'],
        num_cls_classes=options['model.cls_head.num_classes'],
    )
    check_fit(model, converter.convert(state), 'stored keys')
    dropped = {key for key in shapes if converter.rename(key) is None}
    assert all('layer4' in key or 'conv5_' in key for key in dropped)
