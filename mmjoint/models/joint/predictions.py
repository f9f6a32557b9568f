"""How network outputs become fields of the samples; shared by all joint models."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from mmengine.structures import BaseDataElement, PixelData
from torch import Tensor

from mmjoint.functional.dirichlet import opinion_measures, predictive_entropy
from mmjoint.functional.uncertainty_scale import task_measure
from mmjoint.structures import JointDataSample, VolumeData
from mmjoint.utils.errors import UserError

_MODES = {2: 'bilinear', 3: 'trilinear'}


class BatchPrediction(NamedTuple):
    """What a model predicts for a batch; a task that it does not have is None.

    Attributes:
        seg_logits: ``(B, C, *space)`` at the network's input size.
        seg_evidence: Pixel evidence >= 0, likewise, of models that measure it.
        cls_logits: ``(B, K)``.
        cls_alpha: Dirichlet parameters ``(B, K)``, >= 1, in place of ``cls_logits``.
        task_logits: ``(B, C, *space)`` at the network's input size, each channel a question of its
            own (sigmoid): the channels of all tasks, in the order of the model's ``tasks``.
    """

    seg_logits: Tensor | None = None
    seg_evidence: Tensor | None = None
    cls_logits: Tensor | None = None
    cls_alpha: Tensor | None = None
    task_logits: Tensor | None = None


def to_original_size(maps: Tensor, sample: JointDataSample) -> Tensor:
    """Undo padding and resizing of maps of one sample.

    Args:
        maps: ``(M, C, *space)`` at the network's input size, M maps of the same sample.
        sample: Its metainfo gives ``img_shape`` (size before padding) and ``ori_shape``.

    Returns:
        ``(M, C, *ori_shape)``.
    """
    inner, original = _sizes(sample, maps.shape[2:])
    maps = _without_padding(maps, inner)
    if tuple(maps.shape[2:]) == original:
        return maps
    return F.interpolate(maps, size=original, mode=_MODES[len(inner)], align_corners=False)


def check_original_size(sample: JointDataSample, space: Sequence[int]) -> None:
    """Refuse a sample whose labels would have to be resized.

    Args:
        sample: Its metainfo gives ``img_shape`` (size before padding) and ``ori_shape``.
        space: The network's input size.

    Raises:
        UserError: The two differ.
    """
    inner, original = _sizes(sample, space)
    if inner != original:
        raise UserError(
            f'{sample.metainfo.get("img_path", "a sample")}: test_cfg.bounded=True expected an '
            f'input of the original size {original}, found it resized to {inner}; take the '
            'resizing out of the pipeline or set test_cfg.bounded=False'
        )


def _sizes(
    sample: JointDataSample, space: Sequence[int]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Size of the input before padding, and of the original."""
    inner = sample.metainfo.get('img_shape', space)[: len(space)]
    original = sample.metainfo.get('ori_shape', inner)[: len(space)]
    return tuple(int(n) for n in inner), tuple(int(n) for n in original)


def _without_padding(maps: Tensor, inner: Sequence[int]) -> Tensor:
    return maps[(..., *(slice(0, length) for length in inner))]


def pixel_data(**maps: Tensor) -> PixelData | VolumeData:
    """Wrap maps ``(C, *space)`` of one sample in the structure of their dimension."""
    space = next(iter(maps.values())).dim() - 1
    return (VolumeData if space == 3 else PixelData)(**maps)


def add_seg_prediction(
    sample: JointDataSample, logits: Tensor, evidence: Tensor | None = None
) -> None:
    """Write the mask, its logits and the pixels' uncertainty into a sample.

    Args:
        sample: Gets ``seg_logits``, ``pred_sem_seg`` and ``seg_uncertainty``.
        logits: ``(C, *space)`` at the network's input size.
        evidence: Pixel evidence >= 0, ``(C, *space)``. With it all measures of the opinion are
            written; without it the predictive entropy of the softmax alone.
    """
    logits = to_original_size(logits.float()[None], sample)[0]
    sample.seg_logits = pixel_data(data=logits)
    sample.pred_sem_seg = pixel_data(data=logits.argmax(0, keepdim=True))
    if evidence is None:
        measures = {'predictive_entropy': predictive_entropy(logits.softmax(0)[None])}
    else:
        evidence = to_original_size(evidence.float()[None], sample)
        measures = opinion_measures(evidence + 1)
    sample.seg_uncertainty = pixel_data(**{name: value[0] for name, value in measures.items()})


def add_seg_labels(sample: JointDataSample, labels: Tensor, entropy: Tensor) -> None:
    """Write the mask and its predictive entropy into a sample, where no logits are kept.

    Args:
        sample: Gets ``pred_sem_seg`` and ``seg_uncertainty``; see :func:`check_original_size`.
        labels: Integers ``(1, *space)`` at the network's input size.
        entropy: Predictive entropy, ``(1, *space)``, nats.
    """
    inner, _ = _sizes(sample, labels.shape[1:])
    labels, entropy = (_without_padding(maps, inner) for maps in (labels, entropy))
    sample.pred_sem_seg = pixel_data(data=labels.long())
    # A copy: a view would keep the maps of the whole batch, with their padding, alive.
    sample.seg_uncertainty = pixel_data(predictive_entropy=entropy.clone())


def split_tasks(maps: Tensor, tasks: Mapping[str, Sequence], axis: int = 0) -> dict[str, Tensor]:
    """Take maps of the channels of all tasks apart.

    Args:
        maps: As many channels along ``axis`` as all tasks have, in their order.
        tasks: Channels of each task.
        axis: Of the channels.

    Returns:
        Views by task.
    """
    parts = maps.split([len(channels) for channels in tasks.values()], axis)
    return dict(zip(tasks, parts, strict=True))


def add_task_prediction(
    sample: JointDataSample, logits: Tensor, tasks: Mapping[str, Sequence]
) -> None:
    """Write the probabilities of the tasks' channels into a sample.

    Args:
        sample: Gets ``pred_tasks`` and the predictive entropy as ``seg_uncertainty``.
        logits: ``(C, *space)`` at the network's input size.
        tasks: Channels of each task.
    """
    probs = to_original_size(logits[None], sample)[0].sigmoid()
    sample.pred_tasks = pixel_data(**split_tasks(probs, tasks))
    entropy = predictive_entropy(torch.stack([1 - probs, probs], 1)).movedim(0, 1)
    sample.seg_uncertainty = pixel_data(**task_measures({'predictive_entropy': entropy}, tasks))


def task_measures(
    measures: Mapping[str, Tensor], tasks: Mapping[str, Sequence]
) -> dict[str, Tensor]:
    """Reduce measures of single channels to one map per measure and task.

    A channel is a question of its own, answered yes or no (a Bernoulli variable). A task is as
    uncertain as the channel of its that is the most uncertain by that measure. So tasks of many
    channels and of few have the same range, the one of two classes.

    Args:
        measures: By name, ``(1, C, *space)`` of the channels of all tasks.
        tasks: Channels of each task.

    Returns:
        ``<measure>_<task>`` -> ``(1, *space)``.
    """
    return {
        task_measure(name, task): part.amax(1)
        for name, values in measures.items()
        for task, part in split_tasks(values, tasks, axis=1).items()
    }


def add_cls_prediction(
    sample: JointDataSample, *, alpha: Tensor | None = None, logits: Tensor | None = None
) -> None:
    """Write the class, its probabilities and their uncertainty into a sample.

    Args:
        sample: Gets ``pred_label``, ``pred_score``, ``cls_uncertainty`` and, with ``alpha``,
            ``cls_alpha``.
        alpha: Dirichlet parameters ``(K,)``, >= 1.
        logits: ``(K,)``, in place of ``alpha``.
    """
    if alpha is not None:
        alpha = alpha.float()
        probs = alpha / alpha.sum()
        measures = opinion_measures(alpha[None])
        sample.set_field(alpha, 'cls_alpha', dtype=Tensor)
    else:
        probs = logits.float().softmax(0)
        measures = {'predictive_entropy': predictive_entropy(probs[None])}
    sample.set_pred_score(probs)
    # The lower class wins a tie, and alpha itself decides, not its rounded quotient.
    sample.set_pred_label((probs if alpha is None else alpha).argmax())
    sample.set_field(
        BaseDataElement(**{name: value.reshape(()) for name, value in measures.items()}),
        'cls_uncertainty',
        dtype=BaseDataElement,
    )
