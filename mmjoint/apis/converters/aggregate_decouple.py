"""Official checkpoints of A&D (GenericSSL), in 3-D and 2-D."""

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from .common import Converter

_LEVELS = ('one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight', 'nine')
# Index of a layer in the official sequences of the strided stages -> its name in our ConvStage.
STRIDED_LAYERS = {'0': 'conv', '2': 'norm', '3': 'time_offset'}
HEADS = {
    'decoder_theta': 'decode_head',
    'decoder_psi': 'supervised_head',
    'denoise_model.decoder': 'denoising_head',
}


def _number(word: str, first: str) -> int:
    return _LEVELS.index(word) - _LEVELS.index(first)


def rename_stage(name: str) -> str:
    """Our name of a parameter in a convolution block: ``ops.<n>.<layer>.<parameter>``."""
    name = re.sub(r'^ops\.', 'stages.', name)
    return name.replace('temb_fusion.temb_proj', 'time_offset')


def rename_strided(name: str) -> str:
    """Our name of a parameter in a strided stage: ``ops.<layer>[.temb_proj].<parameter>``."""
    layer, parameter = re.fullmatch(r'ops\.([023])\.(?:temb_proj\.)?(\w+)', name).groups()
    return f'{STRIDED_LAYERS[layer]}.{parameter}'


def _block(part: str, first: str) -> Any:
    def replace(match: re.Match[str]) -> str:
        *prefix, level, name = match.groups()
        owner = f'{HEADS[prefix[0]] if prefix else "backbone"}.{part}.{_number(level, first)}'
        return f'{owner}.{rename_stage(name) if part == "blocks" else rename_strided(name)}'

    return replace


def _options(state: Mapping[str, Tensor]) -> dict[str, Any]:
    plain = {key.removeprefix('module.'): value for key, value in state.items()}
    first = plain.get('embedding.emb.ops.0.conv.weight')
    last = plain.get('decoder_theta.out_conv.weight')
    times = plain.get('denoise_model.embedding_diffusion.temb.dense.0.weight')
    if first is None or last is None or times is None:
        return {}
    width, in_channels, *kernel = first.shape
    time_channels, sinusoid_channels = times.shape
    options = {
        'model.backbone.in_channels': in_channels,
        'model.denoising_stem.in_channels': in_channels,
        'model.denoising_stem.sinusoid_channels': sinusoid_channels,
        'model.backbone.time_channels': time_channels,
        'model.denoising_stem.time_channels': time_channels,
    }
    for part in ('backbone', 'decode_head', 'denoising_stem'):
        options[f'model.{part}.num_axes'] = len(kernel)
        options[f'model.{part}.base_channels'] = width
    for part in ('decode_head', 'denoising_stem', 'difficulty'):
        options[f'model.{part}.num_classes'] = len(last)
    return options


_HEAD = f'({"|".join(re.escape(name) for name in HEADS)})'
# Never used by the original: times of the image's stem, of stages that end a block, and a whole
# time embedding.
_UNUSED = (
    r'embedding\.temb\..+',
    r'(?:denoise_model\.embedding_diffusion|embedding)\.emb\.ops\.0\.temb_fusion\..+',
    r'.+\.block_(?:two|eight)\.ops\.1\.temb_fusion\..+',
    r'.+\.block_(?:three|four|five|six|seven)\.ops\.2\.temb_fusion\..+',
    r'.+\.block_nine\.ops\.0\.temb_fusion\..+',
)
AGGREGATE_DECOUPLE_CONVERTER = Converter(
    config='configs/_base_/models/diffusion-vnet_3d.py',
    dropped='|'.join(_UNUSED),
    # The original does not store its running difficulties.
    initial=r'difficulty\..+',
    options=_options,
    rules=(
        (r'embedding\.emb\.ops\.0\.(conv|norm)\.(.+)', r'backbone.stem.stages.0.\1.\2'),
        (
            r'denoise_model\.embedding_diffusion\.emb\.ops\.0\.(conv|norm)\.(.+)',
            r'denoising_stem.block.stages.0.\1.\2',
        ),
        (
            r'denoise_model\.embedding_diffusion\.temb\.dense\.0\.(.+)',
            r'denoising_stem.time_embedding.expand.\1',
        ),
        (
            r'denoise_model\.embedding_diffusion\.temb\.dense\.1\.(.+)',
            r'denoising_stem.time_embedding.project.\1',
        ),
        (
            r'denoise_model\.encoder\.block_(one|two|three|four)_dw\.(ops\..+)',
            _block('downs', 'one'),
        ),
        (
            r'denoise_model\.encoder\.block_(two|three|four|five)\.(ops\..+)',
            _block('blocks', 'two'),
        ),
        (rf'{_HEAD}\.block_(five|six|seven|eight)_up\.(ops\..+)', _block('ups', 'five')),
        (rf'{_HEAD}\.block_(six|seven|eight|nine)\.(ops\..+)', _block('blocks', 'six')),
        (rf'{_HEAD}\.out_conv\.(.+)', lambda match: f'{HEADS[match[1]]}.conv_seg.{match[2]}'),
    ),
)
