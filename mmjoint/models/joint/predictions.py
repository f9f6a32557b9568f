"""How network outputs become fields of the samples; shared by all joint models."""

from typing import NamedTuple

import torch.nn.functional as F
from mmengine.structures import BaseDataElement, PixelData
from torch import Tensor

from mmjoint.functional.dirichlet import opinion_measures, predictive_entropy
from mmjoint.structures import JointDataSample, VolumeData

_MODES = {2: 'bilinear', 3: 'trilinear'}


class BatchPrediction(NamedTuple):
    """What a model predicts for a batch; a task that it does not have is None.

    Attributes:
        seg_logits: ``(B, C, *space)`` at the network's input size.
        seg_evidence: Pixel evidence >= 0, likewise, of models that measure it.
        cls_logits: ``(B, K)``.
        cls_alpha: Dirichlet parameters ``(B, K)``, >= 1, in place of ``cls_logits``.
    """

    seg_logits: Tensor | None = None
    seg_evidence: Tensor | None = None
    cls_logits: Tensor | None = None
    cls_alpha: Tensor | None = None


def to_original_size(maps: Tensor, sample: JointDataSample) -> Tensor:
    """Undo padding and resizing of maps of one sample.

    Args:
        maps: ``(M, C, *space)`` at the network's input size, M maps of the same sample.
        sample: Its metainfo gives ``img_shape`` (size before padding) and ``ori_shape``.

    Returns:
        ``(M, C, *ori_shape)``.
    """
    space = maps.dim() - 2
    inner = sample.metainfo.get('img_shape', maps.shape[2:])[:space]
    maps = maps[(..., *(slice(0, int(length)) for length in inner))]
    original = tuple(int(n) for n in sample.metainfo.get('ori_shape', inner)[:space])
    if tuple(maps.shape[2:]) == original:
        return maps
    return F.interpolate(maps, size=original, mode=_MODES[space], align_corners=False)


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
