"""ImageNet weights of Swin transformers, as Microsoft and timm name them, for mmseg's backbone."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from .common import Converter

# Where Microsoft's merging puts the pixels of a 2 x 2 patch, in the order of mmseg's, which is row
# by row: top left, top right, bottom left, bottom right.
PLACES = (0, 2, 1, 3)


@dataclass(frozen=True)
class SwinConverter(Converter):
    """A converter that orders what merges four pixels as mmseg's backbone does.

    Microsoft joins the channels of four pixels pixel by pixel, mmseg channel by channel.
    """

    def convert(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Rename all keys of an official state dict and reorder the merging layers."""
        plain = {key.removeprefix('module.'): value for key, value in state.items()}
        if any(key.startswith('layers.1.downsample.') for key in plain) and not any(
            key.startswith('layers.0.downsample.') for key in plain
        ):  # timm merges at the start of a stage, Microsoft at the end of the one before
            plain = {
                re.sub(
                    r'^layers\.(\d+)\.downsample',
                    lambda match: f'layers.{int(match[1]) - 1}.downsample',
                    key,
                ): value
                for key, value in plain.items()
            }
        converted = super().convert(plain)
        return {
            key: _by_channel(value) if '.downsample.' in key else value
            for key, value in converted.items()
        }


def _by_channel(value: Tensor) -> Tensor:
    """Reorder the last axis from pixels by channels to channels by pixels."""
    pixels = value.unflatten(-1, (4, -1))[..., list(PLACES), :]
    return pixels.transpose(-1, -2).flatten(-2)


_BLOCK = r'layers\.(\d+)\.blocks\.(\d+)'
SWIN_CONVERTER = SwinConverter(
    config='configs/_base_/models/pssnet_swin-t.py',
    part='SwinTransformer',
    # The classifier and its norm; and what follows from the size of windows and images.
    dropped=r'head\..+|norm\.(?:weight|bias)|.+\.(?:relative_position_index|attn_mask)',
    # mmseg has a norm behind each stage.
    initial=r'norm\d\..+|.+\.relative_position_index',
    options=lambda state: {},
    rules=(
        (r'patch_embed\.proj\.(.+)', r'patch_embed.projection.\1'),
        (r'(patch_embed\.norm\..+)', r'\1'),
        (rf'{_BLOCK}\.(norm[12]\..+)', r'stages.\1.blocks.\2.\3'),
        (
            rf'{_BLOCK}\.attn\.((?:qkv|proj)\..+|relative_position_bias_table)',
            r'stages.\1.blocks.\2.attn.w_msa.\3',
        ),
        (rf'{_BLOCK}\.mlp\.fc1\.(.+)', r'stages.\1.blocks.\2.ffn.layers.0.0.\3'),
        (rf'{_BLOCK}\.mlp\.fc2\.(.+)', r'stages.\1.blocks.\2.ffn.layers.1.\3'),
        (
            r'layers\.(\d+)\.(downsample\.(?:norm|reduction)\..+)',
            r'stages.\1.\2',
        ),
    ),
)
