from abc import ABCMeta, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmjoint.registry import MODELS
from mmjoint.structures import SampleList
from mmjoint.structures.typing import ConfigType, MultiConfig

from .masked_loss import MODES, masked_losses


class BaseDecodeHeadND(BaseModule, metaclass=ABCMeta):
    """Segmentation head for images and volumes, with the verbs of mmseg's head.

    .. code:: text

        loss(feats, samples, train_cfg)    = loss_by_feat(forward(feats), samples)
        predict(feats, metas, test_cfg)    = predict_by_feat(forward(feats), metas)

    mmseg's own base class knows two space axes only. A subclass writes ``forward``.

    Args:
        num_classes: Classes C of the mask, at least 2.
        loss_decode: Config, or configs, of losses on logits, called as
            ``loss(logits, target, ignore_index=...)``; None for a head whose model has losses of
            its own.
        ignore_index: Label that does not count.
        init_cfg: Initialisation; by default PyTorch's own.

    Raises:
        ValueError: There are fewer than 2 classes; or ``loss`` is called without ``loss_decode``.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        loss_decode: MultiConfig | None = None,
        ignore_index: int = 255,
        init_cfg: ConfigType | list[ConfigType] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if num_classes < 2:
            raise ValueError(f'num_classes must be at least 2, got {num_classes}')
        self.num_classes = self.out_channels = num_classes
        self.ignore_index = ignore_index
        configs = [loss_decode] if isinstance(loss_decode, dict) else loss_decode or []
        self.loss_decode = nn.ModuleList(MODELS.build(config) for config in configs)

    @abstractmethod
    def forward(self, feats: tuple[Tensor, ...]) -> Tensor:
        """Give logits ``(B, C, *space)``, at any size, of a backbone's maps."""

    def loss(
        self, feats: tuple[Tensor, ...], batch_data_samples: SampleList, train_cfg: ConfigType
    ) -> dict[str, Tensor]:
        """Losses of a batch; samples without a mask do not count."""
        return self.loss_by_feat(self.forward(feats), batch_data_samples)

    def predict(
        self,
        feats: tuple[Tensor, ...],
        batch_img_metas: Sequence[dict[str, Any]],
        test_cfg: ConfigType,
    ) -> Tensor:
        """Logits at the input's size, which ``img_shape`` of the first sample tells."""
        return self.predict_by_feat(self.forward(feats), batch_img_metas)

    def loss_by_feat(self, seg_logits: Tensor, batch_data_samples: SampleList) -> dict[str, Tensor]:
        """Losses of logits, enlarged to the masks' size."""
        if not len(self.loss_decode):
            raise ValueError(f'{type(self).__name__} has no loss: set its loss_decode')
        return masked_losses(
            seg_logits, batch_data_samples, self.loss_decode, ignore_index=self.ignore_index
        )

    def predict_by_feat(
        self, seg_logits: Tensor, batch_img_metas: Sequence[dict[str, Any]]
    ) -> Tensor:
        """Bring logits to the input's size."""
        size = tuple(batch_img_metas[0]['img_shape'])
        if tuple(seg_logits.shape[2:]) == size:
            return seg_logits
        return F.interpolate(seg_logits, size, mode=MODES[len(size)], align_corners=False)
