"""Learning rates of the training against its critics against the original's."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import PARAM_SCHEDULERS, DefaultScope, init_default_scope
from torch import nn

from .loader import reference

CONFIGS = Path(__file__).resolve().parents[2] / 'configs' / '_base_' / 'schedules'
FILES = {'pssnet_60k': ('generator', 'critics', 'aux_critics'), 'pssnet-generator_40k': ()}


@pytest.fixture(autouse=True)
def scope():
    init_default_scope('mmjoint')
    yield
    DefaultScope._instance_dict.clear()


def rates_of(wrapper, schedulers, lengths):
    """Rate of the first group at each of the iterations."""
    last = max(lengths)
    rates = np.empty(last + 1)
    # Steps of the optimizer do not matter here, but torch wants to see one.
    wrapper.step()
    for iteration in range(last + 1):
        rates[iteration] = wrapper.optimizer.param_groups[0]['lr']
        for scheduler in schedulers:
            scheduler.step()
    return rates[np.asarray(lengths)]


@pytest.mark.parametrize('name', FILES)
def test_learning_rates(name):
    stored = reference('partial_fundus', 'schedule')
    lengths = [int(m[1]) for key in stored if (m := re.fullmatch(r'iters_(\d+)', key))]
    assert lengths
    cfg = Config.fromfile(CONFIGS / f'{name}.py')
    own_length = cfg.train_cfg.max_iters
    for length in lengths:
        expected = dict(zip(('generator', 'critics'), stored[f'lr_{length}'].T, strict=True))
        expected['aux_critics'] = expected['critics']
        settings = [
            {**item, 'end': length + 1 if item['end'] == own_length + 1 else item['end']}
            for item in cfg.param_scheduler
        ]
        assert len(settings) == 2 and own_length + 1 in {
            item['end'] for item in cfg.param_scheduler
        }
        model = nn.ModuleDict(
            {part: nn.Linear(1, 1) for part in FILES[name]} or {'x': nn.Linear(1, 1)}
        )
        built = build_optim_wrapper(model, cfg.optim_wrapper)
        wrappers = dict(built.items()) if FILES[name] else {'generator': built}
        for part, wrapper in wrappers.items():
            schedulers = [
                PARAM_SCHEDULERS.build({**item, 'optimizer': wrapper}) for item in settings
            ]
            rates = rates_of(wrapper, schedulers, stored[f'iters_{length}'])
            np.testing.assert_allclose(rates, expected[part], rtol=1e-9, err_msg=f'{part} {length}')


def test_only_named_parameters_do_not_decay():
    """Names as in the spec: a group norm is no norm by its name."""
    cfg = Config.fromfile(CONFIGS / 'pssnet_60k.py')
    generator = nn.ModuleDict(
        {
            'norm1': nn.LayerNorm(2),
            'gn': nn.GroupNorm(1, 2),
            'linear': nn.Linear(2, 2),
        }
    )
    generator.relative_position_bias_table = nn.Parameter(torch.zeros(3, 1))
    generator.absolute_pos_embed = nn.Parameter(torch.zeros(3, 1))
    model = nn.ModuleDict(
        {'generator': generator, 'critics': nn.Linear(1, 1), 'aux_critics': nn.Linear(1, 1)}
    )
    wrappers = build_optim_wrapper(model, cfg.optim_wrapper)
    names = {id(parameter): name for name, parameter in generator.named_parameters()}
    decays = {
        names[id(parameter)]: group['weight_decay']
        for group in wrappers['generator'].optimizer.param_groups
        for parameter in group['params']
    }
    assert decays == {
        'norm1.weight': 0,
        'norm1.bias': 0,
        'relative_position_bias_table': 0,
        'absolute_pos_embed': 0,
        'gn.weight': 0.01,
        'gn.bias': 0.01,
        'linear.weight': 0.01,
        'linear.bias': 0.01,
    }
    assert all(
        group['weight_decay'] == 0
        for name in ('critics', 'aux_critics')
        for group in wrappers[name].optimizer.param_groups
    )
