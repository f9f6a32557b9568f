from collections.abc import Iterator

from mmengine.structures import BaseDataElement
from torch import Tensor

from mmjoint.functional.dirichlet import predictive_entropy
from mmjoint.registry import UNCERTAINTY
from mmjoint.structures import JointDataSample, SampleList
from mmjoint.utils.errors import UserError

from ..joint import BatchPrediction, InferringModel
from ..joint.predictions import add_cls_prediction, add_seg_prediction
from .base import UncertaintyEstimator


@UNCERTAINTY.register_module(name=['Softmax', 'softmax'])
class Softmax(UncertaintyEstimator):
    """One pass: the entropy of the predicted probabilities.

    With a single pass the expected entropy is the predictive one, and mutual information and
    variance are 0. Evidence of an evidential model is not looked at, but for the mean of its image
    class. Channels of tasks are taken the same way, each by the sigmoid of its logit. Arguments are
    those of :class:`UncertaintyEstimator`.
    """

    def passes(self, inputs: Tensor, sample: JointDataSample) -> Iterator[BatchPrediction]:
        """Predict once."""
        yield self.model.infer(inputs)

    def _predict(self, inputs: Tensor, data_samples: SampleList) -> None:
        for sample, output in zip(data_samples, _one_by_one(self.model.infer(inputs)), strict=True):
            streams = self._streams()
            self._take_in(output, sample, streams)
            self.fill(sample, streams)


def _one_by_one(output: BatchPrediction) -> Iterator[BatchPrediction]:
    """Take a batch apart into batches of one."""
    size = next(len(part) for part in output if part is not None)
    for i in range(size):
        yield BatchPrediction(*(None if part is None else part[i : i + 1] for part in output))


@UNCERTAINTY.register_module(name=['Evidential', 'evidential'])
class Evidential(UncertaintyEstimator):
    """One pass of an evidential model: the measures of its opinion.

    Without temperatures the samples are filled as the model does it by itself. The measures of
    pixels and of the image are those of the Dirichlet opinion: ``vacuity``, ``dissonance``,
    ``predictive_entropy``, ``expected_entropy``, ``mutual_information`` and ``variance``, here the
    opinion's own and not those of a sample of passes. The image class comes from the mean of its
    opinion, alpha / strength, the mask from the model's mask logits.

    A temperature changes ``pred_score`` and its ``predictive_entropy``, and ``seg_logits``. The
    pixels' measures belong to the opinion, not to the mask logits, and stay.

    Args:
        model: A model that gives evidence for pixels, the image or both. A task for which it gives
            none gets the entropy of its softmax alone.
        seg_temperature: See :class:`UncertaintyEstimator`.
        cls_temperature: See :class:`UncertaintyEstimator`.
    """

    measures = (
        'predictive_entropy',
        'expected_entropy',
        'mutual_information',
        'variance',
        'vacuity',
        'dissonance',
    )

    def __init__(
        self,
        model: InferringModel,
        *,
        seg_temperature: float = 1.0,
        cls_temperature: float = 1.0,
    ) -> None:
        super().__init__(model, seg_temperature=seg_temperature, cls_temperature=cls_temperature)

    def passes(self, inputs: Tensor, sample: JointDataSample) -> Iterator[BatchPrediction]:
        """Predict once.

        Raises:
            UserError: The model gives no evidence.
        """
        if self.model.tasks:
            raise UserError(
                'evidential: expected a model that gives evidence, such as UML, found '
                f'{type(self.model).__name__}, whose tasks have independent channels (sigmoid) and '
                'no evidence; use softmax, mc_dropout, tta or ensemble'
            )
        output = self.model.infer(inputs)
        if output.seg_evidence is None and output.cls_alpha is None:
            raise UserError(
                f'evidential: expected a model that gives evidence, such as UML, found '
                f'{type(self.model).__name__}, which gives logits alone; use the estimator softmax '
                'or one that makes several passes'
            )
        yield output

    def _predict(self, inputs: Tensor, data_samples: SampleList) -> None:
        (batch,) = self.passes(inputs, data_samples[0])
        for sample, output in zip(data_samples, _one_by_one(batch), strict=True):
            self._fill(sample, output)

    def _fill(self, sample: JointDataSample, output: BatchPrediction) -> None:
        one = BatchPrediction(*(None if part is None else part[0] for part in output))
        if one.seg_logits is not None:
            add_seg_prediction(sample, one.seg_logits, one.seg_evidence)
            if self.seg_temperature != 1.0:
                sample.seg_logits.data = sample.seg_logits.data / self.seg_temperature
                if one.seg_evidence is None:
                    entropy = predictive_entropy(sample.seg_logits.data.softmax(0)[None])[0]
                    sample.seg_uncertainty.predictive_entropy = entropy
            if self.observer is not None:
                self.observer(sample, 0, sample.seg_logits.data.softmax(0))
        if one.cls_alpha is None and one.cls_logits is None:
            return
        add_cls_prediction(sample, alpha=one.cls_alpha, logits=one.cls_logits)
        if self.cls_temperature != 1.0:
            probs = (sample.pred_score.log() / self.cls_temperature).softmax(0)
            sample.set_pred_score(probs)
            measures = dict(sample.cls_uncertainty.items())
            measures['predictive_entropy'] = predictive_entropy(probs[None]).reshape(())
            sample.set_field(BaseDataElement(**measures), 'cls_uncertainty', dtype=BaseDataElement)
