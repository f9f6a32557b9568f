import numpy as np
import pytest
import torch
from mmengine.config import Config

from mmjoint.datasets import FundusTasksDataset, TaskMapsDataset
from mmjoint.registry import DATASETS
from mmjoint.utils.errors import UserError

from .task_sets import PSEUDO, SETS, annotate, read_map, write_sets

PIPELINE = [dict(type='LoadJointImage'), dict(type='LoadTaskMaps'), dict(type='PackJointInputs')]


@pytest.fixture
def root(tmp_path):
    write_sets(tmp_path)
    return tmp_path


def build(root, name='reta', **options):
    return FundusTasksDataset(
        str(root / name), **dict(dict(split='train', pipeline=PIPELINE), **options)
    )


def error(root, name='reta', **options):
    with pytest.raises(UserError) as caught:
        build(root, name, **options)
    message = str(caught.value)
    assert '\n' not in message
    return message


def maps_of(dataset, index=0):
    sample = dataset[index]['data_samples']
    return dict(sample.gt_tasks.items()) if 'gt_tasks' in sample else {}


def record(index=0, **changes):
    made = dict(
        img_path=f'images/train-{index}.png',
        task_map_paths=dict(vessel=f'vessel/train-{index}.png'),
        patient_id='p',
        domain='reta',
    )
    return dict(made, **changes)


@pytest.mark.parametrize('name', SETS)
def test_a_sample_as_the_model_gets_it(root, name):
    dataset = build(root, name)
    task, size = SETS[name]['task'], SETS[name]['size']
    item = dataset[1]
    assert len(dataset) == SETS[name]['count']
    assert item['inputs'].shape == (3, size, size) and item['inputs'].dtype == torch.uint8
    sample = item['data_samples']
    assert list(sample.gt_tasks.keys()) == [task]
    labels = sample.gt_tasks.get(task)
    assert labels.dtype == torch.int64 and labels.shape == (1, size, size)
    assert np.array_equal(labels[0].numpy(), read_map(root / name / task / 'train-1.png'))
    assert set(labels.unique().tolist()) == set(range(SETS[name]['values']))
    assert sample.metainfo == dict(
        img_path=str(root / name / 'images/train-1.png'),
        ori_shape=(size, size),
        img_shape=(size, size),
        raw_shape=(40, 50),
        sample_idx=1,
        domain=name,
        patient_id='train-1',
        fov_path=str(root / name / 'fov/train-1.png'),
        frame=dict(crop=[5, 0, 40, 40], pad=[0, 0, 0, 0]),
    )


@pytest.mark.parametrize('name', SETS)
def test_pseudo_labels_from_folders(root, name):
    folders = {task: f'pseudo/{task}' for task in reversed(PSEUDO[name])}
    dataset = build(root, name, labelled=False, extra_maps=folders)
    # In the order of the table.
    assert tuple(dataset.get_data_info(2)['task_map_paths']) == PSEUDO[name]
    maps = maps_of(dataset, 2)
    assert set(maps) == set(PSEUDO[name])
    for task, labels in maps.items():
        expected = read_map(root / name / 'pseudo' / task / 'train-2.png')
        assert np.array_equal(labels[0].numpy(), expected)
    beside = {task: str(root / name / path) for task, path in folders.items()}
    assert set(maps_of(build(root, name, extra_maps=beside))) == {'vessel', 'lesion', 'odoc'} - (
        {'lesion'} if name == 'refuge' else set()
    )


def test_what_is_not_to_be_seen_is_nowhere(root):
    annotate(root / 'reta', 'train', [record(), record(1, task_map_paths={})])
    dataset = build(root)
    assert [tuple(maps_of(dataset, index)) for index in range(2)] == [('vessel',), ()]
    for options in (dict(labelled=False), dict(annotated_tasks=())):
        dataset = build(root, **options)
        assert 'vessel' not in str(dataset.get_data_info(0)['task_map_paths'])
        assert 'gt_tasks' not in dataset[0]['data_samples']


def test_full_truth_can_be_cut(root):
    maps = dict(vessel='vessel/train-0.png', lesion='pseudo/lesion/train-0.png')
    annotate(root / 'reta', 'train_truth', [record(task_map_paths=maps)])
    assert set(maps_of(build(root, split='train_truth'))) == {'vessel', 'lesion'}
    cut = build(
        root,
        split='train_truth',
        annotated_tasks=('vessel',),
        extra_maps=dict(lesion='pseudo/odoc'),
    )
    maps = maps_of(cut)
    expected = read_map(root / 'reta/pseudo/odoc/train-0.png')
    assert np.array_equal(maps['lesion'][0].numpy(), expected)
    message = error(root, split='train_truth', extra_maps=dict(lesion='pseudo/odoc'))
    assert "no label map of the task 'lesion' of extra_maps, found" in message
    assert 'pseudo/lesion/train-0.png; set annotated_tasks to the others' in message


def test_cache_changes_nothing(root):
    plain, cached = (build(root, cache=cache) for cache in (False, True))
    for _ in range(2):
        for index in range(3):
            assert torch.equal(maps_of(plain, index)['vessel'], maps_of(cached, index)['vessel'])
    assert len(cached.cache) == 6


def test_a_table_of_ones_own(root):
    tasks = dict(blood=dict(tree=[1]), spot=dict(any=[1, 2]))
    records = [record(task_map_paths=dict(blood='vessel/train-0.png'))]
    annotate(root / 'reta', 'own', records)
    config = Config(
        dict(
            type='TaskMapsDataset',
            data_root=str(root / 'reta'),
            split='own',
            pipeline=PIPELINE,
            metainfo=dict(tasks=tasks),
        )
    )
    dataset = DATASETS.build(config)
    assert tuple(maps_of(dataset)) == ('blood',)
    # Into the checkpoint: types of configs would not load with `weights_only`.
    table = dataset.metainfo['tasks']
    assert table == dict(blood=dict(tree=(1,)), spot=dict(any=(1, 2)))
    assert type(table) is dict and {type(channels) for channels in table.values()} == {dict}


@pytest.mark.parametrize(
    'tasks', [{}, dict(a={}), dict(a=dict(b=())), dict(a=dict(b=(0,))), dict(a=dict(b=(255,))), 3]
)
def test_impossible_tables(root, tasks):
    with pytest.raises(UserError, match='expected tasks to be task -> channel -> values of 1 to'):
        TaskMapsDataset(str(root / 'reta'), split='train', metainfo=dict(tasks=tasks))


def test_the_fundus_table():
    tasks = FundusTasksDataset.METAINFO['tasks']
    assert [len(channels) for channels in tasks.values()] == [1, 4, 2]
    assert tasks['odoc'] == dict(disc=(1, 2), cup=(2,))
    assert len(FundusTasksDataset.METAINFO['palette']) == 5


def test_unknown_tasks(root):
    for option in (dict(annotated_tasks=('vesel',)), dict(extra_maps=dict(vesel='x'))):
        message = error(root, **option)
        assert message == (
            f"FundusTasksDataset: expected {next(iter(option))} to name tasks out of ('vessel', "
            "'lesion', 'odoc'), found 'vesel'"
        )


def test_a_task_that_no_record_has(root):
    message = error(root, annotated_tasks=('vessel', 'lesion'))
    assert message.endswith(
        "expected records with label maps of the task 'lesion' of annotated_tasks, found none; "
        'leave it out or choose another split'
    )
    build(root, annotated_tasks=('lesion',), labelled=False)


@pytest.mark.parametrize(
    ('changes', 'text'),
    [
        (dict(task_map_paths='x.png'), "task_map_paths to be texts by task, found 'x.png'"),
        (dict(task_map_paths=dict(vessel=3)), 'task_map_paths to be texts by task, found'),
        (
            dict(task_map_paths=dict(disc='a.png')),
            "task_map_paths of the tasks ('vessel', 'lesion', 'odoc'), found 'disc'",
        ),
        (dict(fov_path=1), 'expected a text under fov_path, found 1'),
    ],
)
def test_malformed_records(root, changes, text):
    annotate(root / 'reta', 'train', [record(), record(1, **changes)])
    message = error(root)
    assert 'train.json: record 1: ' in message and text in message


def test_missing_files(root):
    (root / 'reta/vessel/train-2.png').unlink()
    message = error(root)
    assert 'vessel/train-2.png: not found; 1 of 3 label maps of the task vessel that' in message
    (root / 'ddr/fov/train-0.png').unlink()
    assert '1 of 5 masks of the field of view that' in error(root, 'ddr')
    for number in (1, 3):
        (root / f'refuge/pseudo/vessel/train-{number}.png').unlink()
    message = error(root, 'refuge', extra_maps=dict(vessel='pseudo/vessel'))
    assert 'pseudo/vessel/train-1.png: not found; 2 of 4 label maps in the folder' in message
    assert "'pseudo/vessel' that extra_maps names for the task vessel are missing" in message
