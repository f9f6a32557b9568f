from collections.abc import Mapping

import numpy as np
import torch
from mmengine.logging import print_log

from mmjoint.functional.classification import (
    accuracy,
    cohen_kappa,
    f1_per_class,
    one_vs_rest,
    recall_per_class,
    specificity_per_class,
    weighted_f1,
)
from mmjoint.functional.overlap import confusion_matrix
from mmjoint.registry import METRICS
from mmjoint.utils.errors import UserError

from .base import JointMetric, format_table, group_items, mean


@METRICS.register_module()
class ClassificationMetric(JointMetric):
    """Image-level classification.

    Results (keys after the prefix ``cls/``), over all labelled images of the data set:

    - ``ACC``; ``F1``: mean of the classes' F1 weighted by class frequency; ``F1.<class>``;
      ``kappa``: Cohen's.
    - ``AUC`` from ``pred_score`` (for evidential models alpha / S), ``AUPR`` (average precision);
      ``AUC_softmax_alpha`` from softmax(alpha), where the model gives ``cls_alpha``: upstream's
      score. The two scores may rank images differently.
    - ``sensitivity`` (recall) and ``specificity``.
    - ``confusion.<true>.<predicted>``: number of images.
    - ``num_samples``, ``num_unlabelled``.

    With two classes AUC, AUPR, sensitivity and specificity are those of class 1. With more, they
    are means of one-against-rest values, which follow as ``AUC.<class>`` and so on. A value that
    is not defined (a class without samples) is NaN and left out of such means.

    With ``group_by`` the same values follow for cases, as ``case_ACC`` and so on: a case has the
    mean ``pred_score`` of its samples, and its class is the largest (``cls_alpha`` likewise).

    Args:
        group_by: Metainfo key of the case (``patient_id``); ``None`` for no cases.
        prefix: See :class:`JointMetric`.
        collect_device: See :class:`JointMetric`.
        collect_dir: See :class:`JointMetric`.
        domain: See :class:`JointMetric`.
    """

    default_prefix = 'cls'
    label_key = 'gt_label'
    counts_samples = True
    eval_keys = {
        'ACC': ('ACC', 'case_ACC'),
        'F1': ('F1', 'F1.*', 'case_F1', 'case_F1.*'),
        'AUC': ('AUC', 'AUC.*', 'AUC_*', 'case_AUC', 'case_AUC.*', 'case_AUC_*'),
        'AUPR': ('AUPR', 'AUPR.*', 'case_AUPR', 'case_AUPR.*'),
        'kappa': ('kappa', 'case_kappa'),
        'sensitivity': ('sensitivity', 'sensitivity.*', 'case_sensitivity', 'case_sensitivity.*'),
        'specificity': ('specificity', 'specificity.*', 'case_specificity', 'case_specificity.*'),
        'confusion': ('confusion.*', 'case_confusion.*'),
    }

    def __init__(
        self,
        group_by: str | None = None,
        prefix: str | None = None,
        collect_device: str = 'gpu',
        collect_dir: str | None = None,
        domain: str | None = None,
    ) -> None:
        super().__init__(
            prefix=prefix,
            collect_device=collect_device,
            collect_dir=collect_dir,
            domain=domain,
        )
        self.group_by = group_by

    def process_sample(self, sample: dict) -> dict:
        """Keep label, predicted class and scores."""
        return {
            'label': int(self.take(sample, 'gt_label').reshape(-1)[0]),
            'pred': int(self.take(sample, 'pred_label').reshape(-1)[0]),
            'score': self.take(sample, 'pred_score').reshape(-1),
            'alpha': (
                self.take(sample, 'cls_alpha').reshape(-1) if 'cls_alpha' in sample else None
            ),
            'case': self.case_of(sample, self.group_by),
        }

    def compute(self, items: list[dict]) -> Mapping[str, float]:
        """Compute per image and, with ``group_by``, per case."""
        names = self.names_of('cls_classes', len(items[0]['score']))
        values = self._values(items, names, 'images')
        if self.group_by is not None:
            cases = [_case(members) for members in group_items(items).values()]
            by_case = self._values(cases, names, 'cases')
            values.update({f'case_{key}': value for key, value in by_case.items()})
            values['num_cases'] = len(cases)
        return values

    def _values(self, items: list[dict], names: list[str], unit: str) -> dict[str, float]:
        labels = np.array([item['label'] for item in items])
        preds = np.array([item['pred'] for item in items])
        confusion = confusion_matrix(preds, labels, len(names), ignore_index=None)
        f1 = f1_per_class(confusion)
        values = {'ACC': accuracy(confusion), 'F1': weighted_f1(confusion)}
        values.update({f'F1.{name}': value for name, value in zip(names, f1, strict=True)})
        values['kappa'] = cohen_kappa(confusion)
        scores = np.stack([item['score'] for item in items])
        per_class = {
            'AUC': one_vs_rest(scores, labels, 'AUC'),
            'AUPR': one_vs_rest(scores, labels, 'AUPR'),
            'sensitivity': recall_per_class(confusion),
            'specificity': specificity_per_class(confusion),
        }
        if all(item['alpha'] is not None for item in items):
            alpha = torch.from_numpy(np.stack([item['alpha'] for item in items]))
            softmax = torch.softmax(alpha, dim=1).numpy()
            per_class['AUC_softmax_alpha'] = one_vs_rest(softmax, labels, 'AUC')
        for measure, each in per_class.items():
            values.update(_summary(measure, each, names))
        values.update(
            {
                f'confusion.{true}.{pred}': confusion[row, column]
                for row, true in enumerate(names)
                for column, pred in enumerate(names)
            }
        )
        if self.wants('confusion.0.0'):
            rows = [[f'true {name}', *row] for name, row in zip(names, confusion, strict=True)]
            header = [unit, *(f'pred. {name}' for name in names)]
            print_log('Confusion matrix' + format_table(header, rows), logger='current')
        return values


def _summary(measure: str, each: np.ndarray, names: list[str]) -> dict[str, float]:
    """With two classes the value of class 1; else the mean and the value of each class."""
    if len(names) == 2:
        return {measure: each[1]}
    values = {measure: mean(each)}
    values.update({f'{measure}.{name}': value for name, value in zip(names, each, strict=True)})
    return values


def _case(members: list[dict]) -> dict:
    """One item for all samples of a case, which share their label."""
    if len({member['label'] for member in members}) > 1:
        raise UserError(
            f'ClassificationMetric: expected one gt_label for all samples of case '
            f'{members[0]["case"]}, found {sorted({member["label"] for member in members})}; mend '
            'the annotations or set group_by=None'
        )
    score = np.mean([member['score'] for member in members], axis=0)
    alphas = [member['alpha'] for member in members]
    with_alpha = all(alpha is not None for alpha in alphas)
    return {
        'label': members[0]['label'],
        'pred': int(score.argmax()),
        'score': score,
        'alpha': np.mean(alphas, axis=0) if with_alpha else None,
    }
