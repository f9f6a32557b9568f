import pytest
import torch
from torch import nn

from mmjoint.functional.pseudo_label import fuse_pseudo_labels
from mmjoint.utils.errors import UserError
from tests.test_models.tiny import build

from .plain import PlainAggregateDecouple, plain_average
from .tiny import CLASSES, SPACE, WIDTH, batch, make, step

axes = pytest.mark.parametrize('num_axes', [2, 3])


def sgd(model, lr=0.01):
    options = dict(lr=lr, momentum=0.9, nesterov=True, weight_decay=3e-5)
    return torch.optim.SGD(model.parameters(), **options)


def no_diffusion(num_axes=3, **changes):
    return build(
        dict(
            type='AggregateDecouple',
            backbone=dict(type='VNetEncoder', num_axes=num_axes, base_channels=WIDTH),
            decode_head=dict(
                type='VNetHead', num_axes=num_axes, base_channels=WIDTH, num_classes=CLASSES
            ),
            loss_decode=dict(type='DiceCELoss'),
            difficulty=dict(type='DifficultyTracker', num_classes=CLASSES),
            ramp_up_epochs=0,
            **changes,
        )
    ).train()


@axes
def test_one_step_moves_everything(num_axes):
    model = make(num_axes)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    log = step(model, batch(num_axes), sgd(model))
    assert all(not torch.equal(p, before[name]) for name, p in model.named_parameters())
    trained = {name for name in log if 'loss' in name} - {'loss'}
    assert trained == {
        'labelled.loss_denoise',
        'labelled.loss_difficulty',
        'unlabelled.loss_pseudo',
    }
    assert log['loss'].item() == pytest.approx(sum(log[name].item() for name in trained), rel=1e-6)
    assert log['unlabelled.consistency_weight'] == 10
    unweighted = log['unlabelled.unweighted_pseudo'].item()
    assert log['unlabelled.loss_pseudo'].item() == pytest.approx(10 * unweighted, rel=1e-6)
    weights = [log[f'labelled.class_weight.{c}'].item() for c in range(CLASSES)]
    assert all(weight > 0 for weight in weights)


def test_passes_of_one_step():
    """How often each part follows the statistics of a pass: the original's 14, 11, 3, 2, 1."""
    model = make(diffusion=dict(sampling_steps=10))
    step(model, batch(), sgd(model))
    counts = {
        'backbone.stem.stages.0.norm': 3,
        'backbone.blocks.0.stages.0.norm': 14,
        'denoising_stem.block.stages.0.norm': 11,
        'denoising_head.blocks.0.stages.0.norm': 11,
        'supervised_head.blocks.0.stages.0.norm': 2,
        'decode_head.blocks.0.stages.0.norm': 1,
    }
    for name, count in counts.items():
        assert model.get_submodule(name).num_batches_tracked == count, name


@pytest.mark.parametrize('mode', ['eval', 'frozen'])
def test_ways_to_make_pseudo_labels(mode):
    options = dict(pseudo_mode='eval') if mode == 'eval' else dict(update_bn_in_sampling=False)
    model = make(**options)
    image = batch()[0]['unlabelled']
    before = {name: b.clone() for name, b in model.named_buffers()}
    seen = []
    model.denoising_head.blocks[0].register_forward_pre_hook(
        lambda module, args: seen.append(module.training)
    )
    torch.manual_seed(0)
    first = model.make_pseudo_labels(image)
    assert all(torch.equal(b, before[name]) for name, b in model.named_buffers())
    assert all(module.training for module in model.modules())
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm3d)]
    assert norms and all(norm.track_running_stats for norm in norms)
    assert set(seen) == {mode != 'eval'}
    torch.manual_seed(0)
    again = model.make_pseudo_labels(image)
    assert torch.equal(first.label, again.label)
    step(model, batch(), sgd(model))
    count = model.backbone.blocks[0].stages[0].norm.num_batches_tracked
    assert count == 3  # xi and psi of labelled images, theta of unlabelled ones


def test_modes_are_restored_after_an_error():
    model = make(update_bn_in_sampling=False)
    with pytest.raises(ValueError, match='multiples of 16'):
        model.make_pseudo_labels(torch.rand(2, 1, 20, 16, 16))
    assert all(m.track_running_stats for m in model.modules() if isinstance(m, nn.BatchNorm3d))


def still(model):
    """Take dropout away."""
    for module in model.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.p = 0.0
    return model


class Fixed:
    """Numbers that were drawn before."""

    def __init__(self, seed=0):
        self.generator = torch.Generator().manual_seed(seed)
        self.asked = []

    def _draw(self, name, like):
        self.asked.append(name)
        return torch.randn(like.shape, generator=self.generator, dtype=torch.float64).to(like)

    def times(self, batch_size, num_steps, device):
        self.asked.append('times')
        return torch.randint(num_steps, (batch_size,), generator=self.generator)

    def forward_noise(self, like):
        return self._draw('forward_noise', like)

    def start(self, like):
        return self._draw('start', like)

    def gumbel(self, like):
        return self._draw('gumbel', like)


@axes
@pytest.mark.parametrize('layout', ['channels_first', 'channels_last'])
def test_equal_to_the_plain_form(num_axes, layout):
    """All savings together, over two iterations: losses and weights."""
    fast = still(make(num_axes, memory_format=layout)).double()
    fast.difficulty.float()
    plain = still(make(num_axes, memory_format='channels_first')).double()
    plain = PlainAggregateDecouple.of(plain)
    data = batch(num_axes)
    data = {name: image.double() for name, image in data[0].items()}, data[1]
    logs = []
    for model in (fast, plain):
        model.random_source = Fixed()
        optimizer = sgd(model)
        logs.append([step(model, data, optimizer, keep=0.9) for _ in range(2)])
        expected = ['times', 'forward_noise', 'start', 'gumbel']
        assert model.random_source.asked == 2 * expected
    for first, second in zip(*logs, strict=True):
        assert first.keys() == second.keys()
        for name, value in second.items():
            assert first[name].item() == pytest.approx(value.item(), rel=2e-6), name
    others = dict(plain.named_parameters())
    for name, parameter in fast.named_parameters():
        torch.testing.assert_close(parameter, others[name], rtol=1e-6, atol=1e-7, msg=name)


def test_average_of_decoders():
    """Bit for bit that of the plain form; statistics and other parts stay."""
    model, plain = make(), make()
    step(model, batch(), sgd(model))
    plain.load_state_dict(model.state_dict())
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.average_decoders(0.9)
    plain_average(plain.decode_head, plain.denoising_head, plain.supervised_head, 0.9)
    expected = plain.state_dict()
    changed = set()
    for name, value in model.state_dict().items():
        assert torch.equal(value, expected[name]), name
        if not torch.equal(value, before[name]):
            changed.add(name)
    assert changed == {f'decode_head.{name}' for name, _ in model.decode_head.named_parameters()}
    assert len(changed) == 54


def test_random_numbers_decide_alone():
    """In evaluation mode of the labels, the drawn numbers fix them."""
    model = make(pseudo_mode='eval')
    image = batch()[0]['unlabelled']
    labels = []
    for seed in (0, 0, 1):
        model.random_source = Fixed(seed)
        labels.append(model.make_pseudo_labels(image).label)
    assert torch.equal(labels[0], labels[1]) and not torch.equal(labels[0], labels[2])


def test_vote_without_noise():
    model = make(gumbel=False, temperature=0.25, pseudo_mode='eval')
    model.random_source = source = Fixed()
    image = batch()[0]['unlabelled']
    fused = model.make_pseudo_labels(image)
    assert source.asked == ['start']
    model.random_source = Fixed()
    with torch.no_grad():
        model.eval()
        x_0 = model.sample_x0(image)
        psi = model.segment(image, model.supervised_head)
    expected = fuse_pseudo_labels(x_0, psi, None, temperature=0.25)
    torch.testing.assert_close(fused.denoiser_probs, expected.denoiser_probs)


@pytest.mark.parametrize('diffused', [True, False])
def test_sampling_probabilities(diffused):
    """Sure of one class, sampling gives its signed mask; clipped logits tie where two exceed 1."""
    logits = torch.tensor([9.0, 4.0, -20.0])

    def sample(sampled_x0):
        model = (make if diffused else no_diffusion)(sampled_x0=sampled_x0)
        if diffused:
            model.denoise = lambda x_t, t, image: logits.view(1, 3, 1, 1, 1).expand_as(x_t)
        else:
            model.segment = lambda image, head: logits.view(1, 3, 1, 1, 1)
        return model.sample_x0(torch.zeros(1, 1, *SPACE[3]))[0, :, 0, 0, 0]

    assert sample('logits').tolist() == [1, 1, -1]
    expected = 2 * logits.softmax(0) - 1
    torch.testing.assert_close(sample('softmax'), expected)
    assert expected[0] > 0.98 and expected[1] < -0.98


@axes
def test_without_diffusion(num_axes):
    model = no_diffusion(num_axes)
    assert not [name for name, _ in model.named_parameters() if 'time' in name]
    model.random_source = source = Fixed()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    log = step(model, batch(num_axes), sgd(model), keep=0.99)
    assert source.asked == ['gumbel']
    assert all(not torch.equal(p, before[name]) for name, p in model.named_parameters())
    assert torch.isfinite(log['loss'])


def test_without_reweighting():
    model = make(difficulty=None)
    log = step(model, batch(), sgd(model))
    assert not [name for name in log if 'class_weight' in name]
    assert model.difficulty is None


def test_unlabelled_samples_are_never_asked():
    """Their labels cannot matter, and a labelled branch without masks gives no loss."""
    inputs, samples = batch()
    first = make()
    log = step(first, (inputs, samples), sgd(first))
    masked = {**samples, 'unlabelled': [sample.clone() for sample in samples['labelled']]}
    second = make()
    assert step(second, (inputs, masked), sgd(second))['loss'] == log['loss']
    inputs, samples = batch(labels=False)
    model = make()
    log = step(model, (inputs, samples), sgd(model))
    assert log['labelled.loss_denoise'] == log['labelled.loss_difficulty'] == 0
    assert log['unlabelled.loss_pseudo'] != 0


def test_health():
    model = make()
    assert model.pseudo_health is None
    step(model, batch(), sgd(model))
    health = model.pseudo_health
    assert list(health) == ['denoiser', 'psi', 'fused']
    for values in health.values():
        assert set(values) == {'coverage', 'confidence', 'agreement'}
        assert all(value.shape == (CLASSES,) for value in values.values())
        assert not any(value.requires_grad for value in values.values())
        assert values['coverage'].sum().item() == pytest.approx(1)


@axes
def test_prediction_is_the_path_of_theta(num_axes):
    model = make(num_axes).eval()
    inputs, samples = batch(num_axes)
    image = inputs['unlabelled']
    with torch.no_grad():
        results = model(image, samples['unlabelled'], mode='predict')
        logits = model.decode_head(model.backbone(image))
        assert torch.equal(model(image).seg_logits, logits)
    for sample, expected in zip(results, logits, strict=True):
        torch.testing.assert_close(sample.seg_logits.data, expected)
        assert sample.pred_sem_seg.data.shape == (1, *SPACE[num_axes])


@torch.no_grad()
def test_a_supervised_vnet_has_the_weights_of_theta():
    """The prediction's path is a JointModel of encoder and head."""
    model = make().eval()
    segmentor = build(
        dict(
            type='JointModel',
            backbone=dict(type='VNetEncoder', base_channels=WIDTH),
            decode_head=dict(
                type='VNetHead',
                base_channels=WIDTH,
                num_classes=CLASSES,
                loss_decode=dict(type='DiceCELoss'),
            ),
        )
    ).eval()
    lacking = segmentor.load_state_dict(model.state_dict(), strict=False)
    assert not lacking.missing_keys
    image = batch()[0]['unlabelled']
    expected = model.infer(image).seg_logits
    torch.testing.assert_close(segmentor.infer(image).seg_logits, expected, rtol=1e-4, atol=1e-4)


def test_resumed_training_gives_the_same_bits():
    """All state is in the state dict: difficulty, statistics, weights."""

    def run(model, optimizer, iterations):
        for i in iterations:
            step(model, batch(seed=i), optimizer, keep=0.99, seed=i)

    whole = make()
    run(whole, sgd(whole), range(4))
    first = make()
    optimizer = sgd(first)
    run(first, optimizer, range(2))
    second = make(seed=1)
    second.load_state_dict(first.state_dict())
    other = sgd(second)
    other.load_state_dict(optimizer.state_dict())
    run(second, other, range(2, 4))
    for name, value in whole.state_dict().items():
        assert torch.equal(value, second.state_dict()[name]), name


@axes
def test_mixed_precision(num_axes):
    """Losses, sampling and votes stay in single precision."""
    model = make(num_axes)
    seen = []
    model.loss_decode.register_forward_hook(lambda module, args, out: seen.append(out.dtype))
    sample = model.sample_x0

    def watched(image):
        x_0 = sample(image)
        seen.append(x_0.dtype)
        return x_0

    model.sample_x0 = watched
    with torch.autocast('cpu', torch.bfloat16):
        log = step(model, batch(num_axes), sgd(model))
    assert seen == [torch.float32] * 4
    assert torch.isfinite(log['loss'])
    assert model.difficulty.dice.dtype == torch.float32


def test_mistakes():
    inputs, samples = batch()
    model = make()
    with pytest.raises(UserError, match=r"'unlabelled' in every batch, found \['labelled'\]"):
        model({'labelled': inputs['labelled']}, samples, mode='loss')
    with pytest.raises(UserError, match='found Tensor; .* MultiBranchDataPreprocessor'):
        model(inputs['labelled'], samples['labelled'], mode='loss')
    for options, message in (
        (dict(pseudo_mode='test'), "'train' or 'eval', got 'test'"),
        (dict(temperature=0), 'temperature must be > 0'),
        (dict(sampled_x0='mean'), "'logits' or 'softmax', got 'mean'"),
        (dict(unlabelled_weight=-1), 'expected unlabelled_weight >= 0'),
        (dict(difficulty=dict(num_classes=7)), 'difficulty.num_classes must be .* 3, got 7'),
        (dict(diffusion=None), 'both diffusion and denoising_stem, or neither'),
        (dict(backbone=dict(time_channels=None)), 'backbone.time_channels must be set'),
    ):
        with pytest.raises(ValueError, match=message):
            make(**options)
