from mmpretrain.models import LinearClsHead
from torch import Tensor

from mmjoint.registry import MODELS
from mmjoint.structures import SampleList, stack_labels
from mmjoint.structures.typing import ConfigType

from ..losses import full_precision


@MODELS.register_module()
class JointLinearClsHead(LinearClsHead):
    """mmpretrain's linear head over the last map's mean, for batches with absent labels.

    Args:
        num_classes: Image classes K.
        in_channels: Channels of the last map.
        loss: Config of a loss on logits, called as
            ``loss(logits, labels, weight=..., ignore_index=...)``.
        init_cfg: Initialisation, by default mmpretrain's.

    Shape:
        - Input: tuple whose last map is ``(B, in_channels, *space)``.
        - Output: logits ``(B, K)``.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        in_channels: int,
        loss: ConfigType,
        init_cfg: ConfigType | list[ConfigType] | None = None,
    ) -> None:
        super().__init__(
            num_classes=num_classes,
            in_channels=in_channels,
            loss=MODELS.build(loss),
            init_cfg=init_cfg or dict(type='Normal', layer='Linear', std=0.01),
        )

    def pre_logits(self, feats: tuple[Tensor, ...]) -> Tensor:
        """Mean of the last map over its space axes, ``(B, in_channels)``."""
        return feats[-1].flatten(2).mean(2)

    def _get_loss(self, cls_score: Tensor, data_samples: SampleList) -> dict[str, Tensor]:
        labels, labelled = stack_labels(data_samples, device=cls_score.device)
        cls_score = full_precision(cls_score)
        loss = self.loss_module(cls_score, labels, weight=labelled.to(cls_score), ignore_index=-1)
        return {self.loss_module.loss_name: loss}
