from collections.abc import Sequence

from mmseg.models import UPerHead

from mmjoint.registry import MODELS
from mmjoint.structures.typing import ConfigType, MultiConfig

from .masked_loss import MaskedLossMixin


@MODELS.register_module()
class JointUPerHead(MaskedLossMixin, UPerHead):
    """mmseg's UPerNet head, for batches whose masks may be absent or partial.

    Samples without a mask do not count; classes that a sample is not annotated for are merged into
    background before the losses. There is no pixel sampler.

    Args:
        in_channels: Channels of the chosen maps, finest first.
        channels: Channels of the convolutions.
        num_classes: Pixel classes C.
        loss_decode: Config, or configs, of losses on logits: called as
            ``loss(logits, target, ignore_index=...)``.
        loss_dice: Config of a loss on softmax probabilities, called likewise, or None.
        single_logit: Of two classes compute the logit of class 1 only, as a sigmoid head does;
            that of class 0 is 0.
        in_index: Which maps of the backbone's tuple.
        pool_scales: Sizes to which the coarsest map is pooled.
        dropout_ratio: Channel dropout before the classifier.
        norm_cfg: Config of the norms, None for none.
        ignore_index: Label that does not count.
        align_corners: How maps are enlarged.
        init_cfg: Initialisation; None: mmseg's; an empty list: PyTorch's own.

    Shape:
        - Input: tuple of ``(B, C_i, H_i, W_i)``.
        - Output: logits ``(B, C, H_0, W_0)`` at the finest chosen map's size.

    Reference:
        Xiao et al., Unified Perceptual Parsing for Scene Understanding, ECCV 2018.
    """

    def __init__(
        self,
        *,
        in_channels: Sequence[int],
        channels: int,
        num_classes: int,
        loss_decode: MultiConfig,
        loss_dice: ConfigType | None = None,
        single_logit: bool = False,
        in_index: Sequence[int] = (0, 1, 2, 3),
        pool_scales: Sequence[int] = (1, 2, 3, 6),
        dropout_ratio: float = 0.1,
        norm_cfg: ConfigType | None = None,
        ignore_index: int = 255,
        align_corners: bool = False,
        init_cfg: ConfigType | list[ConfigType] | None = None,
    ) -> None:
        super().__init__(
            in_channels=in_channels,
            channels=channels,
            num_classes=num_classes,
            loss_decode=loss_decode,
            loss_dice=loss_dice,
            single_logit=single_logit,
            in_index=in_index,
            pool_scales=pool_scales,
            dropout_ratio=dropout_ratio,
            norm_cfg=norm_cfg,
            ignore_index=ignore_index,
            align_corners=align_corners,
            init_cfg=init_cfg,
        )
