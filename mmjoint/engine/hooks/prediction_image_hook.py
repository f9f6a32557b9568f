from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from mmengine.dist import is_main_process
from mmengine.hooks import Hook

from mmjoint.registry import HOOKS
from mmjoint.utils.io import atomic_write_bytes
from mmjoint.utils.pictures import to_picture, without_padding


@HOOKS.register_module()
class PredictionImageHook(Hook):
    """Draw predictions: some validation samples to the backends, test samples into a folder.

    Args:
        num_samples: How many of the first validation samples (of the main process) are drawn at
            each validation; 0 draws none.
        interval: Draw at every so many-th validation only.
        show_dir: Folder for one picture per test sample; ``None`` draws none.

    Raises:
        ValueError: If a number is negative.
    """

    priority = 'NORMAL'

    def __init__(
        self, num_samples: int = 4, interval: int = 1, show_dir: str | None = None
    ) -> None:
        if num_samples < 0 or interval < 1:
            raise ValueError(
                f'expected num_samples >= 0 and interval >= 1, got {num_samples}, {interval}'
            )
        self.num_samples = num_samples
        self.interval = interval
        self.show_dir = show_dir
        self._drawn = 0
        self._validations = 0
        self._written: set[str] = set()

    def before_val_epoch(self, runner: Any) -> None:
        """Start to count."""
        due = self._validations % self.interval == 0
        self._drawn = 0 if due else self.num_samples
        self._validations += 1

    def after_val_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Draw the first samples."""
        left = self.num_samples - self._drawn
        if left <= 0 or not is_main_process():
            return
        for inputs, sample in list(zip(data_batch['inputs'], outputs, strict=False))[:left]:
            name = f'val/{self._name(sample, self._drawn)}'
            runner.visualizer.add_datasample(
                name, _at_size(inputs, sample), sample, step=runner.iter
            )
            self._drawn += 1

    def after_test_iter(
        self,
        runner: Any,
        batch_idx: int,
        data_batch: Any = None,
        outputs: Any = None,
    ) -> None:
        """Draw every sample into ``show_dir``."""
        if self.show_dir is None:
            return
        for inputs, sample in zip(data_batch['inputs'], outputs, strict=False):
            name = self._name(sample, len(self._written))
            if name in self._written:
                name = f'{name}_{len(self._written):05d}'
            self._written.add(name)
            # Not add_datasample, which draws in the main process only.
            drawn = runner.visualizer.draw(_at_size(inputs, sample), sample, caption=name)
            _, png = cv2.imencode('.png', np.ascontiguousarray(drawn[..., ::-1]))
            atomic_write_bytes(Path(self.show_dir) / f'{name}.png', png.tobytes())

    @staticmethod
    def _name(sample: Any, number: int) -> str:
        path = sample.metainfo.get('img_path')
        return Path(path).stem if path else f'sample_{number:05d}'


def _at_size(inputs: torch.Tensor, sample: Any) -> np.ndarray:
    """Give the picture at the original size, which is that of what is predicted."""
    picture = to_picture(inputs)
    if picture.ndim != 3:
        return picture
    shape = sample.metainfo.get('ori_shape', picture.shape)[:2]
    if 'pred_sem_seg' in sample:
        shape = sample.pred_sem_seg.data.shape[-2:]
    if picture.shape[:2] == tuple(shape):
        return picture
    picture = without_padding(picture, sample.metainfo)
    return cv2.resize(picture, tuple(shape[::-1]), interpolation=cv2.INTER_LINEAR)
