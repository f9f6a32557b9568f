"""What A&D gains from volumes without labels, on phantoms over three seeds.

``la``: one organ, 2 of 80 volumes labelled. ``synapse``: 13 organs of very unequal size, 4 of 40
labelled. Figures are written to ``work_dirs/claims/aggregate_decouple_<setting>.json`` and stand in
``docs/benchmarks.md``. What has been finished is not repeated.
"""

import json
import math

import numpy as np
import pytest

from mmjoint.utils.io import atomic_write_json

from .training import ROOT, as_options, call

pytestmark = pytest.mark.slow

SEEDS = (0, 1, 2)
WORK = ROOT / 'work_dirs' / 'claims' / 'aggregate_decouple'
PHANTOMS = {
    'la': ('--num-cases', 100, '--size', 48),  # 80 to train on, 20 to test on
    'synapse': ('--num-cases', 60, '--size', 96),  # 40, and 8 to validate on, 12 to test on
}
PREPARED = {'la': ('--ratios', 0.025), 'synapse': ('--shape', 20, 48, 48, '--ratios', 0.1)}
CONFIGS = {
    'supervised': 'vnet/vnet-b8',
    'full': 'vnet/vnet-b8',
    'mean teacher': 'mean_teacher/mean-teacher-b8_vnet',
}
PROPOSED = 'aggregate_decouple/aggregate-decouple-b8_vnet'
EPOCHS = {'la': 30, 'synapse': 20}  # of their configs
LONGER = """train_cfg = dict(max_epochs={epochs})
param_scheduler = [dict(type='PolyLR', power=0.9, begin=1, end={epochs} + 1, by_epoch=True)]"""
# What each row changes in its config.
CHANGES = {
    'supervised': '',
    'full': "train_dataloader = dict(dataset=dict(datasets=dict(labelled=dict(split='train'))))",
    'mean teacher': '',
    'A&D': '',
    'no diffusion': (
        'model = dict(backbone=dict(time_channels=None), denoising_stem=None, diffusion=None)'
    ),
    'no re-weighting': 'model = dict(difficulty=None)',
    'no EMA': 'custom_hooks = []',
    'eval-mode pseudo-labels': "model = dict(pseudo_mode='eval')",
    'BN follows sampling': 'model = dict(update_bn_in_sampling=True)',
    'no Gumbel': 'model = dict(gumbel=False)',
}
METHODS = ('supervised', 'full', 'mean teacher', 'A&D')
# The same with four times the iterations. An iteration of A&D takes about four times as long as one
# of the V-Net: 'supervised x4' is as expensive as 'A&D'.
ROWS = {
    'la': (*METHODS, 'supervised x4', 'full x4', 'A&D x4'),
    'synapse': (*CHANGES, 'supervised x4'),
}


def prepare(setting, seed):
    """Phantoms of a seed, in the prepared layout."""
    prepared = WORK / 'data' / f'{setting}-{seed}'
    if not prepared.exists():
        raw = WORK / 'data' / f'raw-{setting}-{seed}'
        call('prepare_dataset/make_phantoms.py', setting, raw, *PHANTOMS[setting], '--seed', seed,
             '--overwrite')  # fmt: skip
        call(f'prepare_dataset/{setting}.py', raw, prepared, *PREPARED[setting], '--seed', seed)
    return prepared


def write_config(path, setting, row):
    """Write the config of a row; gives whether it sees labels alone."""
    name, _, times = row.partition(' x')
    base = CONFIGS.get(name, PROPOSED)
    longer = LONGER.format(epochs=int(times) * EPOCHS[setting]) if times else ''
    text = f"_base_ = ['{ROOT}/configs/{base}_phantom-{setting}.py']\n{CHANGES[name]}\n{longer}\n"
    path.write_text(text)
    return base.startswith('vnet/')


def run(setting, row, seed):
    """Metrics of the last checkpoint, and of the best one by validation, on the test set."""
    folder = WORK / setting / row.replace(' ', '-').replace('&', 'n') / str(seed)
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / 'config.py'
    alone = write_config(config, setting, row)
    data = f'{prepare(setting, seed)}/'
    sources = ('labelled',) if alone else ('labelled', 'unlabelled')
    if not (folder / 'finished').exists():
        options = {
            **{f'train_dataloader.dataset.datasets.{name}.data_root': data for name in sources},
            'val_dataloader.dataset.data_root': data,
        }
        words = ['--work-dir', folder, '--seed', seed, *as_options(options)]
        call('tools/train.py', config, *words)
        (folder / 'finished').touch()
    checkpoints = {
        'last': (folder / 'last_checkpoint').read_text().strip(),
        'best': str(next(folder.glob('best_*.pth'))),
    }
    found = {}
    for name, checkpoint in checkpoints.items():
        out = folder / f'{name}.json'
        if not out.exists():
            options = as_options({'test_dataloader.dataset.data_root': data})
            words = ['--work-dir', folder / 'test', '--out', out, *options]
            call('tools/test.py', config, checkpoint, *words)
        found[name] = json.loads(out.read_text())
    return found


@pytest.fixture(scope='module')
def results():
    """Metrics by setting, row, seed and checkpoint: ``results['la']['A&D']['0']['last'][key]``.

    The rows of all methods come before the others.
    """
    jobs = [(setting, row, seed) for setting in ROWS for row in METHODS for seed in SEEDS]
    jobs += [
        (setting, row, seed)
        for setting, rows in ROWS.items()
        for row in rows
        if row not in METHODS
        for seed in SEEDS
    ]
    collected = {setting: {row: {} for row in rows} for setting, rows in ROWS.items()}
    for setting, row, seed in jobs:
        collected[setting][row][str(seed)] = run(setting, row, seed)
        path = WORK.with_name(f'aggregate_decouple_{setting}.json')
        atomic_write_json(path, collected[setting])
    return collected


def over_seeds(results, setting, row, key='seg/mean_Dice', checkpoint='last'):
    found = results[setting][row]
    values = [found[str(seed)][checkpoint][key] for seed in SEEDS]
    return np.array([math.nan if value is None else value for value in values])


def test_it_beats_two_labelled_volumes_alone_in_a_longer_training(results):
    """On average; in the short one nothing is gained, see ``docs/benchmarks.md``."""
    assert (over_seeds(results, 'la', 'A&D') > 0.4).all()
    ours, alone, full = (
        over_seeds(results, 'la', f'{row} x4').mean() for row in ('A&D', 'supervised', 'full')
    )
    assert alone < ours < full


def test_it_beats_the_same_labels_alone_where_classes_are_unequal(results):
    """After as many iterations; not after as many seconds."""
    ours, alone = (over_seeds(results, 'synapse', row) for row in ('A&D', 'supervised'))
    assert (ours > alone).all()
    assert ours.mean() > 2 * alone.mean()
