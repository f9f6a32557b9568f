from collections.abc import Mapping
from typing import Literal

import numpy as np

from mmjoint.functional.ranking import auroc, auroc_from_histograms, ordered_codes
from mmjoint.registry import METRICS

from .base import JointMetric, mean


@METRICS.register_module()
class UncertaintyMetric(JointMetric):
    """Whether an uncertainty measure is high where the prediction is wrong.

    Results (keys after the prefix ``seg/`` or ``cls/``, m = the measure):

    - ``error_AUROC.m``: area under the ROC curve of telling wrong from right predictions by m: 0.5
      is chance, 1 perfect, NaN where all are right or all wrong. ``task='seg'``: over all pixels
      of the data set; ``task='cls'``: over images.
    - ``mean_uncertainty.m``, ``mean_uncertainty_right.m``, ``mean_uncertainty_wrong.m``.

    A pixel counts in a histogram with a relative resolution of 1/256 (equal bins are ties), so
    that memory does not grow with the number of pixels. Pixels of unknown class are left out.

    Args:
        task: ``seg`` reads ``seg_uncertainty``, ``cls`` reads ``cls_uncertainty``.
        measure: ``vacuity``, ``predictive_entropy`` or any other field that the model fills.
        ignore_index: Value of pixels without a class.
        prefix: See :class:`JointMetric`; the default is the task.
        collect_device: See :class:`JointMetric`.
        collect_dir: See :class:`JointMetric`.
    """

    eval_keys = {'error_AUROC': ('error_AUROC.*',), 'mean_uncertainty': ('mean_uncertainty*',)}

    def __init__(
        self,
        task: Literal['cls', 'seg'] = 'seg',
        measure: str = 'vacuity',
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
        self.measure = measure
        self.ignore_index = ignore_index

    def process_sample(self, sample: dict) -> dict:
        """Keep the histograms of right and wrong pixels, or the image's value."""
        if self.task == 'cls':
            value = float(self.take(sample, 'cls_uncertainty', self.measure).reshape(-1)[0])
            pred, gt = self.take(sample, 'pred_label'), self.take(sample, 'gt_label')
            return {'value': value, 'wrong': int(pred.reshape(-1)[0]) != int(gt.reshape(-1)[0])}
        values = self.take(sample, 'seg_uncertainty', self.measure)[0].astype(np.float32)
        pred = self.take(sample, 'pred_sem_seg', 'data')[0]
        gt = self.take(sample, 'gt_sem_seg', 'data')[0]
        self.check_shape(pred.shape, gt.shape, sample)
        self.check_shape(values.shape, gt.shape, sample)
        kept = self.known_pixels(sample, gt, self.ignore_index)
        values, wrong = values[kept], (pred != gt)[kept]
        if not np.isfinite(values).all():
            raise ValueError(
                f'{self.measure} must be finite, got NaN or infinity for '
                f'{sample.get("img_path", "a sample")}'
            )
        codes, inverse = np.unique(ordered_codes(values), return_inverse=True)
        return {
            'codes': codes,
            'right': np.bincount(inverse[~wrong], minlength=codes.size).astype(np.int32),
            'wrong': np.bincount(inverse[wrong], minlength=codes.size).astype(np.int32),
            'sum_right': float(values[~wrong].sum(dtype=float)),
            'sum_wrong': float(values[wrong].sum(dtype=float)),
        }

    def compute(self, items: list[dict]) -> Mapping[str, float]:
        """Merge the histograms, or rank the images."""
        if self.task == 'cls':
            values = np.array([item['value'] for item in items])
            wrong = np.array([item['wrong'] for item in items])
            area = auroc(values, wrong)
            means = mean(values), mean(values[~wrong]), mean(values[wrong])
        else:
            _, inverse = np.unique(
                np.concatenate([item['codes'] for item in items]), return_inverse=True
            )
            right = np.bincount(inverse, np.concatenate([item['right'] for item in items]))
            wrong = np.bincount(inverse, np.concatenate([item['wrong'] for item in items]))
            area = auroc_from_histograms(wrong, right)
            sums = [sum(item[key] for item in items) for key in ('sum_right', 'sum_wrong')]
            means = (
                _ratio(sum(sums), right.sum() + wrong.sum()),
                _ratio(sums[0], right.sum()),
                _ratio(sums[1], wrong.sum()),
            )
        return {
            f'error_AUROC.{self.measure}': area,
            f'mean_uncertainty.{self.measure}': means[0],
            f'mean_uncertainty_right.{self.measure}': means[1],
            f'mean_uncertainty_wrong.{self.measure}': means[2],
        }


def _ratio(total: float, count: float) -> float:
    return float(total / count) if count else float('nan')
