from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from mmengine.model import BaseModel
from mmengine.structures import BaseDataElement
from torch import Tensor

from mmjoint.functional.dirichlet import expected_probs, predictive_entropy
from mmjoint.functional.predictive import StreamingProbs
from mmjoint.structures import JointDataSample, OptSampleList, SampleList

from ..joint import (
    BatchPrediction,
    InferringModel,
    pixel_data,
    split_tasks,
    task_measures,
    to_original_size,
)

Observer = Callable[[JointDataSample, int, Tensor], None]


class Streams(NamedTuple):
    """What was taken in of the passes over an image.

    Attributes:
        seg: Classes of the mask, maps ``(C, *ori_shape)``.
        cls: Classes of the image, ``(K,)``.
        tasks: Channels of all tasks: two classes, no and yes, of maps ``(C, *ori_shape)``.
    """

    seg: StreamingProbs
    cls: StreamingProbs
    tasks: StreamingProbs


class UncertaintyEstimator(BaseModel):
    """Predicts with a built model several times, or in several ways, and measures the spread.

    It takes the model's place in a test loop: same data in, same filled samples out. The model
    itself is not changed and knows nothing of it.

    .. code:: text

        predict(inputs, samples)           one image after the other
          passes(image, sample)            chunks of M predictions, by the subclass
            -> to the original size, probabilities, StreamingProbs
          -> fields of the sample

    Fields: ``seg_logits`` (logarithm of the mean probabilities), ``pred_sem_seg`` (their argmax),
    ``seg_uncertainty``, with ``keep_std`` also ``seg_std``; ``pred_score`` (mean), ``pred_label``
    and ``cls_uncertainty``. Of a model with tasks: ``pred_tasks`` (mean of each channel) and in
    ``seg_uncertainty`` one map ``<measure>_<task>`` each, the largest of the task's channels, which
    count as independent Bernoulli variables; with ``keep_std`` also ``task_std``, by task.

    A temperature T turns the mean probabilities p into softmax(log(p) / T) after the passes are
    pooled; the predictive entropy follows it, the other measures describe the passes as they are.

    Args:
        model: A built model of masks, image classes, both, or several tasks, 2-D or 3-D.
        keep_std: Whether to keep each class's standard deviation over the passes, ``(C, *space)``.
        spread: Whether to measure what needs every single pass: expected entropy, mutual
            information and variance. Without it only the mean and its entropy are worked out.
        seg_temperature: Temperature of the pixel probabilities, those of channels too, > 0.
        cls_temperature: Temperature of the class probabilities, > 0.
    """

    measures: tuple[str, ...] = (
        'predictive_entropy',
        'expected_entropy',
        'mutual_information',
        'variance',
    )
    """What is measured; without ``spread`` the first alone."""

    def __init__(
        self,
        model: InferringModel,
        *,
        keep_std: bool = False,
        spread: bool = True,
        seg_temperature: float = 1.0,
        cls_temperature: float = 1.0,
    ) -> None:
        super().__init__(data_preprocessor=model.data_preprocessor)
        for name, value in (('seg', seg_temperature), ('cls', cls_temperature)):
            if not value > 0:
                raise ValueError(f'{name}_temperature must be > 0, got {value}')
        if keep_std and not spread:
            raise ValueError('keep_std needs spread=True')
        self.model = model
        self.keep_std = keep_std
        self.spread = spread
        self.seg_temperature = float(seg_temperature)
        self.cls_temperature = float(cls_temperature)
        self.observer: Observer | None = None
        """Called with sample, number of the pass and its pixel probabilities ``(C, *ori_shape)``;
        of a model with tasks those of the channels of all tasks, in their order.
        """

    @classmethod
    def adapt_pipeline(
        cls, pipeline: Sequence[Mapping[str, Any]], uq: Mapping[str, Any]
    ) -> list[Mapping[str, Any]]:
        """Give the test pipeline that an estimator of these settings needs.

        Args:
            pipeline: Configs of the transforms.
            uq: Settings of the estimator.
        """
        return list(pipeline)

    @abstractmethod
    def passes(self, inputs: Tensor, sample: JointDataSample) -> Iterator[BatchPrediction]:
        """Predict one image several times.

        Args:
            inputs: ``(1, C, *space)``, preprocessed, in the model's memory format.
            sample: The sample that the image belongs to.

        Yields:
            Predictions of M passes at a time, which stand in place of the batch:
            ``seg_logits`` and ``task_logits`` ``(M, C, *space)``, ``cls_logits`` or ``cls_alpha``
            ``(M, K)``.
        """

    def forward(self, inputs: Tensor, data_samples: OptSampleList = None, mode: str = 'predict'):
        """Predict; the modes 'loss' and 'tensor' are the model's own."""
        if mode == 'predict':
            return self.predict(inputs, data_samples)
        return self.model(inputs, data_samples, mode)

    def predict(self, inputs: Tensor, data_samples: SampleList) -> SampleList:
        """Fill the samples with mean predictions and their uncertainty, without gradients."""
        # Under inference_mode tensors would not tell whether they were changed in place.
        with torch.inference_mode(False), torch.no_grad():
            inputs = inputs.clone() if inputs.is_inference() else inputs
            self._predict(self.model.arrange(inputs), data_samples)
        return data_samples

    def _predict(self, inputs: Tensor, data_samples: SampleList) -> None:
        for i, sample in enumerate(data_samples):
            streams = self._streams()
            for chunk in self.passes(inputs[i : i + 1], sample):
                self._take_in(chunk, sample, streams)
            self.fill(sample, streams)

    def _streams(self) -> Streams:
        return Streams(*(StreamingProbs(spread=self.spread) for _ in Streams._fields))

    def _take_in(self, chunk: BatchPrediction, sample: JointDataSample, streams: Streams) -> None:
        seg = streams.seg
        # Pass by pass: at the original size maps are large.
        for logits in () if chunk.seg_logits is None else chunk.seg_logits.float().split(1):
            if logits.shape[1] == 2:  # softmax over two classes looks at the difference alone
                margin = to_original_size(logits[:, 1:] - logits[:, :1], sample)[0]
                seg.update_margin(margin)
                logits = torch.cat([-margin / 2, margin / 2]) if self.observer else None
            else:
                logits = to_original_size(logits, sample)[0]
                seg.update_logits(logits)
            if self.observer is not None:
                self.observer(sample, seg.count - 1, logits.softmax(0))
        for logits in () if chunk.task_logits is None else chunk.task_logits.float().split(1):
            margin = to_original_size(logits, sample)  # of two classes, in C maps
            streams.tasks.update_margin(margin)
            if self.observer is not None:
                self.observer(sample, streams.tasks.count - 1, margin[0].sigmoid())
        if chunk.cls_alpha is not None:
            for probs in expected_probs(chunk.cls_alpha.float()):
                streams.cls.update(probs)
        elif chunk.cls_logits is not None:
            for probs in chunk.cls_logits.float().softmax(1):
                streams.cls.update(probs)

    def fill(self, sample: JointDataSample, streams: Streams) -> None:
        """Write what was taken in into a sample; what had no passes is left alone."""
        seg, cls, tasks = streams
        if seg.count:
            probs, measures = self._tempered(seg, self.seg_temperature)
            sample.seg_logits = pixel_data(data=_log(probs))
            sample.pred_sem_seg = pixel_data(data=probs.argmax(0, keepdim=True))
            sample.seg_uncertainty = pixel_data(**measures)
            if self.keep_std:
                sample.set_field(pixel_data(data=seg.std()), 'seg_std')
        if tasks.count:
            probs, measures = self._tempered(tasks, self.seg_temperature)
            table = self.model.tasks
            sample.pred_tasks = pixel_data(**split_tasks(probs[1], table))
            sample.seg_uncertainty = pixel_data(**task_measures(measures, table))
            if self.keep_std:
                sample.set_field(pixel_data(**split_tasks(tasks.std()[1], table)), 'task_std')
        if cls.count:
            probs, measures = self._tempered(cls, self.cls_temperature)
            sample.set_pred_score(probs)
            sample.set_pred_label(probs.argmax())
            measures = {name: value.reshape(()) for name, value in measures.items()}
            sample.set_field(BaseDataElement(**measures), 'cls_uncertainty', dtype=BaseDataElement)

    @staticmethod
    def _tempered(probs: StreamingProbs, temperature: float) -> tuple[Tensor, dict[str, Tensor]]:
        mean, measures = probs.mean(), probs.measures()
        if temperature != 1.0:
            mean = (_log(mean) / temperature).softmax(0)
            measures['predictive_entropy'] = predictive_entropy(mean[None])[0]
        return mean, measures


def _log(probs: Tensor) -> Tensor:
    return probs.clamp_min(torch.finfo(probs.dtype).tiny).log_()
