import pytest
import torch
import torch.nn.functional as F
from mmengine.optim import OptimWrapper
from mmengine.structures import PixelData

from mmjoint.models.losses import TaskDiceLoss
from mmjoint.structures import JointDataSample
from mmjoint.utils.errors import UserError

from ..tiny import assert_same, build

TASKS = dict(vessel=dict(vessel=(1,)), nerve=dict(disc=(1, 2), cup=(2,)))
WEIGHTS = dict(one=dict(vessel=1.0), other=dict(nerve=2.0))
GN = dict(type='GN', num_groups=1)


def config(**options):
    decoder = dict(channels=4, norm_cfg=GN, num_convs=1, concat_input=False, type='mmseg.FCNHead')
    head = dict(type='TaskDecodeHead', dropout_ratio=0)
    return {
        'type': 'MultiTaskModel',
        'tasks': TASKS,
        'weights': WEIGHTS,
        'generator': dict(
            type='MultiTaskGenerator',
            backbone=dict(
                type='mmseg.ResNetV1c', depth=18, stem_channels=4, base_channels=4,
                norm_cfg=GN, out_indices=(0, 1), num_stages=2, strides=(1, 2), dilations=(1, 1),
            ),
            decode_head=dict(head, decoder=dict(decoder, in_channels=4, in_index=0)),
            auxiliary_head=dict(head, decoder=dict(decoder, in_channels=8, in_index=1)),
        ),
        **options,
    }  # fmt: skip


def make(seed=0, **options):
    torch.manual_seed(seed)
    return build(config(**options)).double()


def make_batch(sizes=None, annotated=None, space=(16, 24)):
    generator = torch.Generator().manual_seed(1)
    sizes = sizes or dict(one=2, other=3)
    annotated = annotated or dict(one=('vessel',), other=('nerve',))
    inputs, samples = {}, {}
    for branch, size in sizes.items():
        inputs[branch] = torch.randn(size, 3, *space, generator=generator, dtype=torch.float64)
        samples[branch] = []
        for i in range(size):
            sample = JointDataSample(metainfo=dict(img_path=f'{branch}{i}.png'))
            sample.gt_tasks = PixelData(
                **{
                    task: torch.randint(2, (1, *space), generator=generator)
                    for task in annotated[branch]
                }
            )
            samples[branch].append(sample)
    return inputs, samples


def plain_losses(model, inputs, samples):
    """By definition, every image alone."""
    losses, criterion = {}, TaskDiceLoss()
    for branch, row in model.weights.items():
        for task, weight in row.items():
            for aux, factor in ((False, 1.0), (True, model.aux_weight)):
                terms = []
                for image, sample in zip(inputs[branch], samples[branch], strict=True):
                    output = model.generator(image[None], auxiliary=True)
                    logits = (output.aux if aux else output.main)[task]
                    logits = F.interpolate(logits, image.shape[1:], mode='bilinear')
                    terms.append(criterion(logits, sample.gt_tasks.get(task), TASKS[task]))
                key = f'{branch}.loss_{task}{"_aux" if aux else ""}'
                losses[key] = weight * factor * torch.stack(terms).mean()
    return losses


def gradients(model, losses):
    model.zero_grad()
    sum(losses.values()).backward()
    return {name: p.grad for name, p in model.named_parameters()}


@pytest.mark.parametrize('space', [(16, 24), {'one': (16, 24), 'other': (24, 16)}])
def test_losses_and_gradients(space):
    """Branches of one size go together, others on their own; the losses are the same."""
    model = make().train()
    if isinstance(space, dict):
        inputs, samples = {}, {}
        for branch, own in space.items():
            more, made = make_batch(space=own)
            inputs[branch], samples[branch] = more[branch], made[branch]
    else:
        inputs, samples = make_batch()
    passes = []
    model.generator.register_forward_hook(lambda *_: passes.append(1))
    losses = model(inputs, samples, mode='loss')
    assert len(passes) == (2 if isinstance(space, dict) else 1)
    found = gradients(model, losses)
    expected = plain_losses(model, inputs, samples)
    assert losses.keys() == expected.keys() and len(losses) == 4
    for name, value in expected.items():
        assert_same(losses[name], value, name)
    expected = gradients(model, expected)
    for name, value in expected.items():
        assert_same(found[name], value, name)


def test_a_task_of_several_branches():
    """And one branch that trains several; what has weight 0 or none is left out."""
    weights = dict(one=dict(vessel=0.5, nerve=0.25), other=dict(nerve=1.0, vessel=0), third={})
    model = make(weights=weights).train()
    assert model.weights == dict(one=dict(vessel=0.5, nerve=0.25), other=dict(nerve=1.0))
    inputs, samples = make_batch(annotated=dict(one=('vessel', 'nerve'), other=('nerve',)))
    losses = model(inputs, samples, mode='loss')
    expected = plain_losses(model, inputs, samples)
    assert losses.keys() == expected.keys() and len(losses) == 6
    for name, value in expected.items():
        assert_same(losses[name], value, name)


def test_without_auxiliary_outputs():
    model = make(aux_weight=0.0)
    model.generator.auxiliary_head = None
    losses = model(*make_batch(), mode='loss')
    assert sorted(losses) == ['one.loss_vessel', 'other.loss_nerve']
    with pytest.raises(ValueError, match='need an auxiliary_head'):
        model.generator(torch.rand(1, 3, 16, 16).double(), auxiliary=True)


def test_every_task_gets_its_own_images_alone():
    """A decoder's gradient does not depend on the images of another data set."""
    model = make().train()
    inputs, samples = make_batch()
    first = gradients(model, model(inputs, samples, mode='loss'))
    inputs['other'] = -inputs['other']
    second = gradients(model, model(inputs, samples, mode='loss'))
    own = [name for name in first if 'decoders.vessel' in name]
    assert own
    for name in own:
        assert_same(first[name], second[name], name)
    assert any(not torch.equal(first[n], second[n]) for n in first if 'decoders.nerve' in n)


@torch.no_grad()
def test_predictions():
    """To the input's size, without its padding, to the original size, and then probabilities."""
    model = make().eval()
    images = make_batch()[0]['one']
    samples = [
        JointDataSample(metainfo=dict(img_shape=(16, 20), ori_shape=(37, 41))),
        JointDataSample(metainfo=dict(img_shape=(16, 24), ori_shape=(16, 24))),
    ]
    assert model(images, samples, mode='predict') is samples
    logits = model(images).main
    for i, sample in enumerate(samples):
        assert sorted(sample.pred_tasks.keys()) == sorted(TASKS)
        for task in TASKS:
            maps = F.interpolate(logits[task][i : i + 1].float(), (16, 24), mode='bilinear')
            maps = maps[..., : sample.img_shape[1]]
            maps = F.interpolate(maps, sample.ori_shape, mode='bilinear').sigmoid()[0]
            pred = sample.pred_tasks.get(task)
            assert pred.shape == (len(TASKS[task]), *sample.ori_shape)
            assert_same(pred, maps, task, tolerance=1e-6)


def test_a_training_step():
    cfg = config(
        data_preprocessor=dict(
            type='MultiBranchDataPreprocessor',
            data_preprocessor=dict(type='JointDataPreprocessor', size_divisor=8),
        )
    )
    torch.manual_seed(0)
    model = build(cfg).train()
    before = {name: value.clone() for name, value in model.named_parameters()}
    inputs, samples = make_batch()
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), 0.1))
    inputs = {branch: list(images.float()) for branch, images in inputs.items()}
    log = model.train_step({'inputs': inputs, 'data_samples': samples}, wrapper)
    parts = sum(value for name, value in log.items() if name != 'loss')
    torch.testing.assert_close(log['loss'], parts)
    assert not [n for n, value in model.named_parameters() if torch.equal(value, before[n])]


def test_mistakes():
    for weights, message in (
        (dict(one=dict(vein=1.0)), r"weights\.one: expected tasks of .* found 'vein'"),
        (dict(one=dict(vessel=-1.0)), r'weights\.one\.vessel: expected a weight >= 0, found -1'),
        (dict(one=dict(vessel=1.0, nerve=0)), "trains the task 'nerve', found none"),
    ):
        with pytest.raises(UserError, match=message):
            make(weights=weights)
    model = make()
    inputs, samples = make_batch()
    with pytest.raises(UserError, match="without 'other'; draw batches by MultiSourceSampler"):
        model(dict(one=inputs['one']), samples, mode='loss')
    with pytest.raises(UserError, match='MultiBranchDataPreprocessor'):
        model(inputs['one'], samples['one'], mode='loss')
    with pytest.raises(UserError, match=r"other0\.png: .* 'nerve', found maps of \['vessel'\]"):
        model(*make_batch(annotated=dict(one=('vessel',), other=('vessel',))), mode='loss')
    with pytest.raises(ValueError, match='got None'):
        make(weights=None)(inputs, samples, mode='loss')
    with pytest.raises(ValueError, match="'tensor', got 'train'"):
        model(inputs['one'], mode='train')
    with pytest.raises(ValueError, match="must be of .* got 'vein'"):
        model.generator(inputs['one'], ['vein'])
