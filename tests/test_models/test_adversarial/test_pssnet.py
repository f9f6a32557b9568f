"""Training against critics; its steps are compared with the original's by tests/test_reference."""

import contextlib
import math

import pytest
import torch
import torch.nn.functional as F
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.registry import DefaultScope, init_default_scope
from mmengine.structures import PixelData

from mmjoint.models.adversarial import PSSNet
from mmjoint.models.adversarial.adversarial_model import frozen
from mmjoint.models.losses import TaskDiceLoss
from mmjoint.structures import JointDataSample
from mmjoint.utils.errors import UserError

from .toy import TASKS, PointwiseGenerator

WEIGHTS = dict(reta=dict(vessel=1.0), ddr=dict(lesion=1.0), refuge=dict(odoc=1.0))
PSEUDO = dict(
    reta_pseudo=dict(lesion=0.1, odoc=0.05),
    ddr_pseudo=dict(vessel=0.05, odoc=0.05),
    refuge_pseudo=dict(vessel=0.05),
)
CRITIC = dict(type='ConvCritic', channels=(4,))


@pytest.fixture(autouse=True)
def scope():
    init_default_scope('mmjoint')
    yield
    DefaultScope._instance_dict.clear()


def make_model(**options):
    torch.manual_seed(0)
    options = {
        'tasks': TASKS,
        'generator': PointwiseGenerator(),
        'weights': WEIGHTS,
        'pseudo_weights': PSEUDO,
        'critic': CRITIC,
        **options,
    }
    return PSSNet(**options).train()


def make_batch(sizes=1, shapes=(12, 8), seed=0):
    """Images and label maps by branch; sizes and shapes are of all, or by branch."""
    generator = torch.Generator().manual_seed(seed)
    inputs, samples = {}, {}
    for branch, row in {**WEIGHTS, **PSEUDO}.items():
        size = sizes.get(branch, 1) if isinstance(sizes, dict) else sizes
        shape = shapes.get(branch, (12, 8)) if isinstance(shapes, dict) else shapes
        inputs[branch] = torch.randn(size, 3, *shape, generator=generator)
        samples[branch] = []
        for _ in range(size):
            maps = {
                task: torch.randint(0, 2 if task == 'vessel' else 3, (1, *shape),
                                    generator=generator)
                for task in row
            }  # fmt: skip
            samples[branch].append(JointDataSample(gt_tasks=PixelData(**maps)))
    return dict(inputs=inputs, data_samples=samples)


def make_wrappers(model, wrapper=OptimWrapper, rates=0.1, **options):
    parts = ('generator', *model.critic_names)
    rates = rates if isinstance(rates, dict) else dict.fromkeys(parts, rates)
    return OptimWrapperDict(
        **{
            name: wrapper(
                optimizer=torch.optim.SGD(getattr(model, name).parameters(), lr=rates[name]),
                **options,
            )
            for name in parts
        }
    )


def state(model):
    return {name: value.detach().clone() for name, value in model.named_parameters()}


def changed(before, after):
    """The parts whose parameters differ, and those that have any that does not."""
    differ = {name for name in before if not torch.equal(before[name], after[name])}
    return {name.split('.')[0] for name in differ}, {
        name.split('.')[0] for name in before.keys() - differ
    }


def test_a_step_changes_every_part():
    model = make_model()
    before = state(model)
    log = model.train_step(make_batch(), make_wrappers(model))
    parts = {'generator', 'critics', 'aux_critics'}
    assert changed(before, state(model)) == (parts, set())
    assert all(parameter.requires_grad for parameter in model.parameters())
    kinds = ('sup', 'pseudo', 'adv', 'critic', 'aux_critic')
    assert log.keys() == {'loss'} | {f'{task}.loss_{kind}' for task in TASKS for kind in kinds}
    of_generator = [value for key, value in log.items() if 'critic' not in key and key != 'loss']
    assert log['loss'].item() == pytest.approx(sum(value.item() for value in of_generator))


@pytest.mark.parametrize('name', ['generator', 'critics', 'aux_critics'])
def test_each_optimizer_moves_its_part_alone(name):
    """With a rate of 0 the others stand still, so their gradients must not count anywhere."""
    rates = {'generator': 0.0, 'critics': 0.0, 'aux_critics': 0.0, name: 0.1}
    model = make_model()
    before = state(model)
    wrappers = make_wrappers(model, rates=rates)
    data = make_batch()
    model.train_step(data, wrappers)
    moved = state(model)
    assert changed(before, moved)[0] == {name}
    # All gradients are gone: those of one step would stay for the next.
    assert all(parameter.grad is None for parameter in model.parameters())


def test_critics_learn_from_what_was_before_the_generators_step():
    found = []
    for rate in (0.0, 100.0):
        model = make_model()
        rates = {'generator': rate, 'critics': 0.1, 'aux_critics': 0.1}
        model.train_step(make_batch(), make_wrappers(model, rates=rates))
        found.append({k: v for k, v in state(model).items() if 'critics' in k})
    assert all(torch.equal(value, found[1][name]) for name, value in found[0].items())


def test_losses_of_batches_of_any_size():
    """Each branch by itself, spelt out from the formulas."""
    sizes = dict(reta=2, ddr=1, refuge=3, ddr_pseudo=2)
    shapes = dict(refuge=(16, 8), reta_pseudo=(16, 8))
    data = make_batch(sizes, shapes)
    model = make_model(adversarial_weight=dict(vessel=0.1, lesion=0.2, odoc=0.3))
    outputs = {branch: model.generator(x, auxiliary=True) for branch, x in data['inputs'].items()}
    dice = TaskDiceLoss()
    expected = dict.fromkeys(
        (f'{t}.loss_{k}' for t in TASKS for k in ('sup', 'pseudo', 'adv', 'critic', 'aux_critic')),
        0.0,
    )

    def cross(scores, constant):
        target = torch.full_like(scores, constant)
        return F.binary_cross_entropy_with_logits(scores, target).item()

    for kind, table in (('sup', WEIGHTS), ('pseudo', PSEUDO)):
        for branch, row in table.items():
            for task, weight in row.items():
                maps = [sample.gt_tasks.get(task)[0] for sample in data['data_samples'][branch]]
                for logits, factor in ((outputs[branch].main, 1), (outputs[branch].aux, 0.4)):
                    loss = dice(logits[task], torch.stack(maps), TASKS[task])
                    expected[f'{task}.loss_{kind}'] += weight * factor * loss.item()
    lambdas = dict(vessel=0.1, lesion=0.2, odoc=0.3)
    for task in TASKS:
        for branch, row in WEIGHTS.items():
            main = model.critics[task](outputs[branch].main[task].sigmoid())
            aux = model.aux_critics[task](outputs[branch].aux[task].sigmoid())
            if task in row:
                expected[f'{task}.loss_critic'] += 0.5 * cross(main, 1)
                expected[f'{task}.loss_aux_critic'] += 0.5 * cross(aux, 1)
            else:
                expected[f'{task}.loss_adv'] += lambdas[task] * cross(main, 1)
                expected[f'{task}.loss_adv'] += 0.02 * cross(aux, 1)
                expected[f'{task}.loss_critic'] += 0.25 * cross(main, 0)
                expected[f'{task}.loss_aux_critic'] += 0.25 * cross(aux, 0)
    model.generator.calls.clear()
    log = model.train_step(data, make_wrappers(model))
    assert {key: log[key].item() for key in expected} == pytest.approx(expected, rel=1e-4)
    # One pass for each size of images: 2 + 1 + 2 + 1 of 12 x 8, 3 + 1 of 16 x 8.
    assert sorted(size for size, _, _ in model.generator.calls) == [4, 6]


def test_what_no_loss_needs_is_not_computed():
    model = make_model(critic=None, pseudo_weights=None)
    assert model.critic_names == () and model.wanted.keys() == WEIGHTS.keys()
    before = state(model)
    log = model.train_step(make_batch(sizes=2), make_wrappers(model))
    ((size, tasks, auxiliary),) = model.generator.calls
    assert size == 6 and auxiliary
    assert tasks == dict(vessel=slice(0, 2), lesion=slice(2, 4), odoc=slice(4, 6))
    assert changed(before, state(model)) == ({'generator'}, set())
    assert log.keys() == {'loss', *(f'{task}.loss_sup' for task in TASKS)}


def test_without_critics_pseudo_labels_still_count():
    model = make_model(critic=None)
    log = model.train_step(make_batch(), make_wrappers(model))
    ((size, tasks, _),) = model.generator.calls
    # reta, ddr, refuge, then reta_pseudo, ddr_pseudo, refuge_pseudo
    assert size == 6 and tasks == dict(vessel=[0, 4, 5], lesion=[1, 3], odoc=slice(2, 5))
    assert {'lesion.loss_pseudo', 'vessel.loss_pseudo'} <= log.keys()


def test_without_pseudo_labels_critics_judge():
    model = make_model(pseudo_weights=None)
    log = model.train_step(make_batch(), make_wrappers(model))
    assert 'vessel.loss_adv' in log and 'vessel.loss_pseudo' not in log


def test_without_auxiliary_outputs():
    model = make_model(generator=PointwiseGenerator(with_aux=False), aux_weight=0)
    assert model.critic_names == ('critics',) and not hasattr(model, 'aux_critics')
    log = model.train_step(make_batch(), make_wrappers(model))
    assert 'vessel.loss_critic' in log and 'vessel.loss_aux_critic' not in log


def test_unlabelled_images_and_a_task_that_all_label():
    """Of two sets both have vessels, so these need no critic; images of the third have no label."""
    weights = dict(
        reta=dict(vessel=1.0, lesion=1.0), ddr=dict(vessel=1.0, odoc=1.0), refuge=dict(vessel=1.0)
    )
    model = make_model(weights=weights, pseudo_weights=None)
    assert list(model.critics) == ['lesion', 'odoc']
    weights['other'] = {}
    model = make_model(weights=weights, pseudo_weights=None)
    assert list(model.critics) == list(TASKS)
    assert model.wanted['other'] == tuple(TASKS)
    data = make_batch()
    data['inputs']['other'] = torch.randn(2, 3, 12, 8)
    data['data_samples']['other'] = [JointDataSample() for _ in range(2)]
    maps = dict(vessel=torch.ones(1, 12, 8), lesion=torch.ones(1, 12, 8), odoc=torch.ones(1, 12, 8))
    for branch in WEIGHTS:
        for sample in data['data_samples'][branch]:
            sample.gt_tasks = PixelData(**{task: value.long() for task, value in maps.items()})
    log = model.train_step(data, make_wrappers(model))
    assert all(math.isfinite(value.item()) for value in log.values())


def test_gradients_add_up_over_iterations():
    """A batch twice, half each, moves every part as the batch once does."""
    whole, parts = make_model(), make_model()
    data = make_batch()
    whole.train_step(data, make_wrappers(whole))
    wrappers = make_wrappers(parts, accumulative_counts=2)
    before = state(parts)
    parts.train_step(data, wrappers)
    assert changed(before, state(parts))[0] == set()
    parts.train_step(data, wrappers)
    for name, value in state(whole).items():
        assert torch.allclose(value, parts.get_parameter(name), atol=1e-6), name


class HalfPrecision(OptimWrapper):
    """As mixed precision works on CUDA devices, without its scaling of gradients."""

    @contextlib.contextmanager
    def optim_context(self, model):
        with super().optim_context(model), torch.autocast('cpu', torch.bfloat16):
            yield


def test_mixed_precision():
    logs = []
    for wrapper in (OptimWrapper, HalfPrecision):
        model = make_model()
        before = state(model)
        logs.append(model.train_step(make_batch(), make_wrappers(model, wrapper)))
        assert changed(before, state(model))[1] == set()
    assert all(value.dtype == torch.float32 for value in logs[1].values())
    values = [{key: value.item() for key, value in log.items()} for log in logs]
    assert values[1] == pytest.approx(values[0], rel=0.02)
    assert values[1] != pytest.approx(values[0], rel=1e-6)


def test_prediction_is_the_generators():
    model = make_model().eval()
    inputs = torch.randn(2, 3, 12, 8)
    samples = [JointDataSample(metainfo=dict(img_shape=(12, 6), ori_shape=(24, 12)))] * 2
    samples = [sample.clone() for sample in samples]
    with torch.no_grad():
        found = model(inputs, samples, mode='predict')
        raw = model(inputs, mode='tensor')
    assert [tuple(found[0].pred_tasks.get(task).shape) for task in TASKS] == [
        (1, 24, 12),
        (4, 24, 12),
        (2, 24, 12),
    ]
    logits = F.interpolate(raw.main['odoc'][1:, :, :, :6], (24, 12), mode='bilinear')
    assert torch.allclose(found[1].pred_tasks.odoc, logits[0].sigmoid())
    with pytest.raises(ValueError, match='MMSeparateDistributedDataParallel'):
        model(inputs, samples, mode='loss')
    with pytest.raises(ValueError, match='mode must be'):
        model(inputs, mode='train')


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(weights=dict(reta=dict(vessel=1.0))), "trains the task 'lesion', found none"),
        (dict(weights={**WEIGHTS, 'x': dict(nerve=1.0)}), "found 'nerve'"),
        (dict(pseudo_weights=dict(x=dict(nerve=1.0))), "found 'nerve'"),
        (dict(pseudo_weights=dict(x=dict(vessel=-1.0))), 'found -1'),
        (dict(pseudo_weights=dict(reta=dict(lesion=1.0))), r"found \['reta'\]"),
        (dict(aux_weight=-0.1), 'aux_weight: expected a weight >= 0'),
        (dict(adversarial_weight=-1.0), 'adversarial_weight: .* found -1'),
        (dict(aux_adversarial_weight=dict(vessel=1.0)), 'one for each of'),
        (dict(weights=dict(a=dict.fromkeys(TASKS, 1.0))), 'set critic=None'),
    ],
)
def test_mistakes_in_the_config(options, message):
    with pytest.raises(UserError, match=message):
        make_model(**options)


def test_mistakes_in_the_data():
    model = make_model()
    data = make_batch()
    del data['inputs']['ddr_pseudo']
    with pytest.raises(UserError, match="without 'ddr_pseudo'"):
        model.train_step(data, make_wrappers(model))
    assert all(parameter.requires_grad for parameter in model.parameters())
    data = make_batch()
    del data['data_samples']['reta'][0].gt_tasks
    with pytest.raises(UserError, match="label map of the task 'vessel'"):
        model.train_step(data, make_wrappers(model))


def test_mistakes_in_the_optimizers():
    model = make_model()
    wrappers = make_wrappers(model)
    few = OptimWrapperDict(generator=wrappers['generator'])
    for wrong in (few, wrappers['generator']):
        with pytest.raises(UserError, match="'generator', 'critics', 'aux_critics'"):
            model.train_step(make_batch(), wrong)


def test_frozen_parameters_stay_what_they_were():
    module = torch.nn.Linear(2, 1)
    module.bias.requires_grad_(False)
    with pytest.raises(RuntimeError, match='stop'), frozen([module]):
        assert not module.weight.requires_grad
        raise RuntimeError('stop')
    assert module.weight.requires_grad and not module.bias.requires_grad


@pytest.mark.parametrize('switches', [{}, dict(critic=None), dict(pseudo_weights=None)])
@pytest.mark.parametrize('blocks', [None, 'shared', 'per_pair'])
def test_all_parts_of_a_real_generator_learn(blocks, switches):
    """Data-parallel wrappers wait for the gradient of every parameter."""
    norm = dict(type='GN', num_groups=1)
    decoder = dict(type='mmseg.FCNHead', channels=4, norm_cfg=norm, num_convs=1, concat_input=False)
    head = dict(type='TaskDecodeHead', dropout_ratio=0.5)
    attention = blocks and dict(
        type='CrossTaskAttention', num_heads=2, window_size=4, blocks=blocks
    )
    backbone = dict(
        type='mmseg.ResNetV1c', depth=18, stem_channels=4, base_channels=4, norm_cfg=norm,
        out_indices=(0, 1), num_stages=2, strides=(1, 2), dilations=(1, 1),
    )  # fmt: skip
    generator = dict(
        type='MultiTaskGenerator',
        backbone=backbone,
        decode_head=dict(
            head, decoder=dict(decoder, in_channels=4, in_index=0), attention=attention
        ),
        auxiliary_head=dict(head, decoder=dict(decoder, in_channels=8, in_index=1)),
    )
    model = make_model(generator=generator, **switches)
    model.init_weights()
    before = state(model)
    wrappers = make_wrappers(model, accumulative_counts=2)
    log = model.train_step(make_batch(sizes=2, shapes=(32, 32)), wrappers)
    assert log['loss'].isfinite()
    lacking = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert lacking == []
    model.train_step(make_batch(sizes=2, shapes=(32, 32), seed=1), wrappers)
    assert changed(before, state(model))[0] == {'generator', *model.critic_names}
