"""Res2Net-50-26w-4s with a stride-1 stem and frozen batch norm, as UML's encoders use it."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from mmpretrain.models import Res2Net
from mmpretrain.models.backbones.res2net import Bottle2neck
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from mmjoint.registry import MODELS

from ..layers.frozen_batch_norm import conv_frozen_bn, freeze_batch_norms
from .pretrained import load_pretrained

# Names in the files of the method's authors -> names in mmpretrain's network.
STEM_KEYS = {
    'conv1.0.': 'stem.0.conv.',
    'conv1.1.': 'stem.0.bn.',
    'conv1.3.': 'stem.1.conv.',
    'conv1.4.': 'stem.1.bn.',
    'conv1.6.': 'stem.2.conv.',
    'bn1.': 'stem.2.bn.',
}


def rename_res2net_key(key: str) -> str | None:
    """Translate an official Res2Net v1b key; None for what this network does not build."""
    if key.startswith(('fc.', 'layer4.')) or key.endswith('num_batches_tracked'):
        return None
    for old, new in STEM_KEYS.items():
        if key.startswith(old):
            return new + key[len(old) :]
    return key


@MODELS.register_module()
class Res2NetV1b(Res2Net):
    """Res2Net-50-26w-4s "v1b" at full input resolution, giving stem and three stages.

    Differs from mmpretrain's network in three points: the stem has stride 1, batch norm is frozen
    with epsilon 0, and the stem's output is the first of four feature maps; the fourth stage is
    not built.

    Args:
        base_channels: Width b; the maps have b, 4b, 8b and 16b channels. 64 is the published one.
        pretrained: Local file of ImageNet weights (``res2net50_v1b_26w_4s-*.pth``), or None to
            start from scratch, which a warning tells.
        fused: Fold the frozen norms into the convolutions (same result, less time and memory).
        recompute: Keep only the four feature maps for the backward pass and compute what lies
            between anew (same result, less memory, a second forward pass of the encoder).

    Shape:
        - x: ``(B, 3, H, W)``, H and W multiples of 8.
        - Output: ``(B, b, H, W)``, ``(B, 4b, H/2, W/2)``, ``(B, 8b, H/4, W/4)``,
          ``(B, 16b, H/8, W/8)``.
    """

    def __init__(
        self,
        *,
        base_channels: int = 64,
        pretrained: str | None = None,
        fused: bool = True,
        recompute: bool = False,
    ) -> None:
        super().__init__(
            depth=50,
            scales=4,
            base_width=26 * base_channels / 64,
            stem_channels=base_channels,
            base_channels=base_channels,
            num_stages=3,
            strides=(1, 2, 2),
            dilations=(1, 1, 1),
            out_indices=(0, 1, 2),
            deep_stem=True,
            avg_down=True,
            zero_init_residual=False,
        )
        self.stem[0].conv.stride = (1, 1)
        freeze_batch_norms(self)
        self.pretrained = pretrained
        self.fused = fused
        self.recompute = recompute
        self.out_channels = tuple(base_channels * factor for factor in (1, 4, 8, 16))

    def init_weights(self) -> None:
        """Load the ImageNet weights where a file was given."""
        super().init_weights()
        load_pretrained(self, self.pretrained, rename_res2net_key)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Give the four feature maps."""
        outputs = []
        for stage in (self._stem, *(self._stage(name) for name in self.res_layers)):
            if self.recompute and torch.is_grad_enabled():
                x = checkpoint(stage, x, use_reentrant=False, preserve_rng_state=False)
            else:
                x = stage(x)
            outputs.append(x)
        return tuple(outputs)

    def _stem(self, x: Tensor) -> Tensor:
        for unit in self.stem:
            x = conv_frozen_bn(x, unit.conv, unit.bn, fused=self.fused)
        return x

    def _stage(self, name: str) -> Callable[[Tensor], Tensor]:
        def run(x: Tensor) -> Tensor:
            if name == self.res_layers[0]:
                x = self.maxpool(x)
            for block in getattr(self, name):
                x = self._block(block, x)
            return x

        return run

    def _block(self, block: Bottle2neck, x: Tensor) -> Tensor:
        fused = self.fused
        out = conv_frozen_bn(x, block.conv1, block.norm1, fused=fused)
        pieces = torch.split(out, block.width, 1)
        outputs: list[Tensor] = []
        for i, (conv, norm) in enumerate(zip(block.convs, block.bns, strict=True)):
            piece = pieces[i]
            if i > 0 and block.stage_type == 'normal':
                piece = outputs[-1] + piece
            outputs.append(conv_frozen_bn(piece, conv, norm, fused=fused))
        last = pieces[block.scales - 1]
        outputs.append(block.pool(last) if block.stage_type == 'stage' else last)
        out = conv_frozen_bn(
            torch.cat(outputs, 1), block.conv3, block.norm3, relu=False, fused=fused
        )
        if block.downsample is not None:
            pool, conv, norm = block.downsample
            x = conv_frozen_bn(pool(x), conv, norm, relu=False, fused=fused)
        return F.relu(out + x, inplace=fused)
