from collections.abc import Mapping
from typing import Literal

import numpy as np
import torch
from mmengine.logging import print_log

from mmjoint.functional.calibration import (
    adaptive_bins,
    brier_score,
    calibration_bins,
    expected_calibration_error,
    negative_log_likelihood,
    reliability_curve,
)
from mmjoint.functional.ranking import ordered_codes, sum_by_code
from mmjoint.registry import METRICS

from .base import JointMetric, format_table


@METRICS.register_module()
class CalibrationMetric(JointMetric):
    """Whether predicted probabilities mean what they say.

    Results (keys after the prefix ``cls/`` or ``seg/``):

    - ``ECE``: expected calibration error of the predicted class, bins of equal width.
    - ``ACE``: the same with adaptive bins, of equal mass: most confidences lie near 1, where bins
      of equal width put nearly all predictions into the last one. (It looks at the predicted class
      only; Nixon et al., CVPR workshops 2019, give the name to a mean over the classes.)
    - ``ECE.<class>``: error of the probability of one class, against being of it or of any other,
      bins of equal width; ``cwECE`` (class-wise): their mean.
    - ``Brier``: sum over classes of squared errors, in [0, 2]. ``NLL``: in nats.

    For ``task='cls'`` they are means over images, from ``pred_score``; for ``task='seg'`` means
    over all pixels of the data set whose class is known, from softmax(``seg_logits``). All are NaN
    without such a pixel. Pixels are summed up in histograms, none is left out; for ``ACE`` it is
    one with a relative resolution of 1/256 of 1 - confidence, whose bins are shared out in
    proportion where an edge falls into one (see
    :func:`~mmjoint.functional.calibration.adaptive_bins`).

    Args:
        task: ``cls`` or ``seg``.
        num_bins: Number of bins of all three errors.
        ignore_index: Value of pixels without a class.
        prefix: See :class:`JointMetric`; the default is the task.
        collect_device: See :class:`JointMetric`.
        collect_dir: See :class:`JointMetric`.
        domain: See :class:`JointMetric`.
    """

    eval_keys = {
        'ECE': ('ECE',),
        'ACE': ('ACE',),
        'cwECE': ('cwECE', 'ECE.*'),
        'Brier': ('Brier',),
        'NLL': ('NLL',),
    }

    def __init__(
        self,
        task: Literal['cls', 'seg'] = 'cls',
        num_bins: int = 15,
        ignore_index: int = 255,
        prefix: str | None = None,
        collect_device: str = 'gpu',
        collect_dir: str | None = None,
        domain: str | None = None,
    ) -> None:
        if task not in ('cls', 'seg'):
            raise ValueError(f"task must be 'cls' or 'seg', got {task!r}")
        super().__init__(
            prefix=prefix or task,
            collect_device=collect_device,
            collect_dir=collect_dir,
            domain=domain,
        )
        self.task = task
        self.label_key = 'gt_label' if task == 'cls' else 'gt_sem_seg'
        self.num_bins = num_bins
        self.ignore_index = ignore_index

    def process_sample(self, sample: dict) -> dict:
        """Keep the tables of bins, the fine histogram and the sums of both scores."""
        if self.task == 'cls':
            probs = self.take(sample, 'pred_score').reshape(-1, 1).astype(float)
            labels = self.take(sample, 'gt_label').reshape(-1)[:1]
        else:
            logits = torch.from_numpy(self.take(sample, 'seg_logits', 'data'))
            gt = self.take(sample, 'gt_sem_seg', 'data')[0]
            self.check_shape(tuple(logits.shape[1:]), gt.shape, sample)
            kept = self.known_pixels(sample, gt, self.ignore_index).reshape(-1)
            labels, probs = gt.reshape(-1), logits.float().softmax(0).flatten(1).numpy()
            if not kept.all():
                labels, probs = labels[kept], probs[:, kept]
        names = self._names(len(probs))
        confidence, right = probs.max(0), probs.argmax(0) == labels
        item = {'bins': calibration_bins(confidence, right, num_bins=self.num_bins)}
        if self.wants('ACE'):
            # Rises with the confidence and is finest where it is near 1.
            codes = ordered_codes(confidence - 1)
            codes, number, total, num_right = sum_by_code(codes, confidence, right)
            item['fine'] = (codes, number.astype(np.int32), total, num_right.astype(np.int32))
        if self.wants('cwECE'):
            item['class_bins'] = np.stack(
                [
                    calibration_bins(probs[index], labels == index, num_bins=self.num_bins)
                    for index in range(len(names))
                ]
            )
        if self.wants('Brier'):
            item['brier'] = float(brier_score(probs.T, labels).sum())
        if self.wants('NLL'):
            item['nll'] = float(negative_log_likelihood(probs.T, labels).sum())
        return item

    def compute(self, items: list[dict]) -> Mapping[str, float]:
        """Add up the samples and print the reliability table."""
        bins = np.sum([item['bins'] for item in items], axis=0)
        if self.wants('ECE'):
            self._print(bins)
        count = bins[0].sum()
        values = {'ECE': expected_calibration_error(bins)}
        if 'fine' in items[0]:
            parts = [np.concatenate(each) for each in zip(*(i['fine'] for i in items), strict=True)]
            _, _, *fine = sum_by_code(*parts)
            values['ACE'] = expected_calibration_error(adaptive_bins(*fine, num_bins=self.num_bins))
        if 'class_bins' in items[0]:
            tables = np.sum([item['class_bins'] for item in items], axis=0)
            errors = [expected_calibration_error(table) for table in tables]
            values['cwECE'] = float(np.mean(errors))
            names = self._names(len(tables))
            values.update({f'ECE.{name}': e for name, e in zip(names, errors, strict=True)})
        for key in ('Brier', 'NLL'):
            if key.lower() in items[0]:
                total = sum(item[key.lower()] for item in items)
                values[key] = total / count if count else np.nan
        return values

    def _names(self, count: int) -> list[str]:
        return self.names_of('cls_classes' if self.task == 'cls' else 'classes', count)

    def _print(self, bins: np.ndarray) -> None:
        unit = 'images' if self.task == 'cls' else 'pixels'
        rows = [
            [f'({i / self.num_bins:.2f}, {(i + 1) / self.num_bins:.2f}]', int(n), conf, acc]
            for i, (n, conf, acc) in enumerate(zip(*reliability_curve(bins), strict=True))
            if n
        ]
        table = format_table(['confidence', unit, 'mean', 'accuracy'], rows)
        print_log(f'Reliability of {self.prefix}{table}', logger='current')
