from mmengine.model import BaseInit
from torch import nn

from mmjoint.registry import WEIGHT_INITIALIZERS


@WEIGHT_INITIALIZERS.register_module()
class KaimingConvWeight(BaseInit):
    """Kaiming-normal convolution weights by fan-out; biases keep PyTorch's default.

    mmengine's own Kaiming initialiser sets biases to 0. Other layers keep their defaults.
    """

    def __init__(self) -> None:
        super().__init__(layer='Conv2d')

    def __call__(self, module: nn.Module) -> None:
        """Initialise every convolution below ``module``."""
        for child in module.modules():
            if isinstance(child, nn.Conv2d):
                nn.init.kaiming_normal_(child.weight, mode='fan_out', nonlinearity='relu')
