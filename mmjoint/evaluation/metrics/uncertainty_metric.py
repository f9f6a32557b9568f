from collections.abc import Mapping
from typing import Literal

import numpy as np
import torch

from mmjoint.functional.calibration import brier_score
from mmjoint.functional.ranking import (
    auroc_from_histograms,
    average_precision_from_histograms,
    ordered_codes,
    sum_by_code,
)
from mmjoint.functional.risk_coverage import (
    area_under_risk_coverage,
    area_under_sparsification_error,
    excess_area_under_risk_coverage,
    group_by_uncertainty,
)
from mmjoint.registry import METRICS

from .base import JointMetric


@METRICS.register_module()
class UncertaintyMetric(JointMetric):
    """Whether an uncertainty measure is high where the prediction is wrong.

    Results (keys after the prefix ``seg/`` or ``cls/``, m = the measure); ``task='seg'``: over all
    pixels of the data set, ``task='cls'``: over images:

    - ``error_AUROC.m``: area under the ROC curve of telling wrong from right predictions by m: 0.5
      is chance, 1 perfect, NaN where all are right or all wrong.
    - ``error_AUPR.m``: average precision of finding the wrong ones: chance is the error rate. NaN
      where all are right, 1 where all are wrong.
    - ``AURC.m``: area under the risk-coverage curve: the error rate of what is left when the most
      uncertain predictions are withheld, mean over all shares. 0 where all are right, 1 where all
      are wrong. ``E-AURC.m``: how far it is above that of the best order; 0 where all are right or
      all wrong.
    - ``AUSE.m``: area between the sparsification curves by m and by the error itself, both divided
      by the mean error: E-AURC / mean error. NaN where there is no error. See
      :mod:`mmjoint.functional.risk_coverage`.
    - ``mean_uncertainty.m``, ``mean_uncertainty_right.m``, ``mean_uncertainty_wrong.m``.

    A pixel counts in a histogram with a relative resolution of 1/256, so that memory does not grow
    with the number of pixels. Predictions of equal uncertainty, or in one bin, are ties: the areas
    are what is expected of a random order among them. Pixels of unknown class are left out.

    Args:
        task: ``seg`` reads ``seg_uncertainty``, ``cls`` reads ``cls_uncertainty``.
        measure: ``vacuity``, ``predictive_entropy`` or any other field that the model fills.
        sparsification_error: Error of ``AUSE``: ``zero_one`` (wrong or right) or ``brier``, which
            also needs ``seg_logits`` or ``pred_score``.
        ignore_index: Value of pixels without a class.
        prefix: See :class:`JointMetric`; the default is the task.
        collect_device: See :class:`JointMetric`.
        collect_dir: See :class:`JointMetric`.
        domain: See :class:`JointMetric`.
    """

    eval_keys = {
        **{
            name: (f'{name}.*',) for name in ('error_AUROC', 'error_AUPR', 'AURC', 'E-AURC', 'AUSE')
        },
        'mean_uncertainty': ('mean_uncertainty*',),
    }

    def __init__(
        self,
        task: Literal['cls', 'seg'] = 'seg',
        measure: str = 'vacuity',
        sparsification_error: Literal['zero_one', 'brier'] = 'zero_one',
        ignore_index: int = 255,
        prefix: str | None = None,
        collect_device: str = 'gpu',
        collect_dir: str | None = None,
        domain: str | None = None,
    ) -> None:
        if task not in ('cls', 'seg'):
            raise ValueError(f"task must be 'cls' or 'seg', got {task!r}")
        if sparsification_error not in ('zero_one', 'brier'):
            raise ValueError(
                f"sparsification_error must be 'zero_one' or 'brier', got {sparsification_error!r}"
            )
        super().__init__(
            prefix=prefix or task,
            collect_device=collect_device,
            collect_dir=collect_dir,
            domain=domain,
        )
        self.task = task
        self.label_key = 'gt_label' if task == 'cls' else 'gt_sem_seg'
        self.measure = measure
        self.sparsification_error = sparsification_error
        self.ignore_index = ignore_index

    def process_sample(self, sample: dict) -> dict:
        """Keep the histograms of right and wrong pixels, or the image's value."""
        return self._image(sample) if self.task == 'cls' else self._pixels(sample)

    def _image(self, sample: dict) -> dict:
        value = float(self.take(sample, 'cls_uncertainty', self.measure).reshape(-1)[0])
        self._check_finite(value, sample)
        pred = int(self.take(sample, 'pred_label').reshape(-1)[0])
        gt = int(self.take(sample, 'gt_label').reshape(-1)[0])
        item = {'value': value, 'wrong': pred != gt}
        if self._needs_brier():
            probs = self.take(sample, 'pred_score').reshape(1, -1)
            item['brier'] = float(brier_score(probs, np.array([gt]))[0])
        return item

    def _pixels(self, sample: dict) -> dict:
        values = self.take(sample, 'seg_uncertainty', self.measure)[0].astype(np.float32)
        pred = self.take(sample, 'pred_sem_seg', 'data')[0]
        gt = self.take(sample, 'gt_sem_seg', 'data')[0]
        self.check_shape(pred.shape, gt.shape, sample)
        self.check_shape(values.shape, gt.shape, sample)
        kept = self.known_pixels(sample, gt, self.ignore_index)
        values, wrong = values[kept], (pred != gt)[kept]
        self._check_finite(values, sample)
        histogram = [ordered_codes(values), wrong]
        item = {}
        if self._needs_brier():
            logits = torch.from_numpy(self.take(sample, 'seg_logits', 'data'))
            self.check_shape(tuple(logits.shape[1:]), gt.shape, sample)
            probs = logits.float().softmax(0).numpy()[:, kept].T
            errors = brier_score(probs, gt[kept])
            histogram.append(errors)
            item['oracle'] = sum_by_code(ordered_codes(errors), errors)
        codes, count, num_wrong, *errors = sum_by_code(*histogram)
        item['histogram'] = (codes, count.astype(np.int32), num_wrong.astype(np.int32), *errors)
        item['sum_right'] = float(values[~wrong].sum(dtype=float))
        item['sum_wrong'] = float(values[wrong].sum(dtype=float))
        return item

    def compute(self, items: list[dict]) -> Mapping[str, float]:
        """Merge the histograms or group the images, then measure the groups."""
        brier = self._needs_brier()
        if self.task == 'cls':
            values = np.array([item['value'] for item in items])
            is_wrong = np.array([item['wrong'] for item in items])
            count, wrong = group_by_uncertainty(values, is_wrong)
            sum_right, sum_wrong = values[~is_wrong].sum(), values[is_wrong].sum()
            if brier:
                each = np.array([item['brier'] for item in items])
                _, errors = group_by_uncertainty(values, each)
                oracle = group_by_uncertainty(each, each)
        else:
            count, wrong, *rest = _merge([item['histogram'] for item in items])
            sum_right, sum_wrong = (
                sum(item[key] for item in items) for key in ('sum_right', 'sum_wrong')
            )
            if brier:
                (errors,) = rest
                oracle = _merge([item['oracle'] for item in items])
        right = count - wrong
        # In the best order all right predictions come first.
        best = (right.sum(), wrong.sum()), (0, wrong.sum())
        sparsification = (count, errors, *oracle) if brier else (count, wrong, *best)
        values = {
            'error_AUROC': auroc_from_histograms(wrong, right),
            'error_AUPR': average_precision_from_histograms(wrong, right),
            'AURC': area_under_risk_coverage(count, wrong),
            'E-AURC': excess_area_under_risk_coverage(count, wrong, *best),
            'AUSE': area_under_sparsification_error(*sparsification),
            'mean_uncertainty': _ratio(sum_right + sum_wrong, count.sum()),
            'mean_uncertainty_right': _ratio(sum_right, right.sum()),
            'mean_uncertainty_wrong': _ratio(sum_wrong, wrong.sum()),
        }
        return {f'{name}.{self.measure}': value for name, value in values.items()}

    def _needs_brier(self) -> bool:
        return self.sparsification_error == 'brier' and self.wants(f'AUSE.{self.measure}')

    def _check_finite(self, values: np.ndarray | float, sample: dict) -> None:
        if not np.isfinite(values).all():
            raise ValueError(
                f'{self.measure} must be finite, got NaN or infinity for '
                f'{sample.get("img_path", "a sample")}'
            )


def _merge(histograms: list[tuple[np.ndarray, ...]]) -> tuple[np.ndarray, ...]:
    """Add up what :func:`sum_by_code` gave for parts; give the counts and sums by rising code."""
    parts = [np.concatenate(each) for each in zip(*histograms, strict=True)]
    return sum_by_code(*parts)[2:]


def _ratio(total: float, count: float) -> float:
    return float(total / count) if count else float('nan')
