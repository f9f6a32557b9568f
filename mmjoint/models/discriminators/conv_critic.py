from collections.abc import Sequence

from mmengine.model import BaseModule
from torch import Tensor, nn

from mmjoint.registry import MODELS

SLOPE = 0.2


@MODELS.register_module()
class ConvCritic(BaseModule):
    """Tells maps of one origin from maps of another, patch by patch.

    4x4 convolutions of stride 2, with a leaky ReLU behind all but the last; no norms.

    Args:
        in_channels: Channels C of the maps.
        channels: Channels of the convolutions but for the last, which has one.
        init_cfg: Initialisation; by default Kaiming's normal one by fan-out, biases 0.

    Shape:
        - Input: ``(B, C, H, W)``; the method gives probabilities.
        - Output: logits ``(B, 1, h, w)``; with four ``channels``, H / 32 and W / 32.

    Reference:
        Liu et al., "Many birds, one stone", Pattern Recognition 155, 2024, and its code.
    """

    def __init__(
        self,
        in_channels: int,
        *,
        channels: Sequence[int] = (64, 128, 256, 512),
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        widths = (in_channels, *channels, 1)
        self.convs = nn.ModuleList(
            nn.Conv2d(before, after, 4, stride=2, padding=1)
            for before, after in zip(widths, widths[1:], strict=False)
        )
        self.activation = nn.LeakyReLU(SLOPE)
        for conv in self.convs:
            if conv is self.convs[-1]:
                nn.init.kaiming_normal_(conv.weight, mode='fan_out', nonlinearity='relu')
            else:
                nn.init.kaiming_normal_(conv.weight, SLOPE, mode='fan_out')
            nn.init.zeros_(conv.bias)

    def forward(self, maps: Tensor) -> Tensor:
        """Judge; see the class."""
        for conv in self.convs[:-1]:
            maps = self.activation(conv(maps))
        return self.convs[-1](maps)
