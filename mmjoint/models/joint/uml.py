"""UML: uncertainty-informed mutual learning of classification and segmentation.

Two encoders, a mixer of their pyramids, a mutual decoder that gives evidence and uncertainty per
pixel, a segmentation decoder guided by that uncertainty, and an evidential classifier guided by the
segmentation decoder.

Reference:
    Ren et al., "Uncertainty-informed mutual learning for joint medical image classification and
    segmentation", MICCAI 2023, arXiv:2303.10049.
"""

from typing import Literal, NamedTuple

import torch
from mmengine.model import BaseModule
from torch import Tensor

from mmjoint.registry import MODELS
from mmjoint.structures import SampleList
from mmjoint.structures.typing import ConfigType

from ..decode_heads import GuidedOutput, MutualOutput
from .joint_model import BaseJointModel
from .predictions import BatchPrediction


class UMLOutput(NamedTuple):
    """Raw outputs of UML.

    Attributes:
        cls_evidence: ``(B, K_image)``, >= 0.
        mutual: Output of the mutual decoder.
        guided: Output of the segmentation decoder.
        mixed: The mixer's maps, projected for the mutual decoder where that is fused.
        cls_feats: Maps of the classification encoder.
        seg_feats: Maps of the segmentation encoder.
    """

    cls_evidence: Tensor
    mutual: MutualOutput
    guided: GuidedOutput
    mixed: tuple[Tensor, ...]
    cls_feats: tuple[Tensor, ...]
    seg_feats: tuple[Tensor, ...]


def _add_prefix(losses: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {f'{prefix}.{name}': value for name, value in losses.items()}


@MODELS.register_module()
class UML(BaseJointModel):
    """UML as its authors' repository has it since 2024.

    Args:
        backbone: Encoder of the classification branch.
        seg_backbone: Encoder of the segmentation branch, with weights of its own.
        neck: Mixer of the two pyramids.
        mutual_head: Decoder of the mixed maps, gives pixel evidence.
        decode_head: Segmentation decoder.
        cls_head: Image classifier.
        data_preprocessor: Config of the data preprocessor.
        init_cfg: Initialisation of all parts; pretrained encoders overwrite it.
        test_cfg: See ``BaseJointModel``; UML classifies, so it predicts images whole.
        memory_format: See ``BaseJointModel``.

    Shape:
        - inputs: ``(B, 3, H, W)`` in [0, 1], H and W multiples of 8.
    """

    def __init__(
        self,
        *,
        backbone: ConfigType,
        seg_backbone: ConfigType,
        neck: ConfigType,
        mutual_head: ConfigType,
        decode_head: ConfigType,
        cls_head: ConfigType,
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
        self.refuse_windows()
        self.backbone: BaseModule = MODELS.build(backbone)
        self.seg_backbone: BaseModule = MODELS.build(seg_backbone)
        self.neck: BaseModule = MODELS.build(neck)
        self.mutual_head: BaseModule = MODELS.build(mutual_head)
        self.decode_head: BaseModule = MODELS.build(decode_head)
        self.cls_head: BaseModule = MODELS.build(cls_head)
        self.lay_out()

    def extract_feat(self, inputs: Tensor) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Give the maps of the classification and of the segmentation encoder."""
        if inputs.shape[2] % 8 or inputs.shape[3] % 8:
            raise ValueError(
                f'height and width must be multiples of 8, got {tuple(inputs.shape[2:])}; '
                'resize or pad the images'
            )
        return self.backbone(inputs), self.seg_backbone(inputs)

    def decode(
        self,
        cls_feats: tuple[Tensor, ...],
        seg_feats: tuple[Tensor, ...],
        *,
        all_levels: bool = True,
    ) -> UMLOutput:
        """Run everything behind the encoders.

        Args:
            cls_feats: Maps of the classification encoder.
            seg_feats: Maps of the segmentation encoder.
            all_levels: Whether to give evidence on the coarser levels, which only the loss needs.
        """
        mixed = self.neck(cls_feats, seg_feats, self.mutual_head.projections())
        mutual = self.mutual_head(mixed, all_levels=all_levels)
        guided = self.decode_head(seg_feats, mixed, mutual)
        cls_evidence = self.cls_head(self._cls_input(cls_feats, mixed), guided.guide)
        return UMLOutput(cls_evidence, mutual, guided, mixed, cls_feats, seg_feats)

    def _cls_input(self, cls_feats: tuple[Tensor, ...], mixed: tuple[Tensor, ...]) -> Tensor:
        return cls_feats[-1]

    def loss(self, inputs: Tensor, data_samples: SampleList) -> dict[str, Tensor]:
        """Losses of classifier, segmentation decoder and mutual decoder."""
        return self.loss_by_output(self.decode(*self.extract_feat(inputs)), data_samples)

    def loss_by_output(self, output: UMLOutput, data_samples: SampleList) -> dict[str, Tensor]:
        """Losses of an output that is already computed."""
        return {
            **_add_prefix(self.cls_head.loss_by_feat(output.cls_evidence, data_samples), 'cls'),
            **_add_prefix(
                self.decode_head.loss_by_feat(output.guided.logits, data_samples), 'decode'
            ),
            **_add_prefix(
                self.mutual_head.loss_by_feat(output.mutual.evidence, data_samples), 'mutual'
            ),
        }

    def classify(self, inputs: Tensor) -> Tensor:
        """Evidence for each image class, ``(B, K)``."""
        return self.decode(*self.extract_feat(inputs), all_levels=False).cls_evidence

    def infer_window(self, inputs: Tensor) -> BatchPrediction:
        """Predict the final mask, the mutual decoder's evidence and the evidential class."""
        output = self.decode(*self.extract_feat(inputs), all_levels=False)
        return BatchPrediction(
            seg_logits=output.guided.logits[0],
            seg_evidence=output.mutual.evidence[0],
            cls_alpha=output.cls_evidence + 1,
        )

    def _forward(self, inputs: Tensor) -> UMLOutput:
        return self.decode(*self.extract_feat(inputs), all_levels=self.training)


@MODELS.register_module()
class UMLPaper(UML):
    """UML as the paper's framework figure and the 2023 code have it.

    The classifier sees the coarsest mixed map beside the encoder's. Arguments are those of
    :class:`UML`.
    """

    def _cls_input(self, cls_feats: tuple[Tensor, ...], mixed: tuple[Tensor, ...]) -> Tensor:
        return torch.cat([cls_feats[-1], mixed[-1]], 1)
