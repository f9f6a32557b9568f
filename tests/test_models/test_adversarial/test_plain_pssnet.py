"""All savings of PSSNet together, against the original's way to compute."""

import copy

import pytest
import torch
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.structures import PixelData

from mmjoint.structures import JointDataSample

from ..tiny import assert_same, build
from .plain_pssnet import PlainMultiTaskModel, PlainPSSNet
from .toy import TASKS

WEIGHTS = dict(reta=dict(vessel=1.0), ddr=dict(lesion=1.5), refuge=dict(odoc=0.5))
PSEUDO = dict(
    reta_pseudo=dict(lesion=0.1, odoc=0.05),
    ddr_pseudo=dict(vessel=0.05, odoc=0.05),
    refuge_pseudo=dict(vessel=0.05),
)
SIZE = (32, 48)


def generator(attention=None):
    """A Swin and decoders of the published form in small, without dropout and drop path."""
    decoder = dict(channels=4, norm_cfg=dict(type='GN', num_groups=1))
    head = dict(type='TaskDecodeHead', dropout_ratio=0)
    uper = dict(type='mmseg.UPerHead', in_channels=(8, 16), in_index=(0, 1), pool_scales=(1, 2))
    fcn = dict(type='mmseg.FCNHead', in_channels=16, in_index=1, num_convs=1, concat_input=False)
    return dict(
        type='MultiTaskGenerator',
        backbone=dict(
            type='mmseg.SwinTransformer', embed_dims=8, depths=(1, 1), num_heads=(1, 2),
            strides=(4, 2), window_size=4, drop_path_rate=0, out_indices=(0, 1),
        ),
        decode_head=dict(head, decoder=dict(decoder, **uper), attention=attention),
        auxiliary_head=dict(head, decoder=dict(decoder, **fcn)),
    )  # fmt: skip


def make_first():
    torch.manual_seed(0)
    settings = dict(tasks=TASKS, generator=generator(), weights=WEIGHTS)
    return varied(build(dict(type='MultiTaskModel', **settings)))


def make_second(blocks):
    """With windows that do not fit the maps."""
    torch.manual_seed(0)
    attention = dict(type='CrossTaskAttention', num_heads=2, window_size=5, blocks=blocks)
    return varied(
        build(
            dict(
                type='PSSNet',
                tasks=TASKS,
                generator=generator(attention),
                weights=WEIGHTS,
                pseudo_weights=PSEUDO,
                critic=dict(type='ConvCritic', channels=(4, 6)),
                adversarial_weight=dict(vessel=0.1, lesion=0.2, odoc=0.3),
            )
        )
    )


def varied(model):
    """Parameters whose gradients are not tiny: classifiers and tables start near 0."""
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return model.double().train()


def make_batch(table, number=1, seed=1):
    source = torch.Generator().manual_seed(seed)
    inputs, samples = {}, {}
    for branch, row in table.items():
        inputs[branch] = torch.randn(number, 3, *SIZE, generator=source, dtype=torch.float64)
        samples[branch] = []
        for _ in range(number):
            maps = {
                task: torch.randint(len(TASKS[task]) + 1, (1, *SIZE), generator=source)
                for task in row
            }
            for label in maps.values():
                label[:, :3] = 255
            samples[branch].append(JointDataSample(gt_tasks=PixelData(**maps)))
    return inputs, samples


def gradients(model, losses):
    model.zero_grad()
    sum(losses.values()).backward()
    return {
        name: parameter.grad.clone()
        for name, parameter in model.named_parameters()
        if parameter.grad is not None
    }


def assert_all_same(found, expected):
    """Gradients that vanish by symmetry leave rounding of the size of the others."""
    assert found.keys() == expected.keys() and expected
    largest = max(value.abs().max().item() for value in expected.values())
    for name, value in expected.items():
        assert_same(found[name], value, name, floor=1e-3 * largest)


@pytest.mark.parametrize('number', [1, 2])
def test_first_stage(number):
    fast = make_first()
    plain = PlainMultiTaskModel.of(copy.deepcopy(fast))
    data = make_batch(WEIGHTS, number)
    found, expected = (model(*data, mode='loss') for model in (fast, plain))
    assert_all_same(found, expected)
    found, expected = gradients(fast, found), gradients(plain, expected)
    assert_all_same(found, plain.unpacked(expected))
    assert found.keys() == dict(fast.named_parameters()).keys()
    # No gradient passes by being nothing.
    assert min(value.abs().max() for name, value in found.items() if 'relative' in name) > 0


@pytest.mark.parametrize(('blocks', 'number'), [('shared', 1), ('per_pair', 2)])
def test_second_stage(blocks, number):
    """Losses and gradients of the generator and both kinds of critics."""
    fast = make_second(blocks)
    plain = PlainPSSNet.of(copy.deepcopy(fast))
    data = make_batch({**WEIGHTS, **PSEUDO}, number)
    (found, kept), (expected, plain_kept) = (m.generator_losses(*data) for m in (fast, plain))
    assert_all_same(found, expected)
    expected = plain.unpacked(gradients(plain, expected))
    assert_all_same(gradients(fast, found), expected)
    assert expected.keys() == dict(fast.named_parameters()).keys()
    for name in fast.critic_names:
        found, expected = fast.critic_losses(name, kept), plain.critic_losses(name, plain_kept)
        assert_all_same(found, expected)
        found, expected = gradients(fast, found), gradients(plain, expected)
        assert_all_same(found, expected)
        assert all(key.startswith(f'{name}.') for key in found)


def test_steps_of_the_second_stage():
    """Three optimizers, two iterations: all weights."""
    models = [make_second('shared')]
    models.append(PlainPSSNet.of(copy.deepcopy(models[0])))
    before = {name: value.clone() for name, value in models[0].named_parameters()}
    wrappers = [
        OptimWrapperDict(
            **{
                name: OptimWrapper(torch.optim.SGD(getattr(model, name).parameters(), lr=0.05))
                for name in ('generator', *model.critic_names)
            }
        )
        for model in models
    ]
    for seed in range(2):
        inputs, samples = make_batch({**WEIGHTS, **PSEUDO}, seed=seed)
        logs = [
            model.train_step(dict(inputs=inputs, data_samples=samples), wrapper)
            for model, wrapper in zip(models, wrappers, strict=True)
        ]
        assert_all_same(*logs)
    found = dict(models[0].named_parameters())
    assert_all_same(found, models[1].unpacked(dict(models[1].named_parameters())))
    assert not [name for name, value in found.items() if torch.equal(value, before[name])]
