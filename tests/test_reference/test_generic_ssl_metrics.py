import re

import numpy as np
import pytest

from mmjoint.evaluation.metrics import SegmentationMetric
from mmjoint.functional.overlap import dice, iou
from mmjoint.functional.surface import surface_distance

from ..test_evaluation.samples import evaluate, make_sample
from .loader import assert_close, reference

TOLERANCE = 1e-9
# The conventions of the original's evaluation; Dice and Jaccard in percent.
PUBLISHED = dict(empty_dice=0.01, empty_distance=128.0, both_empty_distance=0.0)
PERCENT = {'Dice': 100, 'IoU': 100}
DATA_SETS = {
    'mnms': ('Dice', 'ASD'),
    'la': ('Dice', 'IoU', 'HD95', 'ASD'),
}
# Functions of (prediction, reference) for the arrays of plain binary metrics.
BINARY = {
    'dc': dice,
    'jc': iou,
    'asd': lambda p, r: surface_distance(p, r, 'ASD'),
    'asd_swapped': lambda p, r: surface_distance(r, p, 'ASD'),
    'assd': lambda p, r: surface_distance(p, r, 'ASSD_pooled'),
    'hd': lambda p, r: surface_distance(p, r, 'HD'),
    'hd95': lambda p, r: surface_distance(p, r, 'HD95'),
}


def cases(arrays, name):
    """Pairs (label, predictions of each fold) of all cases of a data set.

    Where a prediction is larger than its label, the original has padded the image to the size of
    a window, and pads the label alike.
    """
    if f'{name}_label' in arrays:
        return list(zip(arrays[f'{name}_label'], arrays[f'{name}_pred'], strict=True))
    numbers = sorted(
        int(m[1]) for key in arrays if (m := re.fullmatch(rf'{name}_label_(\d+)', key))
    )
    pairs = []
    for number in numbers:
        label, preds = arrays[f'{name}_label_{number}'], arrays[f'{name}_pred_{number}']
        preds = preds[None] if preds.ndim == label.ndim else preds
        pad = np.array(preds.shape[1:]) - label.shape
        assert (pad >= 0).all() and not (pad % 2).any()
        pairs.append((np.pad(label, [(n // 2, n // 2) for n in pad]), preds))
    return pairs


def results(pairs, fold, measures, num_classes):
    """The metric's results over one fold of some cases."""
    samples = [make_sample(gt_map=label, pred_map=preds[fold]) for label, preds in pairs]
    classes = ('background', *(str(c) for c in range(1, num_classes + 1)))
    metric = SegmentationMetric(measures=measures, **PUBLISHED)
    values = evaluate(metric, samples, classes=classes)
    return {key.removeprefix('seg/'): value for key, value in values.items()}


def scaled(values, key):
    measure = key.split('.')[0].removeprefix('mean_')
    return values[key] * PERCENT.get(measure, 1)


def numbers_of(text):
    """All numbers of a report that are no part of a word."""
    return [float(n) for n in re.findall(r'(?<![\w.-])\d+(?:\.\d*)?(?:e-?\d+)?', text)]


def expected_report(per_case, measures):
    """Numbers of the report in its order, each with the largest rounding error of its print.

    Args:
        per_case: ``(folds, cases, classes, measures)``.
        measures: Their number.
    """
    exact, two, one = 1e-9, 0.005 + 1e-9, 0.05 + 1e-9
    numbers = []
    for fold in per_case.mean(1):
        numbers += [(value, one) for m in range(measures) for value in fold[:, m]]
        numbers += [(fold[:, m].mean(), exact) for m in range(measures)]
    for case in per_case.mean(0):
        numbers += [(value, two) for m in range(measures) for value in case[:, m]]
        numbers += [(case[:, m].mean(), exact) for m in range(measures)]
    classes = per_case.mean((0, 1))
    numbers += [(value, one) for m in range(measures) for value in classes[:, m]]
    folds = per_case.mean((1, 2))
    for m in range(measures):
        numbers += [(folds[:, m].mean(), two), (folds[:, m].std(), two)]
    return numbers


@pytest.mark.parametrize('name', DATA_SETS)
def test_evaluation(name):
    arrays, measures = reference('generic_ssl', 'metrics'), DATA_SETS[name]
    pairs = cases(arrays, name)
    if not pairs:
        pytest.skip(f'no volumes of {name} among the reference vectors')
    (values_name,) = [key for key in arrays if key.startswith(f'{name}_values_')]
    expected = arrays[values_name]
    num_folds, num_cases, num_classes = expected.shape[:3]
    assert num_cases == len(pairs)
    per_case = np.empty(expected.shape)
    folds = []
    for fold in range(num_folds):
        for case, pair in enumerate(pairs):
            values = results([pair], fold, measures, num_classes)
            for c in range(num_classes):
                per_case[fold, case, c] = [scaled(values, f'{m}.{c + 1}') for m in measures]
        folds.append(results(pairs, fold, measures, num_classes))
    for index, measure in enumerate(measures):
        assert_close(per_case[..., index], expected[..., index], TOLERANCE, measure)
        means = np.array([scaled(values, f'mean_{measure}') for values in folds])
        assert_close(means, expected[..., index].mean((1, 2)), TOLERANCE, f'mean_{measure}')
        short = measure.lower()
        for array, value in ((f'final_{short}', means.mean()), (f'std_{short}', means.std())):
            if f'{name}_{array}' in arrays:
                assert_close(value, arrays[f'{name}_{array}'], TOLERANCE, array)
    if f'{name}_report_txt' in arrays:
        report = numbers_of(str(arrays[f'{name}_report_txt']))
        numbers = expected_report(per_case, len(measures))
        assert len(report) == len(numbers)
        for printed, (value, tolerance) in zip(report, numbers, strict=True):
            assert printed == pytest.approx(value, rel=0, abs=tolerance)


@pytest.mark.parametrize('prefix', ['bin', 'bin2d'])
def test_binary_metrics(prefix):
    arrays = reference('generic_ssl', 'metrics')
    names = [n.removeprefix(f'{prefix}_') for n in arrays if n.startswith(f'{prefix}_')]
    if not names:
        pytest.skip(f'no {prefix} arrays among the reference vectors')
    pairs = list(zip(arrays[f'{prefix}_pred'], arrays[f'{prefix}_ref'], strict=True))
    for name in set(names) - {'pred', 'ref'}:
        if match := re.fullmatch(r'(\w+?)_spacing_(.+)', name):
            measure = {'assd': 'ASSD_pooled'}.get(match[1], match[1].upper())
            spacing = tuple(map(float, match[2].split('_')))
            actual = [surface_distance(p, r, measure, spacing=spacing) for p, r in pairs]
        else:
            actual = [BINARY[name](p, r) for p, r in pairs]
        assert_close(np.array(actual), arrays[f'{prefix}_{name}'], TOLERANCE, name)
