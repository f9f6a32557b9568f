from typing import Literal

from mmengine.model import BaseModule
from torch import Tensor, nn

from mmjoint.functional.dirichlet import evidence_from_logits
from mmjoint.registry import MODELS
from mmjoint.structures import SampleList, stack_labels
from mmjoint.structures.typing import ConfigType

from ..layers import DoubleConv, SeparableConv
from ..losses import full_precision


@MODELS.register_module()
class GuidedClsHead(BaseModule):
    """Evidential image classifier that a map of the segmentation decoder guides.

    Four separable convolutions, each with batch norm and ReLU; the result is re-weighted by a map
    computed from the guide, averaged over the image and mapped to evidence per class.

    Args:
        in_channels: Channels of the encoder's coarsest map.
        guide_channels: Channels of the guide.
        hidden_channels: Channels h of the re-weighted map; the stages have h, h/2, h/2, h.
        num_classes: Image classes K.
        loss: Config of the loss on alpha.
        stage_dropout: Channel dropout after each separable stage.
        guide_dropout: Channel dropout of the guide's convolutions.
        guide_dropout_at: See ``DoubleConv``.
        fused: Keep less for the backward pass (same result).

    Shape:
        - feat: ``(B, in_channels, H, W)``; guide: ``(B, guide_channels, H, W)``.
        - Output: evidence ``(B, K)``, >= 0.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        guide_channels: int,
        hidden_channels: int,
        num_classes: int,
        loss: ConfigType,
        stage_dropout: float = 0.1,
        guide_dropout: float = 0.1,
        guide_dropout_at: Literal['end', 'each'] = 'end',
        fused: bool = True,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.loss_evidential = MODELS.build(loss)
        self.guide_conv = DoubleConv(
            guide_channels,
            hidden_channels,
            dropout=guide_dropout,
            dropout_at=guide_dropout_at,
            recompute=fused,
        )
        half = hidden_channels // 2
        stages = []
        channels = in_channels
        for width in (hidden_channels, half, half, hidden_channels):
            stages.append(
                nn.Sequential(
                    SeparableConv(channels, width),
                    nn.BatchNorm2d(width),
                    nn.ReLU(inplace=True),
                    nn.Dropout2d(stage_dropout),
                )
            )
            channels = width
        self.stages = nn.Sequential(*stages)
        self.fc = nn.Linear(hidden_channels, num_classes, bias=False)

    def forward(self, feat: Tensor, guide: Tensor) -> Tensor:
        """Give the evidence for each image class."""
        x = self.stages(feat)
        x = x + x * self.guide_conv(guide)
        return evidence_from_logits(self.fc(x.mean((2, 3))))

    def loss_by_feat(self, evidence: Tensor, data_samples: SampleList) -> dict[str, Tensor]:
        """Evidential loss; samples without a label do not count.

        Args:
            evidence: ``(B, K)``.
            data_samples: The samples.
        """
        labels, labelled = stack_labels(data_samples)
        evidence = full_precision(evidence)
        loss = self.loss_evidential(
            evidence + 1,
            labels.to(evidence.device),
            weight=labelled.to(evidence),
            ignore_index=-1,
        )
        return {self.loss_evidential.loss_name: loss}
