"""Learning rate, weight of the unlabelled branch and averages of weights, against the original."""

import re

import pytest
import torch
from mmengine.optim import PolyLR
from torch import nn

from mmjoint.functional.averaging import pull_towards_mean
from mmjoint.functional.ramps import sigmoid_ramp_up
from mmjoint.functional.schedules import lagging_epoch, poly_after
from mmjoint.models.semi import SemiBaseModel

from .loader import assert_close, reference

METHOD = 'generic_ssl'
TOLERANCE = 1e-7


@pytest.fixture(scope='module')
def arrays():
    return reference(METHOD, 'schedules')


def test_ramp_up(arrays):
    length = int(arrays['rampup_length'])
    ours = [sigmoid_ramp_up(int(epoch), length) for epoch in arrays['epochs']]
    assert_close(ours, arrays['sigmoid_rampup'], TOLERANCE, 'ramp-up')
    assert sigmoid_ramp_up(0, 0) == arrays['rampup_len0']


def test_learning_rate(arrays):
    base, last = float(arrays['base_lr']), int(arrays['max_epoch'])
    options = dict(base=base, total_steps=last)
    plain = [poly_after(int(epoch), **options) for epoch in arrays['epochs']]
    assert_close(plain, arrays['poly_lr_fn'], TOLERANCE, 'poly')
    used = [poly_after(lagging_epoch(int(epoch)), **options) for epoch in arrays['epochs']]
    assert_close(used, arrays['lr_used_in_epoch'], TOLERANCE, 'used')


def scheduler(base, last, optimizer=None):
    optimizer = optimizer or torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=base)
    # mmengine's decay ends one epoch before `end`.
    return optimizer, PolyLR(optimizer, power=0.9, begin=1, end=last + 2, by_epoch=True)


@pytest.mark.filterwarnings('ignore:Detected call of')
def test_learning_rate_by_mmengine(arrays):
    """Its own schedule, begun in epoch 1, has the lag; also when resumed in the middle."""
    base, last = float(arrays['base_lr']), int(arrays['max_epoch'])
    optimizer, schedule = scheduler(base, last)
    values = []
    for epoch in arrays['epochs']:
        values.append(optimizer.param_groups[0]['lr'])
        schedule.step()
        if epoch == last // 2:
            states = optimizer.state_dict(), schedule.state_dict()
            optimizer, schedule = scheduler(base, last)
            optimizer.load_state_dict(states[0])
            schedule.load_state_dict(states[1])
    assert_close(values, arrays['lr_used_in_epoch'], TOLERANCE, 'PolyLR')


class Learner(SemiBaseModel):
    """The schedule of the base class alone."""

    def loss_by_gt(self, inputs, data_samples):
        return {}

    def loss_by_pseudo(self, inputs):
        return {}

    def infer_window(self, inputs):
        return None

    def _forward(self, inputs):
        return None


def test_weight_of_the_unlabelled_branch(arrays):
    epochs = arrays['epochs'].tolist()
    model = Learner(
        unlabelled_weight=float(arrays['mu']),
        num_epochs=len(epochs),
        ramp_up_epochs=int(arrays['rampup_length']),
    )
    ours = []
    for epoch in epochs:
        model.set_train_progress(epoch / len(epochs))
        ours.append(model.consistency_weight)
    assert_close(ours, arrays['mu_used_in_epoch'], TOLERANCE, 'mu')


def test_pull_of_theta(arrays):
    keep = float(arrays['ema_w'])
    theta, xi, psi = (arrays.tensor(name) for name in ('theta0', 'xi', 'psi'))
    for step, expected in enumerate(arrays['theta_seq']):
        assert_close(theta, expected, TOLERANCE, f'step {step}')
        pull_towards_mean([theta], [xi], [psi], keep)


def test_running_mean_of_the_tracker(arrays):
    for name in [name for name in arrays if name.startswith('EMA_fn_out_m')]:
        momentum = float(re.fullmatch(r'EMA_fn_out_m([\d.]+)', name)[1])
        past, current = arrays.tensor('EMA_fn_past'), arrays.tensor('EMA_fn_cur')
        ours = momentum * past + (1 - momentum) * current
        assert_close(ours, arrays[name], TOLERANCE, name)
