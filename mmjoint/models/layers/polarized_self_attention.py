import torch
from torch import Tensor, nn

from .conv_blocks import pixel_linear, pixel_sum


class PolarizedSelfAttention(nn.Module):
    """Channel attention followed by spatial attention, each polarised by a global summary.

    Channel part: pixels are summed with softmax weights, mapped to one factor per channel. Spatial
    part, on the result: the map's mean is a query that gives one factor per pixel.

    Args:
        channels: Channels c of the map, even.
        fused: Use that a linear map of a weighted pixel sum is the weighted sum of the mapped
            pixels: no map of c/2 channels is formed. False computes the definition.

    Shape:
        ``(B, c, H, W)`` to the same.

    Reference:
        Liu et al., "Polarized self-attention: towards high-quality pixel-wise mapping",
        Neurocomputing 2022, the sequential layout.
    """

    def __init__(self, channels: int, *, fused: bool = True) -> None:
        super().__init__()
        self.ch_wv = nn.Conv2d(channels, channels // 2, 1)
        self.ch_wq = nn.Conv2d(channels, 1, 1)
        self.ch_wz = nn.Conv2d(channels // 2, channels, 1)
        self.ln = nn.LayerNorm(channels)
        self.sp_wv = nn.Conv2d(channels, channels // 2, 1)
        self.sp_wq = nn.Conv2d(channels, channels // 2, 1)
        self.fused = fused

    def channel_gate(self, pooled: Tensor) -> Tensor:
        """Factor per channel from the softmax-weighted pixel sum, both ``(B, c)``."""
        value = torch.addmm(self.ch_wv.bias, pooled, self.ch_wv.weight.flatten(1).t())
        raised = torch.addmm(self.ch_wz.bias, value, self.ch_wz.weight.flatten(1).t())
        return torch.sigmoid(self.ln(raised))

    def spatial_query(self, mean: Tensor) -> tuple[Tensor, Tensor]:
        """From the map's mean ``(B, c)``: a vector ``(B, c)`` and an offset ``(B, 1)``.

        A pixel's factor is the sigmoid of its dot product with the vector, plus the offset.
        """
        key = torch.addmm(self.sp_wq.bias, mean, self.sp_wq.weight.flatten(1).t())
        return key @ self.sp_wv.weight.flatten(1), key @ self.sp_wv.bias[:, None]

    def pixel_weights(self, query: Tensor) -> Tensor:
        """Softmax over the pixels of ``query``, and uniform weights: ``(B, 2, H, W)``."""
        b, _, h, w = query.shape
        soft = query.flatten(1).softmax(1)
        return torch.stack([soft, torch.full_like(soft, 1 / (h * w))], 1).view(b, 2, h, w)

    def forward(self, x: Tensor) -> Tensor:
        """Apply both attentions."""
        if not self.fused:
            return self._forward_plain(x)
        sums = pixel_sum(x, self.pixel_weights(self.ch_wq(x)))
        gate = self.channel_gate(sums[:, :, 0])
        vector, offset = self.spatial_query(gate * sums[:, :, 1])
        score = pixel_linear(x, (vector * gate).unsqueeze(1)) + offset[:, :, None, None]
        return x * gate[:, :, None, None] * (1 + torch.sigmoid(score))

    def _forward_plain(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        query = self.ch_wq(x).view(b, h * w, 1).softmax(1)
        value = self.ch_wv(x).view(b, c // 2, h * w)
        raised = self.ch_wz(torch.matmul(value, query).unsqueeze(-1))
        gate = torch.sigmoid(self.ln(raised.view(b, 1, c))).view(b, c, 1, 1)
        y = gate * x
        value = self.sp_wv(y).view(b, c // 2, h * w)
        key = self.sp_wq(y).mean((2, 3)).unsqueeze(1)
        score = torch.sigmoid(torch.matmul(key, value)).view(b, 1, h, w)
        return y * score + y
