from collections.abc import Iterator

from torch import Tensor

from mmjoint.registry import UNCERTAINTY
from mmjoint.structures import JointDataSample

from ..joint import BatchPrediction
from .base import UncertaintyEstimator


@UNCERTAINTY.register_module(name=['Softmax', 'softmax'])
class Softmax(UncertaintyEstimator):
    """One pass: the entropy of the predicted probabilities.

    With a single pass the expected entropy is the predictive one, and mutual information and
    variance are 0. Evidence of an evidential model is not looked at, but for the mean of its image
    class. Arguments are those of :class:`UncertaintyEstimator`.
    """

    def passes(self, inputs: Tensor, sample: JointDataSample) -> Iterator[BatchPrediction]:
        """Predict once."""
        yield self.model.infer(inputs)
