"""Blocks of the V-Net, in 2-D and 3-D, with or without the time of a diffusion."""

from typing import Literal, NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from mmjoint.functional.time_embedding import sinusoidal_embedding

from .fused_norm import can_fuse_norm, fused_norm

Norm = Literal['batch', 'group', 'instance', 'none']
GROUPS = 16


class SpaceOps(NamedTuple):
    """Layers of one number of space axes."""

    conv: type[nn.Module]
    conv_transpose: type[nn.Module]
    batch_norm: type[nn.Module]
    instance_norm: type[nn.Module]
    dropout: type[nn.Module]


OPS = {
    2: SpaceOps(nn.Conv2d, nn.ConvTranspose2d, nn.BatchNorm2d, nn.InstanceNorm2d, nn.Dropout2d),
    3: SpaceOps(nn.Conv3d, nn.ConvTranspose3d, nn.BatchNorm3d, nn.InstanceNorm3d, nn.Dropout3d),
}


def space_ops(num_axes: int) -> SpaceOps:
    """Give the layers for 2 or 3 space axes.

    Raises:
        ValueError: There are none for this number.
    """
    if num_axes not in OPS:
        raise ValueError(f'num_axes must be 2 or 3, got {num_axes}')
    return OPS[num_axes]


def channel_dropout(num_axes: int, p: float) -> nn.Module:
    """Channel dropout, or nothing for probability 0."""
    return space_ops(num_axes).dropout(p) if p > 0 else nn.Identity()


def _norm(kind: Norm, channels: int, num_axes: int) -> nn.Module:
    if kind == 'batch':
        return space_ops(num_axes).batch_norm(channels)
    if kind == 'group':
        return nn.GroupNorm(GROUPS, channels)
    if kind == 'instance':
        return space_ops(num_axes).instance_norm(channels)
    if kind == 'none':
        return nn.Identity()
    raise ValueError(f"norm must be 'batch', 'group', 'instance' or 'none', got {kind!r}")


class ConvStage(nn.Module):
    """Convolution, ReLU, norm, in this order; then channel dropout and the offset of a time.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        num_axes: Number of space axes, 2 or 3.
        kind: ``'same'``: kernel 3 with padding; ``'down'``: kernel 2, stride 2; ``'up'``: the
            transposed one.
        norm: Kind of norm; ``'group'`` has 16 groups, ``'instance'`` no weights.
        dropout: Probability to drop a channel; 0 builds no dropout.
        time_channels: Length of time vectors, of which a linear layer makes an offset per
            channel. None: the stage knows no time.

    Shape:
        - x: ``(B, in_channels, *space)``.
        - time: ``(B, time_channels)`` as :class:`TimeEmbedding` gives it, or None for no offset.
        - Output: ``(B, out_channels, *space)``, space halved (rounded down), kept or doubled.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        num_axes: int,
        kind: Literal['same', 'down', 'up'] = 'same',
        norm: Norm = 'batch',
        dropout: float = 0.0,
        time_channels: int | None = None,
    ) -> None:
        super().__init__()
        ops = space_ops(num_axes)
        if kind == 'same':
            self.conv = ops.conv(in_channels, out_channels, 3, padding=1)
        elif kind == 'down':
            self.conv = ops.conv(in_channels, out_channels, 2, stride=2)
        else:
            self.conv = ops.conv_transpose(in_channels, out_channels, 2, stride=2)
        self.norm = _norm(norm, out_channels, num_axes)
        self.dropout = channel_dropout(num_axes, dropout)
        self.time_offset = None
        if time_channels is not None:
            self.time_offset = nn.Linear(time_channels, out_channels)

    def forward(self, x: Tensor, time: Tensor | None = None) -> Tensor:
        """Apply the stage."""
        x = F.relu(self.conv(x), inplace=True)
        offset = None
        if time is not None and self.time_offset is not None:
            offset = self.time_offset(time)
        ones = [1] * (x.dim() - 2)
        if can_fuse_norm(self.norm, x):
            mask = None
            if not isinstance(self.dropout, nn.Identity):
                mask = self.dropout(x.new_ones(*x.shape[:2], *ones)).flatten(1)
            return fused_norm(x, self.norm, mask, offset)
        x = self.dropout(self.norm(x))
        return x if offset is None else x + offset.view(*offset.shape, *ones)


class ConvBlock(nn.Module):
    """Several stages in a row; all but the last may add the offset of a time.

    Args:
        num_stages: Number of stages.
        in_channels: Channels of the input.
        out_channels: Channels after each stage.
        num_axes: Number of space axes, 2 or 3.
        norm: See :class:`ConvStage`.
        dropout: Channel dropout at the end of every stage.
        time_channels: See :class:`ConvStage`.

    Shape:
        See :class:`ConvStage`; space is kept.
    """

    def __init__(
        self,
        num_stages: int,
        in_channels: int,
        out_channels: int,
        *,
        num_axes: int,
        norm: Norm = 'batch',
        dropout: float = 0.1,
        time_channels: int | None = None,
    ) -> None:
        super().__init__()
        self.stages = nn.ModuleList(
            ConvStage(
                in_channels if index == 0 else out_channels,
                out_channels,
                num_axes=num_axes,
                norm=norm,
                dropout=dropout,
                time_channels=time_channels if index < num_stages - 1 else None,
            )
            for index in range(num_stages)
        )

    def forward(self, x: Tensor, time: Tensor | None = None) -> Tensor:
        """Apply the stages."""
        for stage in self.stages:
            x = stage(x, time)
        return x


class TimeEmbedding(nn.Module):
    """Times as vectors: sinusoids through two linear layers, each followed by swish.

    The original applies the last swish wherever the vector is used; here it is applied once.

    Args:
        sinusoid_channels: Length of the sinusoidal embedding.
        channels: Length of the result.

    Shape:
        ``(B,)`` to ``(B, channels)``.
    """

    def __init__(self, sinusoid_channels: int = 128, channels: int = 512) -> None:
        super().__init__()
        self.sinusoid_channels = sinusoid_channels
        self.expand = nn.Linear(sinusoid_channels, channels)
        self.project = nn.Linear(channels, channels)

    def forward(self, t: Tensor) -> Tensor:
        """Embed times."""
        dtype = self.expand.weight.dtype
        sinusoid = sinusoidal_embedding(t, self.sinusoid_channels, dtype=dtype)
        return F.silu(self.project(F.silu(self.expand(sinusoid))))
