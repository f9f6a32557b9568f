"""What each part of PSSNet gains, on fundus phantoms over three seeds.

RETA labels vessels, DDR lesions, REFUGE disc and cup; the phantoms of all sets know everything, so
every model is measured for every task on the test images of all sets. Figures are written to
``work_dirs/claims/pssnet.json`` and stand in ``docs/benchmarks.md``. What has been finished is not
repeated.
"""

import json

import numpy as np
import pytest

from mmjoint.utils.io import atomic_write_json

from .training import ROOT, call

pytestmark = pytest.mark.slow

SEEDS = (0, 1, 2)
WORK = ROOT / 'work_dirs' / 'claims' / 'pssnet'
STAGE1 = 'pssnet-stage1-c16_resnet_phantom-fundustasks-96x96.py'
STAGE2 = 'pssnet-c16_resnet_phantom-fundustasks-96x96.py'
PHANTOMS = {
    'reta': 60,
    'ddr': 100,
    'refuge_tasks': 90,
    'idrid': 60,
    'drive': 40,
    'stare': 20,
    'aria': 20,
}
SIZE = 192
# Folders of the data sets by the names of the configs.
FOLDERS = {
    'reta': 'reta',
    'ddr': 'ddr',
    'refuge': 'refuge_tasks',
    'idrid': 'idrid',
    'drive': 'drive',
    'stare': 'stare',
    'aria': 'aria',
}
TASKS = {
    'vessel': {'vessel': (1,)},
    'lesion': {'EX': (1,), 'HE': (2,), 'SE': (3,), 'MA': (4,)},
    'odoc': {'disc': (1, 2), 'cup': (2,)},
}
LABELLED = {'reta': 'vessel', 'ddr': 'lesion', 'refuge': 'odoc'}
PSEUDO = {'reta': ('lesion', 'odoc'), 'ddr': ('vessel', 'odoc'), 'refuge': ('vessel',)}
TEST_SETS = ('drive', 'stare', 'aria', 'ddr', 'idrid', 'refuge')
# What each row changes in its config.
ALL = dict.fromkeys(TASKS, 1.0)
CHANGES = {
    'stage 1': {},
    **{
        f'{task} alone': {
            'model': {
                'tasks': {'_delete_': True, task: TASKS[task]},
                'weights': {'_delete_': True, branch: {task: 1.0}},
            },
            'train_dataloader': {'batch_size': 1, 'sampler': {'counts': (1,)}},
        }
        for branch, task in LABELLED.items()
    },
    'all labels': {'model': {'weights': dict.fromkeys(LABELLED, ALL)}},
    'whole': {},
    'no critics': {
        'model': {'critic': None},
        'optim_wrapper': {'critics': None, 'aux_critics': None},
    },
    'no pseudo labels': {
        'model': {'pseudo_weights': None},
        'train_dataloader': {'batch_size': 3, 'sampler': {'counts': (1, 1, 1)}},
    },
    'no attention': {'model': {'generator': {'decode_head': {'attention': None}}}},
}
SINGLE = tuple(f'{task} alone' for task in TASKS)
SECOND = ('whole', 'no critics', 'no pseudo labels', 'no attention')


def prepare(seed):
    """Phantoms of a seed, prepared with their full truth."""
    folder = WORK / 'data' / str(seed)
    for name, number in PHANTOMS.items():
        if not (folder / name / 'dataset_info.json').exists():
            raw = WORK / 'data' / f'raw-{seed}' / name
            call('prepare_dataset/make_phantoms.py', name, raw, '--num-cases', number,
                 '--size', SIZE, '--seed', seed, '--overwrite')  # fmt: skip
            call(f'prepare_dataset/{name}.py', raw, folder / name, '--truth', '--overwrite')
    return folder


def training_sources(row, seed):
    """Changes of the data sets of the training."""
    data = prepare(seed)
    sources = {name: {'data_root': f'{data / FOLDERS[name]}/'} for name in LABELLED}
    if row == 'all labels':
        for source in sources.values():
            source |= {'split': 'train_truth', 'annotated_tasks': None}
    elif row in SINGLE:
        for name, task in LABELLED.items():
            if not row.startswith(task):
                sources[name] = None
    elif row in SECOND:
        for name, tasks in PSEUDO.items():
            maps = {task: str(place('stage 1', seed) / 'labels' / task) for task in tasks}
            root = sources[name]['data_root']
            without = row == 'no pseudo labels'
            sources[f'{name}_pseudo'] = None if without else {'data_root': root, 'extra_maps': maps}
    return sources


def config_text(row, seed, tail=''):
    """The config of a row."""
    changes = dict(CHANGES[row])
    loader = dict(changes.pop('train_dataloader', {}))
    loader['dataset'] = {'datasets': training_sources(row, seed)}
    lines = [f"_base_ = ['{ROOT}/configs/pssnet/{STAGE2 if row in SECOND else STAGE1}']"]
    lines += [f'{key} = {value!r}' for key, value in changes.items()]
    lines += [f'train_dataloader = {loader!r}']
    # The last checkpoint is measured; nothing is chosen by validation.
    lines += ['val_cfg = val_dataloader = val_evaluator = None']
    return '\n'.join([*lines, tail, ''])


def measure_part(row, seed):
    """Measure all tasks on all test sets: of each set, and of all sets together."""
    data = prepare(seed)
    sources = ', '.join(
        f'{name}=dict(data_root={f"{data / FOLDERS[name]}/"!r}, split="test_truth")'
        for name in TEST_SETS
    )
    tasks = [task for task in TASKS if row not in SINGLE or row.startswith(task)]
    metrics = [
        {
            'type': 'TaskMetric',
            'domain': domain,
            'task': task,
            'measures': ('IoU', 'Dice', 'AUPR'),
            'field_of_view': False,
        }
        for domain in (None, *TEST_SETS)
        for task in tasks
    ]
    return (
        f'test_dataloader = dict(dataset=dict(datasets=dict({sources})))\n'
        f'test_evaluator = dict(metrics={metrics!r})'
    )


def label_part(seed):
    """Write pseudo labels of what the training images lack."""
    data = prepare(seed)
    sources = ', '.join(
        f"{name}=dict(type='FundusTasksDataset', data_root={f'{data / FOLDERS[name]}/'!r}, "
        "split='train', labelled=False, test_mode=True, pipeline=_base_.test_pipeline)"
        for name in PSEUDO
    )
    hooks = [
        {
            'type': 'TaskLabelHook',
            'task': task,
            'out_dir': str(place('stage 1', seed) / 'labels' / task),
        }
        for task in TASKS
    ]
    return (
        f'test_dataloader = dict(dataset=dict(datasets=dict(_delete_=True, {sources})))\n'
        f'test_evaluator = dict(metrics=[])\ncustom_hooks = {hooks!r}'
    )


def place(row, seed):
    """Folder of a run."""
    return WORK / row.replace(' ', '-') / str(seed)


def run(row, seed):
    """Train, label where it is the first stage, and measure."""
    folder = place(row, seed)
    folder.mkdir(parents=True, exist_ok=True)
    if row in SECOND:
        run('stage 1', seed)
    if not (folder / 'finished').exists():
        (folder / 'train.py').write_text(config_text(row, seed))
        call('tools/train.py', folder / 'train.py', '--work-dir', folder, '--seed', seed)
        (folder / 'finished').touch()
    checkpoint = (folder / 'last_checkpoint').read_text().strip()
    out = folder / 'metrics.json'
    if not out.exists():
        (folder / 'test.py').write_text(config_text(row, seed, measure_part(row, seed)))
        words = ['--work-dir', folder / 'test', '--out', out]
        call('tools/test.py', folder / 'test.py', checkpoint, *words)
    if row == 'stage 1' and not (folder / 'labelled').exists():
        (folder / 'label.py').write_text(config_text(row, seed, label_part(seed)))
        call('tools/test.py', folder / 'label.py', checkpoint, '--work-dir', folder / 'test')
        (folder / 'labelled').touch()
    return json.loads(out.read_text())


@pytest.fixture(scope='module')
def results():
    """Metrics by row and seed: ``results['whole']['0'][key]``.

    Of all test sets together ``'<task>/<measure>.<channel>'``, of one
    ``'<set>/<task>/<measure>.<channel>'``.
    """
    collected = {row: {} for row in CHANGES}
    for row in CHANGES:
        for seed in SEEDS:
            collected[row][str(seed)] = run(row, seed)
            atomic_write_json(WORK.with_name('pssnet.json'), collected)
    return collected


def over_seeds(results, row, key):
    """The values of all seeds."""
    return np.array([results[row][str(seed)][key] for seed in SEEDS], float)


@pytest.mark.parametrize('key', ['vessel/Dice.vessel', 'lesion/Dice.EX', 'odoc/Dice.disc'])
def test_the_first_stage_learns_all_tasks_for_all_sets(results, key):
    """On every seed; each task was labelled in one set alone."""
    assert (over_seeds(results, 'stage 1', key) > 0.4).all()


@pytest.mark.parametrize('key', ['vessel/Dice.vessel', 'odoc/Dice.disc'])
def test_one_model_of_all_tasks_sees_more_cameras_than_three(results, key):
    """On every seed: its encoder is trained on the photographs of all sets."""
    alone = over_seeds(results, f'{key.partition("/")[0]} alone', key)
    assert (over_seeds(results, 'stage 1', key) > alone).all()
