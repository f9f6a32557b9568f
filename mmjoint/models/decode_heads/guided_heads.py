"""Segmentation decoders that a mutual decoder's uncertainty guides."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmjoint.functional.dirichlet import vacuity
from mmjoint.functional.partial_label import merge_logits
from mmjoint.registry import MODELS
from mmjoint.structures import SampleList, stack_annotated, stack_seg_maps
from mmjoint.structures.typing import ConfigType

from ..layers import ReliableMask, UncertaintyNavigator, UpConcat, UpConv, pointwise, resample
from ..losses import full_precision, one_hot_map
from .mutual_evidence_head import MutualOutput


class GuidedOutput(NamedTuple):
    """What a guided decoder gives.

    Attributes:
        logits: Mask logits per level at their own size, finest ``(B, K, H, W)`` first.
        guide: Map ``(B, C, H/8, W/8)`` that guides the classifier.
        reliable_mask: Reliable mask of the coarsest level ``(B, K, H/8, W/8)``, if there is one.
    """

    logits: tuple[Tensor, ...]
    guide: Tensor
    reliable_mask: Tensor | None = None


class BaseGuidedHead(BaseModule):
    """Loss of the guided decoders; subclasses write ``forward``.

    Args:
        num_classes: Pixel classes K.
        loss_dice: Config of the Dice loss, on softmax probabilities of every level.
        loss_ce: Config of the cross-entropy on the finest level, or None.
        ignore_index: Label that does not count.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        loss_dice: ConfigType,
        loss_ce: ConfigType | None = None,
        ignore_index: int = 255,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.loss_dice = MODELS.build(loss_dice)
        self.loss_ce = None if loss_ce is None else MODELS.build(loss_ce)
        self.ignore_index = ignore_index

    def loss_by_feat(self, logits: Sequence[Tensor], data_samples: SampleList) -> dict[str, Tensor]:
        """Mean Dice loss of the levels, enlarged to full size, and cross-entropy of the finest.

        Args:
            logits: ``GuidedOutput.logits``.
            data_samples: Samples; those without a mask do not count.
        """
        logits = [full_precision(level) for level in logits]
        size = logits[0].shape[2:]
        target = stack_seg_maps(data_samples, self.ignore_index, size).to(logits[0].device)
        annotated = stack_annotated(data_samples, self.num_classes).to(target.device)
        annotated = None if annotated.all() else annotated
        one_hot = one_hot_map(target, self.num_classes, logits[0], self.ignore_index)
        merged = [
            merge_logits(resample(level, size[0] // level.shape[2]), annotated) for level in logits
        ]
        dice = [
            self.loss_dice(
                level.softmax(1), target, ignore_index=self.ignore_index, one_hot=one_hot
            )
            for level in merged
        ]
        losses = {self.loss_dice.loss_name: sum(dice) / len(dice)}
        if self.loss_ce is not None:
            losses[self.loss_ce.loss_name] = self.loss_ce(
                merged[0], target, ignore_index=self.ignore_index
            )
        return losses


@MODELS.register_module()
class NavigatedHead(BaseGuidedHead):
    """Decoder whose skip maps pass uncertainty navigators.

    Args:
        in_channels: Channels of the encoder's maps, finest first: ``(b, 4b, 8b, 16b)``.
        dropout: Channel dropout of the convolution blocks.
        fused: Sum weight blocks in place of tiling maps and keep less for the backward pass (same
            result).
        kwargs of the base class: see there.

    Shape:
        - seg_feats: ``(B, b, H, W)``, ``(B, 4b, H/2, W/2)``, ... ``(B, 16b, H/8, W/8)``.
        - mutual: feature ``(B, b, H, W)``, finest evidence ``(B, K, H, W)``.
        - Output: one map of logits ``(B, K, H, W)``; guide ``(B, b, H/8, W/8)``.
    """

    def __init__(
        self,
        *,
        in_channels: Sequence[int],
        num_classes: int,
        loss_dice: ConfigType,
        loss_ce: ConfigType | None = None,
        dropout: float = 0.1,
        ignore_index: int = 255,
        fused: bool = True,
    ) -> None:
        super().__init__(
            num_classes=num_classes,
            loss_dice=loss_dice,
            loss_ce=loss_ce,
            ignore_index=ignore_index,
        )
        base = in_channels[0]
        channels = [base * factor for factor in (1, 2, 4, 8)]
        self.adjust = nn.ModuleList(
            pointwise(c_in, c) for c_in, c in zip(in_channels[1:], channels[1:], strict=True)
        )
        self.navigators = nn.ModuleList(
            UncertaintyNavigator(c, c // base, fused=fused) for c in channels[:3]
        )
        self.ups = nn.ModuleList(
            UpConv(2 * c, c, dropout=dropout, recompute=fused) for c in channels[:3]
        )
        self.out_conv = pointwise(base, num_classes)

    def forward(
        self, seg_feats: Sequence[Tensor], mixed: Sequence[Tensor], mutual: MutualOutput
    ) -> GuidedOutput:
        """Decode; ``mixed`` is not used here."""
        skips = [seg_feats[0]]
        skips += [conv(feat) for conv, feat in zip(self.adjust, seg_feats[1:], strict=True)]
        uncertainty = vacuity(mutual.evidence[0] + 1)
        x = skips[3]
        for level in (2, 1, 0):
            scale = 0.5**level
            skip = self.navigators[level](
                skips[level], resample(mutual.feature, scale), resample(uncertainty, scale)
            )
            x = self.ups[level](x, skip)
        return GuidedOutput((self.out_conv(x),), resample(x, 1 / 8))


@MODELS.register_module()
class ReliableMaskHead(BaseGuidedHead):
    """Decoder that screens its own prediction for reliability, as in the paper's framework.

    Args:
        in_channels: Channels of the encoder's maps, finest first: ``(b, 2b, 4b, 8b)``.
        mixed_channels: Channels of the coarsest mixed map.
        dropout: Channel dropout of the convolution blocks and the lifted masks.
        fused: Keep less for the backward pass (same result).
        kwargs of the base class: see there.

    Shape:
        - seg_feats: ``(B, b, H, W)`` ... ``(B, 8b, H/8, W/8)``.
        - mixed: the mixer's maps; only the coarsest ``(B, mixed_channels, H/8, W/8)`` is used.
        - mutual: finest evidence ``(B, K, H, W)``.
        - Output: logits at sizes H, H/2, H/4, H/8; guide ``(B, 2b, H/8, W/8)``; reliable mask.
    """

    def __init__(
        self,
        *,
        in_channels: Sequence[int],
        mixed_channels: int,
        num_classes: int,
        loss_dice: ConfigType,
        loss_ce: ConfigType | None = None,
        dropout: float = 0.1,
        ignore_index: int = 255,
        fused: bool = True,
    ) -> None:
        super().__init__(
            num_classes=num_classes,
            loss_dice=loss_dice,
            loss_ce=loss_ce,
            ignore_index=ignore_index,
        )
        channels = in_channels[3]
        self.bottom = pointwise(in_channels[3] + mixed_channels, channels)
        self.coarse_guard = ReliableMask(channels, num_classes, dropout=dropout)
        ups, outs = [], [pointwise(channels, num_classes)]
        for skip in reversed(in_channels[:3]):
            ups.append(UpConcat(channels, skip, dropout=dropout, recompute=fused))
            channels = 2 * skip
            outs.append(pointwise(channels, num_classes))
        self.ups = nn.ModuleList(ups)
        self.out_convs = nn.ModuleList(outs)
        self.fine_guard = ReliableMask(channels, num_classes, dropout=dropout)

    def forward(
        self, seg_feats: Sequence[Tensor], mixed: Sequence[Tensor], mutual: MutualOutput
    ) -> GuidedOutput:
        """Decode."""
        evidence = mutual.evidence[0]
        uncertainty = vacuity(evidence + 1)
        small_uncertainty = resample(uncertainty, 1 / 8)
        x = torch.cat([seg_feats[3], mixed[3]], 1) * torch.exp(-small_uncertainty)
        x = self.bottom(x)
        logits = [self.out_convs[0](x)]
        x, reliable = self.coarse_guard(x, logits[0], resample(evidence, 1 / 8), small_uncertainty)
        for up, out, skip in zip(
            self.ups, self.out_convs[1:], reversed(seg_feats[:3]), strict=True
        ):
            x = up(x, skip)
            logits.insert(0, out(x))
        x, _ = self.fine_guard(x, logits[0], evidence, uncertainty)
        return GuidedOutput(tuple(logits), resample(x, 1 / 8), reliable)
