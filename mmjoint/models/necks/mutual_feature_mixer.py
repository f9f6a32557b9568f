from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmjoint.registry import MODELS

from ..layers import PolarizedSelfAttention, pixel_linear, pixel_sum, pointwise
from ..layers.recompute import scale_by_pixel


def shuffle_index(channels: int, groups: int) -> Tensor:
    """Where each channel of a channel shuffle comes from.

    Output channel j is input channel ``(j mod channels/groups) * groups + floor(j groups /
    channels)``: each of the ``groups`` blocks of the output holds every ``groups``-th channel.

    Returns:
        int64 ``(channels,)``.
    """
    per_group = channels // groups
    position = torch.arange(channels)
    return position % per_group * groups + position // per_group


@MODELS.register_module()
class MutualFeatureMixer(BaseModule):
    """Fuse the pyramids of a classification and a segmentation encoder, level by level.

    Each level: both maps are projected to ``branch_channels``, joined, channel-shuffled, passed
    through polarised self-attention and projected to the level's output channels.

    Args:
        cls_channels: Channels of the classification encoder's maps, finest first.
        seg_channels: Channels of the segmentation encoder's maps.
        out_channels: Channels of the mixed maps; None leaves out the last projection, so that the
            level gives the attention's ``2 * branch_channels``.
        branch_channels: Channels of each branch in the mix.
        groups: Groups of the channel shuffle.
        fused: Treat everything around the attention's gates as one linear map per sample; the
            joined map of ``2 * branch_channels`` at full size is never formed, except on the
            last, smallest level, where forming it is cheaper. The result is the same.

    Shape:
        - cls_feats, seg_feats: per level ``(B, C, H, W)`` of the same H, W.
        - Output: per level ``(B, C_out, H, W)``.

    Reference:
        Ren et al., "Uncertainty-informed mutual learning for joint medical image classification
        and segmentation", MICCAI 2023.
    """

    def __init__(
        self,
        *,
        cls_channels: Sequence[int],
        seg_channels: Sequence[int],
        out_channels: Sequence[int | None],
        branch_channels: int = 256,
        groups: int = 4,
        fused: bool = True,
    ) -> None:
        super().__init__()
        if not len(cls_channels) == len(seg_channels) == len(out_channels):
            raise ValueError(
                'cls_channels, seg_channels and out_channels need one entry per level, got '
                f'{len(cls_channels)}, {len(seg_channels)} and {len(out_channels)}'
            )
        mixed = 2 * branch_channels
        self.cls_convs = nn.ModuleList(pointwise(c, branch_channels) for c in cls_channels)
        self.seg_convs = nn.ModuleList(pointwise(c, branch_channels) for c in seg_channels)
        self.attentions = nn.ModuleList(
            PolarizedSelfAttention(mixed, fused=fused) for _ in cls_channels
        )
        self.out_convs = nn.ModuleList(
            nn.Identity() if c is None else pointwise(mixed, c) for c in out_channels
        )
        self.fused = fused
        self.register_buffer('shuffle', shuffle_index(mixed, groups), persistent=False)

    def forward(
        self,
        cls_feats: Sequence[Tensor],
        seg_feats: Sequence[Tensor],
        projections: Sequence[Tensor | None] | None = None,
    ) -> tuple[Tensor, ...]:
        """Mix the pyramids.

        Args:
            cls_feats: Maps of the classification encoder, finest first.
            seg_feats: Maps of the segmentation encoder.
            projections: Per level the weight ``(C_new, C_out, 1, 1)`` of a pointwise map that
                follows and is composed with the last projection, or None.
        """
        if projections is None:
            projections = [None] * len(self.cls_convs)
        outputs = []
        for i, projection in enumerate(projections):
            mix = self._mix_fused if self._is_fused(i) else self._mix
            outputs.append(mix(i, cls_feats[i], seg_feats[i], projection))
        return tuple(outputs)

    def _is_fused(self, level: int) -> bool:
        """Whether a level pays to be fused: not the smallest, and it has a last projection."""
        has_projection = isinstance(self.out_convs[level], nn.Conv2d)
        return self.fused and has_projection and level < len(self.cls_convs) - 1

    def _mix(self, level: int, cls_feat: Tensor, seg_feat: Tensor, after: Tensor | None) -> Tensor:
        joined = torch.cat(
            [self.cls_convs[level](cls_feat), self.seg_convs[level](seg_feat)], 1
        ).index_select(1, self.shuffle)
        attended = self.attentions[level](joined)
        if after is None:
            return self.out_convs[level](attended)
        return F.conv2d(attended, self._out_weight(level, after)[:, :, None, None])

    def _out_weight(self, level: int, after: Tensor | None) -> Tensor:
        weight = self.out_convs[level].weight.flatten(1)
        return weight if after is None else after.flatten(1) @ weight

    def _mix_fused(
        self, level: int, cls_feat: Tensor, seg_feat: Tensor, after: Tensor | None
    ) -> Tensor:
        # x = M z, with z the two encoders' maps and M projections, join and shuffle in one matrix
        # that has one block of columns per encoder.
        cls_weight = self.cls_convs[level].weight.flatten(1)
        seg_weight = self.seg_convs[level].weight.flatten(1)
        to_cls = F.pad(cls_weight, (0, 0, 0, len(seg_weight))).index_select(0, self.shuffle)
        to_seg = F.pad(seg_weight, (0, 0, len(cls_weight), 0)).index_select(0, self.shuffle)
        attention = self.attentions[level]

        query_row = attention.ch_wq.weight.flatten(1)
        query = F.conv2d(cls_feat, (query_row @ to_cls)[:, :, None, None], attention.ch_wq.bias)
        query = query + F.conv2d(seg_feat, (query_row @ to_seg)[:, :, None, None])
        weights = attention.pixel_weights(query)
        sums = to_cls @ pixel_sum(cls_feat, weights) + to_seg @ pixel_sum(seg_feat, weights)

        gate = attention.channel_gate(sums[:, :, 0])
        vector, offset = attention.spatial_query(gate * sums[:, :, 1])
        vector = (vector * gate).unsqueeze(1)
        score = pixel_linear(cls_feat, vector @ to_cls)
        score = pixel_linear(seg_feat, vector @ to_seg, add=score) + offset[:, :, None, None]

        weight = self._out_weight(level, after) * gate.unsqueeze(1)
        out = pixel_linear(cls_feat, weight @ to_cls)
        out = pixel_linear(seg_feat, weight @ to_seg, add=out)
        return scale_by_pixel(out, 1 + torch.sigmoid(score))
