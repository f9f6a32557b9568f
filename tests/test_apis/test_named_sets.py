"""Test sets and label maps that a command line chooses by the names that a config gives."""

import pytest
from mmengine.config import Config
from mmengine.registry import DefaultScope, init_default_scope

from mmjoint.apis import test
from mmjoint.apis.config_hash import config_hash
from mmjoint.apis.named_sets import use_test_set
from mmjoint.apis.task_labels import (
    check_label_arguments,
    choose_task,
    label_settings,
    place_label_hook,
)
from mmjoint.utils.errors import UserError


@pytest.fixture(autouse=True)
def scope():
    init_default_scope('mmjoint')
    yield
    DefaultScope._instance_dict.clear()


def make_config(**changes):
    dataset = dict(type='FundusTasksDataset', data_root='nowhere', split='test')
    metric = dict(type='TaskMetric', task='lesion', measures=('IoU',))
    return Config(
        dict(
            model=dict(type='MultiTaskModel', tasks={}, generator={}, weights={}),
            test_dataloader=dict(
                batch_size=1, sampler=dict(type='ResumableSampler'), dataset=dataset
            ),
            test_evaluator=dict(type='JointEvaluator', metrics=[metric]),
            test_cfg=dict(),
            test_sets=dict(
                OD=dict(dataset=dict(dataset, data_root='disc'), evaluator=dict(metric)),
                train=dict(dataset=dict(dataset, split='train')),
                absent=None,
            ),
            task_labels=dict(sources=dict(ddr='lesion', refuge='odoc')),
        )
        | changes
    )


def parse(*words):
    return test.parse_args(['c.py', 'x.pth', *words])


def test_a_named_set_takes_the_place_of_the_configs_own():
    assert parse('--OD').test_set == parse('--test-set', 'OD').test_set == 'OD'
    cfg = make_config()
    use_test_set(cfg, parse().test_set)
    assert cfg.to_dict() == make_config().to_dict()
    use_test_set(cfg, 'OD')
    assert cfg.test_dataloader.dataset.data_root == 'disc'
    assert cfg.test_dataloader.sampler.type == 'ResumableSampler'
    assert cfg.test_evaluator.type == 'TaskMetric'
    use_test_set(cfg, 'train')
    assert cfg.test_dataloader.dataset.split == 'train' and cfg.test_evaluator.metrics == []


@pytest.mark.parametrize(
    ('sets', 'name', 'message'),
    [
        (None, 'OD', '--test-set OD: .* has no such set; it has none'),
        (dict(disc=dict(dataset={})), 'disk', r'has no such set; did you mean disc\?'),
        (dict(a=None), 'a', 'it has none'),
        (dict(a=dict(evaluator={})), 'a', r'test_sets\.a: expected a dict with a dataset'),
        (dict(a=dict(dataset={}, metric={})), 'a', r'test_sets\.a\.metric is unknown'),
        (dict(a=dict(dataset=dict(type='No'))), 'a', r'dataset\.type: No is not a known'),
    ],
)
def test_mistakes_in_named_sets(sets, name, message):
    with pytest.raises(UserError, match=message):
        use_test_set(make_config(test_sets=sets), name)


def test_a_source_is_a_name_of_the_config_or_a_task():
    cfg = make_config()
    assert choose_task(cfg, None) == choose_task(cfg, 'ddr') == choose_task(cfg, 'lesion')
    assert choose_task(cfg, 'refuge') == 'odoc'
    with pytest.raises(UserError, match=r'--source refuse: .*\(ddr: lesion, refuge: odoc\)'):
        choose_task(cfg, 'refuse')
    with pytest.raises(UserError, match='--source is missing: .*it has none'):
        choose_task(make_config(task_labels=None), None)


def test_a_test_with_label_maps_measures_nothing_unless_it_is_asked_to():
    settings = dict(sources=dict(a='odoc'), threshold=0.4, min_confidence=0.9)
    cfg = make_config(task_labels=settings, custom_hooks=[dict(type='EnvironmentHook')])
    before = config_hash(cfg, without=('custom_hooks',))
    place_label_hook(cfg, None, 'there', measured=True)
    assert config_hash(cfg, without=('custom_hooks',)) == before != config_hash(cfg)
    assert [hook['type'] for hook in cfg.custom_hooks] == ['EnvironmentHook', 'TaskLabelHook']
    assert cfg.custom_hooks[1] == dict(
        type='TaskLabelHook', task='odoc', out_dir='there', threshold=0.4, min_confidence=0.9
    )
    assert len(cfg.test_evaluator.metrics) == 1
    place_label_hook(cfg, None, 'there')
    assert cfg.test_evaluator.metrics == []


def test_mistakes_in_settings_of_label_maps(tmp_path):
    with pytest.raises(UserError, match=r'task_labels\.treshold .* did you mean threshold'):
        label_settings(make_config(task_labels=dict(treshold=0.4)))
    own = dict(sources=dict(a='odoc'), uncertainty='variance_odoc')
    with pytest.raises(UserError, match='belong together'):
        place_label_hook(make_config(task_labels=own), None, 'there')
    with pytest.raises(UserError, match='--vis: where to'):
        check_label_arguments(parse('--vis'))
    for words in (['--source', 'ddr'], ['--output_dir', 'there']):
        with pytest.raises(UserError, match=f'{words[0]}: .* add --vis'):
            check_label_arguments(parse(*words))
    (tmp_path / 'file').touch()
    with pytest.raises(UserError, match='expected a folder, found a file'):
        check_label_arguments(parse('--vis', '--output-dir', str(tmp_path / 'file')))
    check_label_arguments(parse('--vis', '--output_dir', str(tmp_path / 'new')))


def test_a_hash_tells_contents_apart_and_nothing_else():
    cfg = make_config()
    same = make_config(work_dir='w', load_from=None)
    assert config_hash(cfg) == config_hash(same)
    assert config_hash(make_config(load_from='x.pth')) != config_hash(cfg)
    other = make_config()
    other.test_dataloader.batch_size = 2
    assert config_hash(other) != config_hash(cfg)
