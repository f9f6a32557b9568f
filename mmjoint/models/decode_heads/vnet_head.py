"""Decoder of the V-Net as a decode head."""

import torch.nn.functional as F
from torch import Tensor, nn

from mmjoint.registry import MODELS
from mmjoint.structures.typing import ConfigType, MultiConfig

from ..layers.vnet_blocks import ConvBlock, ConvStage, Norm, channel_dropout, space_ops
from .nd_head import BaseDecodeHeadND

# Stages of the blocks from the coarsest level up.
NUM_STAGES = (3, 3, 2, 1)


@MODELS.register_module()
class VNetHead(BaseDecodeHeadND):
    """Decoder of the V-Net: four times enlarged, a skip map added, convolved; then the classes.

    The maps are those of ``VNetEncoder``. With the time of a diffusion it is a denoiser's decoder.

    Args:
        num_classes: Classes C of the mask.
        num_axes: Number of space axes, 2 or 3.
        base_channels: Channels f of the finest map.
        norm: ``'batch'``, ``'group'`` (16 groups), ``'instance'`` or ``'none'``.
        dropout: Channel dropout after every 3x3(x3) convolution, in [0, 1).
        last_dropout: Channel dropout before the classifier.
        time_channels: Length of the time vectors of a diffusion, or None for none.
        loss_decode: Config, or configs, of losses on logits, or None.
        ignore_index: Label that does not count.
        init_cfg: Initialisation; by default PyTorch's own.

    Shape:
        - feats: ``(B, f, *space)``, ``(B, 2f, *space/2)``, ..., ``(B, 16f, *space/16)``.
        - Output: ``(B, C, *space)``.

    Reference:
        See ``VNetEncoder``.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        num_axes: int = 3,
        base_channels: int = 32,
        norm: Norm = 'batch',
        dropout: float = 0.1,
        last_dropout: float = 0.5,
        time_channels: int | None = None,
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
        options = dict(num_axes=num_axes, norm=norm, time_channels=time_channels)
        self.ups, self.blocks = nn.ModuleList(), nn.ModuleList()
        for level, num_stages in enumerate(NUM_STAGES):
            channels = base_channels * 2 ** (len(NUM_STAGES) - 1 - level)
            self.ups.append(ConvStage(2 * channels, channels, kind='up', **options))
            self.blocks.append(
                ConvBlock(num_stages, channels, channels, dropout=dropout, **options)
            )
        self.last_dropout = channel_dropout(num_axes, last_dropout)
        self.conv_seg = space_ops(num_axes).conv(base_channels, num_classes, 1)

    def forward(self, feats: tuple[Tensor, ...], time: Tensor | None = None) -> Tensor:
        """Give logits.

        Args:
            feats: Maps of all levels, the finest first.
            time: ``(B, time_channels)``, or None.
        """
        *skips, x = feats
        for up, block in zip(self.ups, self.blocks, strict=True):
            x = block(up(x, time) + skips.pop(), time)
        return self._classify(self.last_dropout(x))

    def _classify(self, x: Tensor) -> Tensor:
        """Apply ``conv_seg``; where a voxel's channels lie together, as a matrix product.

        PyTorch's own 1x1x1 convolution is up to three times as slow there.
        """
        rows = x.movedim(1, -1)
        if not rows.is_contiguous():
            return self.conv_seg(x)
        return F.linear(rows, self.conv_seg.weight.flatten(1), self.conv_seg.bias).movedim(-1, 1)
