"""The loss of one task, against the original's."""

import re

import pytest
import torch

from mmjoint.models.losses import TaskDiceLoss

from .loader import assert_close, reference

METHOD = 'partial_fundus'
TOLERANCE = 2e-6
CHANNELS = {
    'vessel': dict(vessel=(1,)),
    'lesion': dict(EX=(1,), HE=(2,), SE=(3,), MA=(4,)),
    'odoc': dict(disc=(1, 2), cup=(2,)),
    'odoc_plain': dict(rim=(1,), cup=(2,)),
}
CLASS_WEIGHT = dict(EX=1.0, HE=2.0, SE=3.0, MA=0.5)  # not stored; the folder's README names them
KINDS = {'dice': 'dice', 'ce': 'bce', 'ce_dice': 'bce_dice'}


def settings(name):
    """Channels and options of a case, from its name: `lesion_dice_smooth1_w04`."""
    task, kind, rest = re.fullmatch(r'([a-z]+)_(ce_dice|dice|ce)(.*)', name).groups()
    options = {'kind': KINDS[kind]}
    parts = rest.split('_')[1:]
    for part in parts:
        if match := re.fullmatch(r'smooth(\d+)', part):
            options['smooth'] = float(match[1])
        elif match := re.fullmatch(r'w0(\d+)', part):
            options['loss_weight'] = float(f'0.{match[1]}')
        elif part in ('cw', 'cwn'):
            options |= {'class_weight': CLASS_WEIGHT, 'normalise': part == 'cwn'}
        else:
            assert part in ('plain', 'empty'), part
    return CHANNELS[f'{task}_plain' if 'plain' in parts else task], options


def test_losses():
    arrays = reference(METHOD, 'losses')
    names = sorted({name.partition('__')[0] for name in arrays})
    assert names
    for name in names:
        channels, options = settings(name)
        loss = TaskDiceLoss(**options)
        logits = arrays.tensor(f'{name}__logits').requires_grad_()
        labels = arrays.tensor(f'{name}__label', torch.int64)
        mean = loss(logits, labels, channels)
        mean.backward()
        assert mean.item() == pytest.approx(float(arrays[f'{name}__mean']), abs=TOLERANCE), name
        assert_close(logits.grad, arrays[f'{name}__grad'], TOLERANCE, f'gradient of {name}')
        with torch.no_grad():
            each = [loss(logits[[i]], labels[[i]], channels).item() for i in range(len(logits))]
        assert each == pytest.approx(arrays[f'{name}__none'].tolist(), abs=TOLERANCE), name
