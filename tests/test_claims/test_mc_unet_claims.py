"""How good the estimators of uncertainty are, on dermoscopy phantoms over three seeds.

Figures are written to ``work_dirs/claims/mc_unet.json`` and stand in ``docs/benchmarks.md``.
"""

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from mmjoint.functional.aggregation import AGGREGATIONS
from mmjoint.utils.io import atomic_write_json

from .training import ROOT, as_options, call, data_options, evaluate, train

pytestmark = pytest.mark.slow

SEEDS = (0, 1, 2)
MEMBERS = (0, 1, 2)  # trainings of each seed's ensemble; the first one is tested alone, too
BASE = 'configs/mc_unet/mc-unet-b8_phantom-isic2016-64x64.py'
CONFIG = """_base_ = ['{root}/{base}']
test_evaluator = dict(
    metrics=[
        dict(type='SegmentationMetric', empty_dice=1.0),
        dict(type='CalibrationMetric', task='seg'),
        dict(type='UncertaintyMetric', task='seg', measure='predictive_entropy'),
        dict(type='CaseUncertaintyMetric', measure='predictive_entropy'),
        {more}
    ],
)
uq_options = dict(tta=dict(_delete_=True, {tta}))
"""
MUTUAL = """dict(type='UncertaintyMetric', task='seg', measure='mutual_information'),
        dict(type='CaseUncertaintyMetric', measure='mutual_information'),"""
ESTIMATORS = ('softmax', 'mc_dropout', 'tta-views', 'tta-image', 'ensemble')
WORK = ROOT / 'work_dirs' / 'claims' / 'mc_unet'
# 111 images to train on, 19 to validate on, 130 to test on.
PHANTOMS = ('--num-cases', 260, '--split-ratio', 1, 1, '--size', 192)


def prepare(seed):
    prepared = WORK / f'isic-{seed}'
    if not prepared.exists():
        raw = WORK / f'raw-{seed}'
        call('prepare_dataset/make_phantoms.py', 'isic2016', raw, *PHANTOMS, '--seed', seed,
             '--overwrite')  # fmt: skip
        call('prepare_dataset/isic2016.py', raw, prepared, '--overwrite')
    return prepared


def train_member(seed, member):
    options = {**data_options(prepare(seed), ['train', 'val']), 'train_cfg.max_epochs': 60}
    return train(BASE, WORK / str(seed) / f'member-{member}', 100 * seed + member, options)


def judge(seed, name, checkpoints):
    """Metrics of one estimator before and after temperature scaling."""
    folder = WORK / str(seed) / name
    folder.mkdir(parents=True, exist_ok=True)
    tta = "source='image', shrink=0.8" if name == 'tta-image' else "source='inputs'"
    config = folder / 'config.py'
    more = '' if name == 'softmax' else MUTUAL
    config.write_text(CONFIG.format(root=ROOT, base=BASE, tta=tta, more=more))
    uq = ['--uq', name.partition('-')[0]]
    if name == 'mc_dropout':
        uq += ['--samples', 20]
    if name == 'ensemble':
        uq += ['--members', *checkpoints[1:]]
    fitted = folder / 'temperature.json'
    data = data_options(prepare(seed), ['val'])
    call('tools/calibrate.py', config, checkpoints[0], *uq, '--out', fitted, *as_options(data))
    data = data_options(prepare(seed), ['test'])
    plain = evaluate(config, checkpoints[0], folder / 'plain.json', data, uq)
    uq += ['--temperature', fitted]
    scaled = evaluate(config, checkpoints[0], folder / 'scaled.json', data, uq)
    return {'plain': plain, 'scaled': scaled}


@pytest.fixture(scope='module')
def results():
    """Metrics by estimator, seed and scaling: ``results[name][seed]['plain'][key]``."""
    for seed in SEEDS:
        prepare(seed)
    with ThreadPoolExecutor(2) as pool:
        jobs = [(seed, member) for seed in SEEDS for member in MEMBERS]
        trained = dict(zip(jobs, pool.map(lambda job: train_member(*job), jobs), strict=True))
        tests = [(seed, name) for seed in SEEDS for name in ESTIMATORS]
        found = list(
            pool.map(lambda job: judge(*job, [trained[job[0], m] for m in MEMBERS]), tests)
        )
    collected = {name: {} for name in ESTIMATORS}
    for (seed, name), metrics in zip(tests, found, strict=True):
        collected[name][str(seed)] = metrics
    atomic_write_json(WORK.parent / 'mc_unet.json', collected)
    return collected


def over_seeds(results, name, key, scaling='plain'):
    values = [results[name][str(seed)][scaling][key] for seed in SEEDS]
    return np.array([math.nan if value is None else value for value in values])


def test_it_learns_to_segment(results):
    """Far above a mask of the whole image, whose Dice is the lesions' share of it."""
    assert (over_seeds(results, 'softmax', 'seg/Dice.lesion') > 0.75).all()


@pytest.mark.parametrize('name', ESTIMATORS)
def test_uncertainty_finds_wrong_pixels(results, name):
    assert (over_seeds(results, name, 'seg/error_AUROC.predictive_entropy') > 0.7).all()


@pytest.mark.parametrize('name', ESTIMATORS)
def test_uncertainty_orders_the_cases(results, name):
    """The best way to one score a case leaves less risk than a random order does, on average."""
    risk = 1 - over_seeds(results, name, 'seg/Dice.lesion')
    areas = [
        over_seeds(results, name, f'seg/case_AURC.predictive_entropy.{way}').mean()
        for way in AGGREGATIONS
    ]
    assert min(areas) < 0.9 * risk.mean()


@pytest.mark.parametrize('name', ESTIMATORS)
def test_probabilities_need_no_temperature(results, name):
    """These networks are calibrated; a temperature from 19 images cannot make them better."""
    assert (over_seeds(results, name, 'seg/ECE') < 0.03).all()


def test_an_ensemble_is_better_calibrated_than_its_member(results):
    one, several = (over_seeds(results, name, 'seg/NLL') for name in ('softmax', 'ensemble'))
    assert several.mean() < one.mean()


# Networks that are too sure: 52 images, no dropout, 150 epochs at a constant rate; 78 to validate.
OVERFIT = {
    'train_cfg.max_epochs': 150,
    'param_scheduler.0.patience': 1000,
    'model.backbone.dropout': 0,
}


def overfit(seed):
    """Metrics of an overfitted network's softmax before and after temperature scaling."""
    prepared = WORK / f'isic-few-{seed}'
    if not prepared.exists():
        prepare(seed)
        call('prepare_dataset/isic2016.py', WORK / f'raw-{seed}', prepared, '--val-percent', 60)
    options = {**OVERFIT, **data_options(prepared, ['train', 'val'])}
    folder = WORK / str(seed) / 'overfitted'
    checkpoint = train(BASE, folder, seed, options)
    fitted = folder / 'temperature.json'
    model = {'model.backbone.dropout': 0}
    words = as_options({**model, **data_options(prepared, ['val'])})
    call('tools/calibrate.py', BASE, checkpoint, '--uq', 'softmax', '--out', fitted, *words)
    data = {**model, **data_options(prepared, ['test'])}
    uq = ['--uq', 'softmax']
    plain = evaluate(BASE, checkpoint, folder / 'plain.json', data, uq)
    uq += ['--temperature', fitted]
    return {
        'plain': plain,
        'scaled': evaluate(BASE, checkpoint, folder / 'scaled.json', data, uq),
    }


@pytest.fixture(scope='module')
def overfitted():
    """``overfitted['softmax'][seed]['plain'][key]``."""
    with ThreadPoolExecutor(2) as pool:
        found = {'softmax': dict(zip(map(str, SEEDS), pool.map(overfit, SEEDS), strict=True))}
    atomic_write_json(WORK.parent / 'mc_unet_overfitted.json', found)
    return found


@pytest.mark.parametrize('key', ['seg/NLL', 'seg/ECE', 'seg/ACE'])
def test_temperature_mends_networks_that_are_too_sure(overfitted, key):
    before = over_seeds(overfitted, 'softmax', key)
    after = over_seeds(overfitted, 'softmax', key, 'scaled')
    assert (after < before).all()
