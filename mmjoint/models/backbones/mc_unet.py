"""U-Net with channel dropout in most stages, for Monte Carlo dropout."""

from collections.abc import Collection
from typing import Literal

import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmjoint.registry import MODELS

from ..layers import DoubleConv, join_maps, resample

NUM_LEVELS = 4


def _fit_in(x: Tensor, skip: Tensor) -> Tensor:
    """Pad a map with zeros to a skip map's size; of an odd difference the end gets one more."""
    height, width = (skip.shape[axis] - x.shape[axis] for axis in (2, 3))
    if height == width == 0:
        return x
    return F.pad(x, (width // 2, width - width // 2, height // 2, height - height // 2))


class UpSkip(nn.Module):
    """Enlarge twofold, append to a skip map, convolve twice.

    Args:
        in_channels: Channels of the small map.
        skip_channels: Channels of the skip map.
        out_channels: Channels of the output.
        bilinear: Enlarge bilinearly with aligned corners, which keeps the channels, and convolve
            through half of the joined channels; False: by a transposed convolution, which halves
            them.
        options: Those of the ``DoubleConv``.

    Shape:
        ``(B, in_channels, h, w)`` and skip ``(B, skip_channels, H, W)``, H in {2h, 2h + 1} and W
        likewise, to ``(B, out_channels, H, W)``. What the enlarged map lacks is zeros around it.
    """

    def __init__(
        self,
        in_channels: int,
        skip_channels: int,
        out_channels: int,
        *,
        bilinear: bool,
        options: dict[str, object],
    ) -> None:
        super().__init__()
        if bilinear:
            self.up, up_channels = None, in_channels
            joined = skip_channels + up_channels
            mid_channels = joined // 2
        else:
            up_channels = in_channels // 2
            self.up = nn.ConvTranspose2d(in_channels, up_channels, 2, stride=2)
            joined, mid_channels = skip_channels + up_channels, out_channels
        self.conv = DoubleConv(joined, out_channels, mid_channels=mid_channels, **options)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """Apply the block; in the joined map the skip map stands first."""
        x = resample(x, 2) if self.up is None else self.up(x)
        return self.conv(skip, _fit_in(x, skip), prepare=join_maps)


@MODELS.register_module()
class MCUNet(BaseModule):
    """U-Net of four levels with channel dropout at the end of its stages, but not of the first.

    Stages in forward order: 0 at full size, 1 to 4 down, 5 to 8 up again; each is a double
    convolution without bias. Dropout acts in training, and in testing where a Monte Carlo
    estimator switches it on.

    Args:
        in_channels: Channels of the image.
        base_channels: Width b of the first stage. 32 is the published one.
        bilinear: Enlarge bilinearly in place of by transposed convolutions, with half the channels
            in the bottleneck and on the way up.
        dropout: Probability to drop a channel, in [0, 1).
        dropout_at: ``'end'`` drops once per stage, ``'each'`` after both convolutions.
        drop_stages: Numbers of the stages with dropout; None: all but 0.
        recompute: Compute norms, ReLUs and dropout anew in the backward pass in place of keeping
            their outputs: same result, less memory.

    Shape:
        - x: ``(B, in_channels, H, W)``, both sides at least 16.
        - Output: the bottleneck ``(B, 16b, H/16, W/16)``, then the maps of the way up
          ``(B, 8b, H/8, W/8)``, ``(B, 4b, H/4, W/4)``, ``(B, 2b, H/2, W/2)``, ``(B, b, H, W)``;
          sizes are rounded down. With ``bilinear`` all but the last have half the channels.

    Raises:
        ValueError: If an option is out of range.

    Reference:
        Ronneberger et al., U-Net, MICCAI 2015; Gal and Ghahramani, Dropout as a Bayesian
        Approximation, ICML 2016. Here with batch norm, padded convolutions and half the width.
    """

    def __init__(
        self,
        *,
        in_channels: int = 3,
        base_channels: int = 32,
        bilinear: bool = False,
        dropout: float = 0.2,
        dropout_at: Literal['end', 'each'] = 'end',
        drop_stages: Collection[int] | None = None,
        recompute: bool = False,
    ) -> None:
        super().__init__()
        stages = range(2 * NUM_LEVELS + 1)
        drop_stages = stages[1:] if drop_stages is None else drop_stages
        if not 0 <= dropout < 1:
            raise ValueError(f'dropout must be in [0, 1), got {dropout}')
        if not set(drop_stages) <= set(stages):
            raise ValueError(f'drop_stages must be among 0..{stages[-1]}, got {drop_stages}')

        def options(stage: int) -> dict[str, object]:
            return dict(
                bias=False,
                dropout=dropout if stage in drop_stages else 0.0,
                dropout_at=dropout_at,
                recompute=recompute,
            )

        channels = [base_channels * 2**level for level in range(NUM_LEVELS + 1)]
        shrink = 2 if bilinear else 1
        self.stem = DoubleConv(in_channels, channels[0], **options(0))
        self.downs = nn.ModuleList()
        for level in range(1, NUM_LEVELS + 1):
            out = channels[level] // (shrink if level == NUM_LEVELS else 1)
            self.downs.append(DoubleConv(channels[level - 1], out, **options(level)))
        self.ups = nn.ModuleList()
        for level in reversed(range(NUM_LEVELS)):
            self.ups.append(
                UpSkip(
                    channels[level + 1] // shrink,
                    channels[level],
                    channels[level] // (shrink if level else 1),
                    bilinear=bilinear,
                    options=options(2 * NUM_LEVELS - level),
                )
            )

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Give the bottleneck and the maps of the way up, the finest last."""
        skips = [self.stem(x)]
        for down in self.downs:
            skips.append(down(F.max_pool2d(skips[-1], 2)))
        outputs = [skips.pop()]
        for up in self.ups:
            outputs.append(up(outputs[-1], skips.pop()))
        return tuple(outputs)
