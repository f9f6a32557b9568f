"""Official checkpoints of MultiMix."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from .common import Converter

# Index of a layer in the official sequences -> its name in our InstanceDoubleConv.
LAYERS = {'0': 'conv1', '3': 'conv2'}


def _options(state: Mapping[str, Tensor]) -> dict[str, Any]:
    plain = {key.removeprefix('module.'): value for key, value in state.items()}
    last, classes = plain.get('decoder.conv_last.weight'), plain.get('encoder.fc.weight')
    down = [plain.get(f'encoder.dconv_down{n}.0.weight') for n in range(1, 6)]
    up = [plain.get(f'decoder.dconv_up{n}.0.weight') for n in range(1, 5)]
    if any(weight is None for weight in (last, classes, *down, *up)):
        return {}
    channels, up_channels = ([len(weight) for weight in weights] for weights in (down, up))
    # What a block takes beside the enlarged map: that of the encoder, and what the bridge appends.
    below = [*up_channels[1:], channels[-1]]
    skips = [weight.shape[1] - size for weight, size in zip(up, below, strict=True)]
    return {
        'model.backbone.in_channels': down[0].shape[1],
        'model.backbone.channels': channels,
        'model.decode_head.in_channels': [*skips, channels[-1]],
        'model.decode_head.channels': up_channels,
        'model.decode_head.num_classes': max(2, len(last)),
        'model.decode_head.single_logit': len(last) == 1,
        'model.cls_head.in_channels': classes.shape[1],
        'model.cls_head.num_classes': len(classes),
    }


MULTIMIX_CONVERTER = Converter(
    config='configs/_base_/models/multimix.py',
    dropped=r'decoder\.conv_last_saliency\..+',  # never called
    options=_options,
    rules=(
        (
            r'encoder\.dconv_down(\d)\.([03])\.(.+)',
            lambda m: f'backbone.blocks.{int(m[1]) - 1}.{LAYERS[m[2]]}.{m[3]}',
        ),
        # The original's number 4 is the coarsest level, which comes first.
        (
            r'decoder\.dconv_up(\d)\.([03])\.(.+)',
            lambda m: f'decode_head.blocks.{4 - int(m[1])}.{LAYERS[m[2]]}.{m[3]}',
        ),
        (r'encoder\.fc\.(.+)', r'cls_head.fc.\1'),
        (r'decoder\.conv_last\.(.+)', r'decode_head.conv_seg.\1'),
    ),
)
