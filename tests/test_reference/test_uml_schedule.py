"""The learning rate of UML against the original's, at every recorded iteration."""

import re

import numpy as np
import pytest
import torch

from mmjoint.engine.schedulers import PolyAfterLR
from mmjoint.functional.schedules import poly_after

from .loader import assert_close, reference


def by_prefix():
    stored = reference('uml', 'lr_schedule')
    prefixes = sorted({match.group(1) for name in stored if (match := re.match(r'(.+?)_', name))})
    assert prefixes
    return {prefix: stored.cases(f'{prefix}_')[0] for prefix in prefixes}


def with_change():
    return {name: case for name, case in by_prefix().items() if 'base_steps' in case}


def scheduled(max_epochs, steps_per_epoch, iters_per_epoch, iterations, base, **options):
    """Give the learning rate of both parameter groups at the iterations."""
    one, two = (torch.nn.Parameter(torch.zeros(1)) for _ in range(2))
    optimizer = torch.optim.SGD([{'params': [one]}, {'params': [two], 'lr': base / 2}], lr=base)
    scheduler = PolyAfterLR(
        optimizer,
        max_epochs=max_epochs,
        steps_per_epoch=steps_per_epoch,
        iters_per_epoch=iters_per_epoch,
        **options,
    )
    rates = []
    for _ in range(int(max(iterations)) + 1):
        rates.append([group['lr'] for group in optimizer.param_groups])
        optimizer.step()
        scheduler.step()
    return np.array(rates)[np.asarray(iterations, int)]


def test_decay_after_a_change_epoch():
    cases = with_change()
    if not cases:
        pytest.skip('no schedule with a change epoch among the reference vectors')
    for name, case in cases.items():
        step, epoch, rate = case['step'], case['epoch'], case['lr']
        whole, start = float(case['whole_steps']), float(case['base_steps'])
        # step = steps_per_epoch * epoch + i with 0 <= i < steps_per_epoch, so the last epoch
        # tells the number of epochs and the whole number of steps the length of one.
        max_epochs = int(epoch.max()) + 1
        per_epoch = whole / max_epochs
        inner = step - per_epoch * epoch
        assert np.array_equal(inner, np.round(inner)) and (inner >= 0).all()
        change_epoch = round((start + 1) / per_epoch)
        assert change_epoch * per_epoch - 1 == start
        base, floor = float(rate[0]), float(rate.min())

        pure = [
            poly_after(s, base=base, total_steps=whole, change_step=start + 1, floor=floor)
            for s in step
        ]
        assert_close(np.array(pure), rate, 1e-9, f'{name} function')

        iters = int(np.ceil(per_epoch))
        rates = scheduled(
            max_epochs,
            per_epoch,
            iters,
            epoch * iters + inner,
            base,
            change_epoch=change_epoch,
            min_lr=floor,
        )
        assert_close(rates[:, 0], rate, 1e-9, f'{name} scheduler')
        # The original sets the first group only; here each group decays from its own value.
        decaying = rates[:, 1] > floor
        assert decaying.any()
        assert_close(rates[decaying, 1], rate[decaying] / 2, 1e-9, f'{name} second group')


def test_decay_from_the_start():
    cases = {name: case for name, case in by_prefix().items() if 'base_steps' not in case}
    if not cases:
        pytest.skip('no schedule without a change epoch among the reference vectors')
    for name, case in cases.items():
        step, rate, whole = case['step'], case['lr'], float(case['whole_steps'])
        base, power = float(case['base_lr']), float(case['power'])
        options = dict(power=power)
        pure = [poly_after(s, base=base, total_steps=whole, floor=1e-5, **options) for s in step]
        assert_close(np.array(pure), rate, 1e-9, f'{name} function')
        rates = scheduled(1, whole, int(np.ceil(whole)), step, base, min_lr=1e-5, **options)
        assert_close(rates[:, 0], rate, 1e-9, f'{name} scheduler')
