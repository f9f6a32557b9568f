"""Configs with an optimizer for each part of a model, before anything is built."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope, init_default_scope

from mmjoint.apis.checks import check_config
from mmjoint.apis.train import _use_amp
from mmjoint.utils.errors import UserError

ADAM = dict(type='Adam', lr=2e-4)


@pytest.fixture(autouse=True)
def scope():
    init_default_scope('mmjoint')
    yield
    DefaultScope._instance_dict.clear()


def make_config(**changes):
    loader = dict(
        batch_size=1,
        sampler=dict(type='ResumableSampler', shuffle=True),
        dataset=dict(type='REFUGEJointDataset', data_root='nowhere', split='train'),
    )
    optim_wrapper = dict(
        constructor='MultiOptimWrapperConstructor',
        generator=dict(
            optimizer=dict(type='AdamW', lr=6e-5),
            paramwise_cfg=dict(custom_keys=dict(norm=dict(decay_mult=0.0))),
        ),
        critics=dict(type='OptimWrapper', optimizer=ADAM),
    )
    return Config(
        dict(
            model=dict(type='PSSNet', tasks={}, generator={}, weights={}),
            train_dataloader=loader,
            train_cfg=dict(by_epoch=True, max_epochs=1),
            optim_wrapper=optim_wrapper,
            model_wrapper_cfg=dict(type='MMSeparateDistributedDataParallel'),
            param_scheduler=dict(
                generator=[dict(type='PolyLR', by_epoch=False, end=3)], critics=[]
            ),
        )
        | changes
    )


def test_a_right_config_passes():
    check_config(make_config(), training=True)
    cfg = make_config()
    cfg.optim_wrapper.critics = None  # as a config leaves out what its base has
    check_config(cfg, training=True)


@pytest.mark.parametrize(
    ('part', 'message'),
    [
        (dict(optimizer=dict(ADAM, lr=-1)), r'critics\.optimizer\.lr: expected a number > 0'),
        (dict(optimizer=dict(ADAM, beta=1)), r'critics\.optimizer\.beta: Adam has no such argumen'),
        (dict(optimizer=ADAM, acumulative_counts=2), r'did you mean accumulative_counts'),
        (dict(optimizer=dict(ADAM, type='Adamm')), r'critics\.optimizer\.type: Adamm is not a kno'),
        (dict(type='Adam'), r'optim_wrapper\.critics: expected a dict with an optimizer'),
        (2e-4, r'optim_wrapper\.critics: expected a dict with an optimizer, found 0\.0002'),
    ],
)
def test_mistakes_in_a_part(part, message):
    cfg = make_config()
    cfg.optim_wrapper.critics = part
    with pytest.raises(UserError, match=message):
        check_config(cfg, training=True)


def test_the_constructor_is_needed_and_known():
    cfg = make_config()
    del cfg.optim_wrapper['constructor']
    with pytest.raises(UserError, match="optim_wrapper: .* constructor='MultiOptimWrapperConstr"):
        check_config(cfg, training=True)
    cfg.optim_wrapper.constructor = 'MultiOptimWrapperConstructr'
    with pytest.raises(UserError, match='constructor.type: .* did you mean MultiOptimWrapperConst'):
        check_config(cfg, training=True)


def test_mixed_precision_of_all_parts(monkeypatch):
    monkeypatch.setattr(torch, 'cuda', SimpleNamespace(is_available=lambda: True))
    cfg = make_config()
    _use_amp(cfg)
    for part in (cfg.optim_wrapper.generator, cfg.optim_wrapper.critics):
        assert part.type == 'AmpOptimWrapper' and part.loss_scale == 'dynamic'
    assert 'type' not in cfg.optim_wrapper
