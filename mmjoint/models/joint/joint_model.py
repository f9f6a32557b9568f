from abc import ABCMeta, abstractmethod
from typing import Literal

import torch
from mmengine.model import BaseModel
from torch import Tensor

from mmjoint.registry import MODELS
from mmjoint.structures import OptSampleList, SampleList
from mmjoint.structures.typing import ConfigType

from .predictions import BatchPrediction, add_cls_prediction, add_seg_prediction

MEMORY_FORMATS = ('channels_first', 'channels_last')
_CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}


class BaseJointModel(BaseModel, metaclass=ABCMeta):
    """A model that classifies an image and segments it.

    .. code:: text

        forward(inputs, data_samples, mode)
          'loss'    -> loss(inputs, data_samples)     flat dict; keys with "loss" are trained
          'predict' -> predict(inputs, data_samples)  fills the samples with infer(inputs)
          'tensor'  -> _forward(inputs)               raw outputs

    Args:
        data_preprocessor: Config of the data preprocessor.
        init_cfg: Initialisation.
        memory_format: How maps lie in memory. ``channels_last`` is faster on CPUs and on tensor
            cores; results differ by rounding only.
    """

    def __init__(
        self,
        *,
        data_preprocessor: ConfigType | None = None,
        init_cfg: ConfigType | list[ConfigType] | None = None,
        memory_format: Literal['channels_first', 'channels_last'] = 'channels_first',
    ) -> None:
        if isinstance(data_preprocessor, dict):
            data_preprocessor = MODELS.build(data_preprocessor)
        super().__init__(data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        if memory_format not in MEMORY_FORMATS:
            raise ValueError(
                f'memory_format must be one of {list(MEMORY_FORMATS)}, got {memory_format!r}'
            )
        self.memory_format = memory_format

    def lay_out(self) -> None:
        """Lay the weights out in the chosen memory format; constructors call it last.

        Weights of 1x1 convolutions are the same in both and stay as they are.
        """
        for parameter in self.parameters():
            if parameter.dim() in _CHANNELS_LAST and parameter.shape[2:].numel() > 1:
                parameter.data = self.arrange(parameter.data)

    def forward(
        self,
        inputs: Tensor,
        data_samples: OptSampleList = None,
        mode: Literal['loss', 'predict', 'tensor'] = 'tensor',
    ) -> dict[str, Tensor] | SampleList | object:
        """Dispatch to ``loss``, ``predict`` or ``_forward``.

        Args:
            inputs: ``(B, C, *space)``, preprocessed.
            data_samples: The samples; needed for 'loss' and 'predict'.
            mode: What to do.

        Raises:
            ValueError: ``mode`` is none of the three.
        """
        inputs = self.arrange(inputs)
        if mode == 'loss':
            return self.loss(inputs, data_samples)
        if mode == 'predict':
            return self.predict(inputs, data_samples)
        if mode == 'tensor':
            return self._forward(inputs)
        raise ValueError(f"mode must be 'loss', 'predict' or 'tensor', got {mode!r}")

    def arrange(self, inputs: Tensor) -> Tensor:
        """Bring images or volumes into the model's memory format."""
        if self.memory_format == 'channels_first':
            return inputs.contiguous()
        return inputs.contiguous(memory_format=_CHANNELS_LAST[inputs.dim()])

    @abstractmethod
    def loss(self, inputs: Tensor, data_samples: SampleList) -> dict[str, Tensor]:
        """Losses of a batch; samples without a label are masked, not skipped."""

    @abstractmethod
    def infer(self, inputs: Tensor) -> BatchPrediction:
        """Predict a batch, without looking at its samples.

        The layer of ``mmjoint.models.uncertainty`` calls it once per pass.
        """

    def predict(self, inputs: Tensor, data_samples: SampleList) -> SampleList:
        """Fill the samples: mask at the original size, class, and the uncertainty of both."""
        output = self.infer(inputs)
        for i, sample in enumerate(data_samples):
            if output.seg_logits is not None:
                evidence = None if output.seg_evidence is None else output.seg_evidence[i]
                add_seg_prediction(sample, output.seg_logits[i], evidence)
            if output.cls_alpha is not None:
                add_cls_prediction(sample, alpha=output.cls_alpha[i])
            elif output.cls_logits is not None:
                add_cls_prediction(sample, logits=output.cls_logits[i])
        return data_samples

    @abstractmethod
    def _forward(self, inputs: Tensor) -> object:
        """Raw outputs, for tracing and counting."""
