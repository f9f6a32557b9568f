from collections.abc import Sequence

from mmseg.models import FCNHead

from mmjoint.registry import MODELS
from mmjoint.structures.typing import ConfigType, MultiConfig

from .masked_loss import MaskedLossMixin


@MODELS.register_module()
class JointFCNHead(MaskedLossMixin, FCNHead):
    """mmseg's fully convolutional head, for batches whose masks may be absent or partial.

    Samples without a mask do not count; classes that a sample is not annotated for are merged into
    background before the losses. There is no pixel sampler. With ``num_convs=0``,
    ``concat_input=False`` and ``dropout_ratio=0`` it is one 1x1 convolution.

    Args:
        in_channels: Channels of the chosen map, or of each chosen map.
        channels: Channels of the convolutions.
        num_classes: Pixel classes C.
        loss_decode: Config, or configs, of losses on logits: called as
            ``loss(logits, target, ignore_index=...)``.
        loss_dice: Config of a loss on softmax probabilities, called likewise, or None.
        single_logit: Of two classes compute the logit of class 1 only, as a sigmoid head does;
            that of class 0 is 0.
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
        init_cfg: Initialisation; None: mmseg's; an empty list: PyTorch's own.

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
        single_logit: bool = False,
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
            dropout_ratio=dropout_ratio,
            norm_cfg=norm_cfg,
            in_index=in_index,
            input_transform=input_transform,
            loss_decode=loss_decode,
            loss_dice=loss_dice,
            single_logit=single_logit,
            ignore_index=ignore_index,
            align_corners=align_corners,
            init_cfg=init_cfg,
        )
