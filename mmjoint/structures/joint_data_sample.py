from multiprocessing.reduction import ForkingPickler
from typing import Any

import numpy as np
import torch
from mmengine.structures import BaseDataElement, PixelData
from mmpretrain.structures import DataSample
from mmseg.structures import SegDataSample
from torch import Tensor


class JointDataSample(SegDataSample, DataSample):
    """One image or volume with its image-level class and its mask, annotated and predicted.

    It speaks the vocabularies of mmseg and of mmpretrain at once, so their heads and metrics work
    on it. A task for which the sample is unlabelled has no field: ask ``'gt_label' in sample``.

    Data fields (K image classes, C mask classes, ``*space`` is ``H, W`` or ``D, H, W``; mask
    fields are :class:`~mmengine.structures.PixelData` or :class:`VolumeData`):

    - ``gt_label``: int64 ``(1,)``, the image-level class in ``[0, K)``; by ``set_gt_label``.
    - ``gt_sem_seg``: ``data`` int64 ``(1, *space)``, classes in ``[0, C)`` or 255 (ignored).
    - ``pred_label``: int64 ``(1,)``; ``pred_score``: float ``(K,)`` summing to 1.
    - ``cls_alpha``: float ``(K,)``, Dirichlet parameters > 0 of the image-level class; from
      evidential models only, with ``pred_score`` = ``cls_alpha`` / sum.
    - ``seg_logits``: ``data`` float ``(C, *space)``; ``pred_sem_seg``: ``data`` int64
      ``(1, *space)``; both at the original size.
    - ``seg_uncertainty``: one float ``(1, *space)`` map per measure (``vacuity``,
      ``predictive_entropy``, ...); of models with several tasks one per measure and task
      (``predictive_entropy_odoc``), of the task's most uncertain channel.
    - ``explanations``: of images, one float ``(1, H, W)`` map >= 0 per way to explain the predicted
      class (``saliency``, ``class_activation``), at the original size, without unit.
    - ``gt_tasks``: of models with several tasks, one int64 ``(1, *space)`` label map for each task
      that the sample is annotated for, by the task's name; 255 tells nothing.
    - ``pred_tasks``: one float ``(C_t, *space)`` map per task: the probability of each of its
      channels, which may overlap, at the original size.
    - ``cls_uncertainty``: :class:`~mmengine.structures.BaseDataElement`, one float scalar tensor
      per measure.

    Metainfo: ``img_path``, ``ori_shape`` (the file's size), ``img_shape`` (the network input's
    size), ``sample_idx``, ``spacing`` (mm, in the order of the space axes), ``domain``,
    ``annotated_classes``, ``patient_id``, ``slice``. ``num_classes`` means image classes.

    Examples:
        >>> sample = JointDataSample(metainfo=dict(img_path='a.png')).set_gt_label(1)
        >>> sample.gt_sem_seg = PixelData(data=torch.zeros(1, 4, 4, dtype=torch.int64))
        >>> 'pred_sem_seg' in sample
        False
    """

    @property
    def seg_uncertainty(self) -> PixelData:
        """Maps of pixel-wise uncertainty, one field per measure."""
        return self._seg_uncertainty

    @seg_uncertainty.setter
    def seg_uncertainty(self, value: PixelData) -> None:
        self.set_field(value, '_seg_uncertainty', dtype=PixelData)

    @seg_uncertainty.deleter
    def seg_uncertainty(self) -> None:
        del self._seg_uncertainty

    @property
    def explanations(self) -> PixelData:
        """Maps that explain the predicted class, one field per way to explain it."""
        return self._explanations

    @explanations.setter
    def explanations(self, value: PixelData) -> None:
        self.set_field(value, '_explanations', dtype=PixelData)

    @explanations.deleter
    def explanations(self) -> None:
        del self._explanations

    @property
    def gt_tasks(self) -> PixelData:
        """Label maps, one field per annotated task."""
        return self._gt_tasks

    @gt_tasks.setter
    def gt_tasks(self, value: PixelData) -> None:
        self.set_field(value, '_gt_tasks', dtype=PixelData)

    @gt_tasks.deleter
    def gt_tasks(self) -> None:
        del self._gt_tasks

    @property
    def pred_tasks(self) -> PixelData:
        """Probabilities of the channels, one field per task."""
        return self._pred_tasks

    @pred_tasks.setter
    def pred_tasks(self, value: PixelData) -> None:
        self.set_field(value, '_pred_tasks', dtype=PixelData)

    @pred_tasks.deleter
    def pred_tasks(self) -> None:
        del self._pred_tasks

    @property
    def cls_uncertainty(self) -> BaseDataElement:
        """Image-level uncertainty, one scalar per measure."""
        return self._cls_uncertainty

    @cls_uncertainty.setter
    def cls_uncertainty(self, value: BaseDataElement) -> None:
        self.set_field(value, '_cls_uncertainty', dtype=BaseDataElement)

    @cls_uncertainty.deleter
    def cls_uncertainty(self) -> None:
        del self._cls_uncertainty

    @property
    def cls_alpha(self) -> Tensor:
        """Dirichlet parameters of the image-level class, ``(K,)``."""
        return self._cls_alpha

    @cls_alpha.setter
    def cls_alpha(self, value: Tensor) -> None:
        if isinstance(value, Tensor) and value.ndim != 1:
            raise ValueError(f'cls_alpha must have the shape (K,), got {tuple(value.shape)}')
        self.set_field(value, '_cls_alpha', dtype=Tensor)

    @cls_alpha.deleter
    def cls_alpha(self) -> None:
        del self._cls_alpha


def _reduce(sample: JointDataSample) -> tuple[Any, tuple[type, dict[str, Any]]]:
    """Take a sample apart for another process; the sample itself stays as it is.

    Each tensor that torch sends to another process costs a file descriptor, so the few numbers of
    a label or score go as arrays. Maps keep their fast way through shared memory.
    """
    state = {
        name: _Array(value.detach().cpu().numpy()) if isinstance(value, Tensor) else value
        for name, value in sample.__dict__.items()
    }
    return _rebuild, (type(sample), state)


def _rebuild(kind: type, state: dict[str, Any]) -> JointDataSample:
    sample = kind()
    sample.__dict__.update(
        {
            name: torch.from_numpy(value.array) if isinstance(value, _Array) else value
            for name, value in state.items()
        }
    )
    return sample


class _Array:
    """An array that was a tensor."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array


ForkingPickler.register(JointDataSample, _reduce)
