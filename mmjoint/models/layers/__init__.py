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
from .cross_task_attention import CrossTaskAttention, Rows, select
from .frozen_batch_norm import FrozenBatchNorm2d, conv_frozen_bn, freeze_batch_norms
from .initializers import KaimingConvWeight
from .instance_conv import InstanceDoubleConv
from .polarized_self_attention import PolarizedSelfAttention
from .saliency_bridge import SaliencyBridge, in_mode, saliency_map
from .task_dropout import TaskDropout
from .uncertainty_guidance import ReliableMask, UncertaintyNavigator
from .vnet_blocks import ConvBlock, ConvStage, TimeEmbedding, channel_dropout, space_ops

__all__ = [
    'ComposedPointwise',
    'ConvBlock',
    'ConvStage',
    'CrossTaskAttention',
    'DoubleConv',
    'FrozenBatchNorm2d',
    'InstanceDoubleConv',
    'KaimingConvWeight',
    'PolarizedSelfAttention',
    'ReliableMask',
    'Rows',
    'SaliencyBridge',
    'SeparableConv',
    'TaskDropout',
    'TimeEmbedding',
    'UncertaintyNavigator',
    'UpConcat',
    'UpConv',
    'channel_dropout',
    'conv_frozen_bn',
    'freeze_batch_norms',
    'in_mode',
    'join_maps',
    'pixel_linear',
    'pixel_sum',
    'pointwise',
    'resample',
    'saliency_map',
    'select',
    'space_ops',
]
