"""VGG16 with frozen batch norm, giving the maps before each pooling."""

import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmjoint.registry import MODELS

from ..layers.frozen_batch_norm import FrozenBatchNorm2d, conv_frozen_bn
from .pretrained import load_pretrained

# Number of convolutions in the four stages that are used.
STAGE_DEPTHS = (2, 2, 3, 3)


def rename_vgg_key(key: str) -> str | None:
    """Translate a key ``conv<stage>_<index>.{conv,bn}.*``; None for the unused fifth stage."""
    if key.startswith('conv5_') or key.endswith('num_batches_tracked'):
        return None
    unit, _, rest = key.partition('.')
    stage, index = unit.removeprefix('conv').split('_')
    return f'stages.{int(stage) - 1}.{int(index) - 1}.{rest}'


@MODELS.register_module()
class VGG16BN(BaseModule):
    """The first four stages of VGG16 with frozen batch norm (epsilon 0).

    Args:
        base_channels: Width b; the maps have b, 2b, 4b and 8b channels. 64 is the published one.
        pretrained: Local file of ImageNet weights with keys ``conv<stage>_<index>.{conv,bn}.*``,
            or None to start from scratch, which a warning tells.
        fused: Fold the frozen norms into the convolutions (same result, less time and memory).

    Shape:
        - x: ``(B, 3, H, W)``, H and W multiples of 8.
        - Output: ``(B, b, H, W)``, ``(B, 2b, H/2, W/2)``, ``(B, 4b, H/4, W/4)``,
          ``(B, 8b, H/8, W/8)``.
    """

    def __init__(
        self, *, base_channels: int = 64, pretrained: str | None = None, fused: bool = True
    ) -> None:
        super().__init__()
        self.out_channels = tuple(base_channels * factor for factor in (1, 2, 4, 8))
        self.pretrained = pretrained
        self.fused = fused
        in_channels = 3
        self.stages = nn.ModuleList()
        for depth, channels in zip(STAGE_DEPTHS, self.out_channels, strict=True):
            stage = nn.ModuleList()
            for _ in range(depth):
                conv = nn.Conv2d(in_channels, channels, 3, padding=1)
                stage.append(nn.ModuleDict({'conv': conv, 'bn': FrozenBatchNorm2d(channels)}))
                in_channels = channels
            self.stages.append(stage)

    def init_weights(self) -> None:
        """Load the ImageNet weights where a file was given."""
        super().init_weights()
        load_pretrained(self, self.pretrained, rename_vgg_key)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Give the four feature maps, each taken before its pooling."""
        outputs = []
        for i, stage in enumerate(self.stages):
            if i > 0:
                x = F.max_pool2d(x, 2)
            for unit in stage:
                x = conv_frozen_bn(x, unit['conv'], unit['bn'], fused=self.fused)
            outputs.append(x)
        return tuple(outputs)
