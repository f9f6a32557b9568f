import torch.nn.functional as F
from torch import Tensor

from mmjoint.registry import MODELS
from mmjoint.structures.typing import ConfigType

from .linear_head import JointLinearClsHead


@MODELS.register_module()
class PooledLinearClsHead(JointLinearClsHead):
    """Linear head over the mean of the last map, after its largest value in each 2x2 window.

    Args:
        num_classes: Image classes K.
        in_channels: Channels of the last map.
        loss: Config of a loss on logits, called as
            ``loss(logits, labels, weight=..., ignore_index=...)``.
        init_cfg: Initialisation; by default PyTorch's own.

    Shape:
        - Input: tuple whose last map is ``(B, in_channels, H, W)``, both sides at least 2.
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
        super().__init__(num_classes=num_classes, in_channels=in_channels, loss=loss)
        self.init_cfg = init_cfg

    def pre_logits(self, feats: tuple[Tensor, ...]) -> Tensor:
        """Features ``(B, in_channels)`` of the last map."""
        return F.max_pool2d(feats[-1], 2).mean((2, 3))
