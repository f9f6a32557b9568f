"""Decoders of mixed features that end in evidence per pixel."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

from mmengine.model import BaseModule
from torch import Tensor, nn

from mmjoint.functional.dirichlet import evidence_from_logits, expected_probs, wrong_class_index
from mmjoint.functional.partial_label import merge_probs
from mmjoint.registry import MODELS
from mmjoint.structures import SampleList, stack_annotated, stack_seg_maps
from mmjoint.structures.typing import ConfigType

from ..layers import ComposedPointwise, UpConcat, UpConv, pointwise, resample
from ..losses import full_precision, one_hot_map


class MutualOutput(NamedTuple):
    """What a mutual decoder gives.

    Attributes:
        feature: Finest decoder map ``(B, C, H, W)``.
        evidence: Evidence >= 0 per level at its own size, finest ``(B, K, H, W)`` first.
    """

    feature: Tensor
    evidence: tuple[Tensor, ...]


class BaseMutualEvidenceHead(BaseModule):
    """Loss and bookkeeping of the mutual decoders; subclasses write ``forward``.

    Args:
        num_classes: Pixel classes K.
        loss_evidential: Config of the loss on alpha.
        loss_dice: Config of the Dice loss.
        dice_on: What the Dice loss sees: the softmax of the evidence (as published) or the
            Dirichlet's mean probabilities.
        ignore_index: Label that does not count.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        loss_evidential: ConfigType,
        loss_dice: ConfigType,
        dice_on: Literal['softmax_evidence', 'expected_probs'] = 'softmax_evidence',
        ignore_index: int = 255,
    ) -> None:
        super().__init__()
        if dice_on not in ('softmax_evidence', 'expected_probs'):
            raise ValueError(
                f"dice_on must be 'softmax_evidence' or 'expected_probs', got {dice_on!r}"
            )
        self.num_classes = num_classes
        self.loss_evidential = MODELS.build(loss_evidential)
        self.loss_dice = MODELS.build(loss_dice)
        self.dice_on = dice_on
        self.ignore_index = ignore_index

    def projections(self) -> list[Tensor | None] | None:
        """Pointwise weights with which a mixer may compose its last map; None: forward does it."""
        return None

    def loss_by_feat(
        self, evidence: Sequence[Tensor], data_samples: SampleList
    ) -> dict[str, Tensor]:
        """Sum of the losses of all levels, each enlarged to the finest level's size.

        Args:
            evidence: ``MutualOutput.evidence``.
            data_samples: Samples; those without a mask do not count.
        """
        evidence = [full_precision(level) for level in evidence]
        size = evidence[0].shape[2:]
        target = stack_seg_maps(data_samples, self.ignore_index, size).to(evidence[0].device)
        annotated = stack_annotated(data_samples, self.num_classes).to(target.device)
        annotated = None if annotated.all() else annotated
        one_hot = one_hot_map(target, self.num_classes, evidence[0], self.ignore_index)
        wrong_index = wrong_class_index(
            target.masked_fill(target == self.ignore_index, 0), self.num_classes
        )
        losses = {}
        for i, level in enumerate(evidence, start=1):
            level = resample(level, size[0] // level.shape[2])
            level = merge_probs(level, annotated)
            suffix = f'_{i}' if len(evidence) > 1 else ''
            alpha = level + 1
            losses[self.loss_evidential.loss_name + suffix] = self.loss_evidential(
                alpha, target, ignore_index=self.ignore_index, wrong_index=wrong_index
            )
            if self.dice_on == 'expected_probs':
                probs = expected_probs(alpha)
            else:
                probs = level.softmax(1)
            losses[self.loss_dice.loss_name + suffix] = self.loss_dice(
                probs, target, ignore_index=self.ignore_index, one_hot=one_hot
            )
        return losses


@MODELS.register_module()
class MutualEvidenceHead(BaseMutualEvidenceHead):
    """Mutual decoder with evidence on four levels.

    Args:
        in_channels: Channels of the mixed maps, finest first: ``(b, 4b, 8b, 16b)``.
        dropout: Channel dropout of the convolution blocks.
        fused: Compose consecutive pointwise maps and keep less for the backward pass (same
            result).
        kwargs of the base class: see there.

    Shape:
        - feats: per level ``(B, C, H, W)`` ... ``(B, 16b, H/8, W/8)``.
        - Output: feature ``(B, b, H, W)``; evidence at sizes H, H/2, H/4, H/8.
    """

    def __init__(
        self,
        *,
        in_channels: Sequence[int],
        num_classes: int,
        loss_evidential: ConfigType,
        loss_dice: ConfigType,
        dice_on: Literal['softmax_evidence', 'expected_probs'] = 'softmax_evidence',
        dropout: float = 0.1,
        ignore_index: int = 255,
        fused: bool = True,
    ) -> None:
        super().__init__(
            num_classes=num_classes,
            loss_evidential=loss_evidential,
            loss_dice=loss_dice,
            dice_on=dice_on,
            ignore_index=ignore_index,
        )
        base = in_channels[0]
        channels = [base * factor for factor in (1, 2, 4, 8)]
        self.fused = fused
        self.adjust = nn.ModuleList(
            pointwise(c_in, c) for c_in, c in zip(in_channels[1:], channels[1:], strict=True)
        )
        self.ups = nn.ModuleList(
            UpConv(2 * c, c, dropout=dropout, recompute=fused) for c in channels[:3]
        )
        self.evidence_convs = nn.ModuleList(
            ComposedPointwise(c, c // 2, num_classes, fused=fused) for c in channels
        )

    def projections(self) -> list[Tensor | None] | None:
        """See the base class."""
        return [None, *(conv.weight for conv in self.adjust)] if self.fused else None

    def forward(self, feats: Sequence[Tensor], *, all_levels: bool = True) -> MutualOutput:
        """Decode.

        Args:
            feats: Mixed maps; already projected where ``projections`` gives weights.
            all_levels: Whether to give evidence on all levels or on the finest one only.
        """
        if not self.fused:
            adjusted = [conv(feat) for conv, feat in zip(self.adjust, feats[1:], strict=True)]
            feats = [feats[0], *adjusted]
        x = feats[3]
        maps = [x]
        for level in (2, 1, 0):
            x = self.ups[level](x, feats[level])
            maps.insert(0, x)
        levels = range(len(maps)) if all_levels else range(1)
        return MutualOutput(
            x, tuple(evidence_from_logits(self.evidence_convs[i](maps[i])) for i in levels)
        )


@MODELS.register_module()
class SingleMutualEvidenceHead(BaseMutualEvidenceHead):
    """Mutual decoder with evidence on the finest level only, as in the paper's framework.

    Args:
        in_channels: Channels of the mixed maps, finest first: ``(b, 2b, 4b, 8b)``.
        dropout: Channel dropout of the convolution blocks.
        fused: Compose consecutive pointwise maps and keep less for the backward pass (same
            result).
        kwargs of the base class: see there.

    Shape:
        - feats: per level ``(B, C, H, W)`` ... ``(B, 8b, H/8, W/8)``.
        - Output: feature ``(B, 2b, H, W)``; one evidence map of the finest size.
    """

    def __init__(
        self,
        *,
        in_channels: Sequence[int],
        num_classes: int,
        loss_evidential: ConfigType,
        loss_dice: ConfigType,
        dice_on: Literal['softmax_evidence', 'expected_probs'] = 'softmax_evidence',
        dropout: float = 0.1,
        ignore_index: int = 255,
        fused: bool = True,
    ) -> None:
        super().__init__(
            num_classes=num_classes,
            loss_evidential=loss_evidential,
            loss_dice=loss_dice,
            dice_on=dice_on,
            ignore_index=ignore_index,
        )
        ups = []
        channels = in_channels[3]
        for skip in reversed(in_channels[:3]):
            ups.append(UpConcat(channels, skip, dropout=dropout, recompute=fused))
            channels = 2 * skip
        self.ups = nn.ModuleList(ups)
        self.evidence_conv = ComposedPointwise(channels, channels // 4, num_classes, fused=fused)

    def forward(self, feats: Sequence[Tensor], *, all_levels: bool = True) -> MutualOutput:
        """Decode; there is one level, whatever ``all_levels`` says."""
        x = feats[3]
        for up, skip in zip(self.ups, reversed(feats[:3]), strict=True):
            x = up(x, skip)
        return MutualOutput(x, (evidence_from_logits(self.evidence_conv(x)),))
