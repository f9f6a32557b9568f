from collections.abc import Mapping
from typing import Literal

import numpy as np
import torch
from mmengine.evaluator import BaseMetric

from mmjoint.functional.temperature import fit_temperature, temperature_sums
from mmjoint.registry import METRICS

from .base import JointMetric

_MISSING = '_missing'


@METRICS.register_module()
class TemperatureMetric(JointMetric):
    """The temperature at which predicted probabilities are best calibrated.

    Fitted to all labelled images or, ``task='seg'``, to all pixels of known class, in constant
    memory; see :mod:`mmjoint.functional.temperature`. ``tools/calibrate.py`` runs it on the
    validation set.

    Results (keys after the prefix ``seg/`` or ``cls/``):

    - ``temperature``; ``temperature_at_bound``: 1 where there is no optimum within the range;
    - ``NLL_before``, ``NLL_after``: mean negative log-likelihood at temperature 1 and at the
      fitted one, in nats; ``num_predictions``.

    Where no sample has both the label and the prediction, there is no result.

    Args:
        task: ``seg`` or ``cls``.
        ignore_index: Value of pixels without a class.
        prefix: See :class:`JointMetric`; the default is the task.
        collect_device: See :class:`JointMetric`.
        collect_dir: See :class:`JointMetric`.
    """

    def __init__(
        self,
        task: Literal['cls', 'seg'] = 'seg',
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
        self.ignore_index = ignore_index

    def process_sample(self, sample: dict) -> dict:
        """Keep the sums over the sample's predictions."""
        if self.task == 'cls':
            if 'pred_score' not in sample:
                return {}
            probs = torch.from_numpy(self.take(sample, 'pred_score')).reshape(-1, 1).float()
            log_probs = probs.clamp_min(torch.finfo(torch.float32).tiny).log()
            labels = torch.from_numpy(self.take(sample, 'gt_label')).reshape(-1)[:1]
        else:
            if 'seg_logits' not in sample:
                return {}
            log_probs = torch.from_numpy(self.take(sample, 'seg_logits', 'data')).float()
            gt = self.take(sample, 'gt_sem_seg', 'data')[0]
            self.check_shape(tuple(log_probs.shape[1:]), gt.shape, sample)
            kept = torch.from_numpy(self.known_pixels(sample, gt, self.ignore_index)).flatten()
            log_probs, labels = log_probs.flatten(1), torch.from_numpy(gt).flatten()
            if not kept.all():
                log_probs, labels = log_probs[:, kept], labels[kept]
        return {'sums': temperature_sums(log_probs, labels.long()), 'count': labels.numel()}

    def compute(self, items: list[dict]) -> Mapping[str, float]:
        """Add up the samples and find the optimum."""
        count = sum(item['count'] for item in items)
        if not count:
            return {_MISSING: 1.0}
        fit = fit_temperature(np.sum([item['sums'] for item in items], axis=0), count)
        return {
            'temperature': fit.temperature,
            'temperature_at_bound': float(fit.at_bound),
            'NLL_before': fit.nll_before,
            'NLL_after': fit.nll_after,
            'num_predictions': float(count),
        }

    def evaluate(self, size: int) -> dict[str, float]:
        """Gather the samples of all ranks; nothing where there is nothing to fit."""
        results = BaseMetric.evaluate(self, size)
        fitted = f'{self.prefix}/temperature'
        return results if fitted in results else {}
