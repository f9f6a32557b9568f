"""Whole steps of the training against critics, on a toy generator, against the original's."""

import re

import numpy as np
import pytest
import torch
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.structures import PixelData

from mmjoint.models.adversarial import PSSNet
from mmjoint.models.adversarial.pssnet import AUX_CRITICS, CRITICS, Term
from mmjoint.structures import JointDataSample

from ..test_models.test_adversarial.toy import TASKS, PointwiseGenerator
from .fundus_fill import fill
from .loader import reference

METHOD = 'partial_fundus'
TOLERANCE = 2e-5
# What the arrays do not tell, from the README of the folder.
LESION_OF_RETA = 2
PSEUDO_WEIGHT = 0.05
RATES = {'generator': 0.5, CRITICS: 0.001, AUX_CRITICS: 0.001}
SALTS = {CRITICS: 0, AUX_CRITICS: 50}


class Recorded(PSSNet):
    """Keeps each term of the last step."""

    def __init__(self, **options):
        super().__init__(**options)
        self.terms = {}

    def label_terms(self, *arguments):
        return self._note(super().label_terms(*arguments))

    def adversarial_terms(self, *arguments):
        return self._note(super().adversarial_terms(*arguments))

    def critic_terms(self, *arguments):
        return self._note(super().critic_terms(*arguments))

    def _note(self, terms):
        assert not terms.keys() & self.terms.keys()
        self.terms |= {term: value.item() for term, value in terms.items()}
        return terms


def pseudo_tasks(stored, number):
    """Tasks of the pseudo maps of a data set: the others, in their order, as many as there are."""
    others = [task for index, task in enumerate(TASKS) if index != number]
    return others[: stored[f'sy{number}'].shape[1]]


def make_model(stored):
    names = list(TASKS)
    pseudo = {
        f'{number}_pseudo': {task: PSEUDO_WEIGHT for task in pseudo_tasks(stored, number)}
        for number in range(len(names))
    }
    pseudo['0_pseudo']['lesion'] *= LESION_OF_RETA
    model = Recorded(
        tasks=TASKS,
        generator=PointwiseGenerator(),
        weights={str(number): {task: 1.0} for number, task in enumerate(names)},
        pseudo_weights=pseudo,
        critic=dict(type='ConvCritic'),
        adversarial_weight=0.1,
        aux_adversarial_weight=0.02,
    )
    fill(model.generator.parameters(), scale=1.0, start=0)
    for name, salt in SALTS.items():
        for number, critic in enumerate(getattr(model, name).values()):
            fill(critic.parameters(), scale=1.2, start=100 * (number + 1) + salt)
    return model


def batch(stored):
    inputs, samples = {}, {}
    for number, task in enumerate(TASKS):
        for name, prefix, tasks in (
            (str(number), '', [task]),
            (f'{number}_pseudo', 's', pseudo_tasks(stored, number)),
        ):
            inputs[name] = stored.tensor(f'{prefix}x{number}', torch.float32)
            labels = stored.tensor(f'{prefix}y{number}', torch.int64)
            assert labels.shape[1] == len(tasks)
            samples[name] = []
            for maps in labels:
                maps = {task: value[None] for task, value in zip(tasks, maps, strict=True)}
                samples[name].append(JointDataSample(gt_tasks=PixelData(**maps)))
    return dict(inputs=inputs, data_samples=samples)


def term_of(name):
    """What a name in the vectors stands for."""
    tasks = list(TASKS)

    def other(task, position):
        return str([index for index in range(len(tasks)) if index != task][position])

    if m := re.fullmatch(r'loss_gen_task_(aux_)?(\d)', name):
        return Term('sup', str(int(m[2]) - 1), tasks[int(m[2]) - 1], bool(m[1]))
    if m := re.fullmatch(r'loss_gen_task_(\d)_(aux_)?semi_(\d)', name):
        number = int(m[1]) - 1
        task = tasks[int(other(number, int(m[3]) - 1))]
        return Term('pseudo', f'{number}_pseudo', task, bool(m[2]))
    if m := re.fullmatch(r'loss_gen_target_(aux_)?(\d)_(\d)', name):
        return Term('adv', other(int(m[2]), int(m[3])), tasks[int(m[2])], bool(m[1]))
    if m := re.fullmatch(r'loss_disc_(aux_)?source_(\d)', name):
        return Term('critic', m[2], tasks[int(m[2])], bool(m[1]))
    m = re.fullmatch(r'loss_disc_(aux_)?target_(\d)_(\d)', name)
    return Term('critic', other(int(m[2]), int(m[3]) - 1), tasks[int(m[2])], bool(m[1]))


def flat(module):
    return torch.cat([parameter.detach().reshape(-1) for parameter in module.parameters()]).numpy()


def sums(model):
    return [
        [parameter.detach().double().abs().sum().item() for parameter in critic.parameters()]
        for name in (CRITICS, AUX_CRITICS)
        for critic in getattr(model, name).values()
    ]


@pytest.mark.parametrize('split', [False, True])
def test_steps(split):
    """Images of one size go through the generator at once; with ``split``, each by itself."""
    stored = reference(METHOD, 'gan_steps')
    model, data = make_model(stored), batch(stored)
    if split:
        model.generator = OneByOne(model.generator)
    parts = {name: getattr(model, name) for name in RATES}
    wrappers = OptimWrapperDict(
        **{
            name: OptimWrapper(torch.optim.SGD(part.parameters(), lr=RATES[name]))
            for name, part in parts.items()
        }
    )
    names = [term_of(str(name)) for name in stored['term_names']]
    steps = sorted(int(m[1]) for name in stored if (m := re.fullmatch(r'terms_(\d+)', name)))
    assert steps == list(range(len(steps))) and steps
    np.testing.assert_allclose(flat(model.generator), stored['gen_params_0'], atol=1e-7)
    for step in steps:
        model.terms.clear()
        log = model.train_step(data, wrappers)
        assert model.terms.keys() == set(names)
        found = [model.terms[name] for name in names]
        np.testing.assert_allclose(found, stored[f'terms_{step}'], rtol=0, atol=TOLERANCE)
        of_generator = [value for term, value in model.terms.items() if term.kind != 'critic']
        assert log['loss'].item() == pytest.approx(sum(of_generator), abs=1e-5)
        for key, actual in (('gen_params', flat(model.generator)), ('disc_sum', sums(model))):
            expected = stored[f'{key}_{step + 1}']
            np.testing.assert_allclose(
                actual, expected, rtol=TOLERANCE, atol=TOLERANCE, err_msg=key
            )


class OneByOne(torch.nn.Module):
    """Lets each image go through a generator alone."""

    def __init__(self, generator):
        super().__init__()
        self.generator = generator

    def forward(self, inputs, tasks, auxiliary):
        outputs = [self.generator(image[None], None, auxiliary) for image in inputs]
        whole = [
            {task: torch.cat([getattr(one, part)[task] for one in outputs]) for task in TASKS}
            for part in ('main', 'aux')
        ]
        return type(outputs[0])(
            *({task: maps[task][rows] for task, rows in tasks.items()} for maps in whole)
        )
