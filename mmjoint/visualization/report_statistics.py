"""Numbers of the report, worked out from the case records, with confidence intervals."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mmjoint.functional.bootstrap import bootstrap_interval
from mmjoint.functional.calibration import (
    brier_score,
    calibration_bins,
    expected_calibration_error,
)
from mmjoint.functional.classification import (
    accuracy,
    cohen_kappa,
    f1_per_class,
    one_vs_rest,
    recall_per_class,
    specificity_per_class,
    weighted_f1,
)
from mmjoint.functional.overlap import confusion_matrix, iou_from_counts, overlap_counts
from mmjoint.functional.ranking import auroc
from mmjoint.functional.uncertainty_scale import leading_score, primary_measure
from mmjoint.utils.case_archive import CaseArchive

NUM_RESAMPLES = 1000
CLASS_BINS = 15


@dataclass
class Estimate:
    """A number with its 95 % interval.

    Attributes:
        name: What it is.
        value: NaN where it is not defined.
        low: Lower bound, NaN without an interval.
        high: Upper bound, NaN without an interval.
        key: Its key among the metrics of the test run, if it has one.
    """

    name: str
    value: float
    low: float = math.nan
    high: float = math.nan
    key: str = ''


@dataclass
class ClassTask:
    """The image-level predictions of all labelled cases.

    Attributes:
        labels: int ``(N,)``.
        preds: int ``(N,)``.
        scores: Probabilities, float ``(N, K)``.
        alphas: Dirichlet parameters ``(N, K)``, ``None`` unless every case has them.
        groups: Patient of each case, ``None`` where every case is its own patient.
        names: K names of the image classes.
    """

    labels: np.ndarray
    preds: np.ndarray
    scores: np.ndarray
    alphas: np.ndarray | None
    groups: np.ndarray | None
    names: list[str]

    @property
    def softmax_scores(self) -> np.ndarray | None:
        """Softmax of the Dirichlet parameters ``(N, K)``: the second score for the ROC curve."""
        if self.alphas is None:
            return None
        shifted = np.exp(self.alphas - self.alphas.max(1, keepdims=True))
        return shifted / shifted.sum(1, keepdims=True)


def names_up_to(names: Sequence[str], count: int) -> list[str]:
    """Give ``count`` names; classes without a name are called by their number."""
    return [*names, *(f'class {index}' for index in range(len(names), count))][:count]


def domains(archive: CaseArchive) -> list[str]:
    """Give the domains of the cases, in the order of their first case."""
    found = (case.get('domain') for case in archive.cases)
    return list(dict.fromkeys(name for name in found if name is not None))


def of_domain(archive: CaseArchive, domain: str) -> CaseArchive:
    """Give the cases of one domain with their tables, without pictures."""
    chosen = [i for i, case in enumerate(archive.cases) if case.get('domain') == domain]
    return CaseArchive(
        info=archive.info,
        cases=[archive.cases[i] for i in chosen],
        tables={name: table[chosen] for name, table in archive.tables.items()},
    )


def patients(cases: Sequence[dict[str, Any]]) -> np.ndarray | None:
    """Give the patient of each case, ``None`` where no patient has several cases."""
    names = [
        f'patient {case["patient_id"]}' if case.get('patient_id') is not None else f'case {index}'
        for index, case in enumerate(cases)
    ]
    return np.array(names) if len(set(names)) < len(names) else None


def class_task(archive: CaseArchive) -> ClassTask | None:
    """Gather the image-level predictions; ``None`` where no case has a label and a finite score."""
    chosen = [
        case
        for case in archive.cases
        if case['gt_label'] is not None
        and case['pred_score'] is not None
        and None not in case['pred_score']
    ]
    if not chosen:
        return None
    scores = np.array([case['pred_score'] for case in chosen], float)
    with_alpha = all(case['cls_alpha'] is not None for case in chosen)
    alphas = np.array([case['cls_alpha'] for case in chosen], float) if with_alpha else None
    return ClassTask(
        labels=np.array([case['gt_label'] for case in chosen]),
        preds=np.array([case['pred_label'] for case in chosen]),
        scores=scores,
        alphas=alphas if alphas is not None and np.isfinite(alphas).all() else None,
        groups=patients(chosen),
        names=names_up_to(archive.info['cls_classes'], scores.shape[1]),
    )


def estimate(
    name: str,
    statistic: Callable[..., float],
    *arrays: np.ndarray,
    groups: np.ndarray | None = None,
    key: str = '',
    seed: int = 0,
) -> Estimate:
    """Work out a number and its 95 % interval by drawing patients with replacement.

    Args:
        name: What it is.
        statistic: Takes the arrays, gives one number.
        *arrays: One row per case.
        groups: Patient of each case.
        key: Its key among the metrics of the test run.
        seed: The same seed gives the same interval.
    """
    if len(arrays[0]) == 0:
        return Estimate(name, math.nan, key=key)
    value = float(statistic(*arrays))
    if math.isnan(value):
        return Estimate(name, value, key=key)
    low, high = bootstrap_interval(
        statistic, *arrays, groups=groups, num_resamples=NUM_RESAMPLES, seed=seed
    )
    return Estimate(name, value, low, high, key)


def class_estimates(
    task: ClassTask, seed: int = 0, wanted: Sequence[str] | None = None
) -> list[Estimate]:
    """Work out the measures of the image-level classification over all classes.

    With two classes AUC, AUPR, sensitivity and specificity are those of class 1, with more they
    are means over the classes.

    Args:
        task: The predictions.
        seed: Of the intervals.
        wanted: Names of measures; all by default.
    """
    num_classes = len(task.names)

    def counted(measure: Callable[[np.ndarray], float]) -> Callable[..., float]:
        return lambda labels, preds: measure(confusion_matrix(preds, labels, num_classes))

    def one(values: np.ndarray) -> float:
        return float(values[1]) if num_classes == 2 else _mean(values)

    def ranked(measure: str) -> Callable[..., float]:
        return lambda labels, scores: one(one_vs_rest(scores, labels, measure))

    hard, soft = (task.labels, task.preds), (task.labels, task.scores)
    rows: list[tuple] = [
        ('accuracy', counted(accuracy), hard, 'cls/ACC'),
        ('F1, weighted by class', counted(weighted_f1), hard, 'cls/F1'),
        ("Cohen's kappa", counted(cohen_kappa), hard, 'cls/kappa'),
        ('sensitivity', counted(lambda c: one(recall_per_class(c))), hard, 'cls/sensitivity'),
        ('specificity', counted(lambda c: one(specificity_per_class(c))), hard, 'cls/specificity'),
        ('AUC', ranked('AUC'), soft, 'cls/AUC'),
    ]
    if task.softmax_scores is not None:
        second = (task.labels, task.softmax_scores)
        rows.append(('AUC of softmax(alpha)', ranked('AUC'), second, 'cls/AUC_softmax_alpha'))
    rows += [
        ('AUPR', ranked('AUPR'), soft, 'cls/AUPR'),
        ('calibration error (ECE)', _class_ece, (task.labels, task.preds, task.scores), 'cls/ECE'),
        ('Brier score', lambda y, p: float(brier_score(p, y).mean()), soft, 'cls/Brier'),
    ]
    return [
        estimate(name, statistic, *arrays, groups=task.groups, key=key, seed=seed)
        for name, statistic, arrays, key in rows
        if wanted is None or name in wanted
    ]


def per_class_estimates(task: ClassTask, seed: int = 0) -> dict[str, list[Estimate]]:
    """Work out found share, kept-out share, F1 and AUC of each image class."""
    num_classes = len(task.names)

    def counted(measure: Callable[[np.ndarray], np.ndarray], k: int) -> Callable[..., float]:
        return lambda y, p: float(measure(confusion_matrix(p, y, num_classes))[k])

    def auc(k: int) -> Callable[..., float]:
        return lambda y, p: auroc(p[:, k], y == k)

    result = {}
    for k, name in enumerate(task.names):
        rows = [
            ('sensitivity', counted(recall_per_class, k), task.preds),
            ('specificity', counted(specificity_per_class, k), task.preds),
            ('F1', counted(f1_per_class, k), task.preds),
            ('AUC', auc(k), task.scores),
        ]
        result[name] = [
            estimate(label, statistic, task.labels, second, groups=task.groups, seed=seed)
            for label, statistic, second in rows
        ]
    return result


def class_bins(task: ClassTask) -> np.ndarray:
    """Give the calibration table ``(3, bins)`` of the image-level predictions."""
    confidence = task.scores[np.arange(len(task.preds)), task.preds]
    confidence = np.clip(confidence, 0, 1)
    return calibration_bins(confidence, task.preds == task.labels, num_bins=CLASS_BINS)


def region_estimates(archive: CaseArchive, seed: int = 0) -> dict[str, list[Estimate]]:
    """Work out Dice, IoU and surface distance of each region, means over images.

    Returns:
        For each class and union of classes that any case measures, background left out.
    """
    chosen = [index for index, case in enumerate(archive.cases) if case['dice'] is not None]
    if not chosen:
        return {}
    info = archive.info
    if info.get('tasks'):
        return _channel_estimates([archive.cases[index] for index in chosen], info, seed)
    names = names_up_to(info['classes'], info['num_classes'])
    regions = {name: [index] for index, name in enumerate(names)} | info['unions']
    confusion = archive.tables['confusion'][chosen]
    result = {}
    for name, ids in regions.items():
        members = [row for row, index in enumerate(chosen) if name in archive.cases[index]['dice']]
        if not members:
            continue
        cases = [archive.cases[chosen[row]] for row in members]
        groups = patients(cases)
        counts = overlap_counts(confusion[members], [ids])
        iou = iou_from_counts(counts, empty=info['empty_dice'])[:, 0]
        dice = _filled([case['dice'][name] for case in cases], info['empty_dice'])
        values = [('Dice', dice), ('IoU', iou)]
        if all(case['assd'] is not None for case in cases):
            assd = _filled([case['assd'][name] for case in cases], info['empty_distance'])
            values.append(('ASSD', assd))
        result[name] = [
            estimate(label, _mean, column, groups=groups, key=f'seg/{label}.{name}', seed=seed)
            for label, column in values
        ]
    return result


def _channel_estimates(
    cases: Sequence[dict[str, Any]], info: dict[str, Any], seed: int
) -> dict[str, list[Estimate]]:
    """Do what :func:`region_estimates` does for the channels of several tasks."""
    result = {}
    for name in dict.fromkeys(name for case in cases for name in case['dice']):
        own = [case for case in cases if name in case['dice']]
        values = [
            (label, _filled([case[key][name] for case in own], info['empty_dice']))
            for label, key in (('Dice', 'dice'), ('IoU', 'iou'))
        ]
        if all(case['assd'] is not None for case in own):
            assd = _filled([case['assd'][name] for case in own], info['empty_distance'])
            values.append(('ASSD', assd))
        result[name] = [
            estimate(label, _mean, column, groups=patients(own), seed=seed)
            for label, column in values
        ]
    return result


def pixel_calibration(archive: CaseArchive, seed: int = 0) -> tuple[np.ndarray, Estimate] | None:
    """Give the calibration table ``(3, bins)`` of the pixels and its expected error."""
    table = archive.tables.get('calibration')
    if table is None or table.sum() == 0:
        return None
    kept = table[:, 0].sum(1) > 0
    cases = [case for case, keep in zip(archive.cases, kept, strict=True) if keep]
    ece = estimate(
        'calibration error (ECE) of the pixels',
        lambda rows: expected_calibration_error(rows.sum(0)),
        table[kept],
        groups=patients(cases),
        key='seg/ECE',
        seed=seed,
    )
    return table.sum(0), ece


def class_uncertainty(case: dict[str, Any]) -> tuple[str, float] | None:
    """Give the measure that ranks the class prediction of a case, and its value."""
    measures = {name: v for name, v in (case['cls_uncertainty'] or {}).items() if v is not None}
    measure = primary_measure(list(measures))
    return None if measure is None else (measure, measures[measure])


def mask_uncertainty(case: dict[str, Any]) -> tuple[str, float] | None:
    """Give the measure that ranks the mask of a case, and its mean over the foreground.

    Where no foreground is predicted it is the mean over all pixels. Of several tasks the most
    uncertain one counts.
    """
    return leading_score(case['seg_uncertainty'] or {})


def mean_dice(case: dict[str, Any]) -> float:
    """Give the mean Dice of a case over its regions; NaN where no region is there."""
    values = [value for value in (case['dice'] or {}).values() if value is not None]
    return float(np.mean(values)) if values else math.nan


def is_wrong(case: dict[str, Any]) -> bool | None:
    """Tell whether the predicted image class is wrong; ``None`` where it cannot be told."""
    if case['gt_label'] is None or case['pred_label'] is None:
        return None
    return case['gt_label'] != case['pred_label']


def case_errors(archive: CaseArchive) -> np.ndarray:
    """Give an error for each case: 1 for a wrong class, plus what the mean Dice lacks to 1."""
    dice = np.array([mean_dice(case) for case in archive.cases], float)
    wrong = np.array([bool(is_wrong(case)) for case in archive.cases], float)
    return wrong + np.nan_to_num(1 - dice)


def review_priority(archive: CaseArchive) -> np.ndarray:
    """Rank cases for review by the more uncertain of their two predictions.

    Returns:
        ``(N,)`` in [0, 1]: the share of cases that are less uncertain, for the image class or for
        the mask, whichever is larger. Ties share a rank. 0 without any uncertainty.
    """
    priority = np.zeros(len(archive.cases))
    for measure in (class_uncertainty, mask_uncertainty):
        found = [measure(case) for case in archive.cases]
        values = np.array([math.nan if entry is None else entry[1] for entry in found], float)
        known = ~np.isnan(values)
        if known.any():
            below = (values[known][:, None] > values[known][None]).mean(1)
            priority[known] = np.maximum(priority[known], below)
    return priority


def _class_ece(labels: np.ndarray, preds: np.ndarray, scores: np.ndarray) -> float:
    confidence = np.clip(scores[np.arange(len(preds)), preds], 0, 1)
    bins = calibration_bins(confidence, preds == labels, num_bins=CLASS_BINS)
    return expected_calibration_error(bins)


def _filled(values: list[float | None], empty: float | None) -> np.ndarray:
    empty = math.nan if empty is None else empty
    return np.array([empty if value is None else value for value in values], float)


def _mean(values: np.ndarray) -> float:
    values = np.asarray(values, float)
    values = values[~np.isnan(values)]
    return float(values.mean()) if values.size else math.nan
