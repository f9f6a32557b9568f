"""Official checkpoints of the MC-dropout U-Net, of both up-sampling forms and any head."""

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from .common import Converter

# Index of a layer in the official sequences -> its name in our DoubleConv.
LAYERS = {'0': 'conv1', '1': 'bn1', '3': 'conv2', '4': 'bn2'}


def _double_conv(template: str) -> Any:
    """Names in a double convolution: (number of the stage,) layer, parameter."""

    def replace(match: re.Match[str]) -> str:
        *stage, layer, parameter = match.groups()
        prefix = template.format(*(int(number) - 1 for number in stage))
        return f'{prefix}.{LAYERS[layer]}.{parameter}'

    return replace


def _options(state: Mapping[str, Tensor]) -> dict[str, Any]:
    plain = {key.removeprefix('module.'): value for key, value in state.items()}
    first, last = plain.get('inc.double_conv.0.weight'), plain.get('outc.conv.weight')
    if first is None or last is None:
        return {}
    width, in_channels = first.shape[:2]
    options = {
        'model.backbone.in_channels': in_channels,
        'model.backbone.base_channels': width,
        'model.backbone.bilinear': 'up1.up.weight' not in plain,
        'model.decode_head.in_channels': width,
        'model.decode_head.channels': width,
        'model.decode_head.num_classes': max(2, len(last)),
        'model.decode_head.single_logit': len(last) == 1,
    }
    if len(last) == 1:
        options['model.decode_head.loss_dice.scheme'] = 'foreground'
    return options


_BLOCK = r'double_conv\.([0134])\.(.+)'
MC_UNET_CONVERTER = Converter(
    config='configs/mc_unet/mc-unet_isic2016-128x128.py',
    # The raw values of the masks, whose order is that of the classes.
    metadata=('mask_values',),
    dropped='mask_values',
    options=_options,
    rules=(
        (rf'inc\.{_BLOCK}', _double_conv('backbone.stem')),
        (rf'down([1-4])\.maxpool_conv\.1\.{_BLOCK}', _double_conv('backbone.downs.{}')),
        (r'up([1-4])\.up\.(.+)', lambda m: f'backbone.ups.{int(m[1]) - 1}.up.{m[2]}'),
        (rf'up([1-4])\.conv\.{_BLOCK}', _double_conv('backbone.ups.{}.conv')),
        (r'outc\.conv\.(.+)', r'decode_head.conv_seg.\1'),
    ),
)
