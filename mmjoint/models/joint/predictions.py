"""How network outputs become fields of the samples; shared by all joint models."""

import torch.nn.functional as F
from mmengine.structures import BaseDataElement, PixelData
from torch import Tensor

from mmjoint.functional.dirichlet import opinion_measures, predictive_entropy
from mmjoint.structures import JointDataSample, VolumeData

_MODES = {2: 'bilinear', 3: 'trilinear'}


def to_original_size(maps: Tensor, sample: JointDataSample) -> Tensor:
    """Undo padding and resizing of one sample's maps.

    Args:
        maps: ``(C, *space)`` at the network's input size.
        sample: Its metainfo gives ``img_shape`` (size before padding) and ``ori_shape``.

    Returns:
        ``(C, *ori_shape)``.
    """
    space = maps.dim() - 1
    inner = sample.metainfo.get('img_shape', maps.shape[1:])[:space]
    maps = maps[(slice(None), *(slice(0, int(length)) for length in inner))]
    original = tuple(int(n) for n in sample.metainfo.get('ori_shape', inner)[:space])
    if tuple(maps.shape[1:]) == original:
        return maps
    return F.interpolate(maps[None], size=original, mode=_MODES[space], align_corners=False)[0]


def _pixel_data(**maps: Tensor) -> PixelData | VolumeData:
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
    logits = to_original_size(logits.float(), sample)
    sample.seg_logits = _pixel_data(data=logits)
    sample.pred_sem_seg = _pixel_data(data=logits.argmax(0, keepdim=True))
    if evidence is None:
        measures = {'predictive_entropy': predictive_entropy(logits.softmax(0)[None])}
    else:
        evidence = to_original_size(evidence.float(), sample)
        measures = opinion_measures(evidence[None] + 1)
    sample.seg_uncertainty = _pixel_data(**{name: value[0] for name, value in measures.items()})


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
