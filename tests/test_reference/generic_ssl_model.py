"""The diffusion V-Net of the vectors, by the official names of its weights."""

import re
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope, init_default_scope
from torch import nn

from mmjoint.apis.converters import CONVERTERS, check_fit
from mmjoint.registry import MODELS

from .fill import weight

METHOD = 'generic_ssl'
CONFIGS = Path(__file__).resolve().parents[2] / 'configs' / '_base_' / 'models'
CONVERTER = CONVERTERS['aggregate_decouple']
NORM = ('weight', 'bias', 'running_mean', 'running_var', 'num_batches_tracked')
LEVELS = ('one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight', 'nine')


def build(num_axes, **parts):
    """The model of the base config; ``parts`` are changes, part by part."""
    cfg = Config.fromfile(CONFIGS / f'diffusion-vnet_{num_axes}d.py')
    cfg.merge_from_dict({f'model.{name}': value for name, value in parts.items()})
    init_default_scope('mmjoint')
    try:
        return MODELS.build(cfg.model)
    finally:
        DefaultScope._instance_dict.clear()


def small(num_axes, num_classes, width, **parts):
    """A model without dropout."""
    still = dict(dropout=0.0)
    return build(
        num_axes,
        backbone=dict(base_channels=width, last_dropout=0.0, **still),
        decode_head=dict(base_channels=width, num_classes=num_classes, last_dropout=0.0, **still),
        denoising_stem=dict(base_channels=width, num_classes=num_classes, **still),
        difficulty=dict(num_classes=num_classes),
        **parts,
    )


def official_shapes(num_axes, num_classes, width, *, in_channels=1, sinusoid=128, time=512):
    """Names and shapes of an official state dict, in its order."""
    shapes = {}

    def linear(name, out, inner):
        shapes[f'{name}.weight'], shapes[f'{name}.bias'] = (out, inner), (out,)

    def conv(name, out, inner, kernel, *, transposed=False):
        channels = (inner, out) if transposed else (out, inner)
        shapes[f'{name}.weight'] = (*channels, *[kernel] * num_axes)
        shapes[f'{name}.bias'] = (out,)

    def norm(name, channels):
        shapes.update({f'{name}.{part}': (channels,) for part in NORM[:-1]})
        shapes[f'{name}.{NORM[-1]}'] = ()

    def block(name, stages, inner, out, timed):
        for i in range(stages):
            conv(f'{name}.ops.{i}.conv', out, inner if i == 0 else out, 3)
            norm(f'{name}.ops.{i}.norm', out)
            if timed:
                linear(f'{name}.ops.{i}.temb_fusion.temb_proj', out, time)

    def strided(name, inner, out, timed, *, transposed=False):
        conv(f'{name}.ops.0', out, inner, 2, transposed=transposed)
        norm(f'{name}.ops.2', out)
        if timed:
            linear(f'{name}.ops.3.temb_proj', out, time)

    def embedding(name, inner):
        linear(f'{name}.temb.dense.0', time, sinusoid)
        linear(f'{name}.temb.dense.1', time, time)
        block(f'{name}.emb', 1, inner, width, True)

    def decoder(name, timed):
        for i, (level, stages) in enumerate(zip(LEVELS[4:8], (3, 3, 2, 1), strict=True)):
            out = width * 2 ** (3 - i)
            strided(f'{name}.block_{level}_up', 2 * out, out, timed, transposed=True)
            block(f'{name}.block_{LEVELS[5 + i]}', stages, out, out, timed)
        conv(f'{name}.out_conv', num_classes, width, 1)

    embedding('embedding', in_channels)
    decoder('decoder_theta', False)
    decoder('decoder_psi', False)
    embedding('denoise_model.embedding_diffusion', in_channels + num_classes)
    for i, stages in enumerate((2, 3, 3, 3)):
        inner = width * 2**i
        prefix = 'denoise_model.encoder.block'
        strided(f'{prefix}_{LEVELS[i]}_dw', inner, 2 * inner, True)
        block(f'{prefix}_{LEVELS[i + 1]}', stages, 2 * inner, 2 * inner, True)
    decoder('denoise_model.decoder', True)
    return shapes


def fill(model, num_axes, num_classes, width, salt, dtype=torch.float64):
    """Give a model the weights of the vectors, through the converter."""
    shapes = official_shapes(num_axes, num_classes, width)
    state = CONVERTER.convert({key: weight(key, shape, salt) for key, shape in shapes.items()})
    state = CONVERTER.complete(state, model)
    check_fit(model, state, 'filled weights')
    model.load_state_dict(state)
    model.to(dtype).difficulty.float()  # as in the original's run
    return model


def our_name(key):
    """Our name of an official key, None for a dropped one."""
    return CONVERTER.rename(key)


def norms(model: nn.Module):
    return {name: m for name, m in model.named_modules() if re.search(r'\.norm$', name)}
