import torch.nn.functional as F
from torch import Tensor, nn


class InstanceDoubleConv(nn.Module):
    """Twice 3x3 convolution, instance norm and leaky ReLU, then elementwise dropout.

    The norms have no weights and no running statistics: no sample depends on another. They take
    the convolutions' biases away again.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        dropout: Probability to drop an element.
        negative_slope: Of the leaky ReLU.

    Shape:
        ``(B, in_channels, H, W)`` to ``(B, out_channels, H, W)``, more than one pixel.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        dropout: float = 0.25,
        negative_slope: float = 0.2,
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.norm1 = nn.InstanceNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.norm2 = nn.InstanceNorm2d(out_channels)
        self.dropout = nn.Dropout(dropout)
        self.negative_slope = negative_slope

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block."""
        for conv, norm in ((self.conv1, self.norm1), (self.conv2, self.norm2)):
            x = F.leaky_relu(norm(conv(x)), self.negative_slope, inplace=True)
        return self.dropout(x)
