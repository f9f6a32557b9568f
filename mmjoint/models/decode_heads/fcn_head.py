from collections.abc import Sequence

import torch.nn.functional as F
from mmseg.models import FCNHead
from torch import Tensor, nn

from mmjoint.functional.partial_label import merge_logits
from mmjoint.registry import MODELS
from mmjoint.structures import SampleList, stack_annotated, stack_seg_maps
from mmjoint.structures.typing import ConfigType, MultiConfig

from ..losses import full_precision


@MODELS.register_module()
class JointFCNHead(FCNHead):
    """mmseg's fully convolutional head, for batches whose masks may be absent or partial.

    Samples without a mask do not count; classes that a sample is not annotated for are merged into
    background before the losses. There is no pixel sampler and one output channel per class.

    Args:
        in_channels: Channels of the chosen map, or of each chosen map.
        channels: Channels of the convolutions.
        num_classes: Pixel classes C.
        loss_decode: Config, or configs, of losses on logits: called as
            ``loss(logits, target, ignore_index=...)``.
        loss_dice: Config of a loss on softmax probabilities, called likewise, or None.
        in_index: Which map, or maps, of the backbone's tuple.
        input_transform: ``'resize_concat'`` joins several maps at the first one's size.
        num_convs: Convolutions before the classifier.
        kernel_size: Their kernel size.
        dilation: Their dilation.
        concat_input: Whether one more convolution sees input and output joined.
        dropout_ratio: Channel dropout before the classifier.
        norm_cfg: Config of the norms, None for none.
        ignore_index: Label that does not count.
        align_corners: How maps are enlarged.
        init_cfg: Initialisation, by default mmseg's.

    Shape:
        - Input: tuple of ``(B, C_i, H_i, W_i)``.
        - Output: logits ``(B, C, H_j, W_j)``, j the first chosen map.
    """

    def __init__(
        self,
        *,
        in_channels: int | Sequence[int],
        channels: int,
        num_classes: int,
        loss_decode: MultiConfig,
        loss_dice: ConfigType | None = None,
        in_index: int | Sequence[int] = -1,
        input_transform: str | None = None,
        num_convs: int = 2,
        kernel_size: int = 3,
        dilation: int = 1,
        concat_input: bool = True,
        dropout_ratio: float = 0.1,
        norm_cfg: ConfigType | None = None,
        ignore_index: int = 255,
        align_corners: bool = False,
        init_cfg: ConfigType | list[ConfigType] | None = None,
    ) -> None:
        super().__init__(
            num_convs=num_convs,
            kernel_size=kernel_size,
            concat_input=concat_input,
            dilation=dilation,
            in_channels=in_channels,
            channels=channels,
            num_classes=num_classes,
            out_channels=num_classes,
            dropout_ratio=dropout_ratio,
            norm_cfg=norm_cfg,
            in_index=in_index,
            input_transform=input_transform,
            loss_decode=[],  # mmseg would look them up in its own scope
            ignore_index=ignore_index,
            align_corners=align_corners,
            init_cfg=init_cfg or dict(type='Normal', std=0.01, override=dict(name='conv_seg')),
        )
        configs = [loss_decode] if isinstance(loss_decode, dict) else loss_decode
        self.loss_decode = nn.ModuleList(MODELS.build(config) for config in configs)
        self.loss_dice = None if loss_dice is None else MODELS.build(loss_dice)

    def loss_by_feat(self, seg_logits: Tensor, batch_data_samples: SampleList) -> dict[str, Tensor]:
        """Losses at the masks' size.

        Args:
            seg_logits: ``(B, C, h, w)``.
            batch_data_samples: The samples; those without a mask do not count.
        """
        seg_logits = full_precision(seg_logits)
        device = seg_logits.device
        # Without any mask the size does not matter: nothing counts.
        any_mask = any('gt_sem_seg' in sample for sample in batch_data_samples)
        shape = None if any_mask else seg_logits.shape[2:]
        target = stack_seg_maps(batch_data_samples, self.ignore_index, shape, device=device)
        annotated = stack_annotated(batch_data_samples, self.num_classes, device=device)
        seg_logits = F.interpolate(
            seg_logits, target.shape[1:], mode='bilinear', align_corners=self.align_corners
        )
        seg_logits = merge_logits(seg_logits, None if annotated.all() else annotated)
        losses = {
            loss.loss_name: loss(seg_logits, target, ignore_index=self.ignore_index)
            for loss in self.loss_decode
        }
        if self.loss_dice is not None:
            losses[self.loss_dice.loss_name] = self.loss_dice(
                seg_logits.softmax(1), target, ignore_index=self.ignore_index
            )
        return losses
