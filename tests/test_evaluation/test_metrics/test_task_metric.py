import pickle

import numpy as np
import pytest
import torch
from mmengine.structures import PixelData
from sklearn import metrics as sk

from mmjoint.evaluation.eval_names import select_metrics
from mmjoint.evaluation.evaluator import JointEvaluator
from mmjoint.evaluation.metrics import TaskMetric
from mmjoint.functional.centreline import centreline_counts, cl_dice_from_counts
from mmjoint.structures import JointDataSample
from mmjoint.utils.errors import UserError
from mmjoint.utils.index_png import write_index_png

TASKS = dict(
    vessel=dict(vessel=(1,)), lesion=dict(EX=(1,), HE=(2,)), odoc=dict(disc=(1, 2), cup=(2,))
)
ALL = (
    *('IoU', 'Dice', 'precision', 'recall', 'ACC', 'MAE', 'AUC', 'AUPR', 'AUPR_11'),
    *('otsu_sensitivity', 'otsu_specificity', 'otsu_precision', 'clDice'),
)


def make_sample(gt=None, pred=None, **metainfo):
    """``gt``: label maps by task; ``pred``: probabilities by task."""
    sample = JointDataSample(metainfo=dict(img_path='a.png', **metainfo))
    if gt is not None:
        maps = {task: torch.as_tensor(np.asarray(each)).long()[None] for task, each in gt.items()}
        sample.gt_tasks = PixelData(**maps)
    if pred is not None:
        maps = {task: torch.as_tensor(np.asarray(p)).float() for task, p in pred.items()}
        sample.pred_tasks = PixelData(**maps)
    return sample


def evaluate(metric, samples, size=None):
    metric.dataset_meta = dict(tasks=TASKS)
    for sample in samples:
        metric.process(None, [sample.to_dict()])
    return metric.evaluate(len(samples) if size is None else size)


def random_samples(number=3, size=(20, 24), seed=0, **metainfo):
    rng = np.random.default_rng(seed)
    samples = []
    for _ in range(number):
        gt = {
            'lesion': rng.choice(3, size, p=[0.7, 0.2, 0.1]),
            'odoc': rng.choice(3, size, p=[0.5, 0.3, 0.2]),
        }
        pred = {
            'lesion': [
                np.clip(rng.normal(0.3 + 0.4 * (gt['lesion'] == v), 0.2), 0, 1) for v in (1, 2)
            ],
            'odoc': [np.clip(rng.normal(0.3 + 0.4 * (gt['odoc'] >= v), 0.2), 0, 1) for v in (1, 2)],
        }
        samples.append(make_sample(gt, pred, **metainfo))
    return samples


def stacked(samples, task, values, channel):
    truth = np.stack([np.isin(s.gt_tasks.get(task)[0].numpy(), values) for s in samples])
    return truth, np.stack([s.pred_tasks.get(task)[channel].numpy() for s in samples])


def pairs(truth, values):
    """Both of each image, flat."""
    flat = (each.reshape(len(each), -1) for each in (truth, values))
    return zip(*flat, strict=True)


@pytest.mark.parametrize(
    ('task', 'name', 'values', 'channel'),
    [('lesion', 'EX', (1,), 0), ('lesion', 'HE', (2,), 1), ('odoc', 'disc', (1, 2), 0)],
)
def test_against_scikit_learn(task, name, values, channel):
    samples = random_samples()
    results = evaluate(TaskMetric(task=task, measures=ALL), samples)
    truth, probs = stacked(samples, task, values, channel)
    called = probs > 0.5
    expected = dict(
        IoU=sk.jaccard_score(truth.ravel(), called.ravel()),
        Dice=sk.f1_score(truth.ravel(), called.ravel()),
        precision=sk.precision_score(truth.ravel(), called.ravel()),
        recall=sk.recall_score(truth.ravel(), called.ravel()),
        ACC=sk.accuracy_score(truth.ravel(), called.ravel()),
        MAE=np.mean([sk.zero_one_loss(*each) for each in pairs(truth, called)]),
        AUC=np.mean([sk.roc_auc_score(*each) for each in pairs(truth, probs)]),
        clDice=np.mean(
            [cl_dice_from_counts(centreline_counts(*e)) for e in zip(called, truth, strict=True)]
        ),
    )
    for measure, value in expected.items():
        assert results[f'{task}/{measure}.{name}'] == pytest.approx(value, rel=1e-12), measure
    exact = sk.average_precision_score(truth.ravel(), probs.ravel())
    assert results[f'{task}/AUPR.{name}'] == pytest.approx(exact, abs=2e-3)
    assert results[f'{task}/num_samples'] == 3


def test_by_hand():
    gt = [[1, 1, 2, 0], [0, 0, 255, 0]]
    disc = [[0.9, 0.4, 0.9, 0.6], [0.1, 0.1, 0.9, 0.1]]
    cup = [[0.1, 0.8, 0.4, 0.2], [0.1, 0.1, 0.9, 0.1]]
    sample = make_sample(dict(odoc=gt), dict(odoc=[disc, cup]))
    metric = TaskMetric(task='odoc', measures=('IoU', 'Dice', 'precision', 'recall', 'ACC', 'MAE'))
    results = evaluate(metric, [sample])
    # 7 pixels are known. Disc: 3 true, 3 called, 2 hit. Cup: 1 true, 1 called, 0 hit.
    assert results['odoc/IoU.disc'] == 2 / 4 and results['odoc/IoU.cup'] == 0
    assert results['odoc/precision.disc'] == results['odoc/recall.disc'] == 2 / 3
    assert results['odoc/ACC.disc'] == pytest.approx(5 / 7)
    assert results['odoc/MAE.cup'] == pytest.approx(2 / 7)
    assert results['odoc/mIoU'] == 1 / 4 and results['odoc/mDice'] == pytest.approx(1 / 3)


def test_counts_are_pooled_but_areas_are_means_over_images():
    small = make_sample(dict(vessel=[[1, 0]]), dict(vessel=[[[0.9, 0.1]]]))
    large = make_sample(dict(vessel=[[1] * 8 + [0] * 8]), dict(vessel=[[[0.1] * 8 + [0.2] * 8]]))
    metric = TaskMetric(task='vessel', measures=('Dice', 'AUC', 'MAE'))
    results = evaluate(metric, [small, large])
    assert results['vessel/Dice.vessel'] == 2 * 1 / (1 + 9)
    assert results['vessel/AUC.vessel'] == (1 + 0) / 2
    assert results['vessel/MAE.vessel'] == (0 + 0.5) / 2


def test_images_without_the_channel_have_no_auc():
    having, lacking = (
        make_sample(dict(lesion=[[label, 0, 0]]), dict(lesion=[[[0.2, 0.1, 0.9]], [[0.1] * 3]]))
        for label in (1, 0)
    )
    metric = TaskMetric(task='lesion', measures=('AUC', 'IoU', 'AUPR', 'AUPR_11'))
    results = evaluate(metric, [having, lacking])
    assert results['lesion/AUC.EX'] == 0.5
    for measure in ('AUC', 'IoU', 'AUPR'):
        assert np.isnan(results[f'lesion/{measure}.HE'])
    assert results['lesion/AUPR_11.HE'] == 0
    assert results['lesion/mean_AUC'] == 0.25
    kept = evaluate(
        TaskMetric(task='lesion', measures=('AUC',), undefined_in_mean=None), [having, lacking]
    )
    assert kept['lesion/mean_AUC'] == 0.5


def test_background_of_one_channel():
    sample = make_sample(
        dict(odoc=[[1, 1, 0, 0, 0, 0]]), dict(odoc=[[[1, 0, 1, 0, 0, 0]], [[0] * 6]])
    )
    options = dict(channels=('disc',), background=True, measures=('IoU', 'Dice', 'recall', 'ACC'))
    results = evaluate(TaskMetric(task='odoc', **options), [sample])
    assert results['odoc/IoU.disc'] == 1 / 3 and results['odoc/IoU.background'] == 3 / 5
    assert results['odoc/mIoU'] == pytest.approx((1 / 3 + 3 / 5) / 2)
    assert results['odoc/Dice.background'] == pytest.approx(2 * 3 / 8)
    assert results['odoc/recall.background'] == 3 / 4
    assert [key for key in results if 'ACC' in key] == ['odoc/ACC.disc', 'odoc/mean_ACC']


def test_field_of_view(tmp_path):
    rng = np.random.default_rng(0)
    field = np.zeros((16, 16), np.uint8)
    field[4:12, 4:12] = 1
    write_index_png(tmp_path / 'fov.png', field)
    gt = (rng.random((16, 16)) < 0.3) * field
    probs = np.clip(0.02 + field * rng.normal(0.4 + 0.1 * gt, 0.2), 0, 1).astype(np.float32)
    with_field = make_sample(
        dict(vessel=gt), dict(vessel=probs[None]), fov_path=f'{tmp_path}/fov.png'
    )
    without = make_sample(dict(vessel=gt), dict(vessel=probs[None]))
    results = evaluate(TaskMetric(task='vessel', measures=ALL), [with_field, without])
    inside = make_sample(dict(vessel=gt[4:12, 4:12]), dict(vessel=probs[None, 4:12, 4:12]))
    expected = evaluate(TaskMetric(task='vessel', measures=ALL), [inside])
    for measure in set(ALL) - {'clDice'}:  # whose skeletons are those of the whole masks
        actual = results[f'vessel/fov_{measure}.vessel']
        assert actual == pytest.approx(expected[f'vessel/{measure}.vessel'], rel=1e-12), measure
    assert results['vessel/num_fov'] == 1 and results['vessel/num_samples'] == 2
    assert results['vessel/AUC.vessel'] > results['vessel/fov_AUC.vessel'] + 0.05
    assert results['vessel/ACC.vessel'] > results['vessel/fov_ACC.vessel'] + 0.05
    assert results['vessel/clDice.vessel'] == results['vessel/fov_clDice.vessel']
    plain = evaluate(TaskMetric(task='vessel', field_of_view=False), [with_field])
    assert not [key for key in plain if 'fov' in key]


def test_tasks_that_a_sample_lacks(tmp_path):
    both, none = random_samples(1)[0], make_sample(pred=dict(lesion=np.zeros((2, 3, 3))))
    other = make_sample(dict(odoc=np.zeros((3, 3))), dict(lesion=np.zeros((2, 3, 3))))
    alone = evaluate(TaskMetric(task='lesion'), [both])
    results = evaluate(TaskMetric(task='lesion'), [none, both, other])
    assert results.pop('lesion/num_unlabelled') == 2 and alone.pop('lesion/num_unlabelled') == 0
    assert results == alone
    with pytest.raises(UserError, match=r'samples with gt_tasks.lesion, found none in 2 samples'):
        evaluate(TaskMetric(task='lesion'), [none, other])


def test_one_metric_for_each_domain_and_task():
    samples = [*random_samples(2, domain='ddr'), *random_samples(1, seed=1, domain='refuge')]
    metrics = [
        TaskMetric(task='lesion', domain='ddr', measures=('IoU', 'AUPR')),
        TaskMetric(task='odoc', domain='refuge', measures=('IoU', 'Dice')),
    ]
    evaluator = JointEvaluator(metrics)
    evaluator.dataset_meta = dict(tasks=TASKS)
    evaluator.process(samples)
    results = evaluator.evaluate(len(samples))
    alone = evaluate(TaskMetric(task='odoc', measures=('IoU', 'Dice')), samples[2:])
    assert results['refuge/odoc/IoU.disc'] == alone['odoc/IoU.disc']
    assert results['ddr/lesion/num_samples'] == 2
    assert list(select_metrics(results, metrics, ['mIoU'])) == [
        *('ddr/lesion/IoU.EX', 'ddr/lesion/IoU.HE', 'ddr/lesion/mIoU'),
        *('refuge/odoc/IoU.disc', 'refuge/odoc/IoU.cup', 'refuge/odoc/mIoU'),
    ]
    assert list(select_metrics(results, metrics, ['aupr'])) == [
        *('ddr/lesion/AUPR.EX', 'ddr/lesion/AUPR.HE', 'ddr/lesion/mean_AUPR'),
    ]


def test_names_of_eval_are_those_of_the_measures():
    assert TaskMetric(task='lesion', measures=('IoU', 'AUPR_11')).eval_names == (
        *('mIoU', 'IoU', 'AUPR', 'AUPR_11'),
    )
    assert 'otsu' in TaskMetric(task='vessel', measures=('otsu_precision',)).eval_names


def test_only_what_is_asked_for_is_computed(monkeypatch):
    import mmjoint.evaluation.metrics.task_metric as module

    metric = TaskMetric(task='lesion', measures=ALL)
    metric.restrict(['mDice', 'otsu'])
    for name in ('auroc', 'grid_counts', 'centreline_counts', 'probability_codes'):
        monkeypatch.setattr(module, name, None)
    kinds = {key.split('/')[1].split('.')[0] for key in evaluate(metric, random_samples())}
    otsu = ('otsu_sensitivity', 'otsu_specificity', 'otsu_precision')
    assert kinds == {'mDice', 'Dice', *otsu, *(f'mean_{name}' for name in otsu)}


def test_items_are_small():
    metric = TaskMetric(task='lesion', measures=ALL)
    metric.dataset_meta = dict(tasks=TASKS)
    metric.process(None, [random_samples(1, size=(256, 256))[0].to_dict()])
    (item,) = metric.results
    # The maps of probabilities have 524 kB; the histograms are sparse and bounded.
    assert len(pickle.dumps(item)) < 524_288 / 4


def sample_of(gt=((1, 0),), pred=(((0.5, 0.5),), ((0.5, 0.5),)), **metainfo):
    return make_sample(dict(lesion=gt), dict(lesion=pred), **metainfo)


@pytest.mark.parametrize(
    ('options', 'sample', 'message'),
    [
        (dict(task='plaque'), make_sample(dict(plaque=[[0]])), "the task 'plaque' in the table"),
        (dict(task='lesion', channels=('MA',)), sample_of(), 'channels out of EX, HE .* found MA'),
        (dict(task='lesion', background=True), sample_of(), 'one channel for background=True'),
        (
            dict(task='lesion'),
            sample_of(gt=((5, 0),)),
            r'a\.png: .*found \[5\]; mend the label map',
        ),
        (dict(task='lesion'), sample_of(pred=(((0.5, 0.5),),)), 'expected 2 channels .* found 1'),
        (
            dict(task='lesion'),
            sample_of(gt=((0,),)),
            r"of the mask's size \(1, 1\), found \(1, 2\)",
        ),
        (dict(task='lesion'), make_sample(dict(lesion=[[0]])), 'expected pred_tasks.lesion in the'),
        (dict(task='lesion'), sample_of(fov_path='/none/f.png'), '/none/f.png: expected a mask of'),
    ],
)
def test_mistakes_end_in_one_line(options, sample, message):
    with pytest.raises(UserError, match=message) as raised:
        evaluate(TaskMetric(**options), [sample])
    assert '\n' not in str(raised.value)


def test_a_field_of_view_of_another_size(tmp_path):
    write_index_png(tmp_path / 'fov.png', np.ones((3, 3), np.uint8))
    sample = sample_of(fov_path=str(tmp_path / 'fov.png'))
    with pytest.raises(UserError, match=r'size of the label map, \(1, 2\), found \(3, 3\)'):
        evaluate(TaskMetric(task='lesion'), [sample])


@pytest.mark.parametrize('value', [1.5, -3.0, float('nan')])
def test_logits_are_refused(value):
    with pytest.raises(ValueError, match=r'must hold probabilities in \[0, 1\]'):
        evaluate(TaskMetric(task='lesion'), [sample_of(pred=(((0.5, value),), ((0.5, 0.5),)))])


def test_an_unknown_measure():
    with pytest.raises(ValueError, match='measures must be among'):
        TaskMetric(task='lesion', measures=('mIoU',))
