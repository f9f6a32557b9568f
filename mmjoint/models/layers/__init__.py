from .conv_blocks import (
    ComposedPointwise,
    DoubleConv,
    SeparableConv,
    UpConcat,
    UpConv,
    join_maps,
    pixel_linear,
    pixel_sum,
    pointwise,
    resample,
)
from .frozen_batch_norm import FrozenBatchNorm2d, conv_frozen_bn, freeze_batch_norms
from .initializers import KaimingConvWeight
from .polarized_self_attention import PolarizedSelfAttention
from .uncertainty_guidance import ReliableMask, UncertaintyNavigator
from .vnet_blocks import ConvBlock, ConvStage, TimeEmbedding, channel_dropout, space_ops

__all__ = [
    'ComposedPointwise',
    'ConvBlock',
    'ConvStage',
    'DoubleConv',
    'FrozenBatchNorm2d',
    'KaimingConvWeight',
    'PolarizedSelfAttention',
    'ReliableMask',
    'SeparableConv',
    'TimeEmbedding',
    'UncertaintyNavigator',
    'UpConcat',
    'UpConv',
    'channel_dropout',
    'conv_frozen_bn',
    'freeze_batch_norms',
    'join_maps',
    'pixel_linear',
    'pixel_sum',
    'pointwise',
    'resample',
    'space_ops',
]
