"""What pseudo-labels and the saliency bridge of MultiMix gain, on phantoms over three seeds.

10 images with lung masks, 100 with a class. Figures are written to
``work_dirs/claims/multimix.json`` and stand in ``docs/benchmarks.md``. What has been finished is
not repeated.
"""

import json
import math
from typing import NamedTuple

import numpy as np
import pytest
from mmengine.config import Config

from mmjoint.apis.config import load_config
from mmjoint.utils.io import atomic_write_json

from .training import ROOT, call

pytestmark = pytest.mark.slow

SEEDS = (0, 1, 2)
WORK = ROOT / 'work_dirs' / 'claims' / 'multimix'
DATA = 'phantom-jsrt-10_chestxraypneumonia-100'
FIXED, PUBLISHED = (
    ROOT / 'configs' / 'multimix' / f'{name}_{DATA}.py'
    for name in ('multimix-fixed-c8', 'multimix-c8')
)
# Folder of the prepared set, name of the phantoms, script, options of both.
PHANTOMS = (
    ('jsrt', 'jsrt', 'jsrt', ('--num-cases', 247), ()),
    (
        'chest_xray_pneumonia',
        'chest_xray_pneumonia',
        'chest_xray_pneumonia',
        ('--num-cases', 1400, '--split-ratio', 10, 0.1, 4, '--pneumonia-share', 0.5),
        ('--labelled', 100),
    ),
    ('montgomery', 'montgomery', 'montgomery', ('--num-cases', 138), ()),
    ('nih_pneumonia', 'nih_pneumonia', 'nih_pneumonia', ('--num-cases', 400), ()),
)
# What all trainings share. Images are shrunk from 64x64 to a size at which the class can be learnt
# in a minute; masks of test images keep their size. No dropout, as the training is short.
SIZE, WEAK_PADDING, EPOCHS, VAL_INTERVAL = (32, 32), 2, 16, 4
MASKS, OTHER_MASKS = 'seg_labelled', 'seg_unlabelled'
CLASSES, OTHER_CLASSES = 'cls_labelled', 'cls_unlabelled'
BATCHES = 79  # of an epoch: one pass through the images whose class is not known


class Row(NamedTuple):
    """A model of the table: the sources that it learns from, and its parts."""

    sources: tuple[str, ...]
    bridge: bool = False
    kl: str = 'none'
    split: str | None = None
    base: object = FIXED


BOTH = (MASKS, CLASSES)
SEMI = (*BOTH, OTHER_CLASSES)
ROWS = {
    'UMTL': Row(BOTH),
    'UMTL-S': Row(BOTH, bridge=True),
    'UMTL-SSL': Row(SEMI),
    'UMTL-S-SSL': Row(SEMI, bridge=True),
    'MultiMix': Row((MASKS, OTHER_MASKS, CLASSES, OTHER_CLASSES), bridge=True, kl='bernoulli'),
    'UMTL full': Row(BOTH, split='train'),
    'Enc': Row((CLASSES,)),
    'EncSSL': Row((CLASSES, OTHER_CLASSES)),
    'U-Net': Row((MASKS,)),
    'UMTL-S-SSL, two ranges': Row(SEMI, bridge=True, base=PUBLISHED),
}


def prepare(seed):
    """Phantoms of a seed, in the prepared layout."""
    data = WORK / 'data' / str(seed)
    for folder, phantoms, script, of_phantoms, options in PHANTOMS:
        if not (data / folder).exists():
            raw = WORK / 'data' / f'raw-{seed}' / folder
            call('prepare_dataset/make_phantoms.py', phantoms, raw, *of_phantoms, '--size', 128,
                 '--seed', seed, '--overwrite')  # fmt: skip
            call(f'prepare_dataset/{script}.py', raw, data / folder, '--size', 64, *options,
                 '--seed', seed)  # fmt: skip
    return data


def adapt(transforms, branches, weak=True):
    """Change the pipelines within a list of transforms, in place."""
    for transform in transforms:
        if transform['type'] == 'PillowResize':
            transform['size'] = SIZE
        elif transform['type'] == 'RandomReflectCrop' and weak:
            transform['padding'] = WEAK_PADDING
        elif transform['type'] == 'MultiBranch':
            transform['branches'] = branches
            for name, pipeline in transform['pipelines'].items():
                adapt(pipeline, branches, name != 'cls_strong')


def write_config(path, row, data):
    """Write the config of a row, with all its settings."""
    sources = row.sources
    cfg = load_config(str(row.base)).to_dict()
    model = cfg['model']
    model['kl'] = row.kl
    model['backbone']['dropout'] = 0.0
    model['decode_head']['dropout'] = 0.0
    if not row.bridge:
        model['bridge'] = None
        model['decode_head']['in_channels'] = (8, 16, 32, 64, 128)
    if OTHER_CLASSES not in sources:
        model['loss_pseudo'] = None
    if CLASSES not in sources:
        model['cls_head'] = None
    if MASKS not in sources:
        model['decode_head'] = None
    branches = [name for name in sources if name != OTHER_CLASSES]
    branches += ['cls_weak', 'cls_strong'] if OTHER_CLASSES in sources else []

    def chosen(loader, names):
        datasets = {name: cfg[loader]['dataset']['datasets'][name] for name in names}
        for dataset in datasets.values():
            dataset['data_root'] = dataset['data_root'].replace('data/phantoms', str(data))
            adapt(dataset['pipeline'], branches)
        cfg[loader]['dataset']['datasets'] = datasets

    chosen('train_dataloader', sources)
    if row.split:
        for dataset in cfg['train_dataloader']['dataset']['datasets'].values():
            dataset['split'] = row.split
    cfg['train_dataloader']['batch_size'] = 10 * len(sources)
    cfg['train_dataloader']['sampler'] = dict(
        type='MultiSourceSampler',
        counts=(10,) * len(sources),
        num_batches=BATCHES,
        whole_passes=True,
    )
    tasks = [task for task, name in (('seg', MASKS), ('cls', CLASSES)) if name in sources]
    judged = {
        'val': {'seg': ('jsrt',), 'cls': ('kermany',)},
        'test': {'seg': ('jsrt', 'montgomery'), 'cls': ('kermany', 'nih')},
    }
    for stage, names in judged.items():
        chosen(f'{stage}_dataloader', [name for task in tasks for name in names[task]])
        metrics = [metric for task in tasks for metric in cfg[f'{task}_{stage}_metrics']]
        cfg[f'{stage}_evaluator']['metrics'] = metrics
    scores = {'seg': 'seg/mean_Dice', 'cls': 'cls/ACC'}
    cfg['val_evaluator']['selection_score'] = tuple(scores[task] for task in tasks)
    cfg['train_cfg'].update(max_epochs=EPOCHS, val_interval=VAL_INTERVAL)
    cfg['default_hooks']['checkpoint']['interval'] = VAL_INTERVAL
    cfg['param_scheduler'] = [dict(type='PolyLR', power=0.9, begin=0, end=EPOCHS, by_epoch=True)]
    Config(cfg).dump(path)


def run(name, seed):
    """Metrics of the last checkpoint, and of the best one by validation, on all test sets."""
    folder = WORK / name.replace(' ', '-').replace(',', '') / str(seed)
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / 'config.py'
    if not (folder / 'finished').exists():
        write_config(config, ROWS[name], prepare(seed))
        call('tools/train.py', config, '--work-dir', folder, '--seed', seed)
        (folder / 'finished').touch()
    checkpoints = {
        'last': (folder / 'last_checkpoint').read_text().strip(),
        'best': str(next(folder.glob('best_*.pth'))),
    }
    found = {}
    for kind, checkpoint in checkpoints.items():
        out = folder / f'{kind}.json'
        if not out.exists():
            call('tools/test.py', config, checkpoint, '--work-dir', folder / 'test', '--out', out)
        found[kind] = json.loads(out.read_text())
    return found


@pytest.fixture(scope='module')
def results():
    """Metrics by row, seed and checkpoint: ``results['UMTL']['0']['last'][key]``."""
    collected = {name: {} for name in ROWS}
    for name in ROWS:
        for seed in SEEDS:
            collected[name][str(seed)] = run(name, seed)
            atomic_write_json(WORK.with_name('multimix.json'), collected)
    return collected


def over_seeds(results, name, key, checkpoint='last'):
    values = [results[name][str(seed)][checkpoint][key] for seed in SEEDS]
    return np.array([math.nan if value is None else value for value in values])


def test_all_rows_learn_their_tasks(results):
    for name, row in ROWS.items():
        if MASKS in row.sources:
            assert (over_seeds(results, name, 'jsrt/seg/Dice.lung') > 0.9).all(), name
        if CLASSES in row.sources:
            assert (over_seeds(results, name, 'kermany/cls/AUC') > 0.65).all(), name


def test_there_is_room_above_100_classes(results):
    """With the classes of all images the same training is clearly better."""
    few, full = (over_seeds(results, name, 'kermany/cls/AUC') for name in ('UMTL', 'UMTL full'))
    assert full.mean() > few.mean() + 0.03


def test_pseudo_labels_rank_classes_a_little_better(results):
    """Over three pairs of rows and all seeds; not in each seed, and not by accuracy."""
    pairs = (('EncSSL', 'Enc'), ('UMTL-SSL', 'UMTL'), ('UMTL-S-SSL', 'UMTL-S'))
    gains = [
        over_seeds(results, semi, 'kermany/cls/AUC') - over_seeds(results, alone, 'kermany/cls/AUC')
        for semi, alone in pairs
    ]
    assert np.mean(gains) > 0


@pytest.mark.parametrize('domain', ['jsrt', 'montgomery'])
def test_the_bridge_neither_helps_nor_harms_masks(results, domain):
    """The original claims a large gain; see ``docs/benchmarks.md`` for what is found here."""
    for bridged, alone in (('UMTL-S', 'UMTL'), ('UMTL-S-SSL', 'UMTL-SSL')):
        key = f'{domain}/seg/Dice.lung'
        gain = over_seeds(results, bridged, key) - over_seeds(results, alone, key)
        assert abs(gain.mean()) < 0.03
