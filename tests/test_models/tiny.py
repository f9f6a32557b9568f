"""Small models, samples and comparisons that the tests of the models share."""

from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope, init_default_scope
from mmengine.structures import PixelData
from torch import nn

from mmjoint.registry import MODELS
from mmjoint.structures import JointDataSample, VolumeData

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
UML_CONFIGS = {'UML': 'uml_res2net.py', 'UMLPaper': 'uml-paper_res2net-vgg16.py'}
PARTS = ('backbone', 'seg_backbone', 'neck', 'mutual_head', 'decode_head', 'cls_head')
EXACT = 1e-9


def build(cfg):
    """Build a model as a run does, with our scope; leaves no default scope behind."""
    init_default_scope('mmjoint')
    try:
        return MODELS.build(cfg)
    finally:
        DefaultScope._instance_dict.clear()


def uml_config(name='UML', *, width=4, num_classes=3, num_cls_classes=2, fused=True, **options):
    """A published UML at width ``width`` in place of 64; ``options`` are those of the model.

    ``fused=False`` takes every exact saving away: only definitions are computed.
    """
    cfg = Config.fromfile(CONFIGS / '_base_' / 'models' / UML_CONFIGS[name]).model

    def scaled(value):
        if isinstance(value, (list, tuple)):
            return tuple(scaled(v) for v in value)
        return value if value is None else value * width // 64

    for part in PARTS:
        for key in cfg[part]:
            if key.endswith('channels'):
                cfg[part][key] = scaled(cfg[part][key])
        cfg[part].fused = fused
        if cfg[part].type == 'Res2NetV1b':
            cfg[part].recompute = fused
        if 'num_classes' in cfg[part]:
            cfg[part].num_classes = num_cls_classes if part == 'cls_head' else num_classes
    cfg.mutual_head.loss_evidential.fused = fused
    cfg.cls_head.loss.fused = fused
    cfg.update(options)
    return cfg


def make_uml(name='UML', **options):
    return build(uml_config(name, **options))


def vary_norms(model, seed=0):
    """Give all norms statistics and affine parts that are not 1 and 0, as trained ones have."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if getattr(module, 'running_var', None) is not None:
            for tensor, low, high in (
                (module.weight, 0.5, 1.5),
                (module.bias, -0.2, 0.2),
                (module.running_mean, -0.2, 0.2),
                (module.running_var, 0.5, 1.5),
            ):
                values = torch.rand(tensor.shape, generator=generator) * (high - low) + low
                tensor.data.copy_(values)
    return model


def make_samples(num=2, size=(16, 16), *, num_classes=3, num_cls_classes=2, seed=0, **metainfo):
    """Samples with a random label and a random mask."""
    generator = torch.Generator().manual_seed(seed)
    samples = []
    for i in range(num):
        sample = JointDataSample(metainfo={'img_shape': size, 'ori_shape': size, **metainfo})
        sample.set_gt_label(i % num_cls_classes)
        seg_map = torch.randint(0, num_classes, (1, *size), generator=generator)
        sample.gt_sem_seg = (VolumeData if len(size) == 3 else PixelData)(data=seg_map)
        samples.append(sample)
    return samples


def unlabelled(num=2, size=(16, 16), **metainfo):
    return [
        JointDataSample(metainfo={'img_shape': size, 'ori_shape': size, **metainfo})
        for _ in range(num)
    ]


def assert_same(actual, expected, what='', tolerance=EXACT, floor=0.0):
    """Compare two tensors relative to the largest magnitude of the second (at least ``floor``)."""
    assert actual.shape == expected.shape, f'{what}: {actual.shape} and {expected.shape}'
    scale = max(expected.abs().max().item(), floor)
    error = (actual - expected).abs().max().item()
    assert error <= tolerance * scale, f'{what}: error {error:.3g} at magnitude {scale:.3g}'


def run_block(block, inputs, seed=0):
    """Output, gradients of inputs and parameters, and buffers after one step of a block.

    The outputs are weighted at random, so that no gradient vanishes by symmetry.
    """
    inputs = [x.detach().clone(memory_format=torch.preserve_format) for x in inputs]
    for x in inputs:
        x.requires_grad_()
    torch.manual_seed(seed)
    outputs = block(*inputs)
    outputs = outputs if isinstance(outputs, (tuple, list)) else (outputs,)
    generator = torch.Generator().manual_seed(seed + 1)
    total = sum(
        (torch.randn(out.shape, generator=generator, dtype=torch.float64) * out).sum()
        for out in outputs
    )
    total.backward()
    result = {f'output {i}': out.detach() for i, out in enumerate(outputs)}
    result |= {f'gradient of input {i}': x.grad for i, x in enumerate(inputs)}
    if isinstance(block, nn.Module):
        for name, parameter in block.named_parameters():
            assert parameter.grad is not None, f'{name} has no gradient'
            result[f'gradient of {name}'] = parameter.grad
        result |= {f'buffer {k}': v.clone() for k, v in block.named_buffers()}
    return result


def assert_same_run(actual, expected):
    """Compare two results of ``run_block``; all gradients share one scale.

    Some true gradients are 0 (a bias before a norm or a softmax): what is left there is rounding
    of the size of the others.
    """
    assert actual.keys() == expected.keys()
    largest = max(v.abs().max().item() for k, v in expected.items() if 'gradient' in k)
    for name, value in expected.items():
        floor = largest * 1e-3 if 'gradient' in name else 0.0
        assert_same(actual[name].double(), value.double(), name, floor=floor)
