from collections.abc import Sequence

import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmjoint.registry import MODELS

from ..layers import InstanceDoubleConv


@MODELS.register_module()
class InstanceUNetEncoder(BaseModule):
    """Way down of a U-Net with instance norms: a double convolution per level, pooled in between.

    Samples do not depend on each other. Initialisation is PyTorch's own.

    Args:
        in_channels: Channels of the image.
        channels: Channels of the maps, the finest first; at least two levels.
        dropout: Probability to drop an element at the end of each level, in [0, 1).

    Shape:
        - x: ``(B, in_channels, H, W)``, both sides multiples of ``2 ** (L - 1)`` with L levels and
          at least ``2 ** L``.
        - Output: ``(B, channels[i], H / 2 ** i, W / 2 ** i)``.

    Raises:
        ValueError: An option or the size of an image is out of range.

    Reference:
        Haque et al., "MultiMix", ISBI 2021, arXiv:2010.14731.
    """

    def __init__(
        self,
        *,
        in_channels: int = 1,
        channels: Sequence[int] = (16, 32, 64, 128, 256),
        dropout: float = 0.25,
    ) -> None:
        super().__init__()
        if len(channels) < 2:
            raise ValueError(f'channels must name at least two levels, got {tuple(channels)}')
        if not 0 <= dropout < 1:
            raise ValueError(f'dropout must be in [0, 1), got {dropout}')
        self.blocks = nn.ModuleList(
            InstanceDoubleConv(first, last, dropout=dropout)
            for first, last in zip((in_channels, *channels[:-1]), channels, strict=True)
        )

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Give the maps of all levels, the finest first."""
        step = 2 ** (len(self.blocks) - 1)
        if any(side % step or side < 2 * step for side in x.shape[2:]):
            raise ValueError(
                f'height and width must be multiples of {step} and at least {2 * step}, got '
                f'{tuple(x.shape[2:])}; resize or pad the images'
            )
        feats = []
        for block in self.blocks:
            x = block(F.max_pool2d(feats[-1], 2) if feats else x)
            feats.append(x)
        return tuple(feats)
