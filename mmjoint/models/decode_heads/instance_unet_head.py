from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from mmjoint.registry import MODELS
from mmjoint.structures.typing import ConfigType, MultiConfig

from ..layers import InstanceDoubleConv, join_maps, resample
from .nd_head import BaseDecodeHeadND


@MODELS.register_module()
class InstanceUNetHead(BaseDecodeHeadND):
    """Way up of a U-Net with instance norms: enlarged, joined with a skip map, convolved twice.

    Maps are enlarged bilinearly with aligned corners and stand first in the joined map. The
    counterpart of ``InstanceUNetEncoder``; initialisation is PyTorch's own.

    Args:
        in_channels: Channels of the encoder's maps, the finest first, with those that a
            ``SaliencyBridge`` appends.
        channels: Channels of the outputs of all levels but the coarsest, the finest first.
        num_classes: Pixel classes C.
        single_logit: Of two classes compute the logit of class 1 only; that of class 0 is 0.
        dropout: Probability to drop an element at the end of each level, in [0, 1).
        loss_decode: Config, or configs, of losses on logits, called as
            ``loss(logits, target, ignore_index=...)``.
        ignore_index: Label that does not count.
        init_cfg: Initialisation; by default PyTorch's own.

    Shape:
        - feats: ``(B, in_channels[i], H / 2 ** i, W / 2 ** i)``.
        - Output: logits ``(B, C, H, W)``.

    Raises:
        ValueError: The numbers of levels do not fit, or ``single_logit`` is set for more than two
            classes.
    """

    def __init__(
        self,
        *,
        in_channels: Sequence[int] = (16, 32, 64, 128, 256),
        channels: Sequence[int] = (16, 32, 64, 128),
        num_classes: int = 2,
        single_logit: bool = True,
        dropout: float = 0.25,
        loss_decode: MultiConfig | None = None,
        ignore_index: int = 255,
        init_cfg: ConfigType | list[ConfigType] | None = None,
    ) -> None:
        super().__init__(
            num_classes=num_classes,
            loss_decode=loss_decode,
            ignore_index=ignore_index,
            init_cfg=init_cfg,
        )
        if len(in_channels) != len(channels) + 1:
            raise ValueError(
                f'in_channels must name one level more than channels, got {tuple(in_channels)} '
                f'and {tuple(channels)}'
            )
        if single_logit and num_classes != 2:
            raise ValueError(f'single_logit needs num_classes=2, got {num_classes}')
        self.single_logit = single_logit
        *skips, below = in_channels
        self.blocks = nn.ModuleList()
        for skip, out in zip(reversed(skips), reversed(channels), strict=True):
            self.blocks.append(InstanceDoubleConv(below + skip, out, dropout=dropout))
            below = out
        self.conv_seg = nn.Conv2d(below, 1 if single_logit else num_classes, 1)

    def forward(self, feats: tuple[Tensor, ...]) -> Tensor:
        """Give logits of all classes."""
        *skips, x = feats
        for block, skip in zip(self.blocks, reversed(skips), strict=True):
            x = block(join_maps(resample(x, 2), skip))
        logits = self.conv_seg(x)
        return F.pad(logits, (0, 0, 0, 0, 1, 0)) if self.single_logit else logits
