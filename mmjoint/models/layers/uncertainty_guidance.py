"""Ways in which pixel uncertainty guides a segmentation decoder."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .conv_blocks import pointwise


def _conv_bn(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(in_channels, out_channels, 1), nn.BatchNorm2d(out_channels))


class UncertaintyNavigator(nn.Module):
    """Damp a map where uncertainty is high, then gate it by mutual information.

    Args:
        channels: Channels c of the map.
        repeats: r; the mutual map has c / r channels and is tiled r times.
        fused: Sum the r blocks of the weight in place of tiling the map r times.

    Shape:
        - x: ``(B, c, H, W)``.
        - mutual: ``(B, c / r, H, W)``.
        - uncertainty: ``(B, 1, H, W)``, vacuity in (0, 1].
        - Output: ``(B, c, H, W)``.
    """

    def __init__(self, channels: int, repeats: int, *, fused: bool = True) -> None:
        super().__init__()
        self.repeats = repeats
        self.fused = fused
        self.w_x = _conv_bn(channels, channels // 2)
        self.w_m = _conv_bn(channels, channels // 2)
        self.psi = _conv_bn(channels // 2, 1)

    def forward(self, x: Tensor, mutual: Tensor, uncertainty: Tensor) -> Tensor:
        """Apply the guidance."""
        x = x * torch.exp(-uncertainty)
        hidden = F.relu(self.w_x(x) + self._map_mutual(mutual))
        return x * torch.sigmoid(self.psi(hidden))

    def _map_mutual(self, mutual: Tensor) -> Tensor:
        conv, norm = self.w_m
        if not self.fused:
            return norm(conv(mutual.repeat(1, self.repeats, 1, 1)))
        d, c = conv.weight.shape[:2]
        weight = conv.weight.view(d, self.repeats, c // self.repeats, 1, 1).sum(1)
        return norm(F.conv2d(mutual, weight, conv.bias))


class ReliableMask(nn.Module):
    """Join a map with its own reliable prediction.

    The prediction's logits and the mutual evidence are added and damped by the uncertainty; the
    result, the reliable mask, is lifted to c channels and merged with the map.

    Args:
        channels: Channels c of the map.
        num_classes: K.
        dropout: Probability to drop a channel of the lifted mask.

    Shape:
        - x: ``(B, c, H, W)``.
        - logits, evidence: ``(B, K, H, W)``.
        - uncertainty: ``(B, 1, H, W)``.
        - Output: ``(B, c, H, W)`` and the reliable mask ``(B, K, H, W)``.
    """

    def __init__(self, channels: int, num_classes: int, *, dropout: float = 0.1) -> None:
        super().__init__()
        self.lift = nn.Sequential(
            pointwise(num_classes, channels),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
            nn.Dropout2d(dropout),
        )
        self.merge = pointwise(2 * channels, channels)

    def forward(
        self, x: Tensor, logits: Tensor, evidence: Tensor, uncertainty: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Apply the guidance."""
        reliable = (logits + evidence) * torch.exp(-uncertainty)
        return self.merge(torch.cat([x, self.lift(reliable)], 1)), reliable
