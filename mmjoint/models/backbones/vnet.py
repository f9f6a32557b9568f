"""Encoder of the V-Net, whose decoder is ``VNetHead``."""

from mmengine.model import BaseModule
from torch import Tensor, nn

from mmjoint.registry import MODELS

from ..layers.vnet_blocks import ConvBlock, ConvStage, Norm, channel_dropout

# Stages of the blocks behind the stem.
NUM_STAGES = (2, 3, 3, 3)
STRIDE = 2 ** len(NUM_STAGES)


@MODELS.register_module()
class VNetEncoder(BaseModule):
    """Encoder of the V-Net: five levels, halved and doubled in channels from one to the next.

    Stages are convolution, ReLU, norm, in this order; there are no residual connections. The
    levels can be run from features other than the image's, and with the time of a diffusion.

    Args:
        num_axes: Number of space axes, 2 or 3.
        in_channels: Channels of the image.
        base_channels: Channels f of the first level.
        norm: ``'batch'``, ``'group'`` (16 groups), ``'instance'`` or ``'none'``.
        dropout: Channel dropout after every 3x3(x3) convolution, in [0, 1).
        last_dropout: Channel dropout at the end of the last level.
        time_channels: Length of the time vectors of a diffusion, or None for none.
        init_cfg: Initialisation; by default PyTorch's own.

    Shape:
        - x: ``(B, in_channels, *space)``, sides multiples of 16.
        - Output: ``(B, f, *space)``, ``(B, 2f, *space/2)``, ..., ``(B, 16f, *space/16)``.

    Raises:
        ValueError: In its use, if a side is no multiple of 16.

    Reference:
        Milletari et al., "V-Net", 3DV 2016; in the form without residuals of UA-MT (Yu et al.,
        MICCAI 2019), with skip connections that add and the norm behind the ReLU.
    """

    def __init__(
        self,
        *,
        num_axes: int = 3,
        in_channels: int = 1,
        base_channels: int = 32,
        norm: Norm = 'batch',
        dropout: float = 0.1,
        last_dropout: float = 0.5,
        time_channels: int | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        options = dict(num_axes=num_axes, norm=norm)
        self.num_axes = num_axes
        self.base_channels = base_channels
        self.time_channels = time_channels
        self.stem = ConvBlock(1, in_channels, base_channels, dropout=dropout, **options)
        self.downs, self.blocks = nn.ModuleList(), nn.ModuleList()
        channels = base_channels
        for num_stages in NUM_STAGES:
            self.downs.append(
                ConvStage(
                    channels, 2 * channels, kind='down', time_channels=time_channels, **options
                )
            )
            channels *= 2
            self.blocks.append(
                ConvBlock(
                    num_stages,
                    channels,
                    channels,
                    dropout=dropout,
                    time_channels=time_channels,
                    **options,
                )
            )
        self.last_dropout = channel_dropout(num_axes, last_dropout)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Give the maps of all levels, the finest first."""
        return self.encode(self.stem(x))

    def encode(self, x: Tensor, time: Tensor | None = None) -> tuple[Tensor, ...]:
        """Run the levels behind the stem.

        Args:
            x: First level, ``(B, f, *space)``, from this or another stem.
            time: ``(B, time_channels)``, or None.

        Returns:
            The maps of all levels, ``x`` first.
        """
        space = tuple(x.shape[2:])
        if any(side % STRIDE for side in space):
            raise ValueError(f'sides must be multiples of {STRIDE}, got an input of {space}')
        maps = [x]
        for down, block in zip(self.downs, self.blocks, strict=True):
            maps.append(block(down(maps[-1], time), time))
        maps[-1] = self.last_dropout(maps[-1])
        return tuple(maps)
