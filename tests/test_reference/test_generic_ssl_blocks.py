"""Blocks of the V-Net against the original's, in 3-D and 2-D."""

import re

import pytest
import torch
import torch.nn.functional as F

from mmjoint.apis.converters.aggregate_decouple import rename_stage, rename_strided
from mmjoint.functional.time_embedding import sinusoidal_embedding
from mmjoint.models.layers import ConvBlock, ConvStage

from .loader import assert_close, reference

METHOD = 'generic_ssl'
TOLERANCE = 1e-5
FILES = ('blocks_3d', 'blocks_3d_temb', 'blocks_2d')
NORMS = {'GN': 'group', 'IN': 'instance', 'none': 'none', '': 'batch'}


def make(name, weights, num_axes):
    """The block of a stored name, and how its keys are renamed."""
    strided = re.fullmatch(r'(Down|Up)(Temb)?', name)
    timed = {key: value for key, value in weights.items() if 'temb_proj.weight' in key}
    options = dict(
        num_axes=num_axes,
        time_channels=next(iter(timed.values())).shape[1] if timed else None,
    )
    if strided:
        kind = strided[1].lower()
        first, second = weights['ops.0.weight'].shape[:2]
        channels = (second, first) if kind == 'down' else (first, second)
        return ConvStage(*channels, kind=kind, **options), rename_strided
    stages, norm = re.fullmatch(r'ConvBlock(?:Temb)?(\d+)(GN|IN|none|)', name).groups()
    out, inner = weights['ops.0.conv.weight'].shape[:2]
    block = ConvBlock(int(stages), inner, out, norm=NORMS[norm], dropout=0.0, **options)
    return block, rename_stage


def load(block, weights, rename):
    own = block.state_dict()
    renamed = {rename(key): value for key, value in weights.items()}
    last = len(getattr(block, 'stages', [block])) - 1
    left = {key for key in renamed if key not in own}
    # The last stage of a block never uses its time.
    assert left <= {f'stages.{last}.time_offset.{part}' for part in ('weight', 'bias')}
    counts = {key for key in own if key.endswith('num_batches_tracked')}
    assert own.keys() - counts == renamed.keys() - left
    block.load_state_dict({key: renamed[key] for key in own if key in renamed}, strict=False)


@pytest.mark.parametrize('file', FILES)
def test_blocks(file):
    arrays = reference(METHOD, file)
    x = arrays.tensor('x3')
    names = sorted({name.split('/')[0] for name in arrays if '/' in name})
    assert names
    for name in names:
        weights = arrays.below(f'{name}/w/')
        block, rename = make(name, weights, x.dim() - 2)
        load(block, weights, rename)
        # The original applies swish in each block, ours once for all.
        time = F.silu(arrays.tensor('temb')) if 'Temb' in name else None
        block.eval()
        with torch.no_grad():
            if f'{name}/out_eval' in arrays:  # in 2-D the original cannot add a time
                assert_close(block(x, time), arrays[f'{name}/out_eval'], TOLERANCE, name)
            if f'{name}/out_eval_temb_none' in arrays:
                plain = arrays[f'{name}/out_eval_temb_none']
                assert_close(block(x, None), plain, TOLERANCE, f'{name} without time')
            if f'{name}/out_train' not in arrays:
                continue
            out = block.train()(x, time)
        assert_close(out, arrays[f'{name}/out_train'], TOLERANCE, f'{name} in training')
        state = block.state_dict()
        for key, value in arrays.below(f'{name}/after_train/').items():
            assert_close(state[rename(key)], value.numpy(), TOLERANCE, f'{name} {key}')


@pytest.mark.parametrize('file', FILES)
def test_time_embedding(file):
    arrays = reference(METHOD, file)
    for name in [name for name in arrays if re.fullmatch(r'temb_\d+', name)]:
        channels = int(name.partition('_')[2])
        ours = sinusoidal_embedding(arrays.tensor('t'), channels)
        assert_close(ours, arrays[name], TOLERANCE, name)
