import itertools
import re

import numpy as np
import pytest
from mmengine.evaluator import BaseMetric

from mmjoint.evaluation import JointEvaluator
from mmjoint.evaluation.metrics import ClassificationMetric, SegmentationMetric
from mmjoint.functional.surface import surface_distance

from ..test_evaluation.samples import evaluate, make_sample
from .loader import assert_close, reference

TOLERANCE = 1e-9


def per_pair(preds, refs, key, spacing=None):
    """One result of a segmentation evaluator for each pair of masks."""
    metric = SegmentationMetric(distance_unit='pixel' if spacing is None else 'mm')
    return np.array(
        [
            evaluate(
                metric,
                [make_sample(gt_map=ref, pred_map=pred, spacing=spacing)],
                classes=('background', 'object'),
            )[key]
            for pred, ref in zip(preds, refs, strict=True)
        ]
    )


def spacings(name):
    """Readings of ``2_05``: 05 is 0.5; a number like 15 can be 15 or 1.5."""
    tokens = re.fullmatch(r'assd_spacing_(\d+)_(\d+)', name).groups()
    readings = [
        {float(t[0] + '.' + t[1:])} | ({float(t)} if t[0] != '0' else set())
        if t[1:]
        else {float(t)}
        for t in tokens
    ]
    return list(itertools.product(*readings))


def test_dice_and_surface_distances():
    arrays = reference('uml', 'metrics_dice_assd')
    pred, ref = arrays['pred'], arrays['ref']
    checked = {'pred', 'ref'}
    for name, key, pair in (
        ('dice', 'seg/Dice.object', (pred, ref)),
        ('assd', 'seg/ASSD.object', (pred, ref)),
        ('asd_pred_to_ref', 'seg/ASD.object', (pred, ref)),
        ('asd_ref_to_pred', 'seg/ASD.object', (ref, pred)),
    ):
        assert_close(per_pair(*pair, key), arrays[name], TOLERANCE, name)
        checked.add(name)
    for name in arrays:
        if match := re.fullmatch(r'assd_connectivity(\d+)', name):
            actual = [
                surface_distance(p, r, connectivity=int(match[1]))
                for p, r in zip(pred, ref, strict=True)
            ]
            assert_close(np.array(actual), arrays[name], TOLERANCE, name)
        elif name.startswith('assd_spacing'):
            actual = [per_pair(pred, ref, 'seg/ASSD.object', each) for each in spacings(name)]
            best = min(actual, key=lambda values: np.abs(values - arrays[name]).max())
            assert_close(best, arrays[name], TOLERANCE, name)
        else:
            assert name in checked, f'{name} is not tested'


@pytest.mark.parametrize('file', ['evaluation_refuge', 'evaluation_binary'])
def test_evaluation(file):
    arrays = reference('uml', file)
    logits = arrays['seg_logits']
    samples = [
        make_sample(gt_label=label, cls_alpha=alpha, gt_map=gt, seg_logits=logit)
        for label, alpha, gt, logit in zip(
            arrays['labels'], arrays['cls_alpha'], arrays['gts'], logits, strict=True
        )
    ]
    num_classes = logits.shape[1]
    classes = tuple(f'class{index}' for index in range(num_classes))
    meta = dict(classes=classes, cls_classes=tuple('ab'[: arrays['cls_alpha'].shape[1]]))
    unions = dict(union=tuple(range(1, num_classes)))

    def run(score=(), how='sum', of=samples):
        metrics: list[BaseMetric] = [ClassificationMetric(), SegmentationMetric(unions=unions)]
        evaluator = JointEvaluator(metrics, selection_score=score, selection_reduce=how)
        evaluator.dataset_meta = meta
        evaluator.process(of)
        return evaluator.evaluate(len(of))

    results = run()
    keys = dict(
        ACC='cls/ACC',
        F1_weighted='cls/F1',
        AUC_softmax_alpha='cls/AUC_softmax_alpha',
        KAPPA='cls/kappa',
        SENS='cls/sensitivity',
    )
    inputs = {'labels', 'cls_alpha', 'gts', 'seg_logits'}
    dices = [f'seg/Dice.{name}' for name in classes[1:]]
    scores = {
        'selection_score_2023': (('cls/ACC', 'cls/F1', *dices), 'mean'),
        'selection_score_2024': (
            ('cls/ACC', 'cls/AUC_softmax_alpha', 'cls/F1', *dices),
            'sum',
        ),
    }
    per_image = None
    for name in arrays:
        if name in inputs:
            continue
        if name in keys:
            actual = results[keys[name]]
        elif match := re.fullmatch(r'(DICE|ASSD)(_union|\d*)', name):
            region = 'union' if match[2] == '_union' else f'class{match[2] or 1}'
            measure = {'DICE': 'Dice', 'ASSD': 'ASSD'}[match[1]]
            actual = results[f'seg/{measure}.{region}']
        elif match := re.fullmatch(r'per_image_(dice|assd)(\d*)', name):
            per_image = per_image or [run(of=[sample]) for sample in samples]
            measure = {'dice': 'Dice', 'assd': 'ASSD'}[match[1]]
            actual = [each[f'seg/{measure}.class{match[2] or 1}'] for each in per_image]
        elif name in scores:
            actual = run(*scores[name])['selection_score']
        else:
            pytest.fail(f'{name} is not tested')
        assert_close(np.array(actual), arrays[name], TOLERANCE, name)
