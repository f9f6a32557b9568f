"""One optimizer for each part of a model."""

import pytest
import torch
from mmengine.optim import OptimWrapperDict, build_optim_wrapper
from mmengine.registry import DefaultScope, init_default_scope
from torch import nn

from mmjoint.engine.optimizers import MultiOptimWrapperConstructor
from mmjoint.utils.errors import UserError

SGD = dict(optimizer=dict(type='SGD', lr=0.5))


@pytest.fixture(autouse=True)
def scope():
    init_default_scope('mmjoint')
    yield
    DefaultScope._instance_dict.clear()


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.ModuleDict(
        {
            'generator': nn.ModuleDict({'linear': nn.Linear(2, 1), 'norm': nn.LayerNorm(1)}),
            'critics': nn.Linear(1, 1),
            'loss': nn.MSELoss(),
        }
    )


def build(model, **parts):
    return build_optim_wrapper(model, dict(constructor='MultiOptimWrapperConstructor', **parts))


def test_each_part_gets_its_own(model):
    adam = dict(type='Adam', lr=0.1, betas=(0.9, 0.99))
    rules = dict(custom_keys=dict(norm=dict(decay_mult=0.0), linear=dict(lr_mult=0.1)))
    wrappers = build(
        model,
        generator=dict(
            optimizer=dict(type='AdamW', lr=1.0, weight_decay=0.01), paramwise_cfg=rules
        ),
        critics=dict(type='OptimWrapper', optimizer=adam, accumulative_counts=2),
        other=None,
    )
    assert isinstance(wrappers, OptimWrapperDict) and list(wrappers.keys()) == [
        'generator',
        'critics',
    ]
    own = {name: parameter for name, parameter in model.generator.named_parameters()}
    found = {
        next(name for name, p in own.items() if p is group['params'][0]): (
            group['lr'],
            group['weight_decay'],
        )
        for group in wrappers['generator'].optimizer.param_groups
    }
    assert found == {
        'linear.weight': (0.1, 0.01),
        'linear.bias': (0.1, 0.01),
        'norm.weight': (1.0, 0.0),
        'norm.bias': (1.0, 0.0),
    }
    (group,) = wrappers['critics'].optimizer.param_groups
    assert set(group['params']) == set(model.critics.parameters())
    assert group['betas'] == (0.9, 0.99)
    # As they stand in the log: the first group's, and the rate before all rules.
    assert {name: rate[0] for name, rate in wrappers.get_lr().items()} == {
        'generator.base_lr': 1.0,
        'generator.lr': pytest.approx(0.1),
        'critics.lr': 0.1,
    }


@pytest.mark.parametrize(
    ('parts', 'message'),
    [
        (dict(generator=SGD, critic=SGD), r'optim_wrapper\.critic: ModuleDict has no such part'),
        (dict(generator=SGD, critics=SGD, loss=SGD), r'optim_wrapper\.loss: .* no such part'),
        (dict(generator=SGD), r"expected an entry for each of .*none for 'critics'"),
        (dict(generator=SGD, critics=dict(type='Adam')), r'optim_wrapper\.critics: .* optimizer'),
        (dict(generator=SGD, critics=3), r'optim_wrapper\.critics: .* found 3'),
    ],
)
def test_mistakes(model, parts, message):
    with pytest.raises(UserError, match=message):
        build(model, **parts)


def test_rules_belong_into_the_entries():
    with pytest.raises(UserError, match=r'optim_wrapper\.paramwise_cfg: .* entry of a part'):
        MultiOptimWrapperConstructor(dict(generator=SGD), paramwise_cfg=dict())


def test_accumulation_goes_on_where_a_run_stood(model):
    """Updates after iterations 2, 4 and 5, the last; the rest of 1 is not divided by 2."""
    wrappers = build(model, generator=SGD, critics=dict(**SGD, accumulative_counts=2))
    wrappers.initialize_count_status(model, 1, 5)
    critic, weights = wrappers['critics'], []
    for _ in range(4):
        before = model.critics.bias.item()
        critic.update_params(model.critics(torch.ones(1, 1)).sum())
        weights.append(before - model.critics.bias.item())
    assert weights == pytest.approx([0.25, 0, 0.5, 0.5])


def test_states_of_other_parts_are_refused(model):
    wrappers = build(model, generator=SGD, critics=SGD)
    state = wrappers.state_dict()
    wrappers.load_state_dict(state)
    with pytest.raises(UserError, match=r"optimizers of \['generator'\].*config has"):
        wrappers.load_state_dict({'generator': state['generator']})
