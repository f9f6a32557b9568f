from typing import Literal, NamedTuple

from mmengine.model import BaseModule
from torch import Tensor

from mmjoint.registry import MODELS
from mmjoint.structures import SampleList
from mmjoint.structures.typing import ConfigType

from ..layers import saliency_map
from .joint_model import BaseJointModel
from .predictions import BatchPrediction


class JointOutput(NamedTuple):
    """Raw outputs of a model of one encoder and two heads.

    Attributes:
        seg_logits: ``(B, C, h, w)`` at the decode head's size, or None without that head.
        cls_logits: ``(B, K)``, or None without the classification head.
    """

    seg_logits: Tensor | None
    cls_logits: Tensor | None


@MODELS.register_module()
class JointModel(BaseJointModel):
    """One encoder that a segmentation and a classification head share.

    .. code:: text

        loss(inputs, samples)    -> decode_head.loss(feats, samples, {})    'decode.<name>'
                                  + cls_head.loss(feats, samples)           'cls.<name>'
        infer_window(inputs)     -> decode_head.predict(feats, sizes, {})   logits of the mask
                                  + cls_head(feats)                         logits of the class
        feats = extract_feat(inputs) = neck(backbone(inputs))

    With a bridge the decode head sees ``decode_feats(inputs, feats)`` in place of ``feats``: the
    saliency of the class stands beside the maps.

    The heads speak mmseg's and mmpretrain's verbs. Their stock heads need every sample labelled;
    ``JointFCNHead`` and ``JointLinearClsHead`` mask absent labels.

    Args:
        backbone: Any backbone that gives a tuple of maps.
        decode_head: Segmentation head on logits with one channel per class, or None.
        cls_head: Classification head on logits, or None. One of the two is needed.
        neck: From tuple to tuple, or None.
        bridge: Config of a ``SaliencyBridge`` from ``cls_head`` to ``decode_head``, or None.
        data_preprocessor: Config of the data preprocessor.
        init_cfg: Initialisation.
        test_cfg: See ``BaseJointModel``; windows are for a model without ``cls_head``.
        memory_format: See ``BaseJointModel``.

    Raises:
        ValueError: There is no head, or one that the bridge needs lacks; the decode head has not
            one output channel per class; or there are windows for a model that classifies.
    """

    def __init__(
        self,
        *,
        backbone: ConfigType,
        decode_head: ConfigType | None = None,
        cls_head: ConfigType | None = None,
        neck: ConfigType | None = None,
        bridge: ConfigType | None = None,
        data_preprocessor: ConfigType | None = None,
        init_cfg: ConfigType | list[ConfigType] | None = None,
        test_cfg: ConfigType | None = None,
        memory_format: Literal['channels_first', 'channels_last'] = 'channels_first',
    ) -> None:
        super().__init__(
            data_preprocessor=data_preprocessor,
            init_cfg=init_cfg,
            test_cfg=test_cfg,
            memory_format=memory_format,
        )
        if decode_head is None and cls_head is None:
            raise ValueError('decode_head and cls_head are both None; give at least one')
        if bridge is not None and (decode_head is None or cls_head is None):
            raise ValueError('bridge leads from cls_head to decode_head; give both')
        if cls_head is not None:
            self.refuse_windows()
        self.backbone: BaseModule = MODELS.build(backbone)
        self.neck = None if neck is None else MODELS.build(neck)
        self.bridge = None if bridge is None else MODELS.build(bridge)
        self.decode_head = None if decode_head is None else MODELS.build(decode_head)
        self.cls_head = None if cls_head is None else MODELS.build(cls_head)
        if self.decode_head is not None:
            given, needed = self.decode_head.out_channels, self.decode_head.num_classes
            if given != needed:
                raise ValueError(
                    f'decode_head.out_channels must equal num_classes = {needed}, got {given}; '
                    'masks are the argmax over one channel per class'
                )
        self.lay_out()

    def extract_feat(self, inputs: Tensor) -> tuple[Tensor, ...]:
        """Give the maps that the heads share."""
        feats = tuple(self.backbone(inputs))
        return feats if self.neck is None else tuple(self.neck(feats))

    def classify(self, inputs: Tensor) -> Tensor:
        """Class logits ``(B, K)`` of a batch, by the encoder alone."""
        return self.cls_head(self.extract_feat(inputs))

    def saliency(self, inputs: Tensor) -> Tensor:
        """How much the logit of the predicted class changes with each pixel, ``(B, 1, H, W)``."""
        parts = [part for part in (self.backbone, self.neck, self.cls_head) if part is not None]
        return saliency_map(inputs, self.classify, parts)

    def decode_feats(self, inputs: Tensor, feats: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """What the decode head sees of a batch: its maps, with a bridge the saliency as well."""
        return feats if self.bridge is None else self.bridge(feats, inputs, self.saliency(inputs))

    def loss(self, inputs: Tensor, data_samples: SampleList) -> dict[str, Tensor]:
        """Losses of both heads; see the class."""
        feats = self.extract_feat(inputs)
        losses = {}
        if self.decode_head is not None:
            maps = self.decode_feats(inputs, feats)
            for name, value in self.decode_head.loss(maps, data_samples, {}).items():
                losses[f'decode.{name}'] = value
        if self.cls_head is not None:
            for name, value in self.cls_head.loss(feats, data_samples).items():
                losses[f'cls.{name}'] = value
        return losses

    def infer_window(self, inputs: Tensor) -> BatchPrediction:
        """Predict mask and class of a batch."""
        feats = self.extract_feat(inputs)
        seg_logits = cls_logits = None
        if self.decode_head is not None:
            # Where img_shape is a torch.Size, mmseg's heads enlarge their logits to just that.
            sizes = [{'img_shape': inputs.shape[2:]}] * len(inputs)
            seg_logits = self.decode_head.predict(self.decode_feats(inputs, feats), sizes, {})
        if self.cls_head is not None:
            cls_logits = self.cls_head(feats)
        return BatchPrediction(seg_logits=seg_logits, cls_logits=cls_logits)

    def _forward(self, inputs: Tensor) -> JointOutput:
        feats = self.extract_feat(inputs)
        return JointOutput(
            None
            if self.decode_head is None
            else self.decode_head(self.decode_feats(inputs, feats)),
            None if self.cls_head is None else self.cls_head(feats),
        )
