"""What our versions of mmseg's heads share."""

from collections.abc import Iterable

import torch.nn.functional as F
from torch import Tensor, nn

from mmjoint.functional.partial_label import merge_logits
from mmjoint.registry import MODELS
from mmjoint.structures import SampleList, stack_annotated, stack_seg_maps
from mmjoint.structures.typing import ConfigType, MultiConfig

from ..losses import full_precision

MODES = {2: 'bilinear', 3: 'trilinear'}


def masked_losses(
    seg_logits: Tensor,
    samples: SampleList,
    loss_decode: Iterable[nn.Module],
    loss_dice: nn.Module | None = None,
    *,
    ignore_index: int = 255,
    align_corners: bool = False,
) -> dict[str, Tensor]:
    """Losses at the masks' size, for batches whose masks may be absent or partial.

    Args:
        seg_logits: ``(B, C, *space)``, 2-D or 3-D; enlarged to the masks.
        samples: The samples; those without a mask do not count.
        loss_decode: Losses on logits, called as ``loss(logits, target, ignore_index=...)``.
        loss_dice: A loss on softmax probabilities, called likewise, or None.
        ignore_index: Label that does not count.
        align_corners: How the logits are enlarged.

    Returns:
        The losses by their ``loss_name``.
    """
    seg_logits = full_precision(seg_logits)
    device, num_classes = seg_logits.device, seg_logits.shape[1]
    # Without any mask the size does not matter: nothing counts.
    any_mask = any('gt_sem_seg' in sample for sample in samples)
    shape = None if any_mask else seg_logits.shape[2:]
    target = stack_seg_maps(samples, ignore_index, shape, device=device)
    annotated = stack_annotated(samples, num_classes, device=device)
    if seg_logits.shape[2:] != target.shape[1:]:
        mode = MODES[target.dim() - 1]
        seg_logits = F.interpolate(
            seg_logits, target.shape[1:], mode=mode, align_corners=align_corners
        )
    seg_logits = merge_logits(seg_logits, None if annotated.all() else annotated)
    losses = {
        loss.loss_name: loss(seg_logits, target, ignore_index=ignore_index) for loss in loss_decode
    }
    if loss_dice is not None:
        losses[loss_dice.loss_name] = loss_dice(
            seg_logits.softmax(1), target, ignore_index=ignore_index
        )
    return losses


class MaskedLossMixin:
    """Losses of a mmseg head for batches whose masks may be absent or partial.

    Stands before the head among the bases. Samples without a mask do not count; classes that a
    sample is not annotated for are merged into background before the losses. There is no pixel
    sampler.

    Args:
        num_classes: Pixel classes C.
        loss_decode: Config, or configs, of losses on logits: called as
            ``loss(logits, target, ignore_index=...)``.
        loss_dice: Config of a loss on softmax probabilities, called likewise, or None.
        single_logit: Of two classes compute the logit of class 1 only; that of class 0 is 0. The
            softmax of both is then the sigmoid of the one, and cross-entropy is the binary one.
        init_cfg: Initialisation; None: a normal distribution for the classifier, as mmseg; an
            empty list: PyTorch's own.
        options: Arguments of mmseg's head.

    Raises:
        ValueError: ``single_logit`` is set for more than two classes.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        loss_decode: MultiConfig,
        loss_dice: ConfigType | None,
        single_logit: bool,
        init_cfg: ConfigType | list[ConfigType] | None,
        **options: object,
    ) -> None:
        if single_logit and num_classes != 2:
            raise ValueError(f'single_logit needs num_classes=2, got {num_classes}')
        if init_cfg is None:
            init_cfg = dict(type='Normal', std=0.01, override=dict(name='conv_seg'))
        super().__init__(
            num_classes=num_classes,
            out_channels=1 if single_logit else num_classes,
            threshold=0.5 if single_logit else None,  # unused; without one mmseg warns
            loss_decode=[],  # mmseg would look them up in its own scope
            init_cfg=init_cfg,
            **options,
        )
        self.single_logit = single_logit
        self.out_channels = num_classes  # `cls_seg` always gives as many
        configs = [loss_decode] if isinstance(loss_decode, dict) else loss_decode
        self.loss_decode = nn.ModuleList(MODELS.build(config) for config in configs)
        self.loss_dice = None if loss_dice is None else MODELS.build(loss_dice)

    def cls_seg(self, feat: Tensor) -> Tensor:
        """Classify each pixel.

        Args:
            feat: ``(B, channels, h, w)``.

        Returns:
            Logits ``(B, C, h, w)``.
        """
        logits = super().cls_seg(feat)
        return F.pad(logits, (0, 0, 0, 0, 1, 0)) if self.single_logit else logits

    def loss_by_feat(self, seg_logits: Tensor, batch_data_samples: SampleList) -> dict[str, Tensor]:
        """Losses at the masks' size.

        Args:
            seg_logits: ``(B, C, h, w)``.
            batch_data_samples: The samples; those without a mask do not count.
        """
        return masked_losses(
            seg_logits,
            batch_data_samples,
            self.loss_decode,
            self.loss_dice,
            ignore_index=self.ignore_index,
            align_corners=self.align_corners,
        )
