from .instance_unet import InstanceUNetEncoder
from .mc_unet import MCUNet
from .res2net_v1b import Res2NetV1b
from .vgg_bn import VGG16BN
from .vnet import VNetEncoder

__all__ = ['InstanceUNetEncoder', 'MCUNet', 'Res2NetV1b', 'VGG16BN', 'VNetEncoder']
