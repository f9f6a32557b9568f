from collections.abc import Sequence

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmengine.structures import PixelData

from mmjoint.registry import TRANSFORMS
from mmjoint.structures import JointDataSample, VolumeData

from .task_loading import TASK_PREFIX


@TRANSFORMS.register_module()
class PackJointInputs(BaseTransform):
    """Pack a sample for the model; the last transform of every pipeline.

    Ground truth fields exist only where their keys do: what is absent is unlabelled.

    Required Keys:

    - img (np.ndarray): ``(H, W, C)`` or ``(D, H, W, C)``
    - gt_label (int, optional)
    - gt_seg_map (np.ndarray, optional): ``(H, W)`` or ``(D, H, W)``
    - gt_task_<name> (np.ndarray, optional): ``(H, W)``, where ``seg_fields`` names them
    - those of ``meta_keys`` that are there

    The result has the keys:

    - inputs (Tensor): ``(C, H, W)`` or ``(C, D, H, W)``, the image's dtype (float64 as float32)
    - data_samples (JointDataSample): ``gt_label`` int64 ``(1,)``, ``gt_sem_seg`` int64
      ``(1, *space)`` as ``PixelData`` or ``VolumeData``, ``gt_tasks`` with one int64
      ``(1, H, W)`` by task, and the metainfo

    Args:
        meta_keys: Keys that become metainfo where they are present and not ``None``.
    """

    def __init__(
        self,
        meta_keys: Sequence[str] = (
            'img_path',
            'ori_shape',
            'img_shape',
            'raw_shape',
            'sample_idx',
            'spacing',
            'geometry',
            'domain',
            'patient_id',
            'slice',
            'annotated_classes',
            'scale_factor',
            'flip',
            'flip_direction',
            'fov_path',
            'frame',
        ),
    ) -> None:
        self.meta_keys = tuple(meta_keys)

    def transform(self, results: dict) -> dict:
        """Give ``inputs`` and ``data_samples``."""
        image = results['img']
        if image.dtype == np.float64:
            image = image.astype(np.float32)
        inputs = torch.from_numpy(np.ascontiguousarray(np.moveaxis(image, -1, 0)))
        sample = JointDataSample(
            metainfo={key: results[key] for key in self.meta_keys if results.get(key) is not None}
        )
        if 'gt_label' in results:
            sample.set_gt_label(int(results['gt_label']))
        if 'gt_seg_map' in results:
            seg_map = torch.from_numpy(results['gt_seg_map'].astype(np.int64))[None]
            kind = PixelData if seg_map.ndim == 3 else VolumeData
            sample.gt_sem_seg = kind(data=seg_map)
        tasks = [key for key in results.get('seg_fields', ()) if key.startswith(TASK_PREFIX)]
        if tasks:
            maps = {
                key.removeprefix(TASK_PREFIX): torch.from_numpy(results[key].astype(np.int64))[None]
                for key in tasks
            }
            sample.gt_tasks = PixelData(**maps)
        return dict(inputs=inputs, data_samples=sample)

    def __repr__(self) -> str:
        """Show the options."""
        return f'{type(self).__name__}(meta_keys={self.meta_keys})'
