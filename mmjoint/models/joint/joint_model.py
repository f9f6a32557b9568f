from abc import abstractmethod
from typing import Literal

import torch
from torch import Tensor

from mmjoint.registry import MODELS
from mmjoint.structures import OptSampleList, SampleList
from mmjoint.structures.typing import ConfigType

from .inferring import InferringModel
from .predictions import (
    BatchPrediction,
    add_cls_prediction,
    add_seg_labels,
    add_seg_prediction,
    check_original_size,
)
from .windows import NO_CLASS_OF_WINDOWS, parse_test_cfg

MEMORY_FORMATS = ('channels_first', 'channels_last')
_CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}


class BaseJointModel(InferringModel):
    """A model that classifies an image and segments it.

    .. code:: text

        forward(inputs, data_samples, mode)
          'loss'    -> loss(inputs, data_samples)     flat dict; keys with "loss" are trained
          'predict' -> predict(inputs, data_samples)  fills the samples with infer(inputs)
          'tensor'  -> _forward(inputs)               raw outputs

        infer(inputs) -> infer_window(inputs), or of overlapping windows their mean, by test_cfg

    Windows are for segmentation alone: a class of a window is not a class of its image.

    Args:
        data_preprocessor: Config of the data preprocessor.
        init_cfg: Initialisation.
        test_cfg: How inputs are predicted. None or ``dict(mode='whole')``: as they are.
            ``dict(mode='slide', roi_size=..., stride=... | overlap=..., weights='uniform',
            window_batch=1, bounded=False)``: by windows, see
            :class:`~mmjoint.models.joint.windows.SlidingWindow`. With ``bounded=True`` ``predict``
            writes ``pred_sem_seg`` and the predictive entropy, and no ``seg_logits``.
        memory_format: How maps lie in memory. ``channels_last`` is faster on CPUs and on tensor
            cores; results differ by rounding only.

    Raises:
        ValueError: ``memory_format`` or something in ``test_cfg`` is unknown or impossible.
    """

    def __init__(
        self,
        *,
        data_preprocessor: ConfigType | None = None,
        init_cfg: ConfigType | list[ConfigType] | None = None,
        test_cfg: ConfigType | None = None,
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
        self.windows = parse_test_cfg(test_cfg)

    def refuse_windows(self) -> None:
        """Refuse sliding windows; constructors of models that classify call it.

        Raises:
            ValueError: There are windows.
        """
        if self.windows is not None:
            raise ValueError(
                f"test_cfg.mode='slide': {NO_CLASS_OF_WINDOWS} ({type(self).__name__}); set "
                "test_cfg.mode='whole'"
            )

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

    def classify(self, inputs: Tensor) -> Tensor:
        """Scores of the image classes of a batch, ``(B, K)``: logits, or evidence.

        Models that classify have it; :mod:`mmjoint.models.explanations` explains the class by it.

        Raises:
            NotImplementedError: The model does not classify.
        """
        raise NotImplementedError(f'{type(self).__name__} does not classify')

    @abstractmethod
    def infer_window(self, inputs: Tensor) -> BatchPrediction:
        """Predict a batch as it is, of whole inputs or of windows."""

    def infer(self, inputs: Tensor) -> BatchPrediction:
        """Predict a batch, whole or by windows, without looking at its samples.

        The layer of ``mmjoint.models.uncertainty`` calls it once per pass. By windows it works
        without gradients.
        """
        if self.windows is None:
            return self.infer_window(inputs)
        return self.windows.infer(inputs, self._infer_arranged)

    def _infer_arranged(self, windows: Tensor) -> BatchPrediction:
        return self.infer_window(self.arrange(windows))

    def predict(self, inputs: Tensor, data_samples: SampleList) -> SampleList:
        """Fill the samples: mask at the original size, class, and the uncertainty of both.

        Raises:
            UserError: With ``test_cfg.bounded=True``, if inputs were resized.
        """
        if self.windows is not None and self.windows.bounded:
            return self._predict_labels(inputs, data_samples)
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

    def _predict_labels(self, inputs: Tensor, data_samples: SampleList) -> SampleList:
        for sample in data_samples:
            check_original_size(sample, inputs.shape[2:])
        labels, entropy = self.windows.infer_labels(inputs, self._infer_arranged)
        for i, sample in enumerate(data_samples):
            add_seg_labels(sample, labels[i], entropy[i])
        return data_samples

    @abstractmethod
    def _forward(self, inputs: Tensor) -> object:
        """Raw outputs, for tracing and counting."""
