from abc import ABCMeta, abstractmethod
from collections.abc import Mapping, Sequence

from mmengine.model import BaseModel
from torch import Tensor

from .predictions import BatchPrediction
from .windows import SlidingWindow


class InferringModel(BaseModel, metaclass=ABCMeta):
    """A model that predicts a batch without looking at its samples.

    It is what ``mmjoint.models.uncertainty`` knows of a model, whatever that predicts: a mask, a
    class of the image, or the channels of several tasks.
    """

    tasks: Mapping[str, Mapping[str, Sequence[int]]] = {}
    """Channels of each task, see :mod:`mmjoint.functional.multilabel`; empty for other models."""

    windows: SlidingWindow | None = None
    """Settings of the sliding window, None where inputs are predicted whole."""

    def arrange(self, inputs: Tensor) -> Tensor:
        """Bring images or volumes into the model's memory format."""
        return inputs.contiguous()

    @abstractmethod
    def infer(self, inputs: Tensor) -> BatchPrediction:
        """Predict a batch.

        Args:
            inputs: ``(B, C, *space)``, preprocessed.
        """
