import numpy as np
import pytest
from mmengine.evaluator import Evaluator

from mmjoint.evaluation import JointEvaluator, restrict_evaluator, select_metrics
from mmjoint.evaluation.metrics import ClassificationMetric, SegmentationMetric
from mmjoint.functional.aggregation import AGGREGATIONS
from mmjoint.registry import EVALUATOR
from mmjoint.utils.errors import UserError

from .gloo_worker import metrics
from .gloo_worker import run as run_evaluator
from .samples import make_sample


def samples(number=6, seed=0):
    rng = np.random.default_rng(seed)
    return [
        make_sample(
            gt_label=index % 2,
            cls_alpha=rng.uniform(1, 5, 2).astype(np.float32),
            gt_map=rng.integers(0, 3, (7, 8)),
            seg_logits=rng.normal(size=(3, 7, 8)).astype(np.float32),
            vacuity_map=rng.random((7, 8), np.float32),
            vacuity=float(rng.random()),
        )
        for index in range(number)
    ]


def run(evaluator, of=None):
    of = of or samples()
    return run_evaluator(evaluator, of, len(of))


def test_all_metrics_together_have_different_keys():
    results = run(Evaluator(metrics()))
    assert {'cls/ACC', 'seg/mIoU', 'cls/ECE', 'seg/ECE', 'seg/error_AUROC.vacuity'} <= set(results)
    assert all(type(value) is float for value in results.values())


def test_selection_score_from_a_config():
    keys = ('cls/ACC', 'cls/F1', 'seg/Dice.rim', 'seg/Dice.cup')
    config = dict(
        type='mmjoint.JointEvaluator',
        metrics=[
            dict(type='mmjoint.ClassificationMetric'),
            dict(type='mmjoint.SegmentationMetric'),
        ],
        selection_score=keys,
    )
    results = run(EVALUATOR.build(dict(config)))
    parts = [results[key] for key in keys]
    assert results['selection_score'] == pytest.approx(sum(parts))
    results = run(EVALUATOR.build(dict(config, selection_reduce='mean')))
    assert results['selection_score'] == pytest.approx(sum(parts) / 4)


def test_selection_score_is_nan_with_a_part_that_is_not_defined():
    only_healthy = samples()[::2]
    evaluator = JointEvaluator(metrics(), selection_score=('cls/AUC', 'cls/ACC'))
    assert np.isnan(run(evaluator, only_healthy)['selection_score'])


def test_selection_score_names_unknown_keys():
    evaluator = JointEvaluator(metrics(), selection_score=('cls/ACC', 'seg/Dice.optic'))
    with pytest.raises(UserError, match=r'found seg/Dice\.optic; use some of .*seg/Dice\.cup'):
        run(evaluator)
    with pytest.raises(ValueError, match='selection_reduce'):
        JointEvaluator(metrics(), selection_reduce='max')


@pytest.mark.parametrize(
    'names, expected',
    [
        (['acc'], ['cls/ACC']),
        (['AUC'], ['cls/AUC', 'cls/AUC_softmax_alpha']),
        (['ece', 'ECE'], ['cls/ECE', 'seg/ECE']),
        (['kappa', 'F1'], ['cls/kappa', 'cls/F1', 'cls/F1.healthy', 'cls/F1.ill']),
        (
            ['dice'],
            [
                'seg/mean_Dice',
                *(
                    f'seg/{m}Dice.{name}'
                    for m in ('', 'median_')
                    for name in ('rim', 'cup', 'disc')
                ),
            ],
        ),
        (
            ['miou'],
            [
                'seg/mIoU',
                'seg/mean_IoU',
                *(f'seg/dataset_IoU.{name}' for name in ('background', 'rim', 'cup', 'disc')),
                *(f'seg/IoU.{name}' for name in ('rim', 'cup', 'disc')),
            ],
        ),
        (
            ['HD95'],
            [
                'seg/mean_HD95',
                *(f'seg/HD95{f}.{name}' for f in ('', '_found') for name in ('rim', 'cup', 'disc')),
            ],
        ),
        *(
            ([name.lower()], [f'seg/{name}.vacuity', f'cls/{name}.vacuity'])
            for name in ('error_AUROC', 'error_AUPR', 'AURC', 'E-AURC', 'AUSE')
        ),
        (['ace'], ['cls/ACE', 'seg/ACE']),
        (
            ['cwECE'],
            [
                *('cls/cwECE', 'cls/ECE.healthy', 'cls/ECE.ill', 'seg/cwECE'),
                *(f'seg/ECE.{name}' for name in ('background', 'rim', 'cup')),
            ],
        ),
        *(
            ([name], [f'seg/{name}.vacuity.{a}' for a in AGGREGATIONS])
            for name in ('case_AURC', 'case_E-AURC', 'case_Spearman')
        ),
        (
            ['failure_auroc'],
            [
                *(f'seg/failure_AUROC.vacuity.{a}' for a in AGGREGATIONS),
                *('seg/num_cases.vacuity', 'seg/num_failed.vacuity'),
            ],
        ),
    ],
)
def test_names_choose_results_and_what_runs(names, expected):
    evaluator = JointEvaluator(metrics(), selection_score=('cls/ACC', 'seg/mIoU'))
    whole = run(evaluator)
    chosen = select_metrics(whole, evaluator.metrics, names)
    assert sorted(chosen) == sorted(expected)
    assert chosen == {key: whole[key] for key in expected}
    restrict_evaluator(evaluator, names)
    assert run(evaluator) == pytest.approx(chosen, rel=0, abs=0, nan_ok=True)


def test_every_result_has_a_name_but_the_counts():
    evaluator = Evaluator(metrics())
    results = run(evaluator)
    names = [name for metric in evaluator.metrics for name in metric.eval_names]
    left = set(results) - set(select_metrics(results, evaluator.metrics, names))
    assert left == {
        f'{task}/{key}' for task in ('cls', 'seg') for key in ('num_samples', 'num_unlabelled')
    }


def test_unknown_names_list_what_there_is():
    of = [ClassificationMetric(), SegmentationMetric(measures=('Dice',))]
    with pytest.raises(UserError) as error:
        select_metrics({}, of, ['ACC', 'mIuO', 'HD95'])
    text = str(error.value)
    assert 'found mIuO, HD95; use some of ACC, F1, AUC' in text
    assert 'mIoU' in text and '\n' not in text
    with pytest.raises(UserError, match='mIuO'):
        restrict_evaluator(Evaluator(of), ['mIuO'])


def test_metrics_without_names_stay():
    class Records:
        prefix = None

    evaluator = Evaluator([ClassificationMetric(), Records(), SegmentationMetric()])
    restrict_evaluator(evaluator, ['mIoU'])
    assert [type(metric).__name__ for metric in evaluator.metrics] == [
        'Records',
        'SegmentationMetric',
    ]
