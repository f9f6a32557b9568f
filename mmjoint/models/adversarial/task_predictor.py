from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from mmjoint.structures import SampleList

from ..joint import BatchPrediction, InferringModel, add_task_prediction
from .adversarial_model import bare


class TaskPredictor(InferringModel):
    """Predicts the channels of several tasks by a generator of theirs.

    .. code:: text

        infer(inputs)            logits of generator(inputs), bilinear at the size of the inputs
        predict(inputs, samples) to the original size, bilinear, then probabilities: pred_tasks,
                                 and how uncertain they are: seg_uncertainty

    A model that derives from it has ``tasks`` and a module ``generator``, whose result has the
    logits ``(B, C_t, h, w)`` by task as ``main``.
    """

    def infer(self, inputs: Tensor) -> BatchPrediction:
        """Predict a batch ``(B, 3, H, W)``: ``task_logits``."""
        logits = bare(self.generator)(inputs).main
        return BatchPrediction(task_logits=join_tasks(logits, self.tasks, inputs.shape[2:]))

    def predict(self, inputs: Tensor, data_samples: SampleList) -> SampleList:
        """Fill ``pred_tasks`` and ``seg_uncertainty`` of the samples."""
        logits = self.infer(inputs).task_logits
        for sample, one in zip(data_samples, logits, strict=True):
            add_task_prediction(sample, one, self.tasks)
        return data_samples


def join_tasks(logits: Mapping[str, Tensor], tasks: Sequence[str], size: Sequence[int]) -> Tensor:
    """Bring the logits of all tasks to one size and lay them one behind the other.

    Args:
        logits: By task, ``(B, C_t, h, w)``.
        tasks: The tasks in their order.
        size: Height and width of the result.

    Returns:
        float32 or float64 ``(B, C, H, W)``.
    """
    parts = [logits[task] for task in tasks]
    full = [part if part.dtype == torch.float64 else part.float() for part in parts]
    return torch.cat([enlarge(part, size) for part in full], 1)


def enlarge(logits: Tensor, size: Sequence[int]) -> Tensor:
    """Bring logits ``(B, C, h, w)`` to another size, bilinear."""
    if tuple(logits.shape[2:]) == tuple(size):
        return logits
    return F.interpolate(logits, tuple(size), mode='bilinear', align_corners=False)
