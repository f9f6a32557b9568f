"""What UML claims, tried on fundus phantoms with few labels over three seeds.

Figures are written to ``work_dirs/claims/uml.json`` and stand in ``docs/benchmarks.md``.
"""

import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from mmjoint.utils.io import atomic_write_json

from .training import ROOT, call, data_options, evaluate, train

pytestmark = pytest.mark.slow

SEEDS = (0, 1, 2)
SIGMAS = (0.0, 0.05, 0.1, 0.2)
JOINT = 'configs/uml/uml-b8_res2net_phantom-refuge-64x64.py'
VARIANTS = {
    'joint': JOINT,
    'segmentation alone': 'configs/uml/ablation/uml-b8-seg-only_res2net_phantom-refuge-64x64.py',
    'classification alone': 'configs/uml/ablation/uml-b8-cls-only_res2net_phantom-refuge-64x64.py',
}
NOISY = """_base_ = ['{root}/{config}']
test_dataloader = dict(
    dataset=dict(
        pipeline=[
            dict(type='LoadJointImage'),
            dict(type='GaussianNoise', sigma=0.0, seed=0),
            dict(type='LoadJointAnnotations'),
            dict(type='PackJointInputs'),
        ]
    )
)
"""
WORK = ROOT / 'work_dirs' / 'claims'
# 60 labelled images, 120 held-out ones.
PHANTOMS = ('--num-cases', 192, '--split-ratio', 5, 1, 10, '--size', 256, '--glaucoma-share', 0.5)


def prepare(seed):
    prepared = WORK / f'refuge-{seed}'
    if not prepared.exists():
        raw = WORK / f'refuge-raw-{seed}'
        call('prepare_dataset/make_phantoms.py', 'refuge', raw, *PHANTOMS, '--seed', seed,
             '--overwrite')  # fmt: skip
        call('prepare_dataset/refuge.py', raw, prepared, '--size', 64, '--overwrite')
    return prepared


def run(seed, name):
    data = data_options(prepare(seed))
    options = {**data, 'train_cfg.max_epochs': 60, 'param_scheduler.0.change_epoch': 20}
    options['train_cfg.val_interval'] = 60
    work_dir = WORK / name.replace(' ', '-') / str(seed)
    checkpoint = train(VARIANTS[name], work_dir, seed, options)
    test_data = data_options(prepare(seed), ['test'])
    results = {'clean': evaluate(VARIANTS[name], checkpoint, work_dir / 'clean.json', test_data)}
    if name == 'joint':
        config = work_dir / 'noisy.py'
        config.write_text(NOISY.format(root=ROOT, config=JOINT))
        for sigma in SIGMAS:
            level = {**test_data, 'test_dataloader.dataset.pipeline.1.sigma': sigma}
            out = work_dir / f'sigma{sigma}.json'
            results[f'sigma {sigma}'] = evaluate(str(config), checkpoint, out, level)
    return results


@pytest.fixture(scope='module')
def results():
    """Metrics of every variant and seed: ``results[variant][seed][condition][key]``."""
    for seed in SEEDS:
        prepare(seed)
    jobs = [(name, seed) for seed in SEEDS for name in VARIANTS]
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda job: run(job[1], job[0]), jobs))
    collected = {name: {} for name in VARIANTS}
    for (name, seed), metrics in zip(jobs, found, strict=True):
        collected[name][str(seed)] = metrics
    atomic_write_json(WORK / 'uml.json', collected)
    print(json.dumps(summary(collected), indent=1))
    return collected


def values(results, name, key, condition='clean'):
    return np.array([results[name][str(seed)][condition][key] for seed in SEEDS], float)


KEYS = ('seg/Dice.disc', 'seg/Dice.rim', 'seg/Dice.cup', 'seg/ASSD.disc', 'cls/AUC', 'cls/ACC')


def summary(results):
    rows = {}
    for name in VARIANTS:
        for key in KEYS:
            found = values(results, name, key)
            rows[f'{name} {key}'] = f'{found.mean():.4f} +- {found.std(ddof=1):.4f}'
    for sigma in SIGMAS:
        for key in ('seg/mean_uncertainty.vacuity', 'seg/error_AUROC.vacuity', 'seg/Dice.disc',
                    'cls/AUC', 'cls/mean_uncertainty.vacuity'):  # fmt: skip
            found = values(results, 'joint', key, f'sigma {sigma}')
            rows[f'sigma {sigma} {key}'] = f'{found.mean():.4f} +- {found.std(ddof=1):.4f}'
    return rows


def not_worse(joint, alone):
    """Whether the paired difference is at least minus two standard errors."""
    difference = joint - alone
    return difference.mean() >= -2 * difference.std(ddof=1) / np.sqrt(len(difference))


@pytest.mark.parametrize('key', ['seg/Dice.disc', 'seg/Dice.rim', 'seg/Dice.cup'])
def test_joint_masks_are_not_worse_than_segmentation_alone(results, key):
    joint, alone = values(results, 'joint', key), values(results, 'segmentation alone', key)
    assert not_worse(joint, alone), f'{key}: joint {joint}, alone {alone}'


def test_joint_classes_are_not_worse_than_classification_alone(results):
    joint = values(results, 'joint', 'cls/AUC')
    alone = values(results, 'classification alone', 'cls/AUC')
    assert not_worse(joint, alone), f'joint {joint}, alone {alone}'


def test_pixel_uncertainty_ranks_errors(results):
    """0.5 is chance; the stored figure is the AUROC of wrong against right pixels."""
    auroc = values(results, 'joint', 'seg/error_AUROC.vacuity')
    assert (auroc > 0.5).all() and auroc.mean() - 2 * auroc.std(ddof=1) > 0.5, auroc


def test_pixel_uncertainty_grows_with_noise(results):
    means = np.stack(
        [values(results, 'joint', 'seg/mean_uncertainty.vacuity', f'sigma {s}') for s in SIGMAS]
    )
    assert (np.diff(means.mean(1)) > 0).all(), means


def test_noise_level_zero_is_the_clean_test(results):
    for key in KEYS:
        clean = values(results, 'joint', key)
        np.testing.assert_allclose(values(results, 'joint', key, 'sigma 0.0'), clean, atol=1e-6)
