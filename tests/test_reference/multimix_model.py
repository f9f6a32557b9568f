"""MultiMix as the vectors have it, by the official names of its weights."""

from math import prod
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope, init_default_scope

from mmjoint.apis.converters import CONVERTERS, check_fit
from mmjoint.registry import MODELS

METHOD = 'multimix'
CONFIGS = Path(__file__).resolve().parents[2] / 'configs' / '_base_'
CONVERTER = CONVERTERS['multimix']
WIDTHS = (16, 32, 64, 128, 256)


def build(options=None):
    """The model of the base config; ``options`` as those of ``--cfg-options``."""
    cfg = Config.fromfile(CONFIGS / 'models' / 'multimix.py')
    cfg.merge_from_dict(options or {})
    init_default_scope('mmjoint')
    try:
        return MODELS.build(cfg.model)
    finally:
        DefaultScope._instance_dict.clear()


def official_shapes(widths=WIDTHS, *, in_channels=1, num_cls_classes=2):
    """Names and shapes of an official state dict, in its order."""
    shapes = {}

    def conv(name, out, inner, *kernel):
        shapes[f'{name}.weight'], shapes[f'{name}.bias'] = (out, inner, *kernel), (out,)

    def block(name, inner, out):
        conv(f'{name}.0', out, inner, 3, 3)
        conv(f'{name}.3', out, out, 3, 3)

    for i, (inner, out) in enumerate(zip((in_channels, *widths[:-1]), widths, strict=True)):
        block(f'encoder.dconv_down{i + 1}', inner, out)
    conv('encoder.fc', num_cls_classes, widths[-1])
    for i in reversed(range(len(widths) - 1)):
        appended = in_channels + 1 if i == 3 else 0
        block(f'decoder.dconv_up{i + 1}', widths[i + 1] + widths[i] + appended, widths[i])
    conv('decoder.conv_last', 1, widths[0], 1, 1)
    conv('decoder.conv_last_saliency', 1, widths[0] + 1, 1, 1)
    return shapes


def official_state(seed):
    """All weights by the rule of the vectors' README."""
    state = {}
    for k, (name, shape) in enumerate(official_shapes().items()):
        drawn = np.random.RandomState(int(seed) + k).uniform(-1, 1, shape)
        scale = np.sqrt(6 / prod(shape[1:])) if len(shape) > 1 else 0.1
        state[name] = torch.from_numpy((drawn * scale).astype(np.float32))
    return state


def filled(seed, options=None):
    """The full model with these weights, through the converter."""
    official = official_state(seed)
    model = build({**CONVERTER.options(official), **(options or {})})
    state = CONVERTER.convert(official)
    check_fit(model, state, 'filled weights')
    model.load_state_dict(state)
    return model


def without_dropout(model):
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return model
