"""Convolution blocks of the evidential joint networks."""

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .recompute import can_recompute, double_conv


def pointwise(in_channels: int, out_channels: int) -> nn.Conv2d:
    """1x1 convolution without bias, norm and activation: a linear map per pixel."""
    return nn.Conv2d(in_channels, out_channels, 1, bias=False)


def resample(x: Tensor, scale: float) -> Tensor:
    """Bilinear resampling with aligned corners by a factor that divides the size.

    Args:
        x: ``(B, C, H, W)``.
        scale: 2, 4, 8 to enlarge; 1/2, 1/4, 1/8 to shrink; 1 gives ``x`` itself.

    Returns:
        ``(B, C, H * scale, W * scale)``.
    """
    if scale == 1:
        return x
    return F.interpolate(x, scale_factor=scale, mode='bilinear', align_corners=True)


def is_channels_last(x: Tensor) -> bool:
    """Whether a map lies in memory pixel by pixel and not (also) channel by channel."""
    return x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()


def pixel_linear(x: Tensor, weight: Tensor, add: Tensor | None = None) -> Tensor:
    """Apply one matrix per sample to every pixel.

    Args:
        x: ``(B, C, H, W)`` in either memory format; the result has the same.
        weight: ``(B, C_out, C)``.
        add: A map of the result's shape and memory format that is added.

    Returns:
        ``(B, C_out, H, W)``.
    """
    b, _, h, w = x.shape
    if is_channels_last(x):
        rows = x.permute(0, 2, 3, 1).reshape(b, h * w, -1)
        weight = weight.transpose(1, 2)
        if add is None:
            out = torch.bmm(rows, weight)
        else:
            out = torch.baddbmm(add.permute(0, 2, 3, 1).reshape(b, h * w, -1), rows, weight)
        return out.view(b, h, w, -1).permute(0, 3, 1, 2)
    columns = x.reshape(b, -1, h * w)
    if add is None:
        return torch.bmm(weight, columns).view(b, -1, h, w)
    return torch.baddbmm(add.reshape(b, -1, h * w), weight, columns).view(b, -1, h, w)


def pixel_sum(x: Tensor, weight: Tensor) -> Tensor:
    """Sum the pixels' feature vectors with given weights.

    Args:
        x: ``(B, C, H, W)``.
        weight: ``(B, M, H, W)``, M sets of pixel weights.

    Returns:
        ``(B, C, M)``.
    """
    b, c, h, w = x.shape
    if is_channels_last(x):
        rows = x.permute(0, 2, 3, 1).reshape(b, h * w, c)
        return torch.bmm(weight.reshape(b, -1, h * w), rows).transpose(1, 2)
    return torch.bmm(x.reshape(b, c, h * w), weight.reshape(b, -1, h * w).transpose(1, 2))


def _same(x: Tensor) -> Tensor:
    return x


def _double(x: Tensor) -> Tensor:
    return resample(x, 2)


def join_maps(*maps: Tensor) -> Tensor:
    """Join maps ``(B, C_i, H, W)`` along their channels."""
    return torch.cat(maps, 1)


class DoubleConv(nn.Module):
    """Twice 3x3 convolution, batch norm and ReLU, with channel dropout.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        mid_channels: Channels between the convolutions, by default ``out_channels``.
        bias: Whether the convolutions have a bias, which the norm behind them takes away again.
        dropout: Probability to drop a channel; 0 builds no dropout.
        dropout_at: ``'end'`` drops once after the second ReLU, ``'each'`` after both.
        recompute: Compute norm, ReLU and dropout anew in the backward pass in place of keeping
            their outputs: same result, about half the memory.

    Shape:
        ``(B, in_channels, H, W)`` to ``(B, out_channels, H, W)``.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        mid_channels: int | None = None,
        bias: bool = True,
        dropout: float = 0.1,
        dropout_at: Literal['end', 'each'] = 'end',
        recompute: bool = True,
    ) -> None:
        super().__init__()
        if dropout_at not in ('end', 'each'):
            raise ValueError(f"dropout_at must be 'end' or 'each', got {dropout_at!r}")
        mid_channels = mid_channels or out_channels
        drops = dropout > 0
        self.conv1 = nn.Conv2d(in_channels, mid_channels, 3, padding=1, bias=bias)
        self.bn1 = nn.BatchNorm2d(mid_channels)
        self.dropout1 = nn.Dropout2d(dropout) if drops and dropout_at == 'each' else nn.Identity()
        self.conv2 = nn.Conv2d(mid_channels, out_channels, 3, padding=1, bias=bias)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.dropout2 = nn.Dropout2d(dropout) if drops else nn.Identity()
        self.recompute = recompute

    def forward(self, *sources: Tensor, prepare: Callable[..., Tensor] = _same) -> Tensor:
        """Apply the block to ``prepare(*sources)``.

        Args:
            sources: The input, or what ``prepare`` makes it of.
            prepare: Cheap function without parameters; its result need not be kept either.
        """
        if self.recompute and can_recompute((self.bn1, self.bn2), *sources):
            return double_conv(prepare, self, *sources)
        x = prepare(*sources)
        x = self.dropout1(F.relu(self.bn1(self.conv1(x)), inplace=True))
        return self.dropout2(F.relu(self.bn2(self.conv2(x)), inplace=True))


class UpConv(nn.Module):
    """Enlarge twofold, convolve, join a skip map, convolve.

    Args:
        in_channels: Channels of the small map.
        out_channels: Channels of the skip map and of the output; half of ``in_channels``.
        dropout: Channel dropout of the convolutions.
        recompute: See ``DoubleConv``.

    Shape:
        ``(B, in_channels, H, W)`` and skip ``(B, out_channels, 2H, 2W)`` to
        ``(B, out_channels, 2H, 2W)``.
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, dropout: float = 0.1, recompute: bool = True
    ) -> None:
        super().__init__()
        self.conv1 = DoubleConv(in_channels, out_channels, dropout=dropout, recompute=recompute)
        self.conv2 = DoubleConv(
            2 * out_channels, out_channels, dropout=dropout, recompute=recompute
        )

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """Apply the block; in the joined map the enlarged one stands first."""
        return self.conv2(self.conv1(x, prepare=_double), skip, prepare=join_maps)


class UpConcat(nn.Module):
    """Enlarge twofold, convolve, and append to a skip map.

    Args:
        in_channels: Channels of the small map.
        out_channels: Channels after the convolutions.
        dropout: Channel dropout of the convolutions.
        recompute: See ``DoubleConv``.

    Shape:
        ``(B, in_channels, H, W)`` and skip ``(B, C, 2H, 2W)`` to
        ``(B, C + out_channels, 2H, 2W)``, the skip map first.
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, dropout: float = 0.1, recompute: bool = True
    ) -> None:
        super().__init__()
        self.conv = DoubleConv(
            in_channels, out_channels, dropout=dropout, dropout_at='each', recompute=recompute
        )

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """Apply the block."""
        return torch.cat([skip, self.conv(x, prepare=_double)], 1)


class SeparableConv(nn.Module):
    """Depthwise 3x3 convolution with dilation 2, then a pointwise one; no bias, no norm.

    Shape:
        ``(B, in_channels, H, W)`` to ``(B, out_channels, H, W)``.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(
            in_channels, in_channels, 3, padding=2, dilation=2, groups=in_channels, bias=False
        )
        self.pointwise = pointwise(in_channels, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block."""
        return self.pointwise(self.depthwise(x))


class ComposedPointwise(nn.Module):
    """Two pointwise maps in a row with nothing between them.

    Args:
        in_channels: Channels of the input.
        mid_channels: Channels between the two.
        out_channels: Channels of the output.
        fused: Multiply the two matrices first, so that the map between is never formed. Both
            keep their own gradient.

    Shape:
        ``(B, in_channels, H, W)`` to ``(B, out_channels, H, W)``.
    """

    def __init__(
        self, in_channels: int, mid_channels: int, out_channels: int, *, fused: bool = True
    ) -> None:
        super().__init__()
        self.first = pointwise(in_channels, mid_channels)
        self.second = pointwise(mid_channels, out_channels)
        self.fused = fused

    def forward(self, x: Tensor) -> Tensor:
        """Apply both maps."""
        if not self.fused:
            return self.second(self.first(x))
        weight = self.second.weight.flatten(1) @ self.first.weight.flatten(1)
        return F.conv2d(x, weight[:, :, None, None])
