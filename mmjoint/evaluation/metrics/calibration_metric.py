from collections.abc import Mapping
from typing import Literal

import numpy as np
import torch
from mmengine.logging import print_log

from mmjoint.functional.calibration import (
    brier_score,
    calibration_bins,
    expected_calibration_error,
    negative_log_likelihood,
    reliability_curve,
)
from mmjoint.registry import METRICS

from .base import JointMetric, format_table


@METRICS.register_module()
class CalibrationMetric(JointMetric):
    """Whether predicted probabilities mean what they say.

    Results (keys after the prefix ``cls/`` or ``seg/``): ``ECE`` (expected calibration error, bins
    of equal width), ``Brier`` (sum over classes of squared errors, in [0, 2]), ``NLL`` (nats).
    For ``task='cls'`` they are means over images, from ``pred_score``; for ``task='seg'`` means
    over all pixels of the data set whose class is known, from softmax(``seg_logits``).

    Args:
        task: ``cls`` or ``seg``.
        num_bins: Number of confidence bins.
        ignore_index: Value of pixels without a class.
        prefix: See :class:`JointMetric`; the default is the task.
        collect_device: See :class:`JointMetric`.
        collect_dir: See :class:`JointMetric`.
    """

    eval_keys = {'ECE': ('ECE',), 'Brier': ('Brier',), 'NLL': ('NLL',)}

    def __init__(
        self,
        task: Literal['cls', 'seg'] = 'cls',
        num_bins: int = 15,
        ignore_index: int = 255,
        prefix: str | None = None,
        collect_device: str = 'gpu',
        collect_dir: str | None = None,
    ) -> None:
        if task not in ('cls', 'seg'):
            raise ValueError(f"task must be 'cls' or 'seg', got {task!r}")
        super().__init__(
            prefix=prefix or task, collect_device=collect_device, collect_dir=collect_dir
        )
        self.task = task
        self.label_key = 'gt_label' if task == 'cls' else 'gt_sem_seg'
        self.num_bins = num_bins
        self.ignore_index = ignore_index

    def process_sample(self, sample: dict) -> dict:
        """Keep the table of bins and the sums of both scores."""
        if self.task == 'cls':
            probs = self.take(sample, 'pred_score').reshape(1, -1).astype(float)
            labels = self.take(sample, 'gt_label').reshape(-1)[:1]
            confidence, pred = probs.max(1), probs.argmax(1)
        else:
            logits = torch.from_numpy(self.take(sample, 'seg_logits', 'data'))
            gt = self.take(sample, 'gt_sem_seg', 'data')[0]
            self.check_shape(tuple(logits.shape[1:]), gt.shape, sample)
            kept = self.known_pixels(sample, gt, self.ignore_index).reshape(-1)
            labels = gt.reshape(-1)[kept]
            by_class = logits.float().softmax(0).flatten(1)
            confidence, pred = (each.numpy()[kept] for each in by_class.max(0))
            probs = by_class.T.numpy()[kept]
        bins = calibration_bins(confidence, pred == labels, num_bins=self.num_bins)
        return {
            'bins': bins,
            'brier': float(brier_score(probs, labels).sum()),
            'nll': float(negative_log_likelihood(probs, labels).sum()),
        }

    def compute(self, items: list[dict]) -> Mapping[str, float]:
        """Add up the samples and print the reliability table."""
        bins = np.sum([item['bins'] for item in items], axis=0)
        count = bins[0].sum()
        if self.wants('ECE'):
            unit = 'images' if self.task == 'cls' else 'pixels'
            rows = [
                [f'({i / self.num_bins:.2f}, {(i + 1) / self.num_bins:.2f}]', int(n), conf, acc]
                for i, (n, conf, acc) in enumerate(zip(*reliability_curve(bins), strict=True))
                if n
            ]
            table = format_table(['confidence', unit, 'mean', 'accuracy'], rows)
            print_log(f'Reliability of {self.prefix}{table}', logger='current')
        return {
            'ECE': expected_calibration_error(bins),
            'Brier': sum(item['brier'] for item in items) / count if count else np.nan,
            'NLL': sum(item['nll'] for item in items) / count if count else np.nan,
        }
