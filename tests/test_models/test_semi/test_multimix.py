import copy

import pytest
import torch
from mmengine.structures import PixelData
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mmjoint.models.semi.multimix import BRANCHES
from mmjoint.models.uncertainty import MCDropout
from mmjoint.structures import JointDataSample
from mmjoint.utils.dropout import dropout_is_off
from mmjoint.utils.errors import UserError
from tests.test_models.tiny import build
from tests.test_reference.multimix_model import without_dropout

from .plain_multimix import PlainMultiMix

SIZE = (16, 24)
CHANNELS = (4, 6, 8)
THRESHOLD = 0.53  # some weak views of a fresh net reach it, others do not


def config(**changes):
    """Three levels; the bridge leads to the second."""
    settings = dict(
        type='MultiMix',
        backbone=dict(type='InstanceUNetEncoder', channels=CHANNELS, dropout=0.25),
        bridge=dict(type='SaliencyBridge', level=1),
        decode_head=dict(
            type='InstanceUNetHead',
            in_channels=(4, 8, 8),
            channels=(4, 6),
            loss_decode=dict(type='SampleDiceLoss', loss_weight=5.0),
        ),
        cls_head=dict(
            type='PooledLinearClsHead',
            in_channels=8,
            num_classes=2,
            loss=dict(type='MaskedCrossEntropyLoss'),
        ),
        loss_pseudo=dict(type='ConfidentLabelLoss', threshold=THRESHOLD, loss_weight=0.25),
    )
    return {**settings, **changes}


def make(*, seed=0, **changes):
    torch.manual_seed(seed)
    return build(config(**changes)).train()


def batch(branches=BRANCHES, *, seed=0, number=3):
    """Inputs and samples, labelled in the branches that say so."""
    generator = torch.Generator().manual_seed(seed)
    inputs, samples = {}, {}
    for branch in BRANCHES:
        images = torch.randn(number, 1, *SIZE, generator=generator)
        found = [JointDataSample(metainfo=dict(ori_shape=SIZE, img_shape=SIZE)) for _ in images]
        for i, sample in enumerate(found):
            seg_map = torch.randint(2, (1, *SIZE), generator=generator)
            if branch == 'seg_labelled':
                sample.gt_sem_seg = PixelData(data=seg_map)
            elif branch == 'cls_labelled':
                sample.set_gt_label(i % 2)
        if branch in branches:
            inputs[branch], samples[branch] = images, found
    return inputs, samples


def step(model, data, optimizer, *, seed=0):
    """One training iteration."""
    torch.manual_seed(seed)
    loss, log = model.parse_losses(model(*data, mode='loss'))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return log


def adam(model):
    return torch.optim.Adam(model.parameters(), lr=1e-3)


def double(data):
    inputs, samples = data
    return {branch: images.double() for branch, images in inputs.items()}, samples


# ------------------------------------------------------------------------------------- the savings


@pytest.mark.parametrize('kl', ['single_channel', 'bernoulli'])
def test_equal_to_the_plain_form(kl):
    """All savings together: losses, gradients, and weights after three steps."""
    fast = without_dropout(make(kl=kl, kl_weight=0.5)).double()
    plain = PlainMultiMix.of(copy.deepcopy(fast))
    optimizers = [torch.optim.SGD(model.parameters(), lr=0.05) for model in (fast, plain)]
    accepted = 0
    for i in range(3):
        data = double(batch(seed=i))
        logs = [
            step(model, data, optimizer)
            for model, optimizer in zip((fast, plain), optimizers, strict=True)
        ]
        assert logs[0].keys() == logs[1].keys()
        for name, value in logs[1].items():
            torch.testing.assert_close(logs[0][name].double(), value.double(), msg=name)
        assert (logs[0]['seg_unlabelled.loss_kl'] != 0) == (kl == 'bernoulli')
        accepted += logs[0]['cls_weak.accepted']
        expected = dict(plain.named_parameters())
        for name, parameter in fast.named_parameters():
            other = expected[name]
            torch.testing.assert_close(parameter.grad, other.grad, rtol=0, atol=1e-12, msg=name)
            torch.testing.assert_close(parameter, other, rtol=0, atol=1e-12, msg=name)
    assert 0 < accepted < 3


def test_the_only_decoded_images_are_those_of_masks():
    """Saving 1: decode head and saliency; each sample's logits are those of the joint batch."""
    model = without_dropout(make(kl='bernoulli')).double()
    inputs, samples = double(batch())
    decoded, saliencies = [], []
    model.decode_head.register_forward_hook(lambda m, args, out: decoded.append(out.detach()))
    saliency = model.saliency
    model.saliency = lambda x: saliencies.append(x) or saliency(x)
    model(inputs, samples, mode='loss')
    assert [len(logits) for logits in decoded] == [len(x) for x in saliencies] == [3, 3]
    with torch.no_grad():
        joint = model.segment(torch.cat([inputs[branch] for branch in BRANCHES]))
    torch.testing.assert_close(torch.cat(decoded[:2]), joint[:6])


def test_saliency_leaves_the_gradients_of_the_weights():
    """Saving 2, which also allows gradients to be accumulated."""
    model = without_dropout(make()).double()
    plain = PlainMultiMix.of(copy.deepcopy(model))
    images = double(batch())[0]['seg_labelled']
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    torch.testing.assert_close(model.saliency(images), plain.saliency(images), rtol=0, atol=0)
    assert all((parameter.grad == 1).all() for parameter in model.parameters())


def test_accumulated_gradients_are_those_of_one_batch():
    model = without_dropout(make()).double()
    inputs, samples = double(batch(number=4))
    sum(v for k, v in model(inputs, samples, mode='loss').items() if 'loss' in k).backward()
    whole = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    for part in (slice(0, 2), slice(2, 4)):
        data = {k: v[part] for k, v in inputs.items()}, {k: v[part] for k, v in samples.items()}
        losses = model(*data, mode='loss')
        (sum(v for k, v in losses.items() if 'loss' in k) / 2).backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, whole[name], rtol=0, atol=1e-12, msg=name)


@pytest.mark.parametrize('kl', ['none', 'single_channel', 'bernoulli'])
def test_passes_of_one_step(kl):
    """Savings 3 and 4: no graph for weak views, no unlabelled masks unless the term is on."""
    model = make(kl=kl)
    inputs, samples = batch()
    names = {images.sum().item(): branch for branch, images in inputs.items()}
    seen = []
    model.backbone.register_forward_pre_hook(
        lambda module, args: seen.append(
            (names[args[0].sum().item()], module.training, torch.is_grad_enabled())
        )
    )
    model(inputs, samples, mode='loss')
    masks = ['seg_labelled'] + ['seg_unlabelled'] * (kl == 'bernoulli')
    expected = [(name, training, True) for name in masks for training in (True, False)]
    expected += [('cls_labelled', True, True), ('cls_weak', True, False)]
    assert seen == [*expected, ('cls_strong', True, True)]


def test_unlabelled_masks_do_not_matter_without_the_term():
    """Saving 4: with the single channel they may be anything, or lack."""
    inputs, samples = batch()
    model = without_dropout(make())
    first = model(inputs, samples, mode='loss')
    assert first['seg_unlabelled.loss_kl'] == 0
    inputs['seg_unlabelled'] = torch.full_like(inputs['seg_unlabelled'], torch.nan)
    second = model(inputs, samples, mode='loss')
    del inputs['seg_unlabelled'], samples['seg_unlabelled']
    third = model(inputs, samples, mode='loss')
    for name, value in first.items():
        assert value == second[name] == third[name], name
    model = without_dropout(make(kl='none'))
    assert 'seg_unlabelled.loss_kl' not in model(inputs, samples, mode='loss')


# ---------------------------------------------------------------------------------------- training


def test_one_step_moves_everything():
    model = make()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    log = step(model, batch(), adam(model))
    assert all(not torch.equal(p, before[name]) for name, p in model.named_parameters())
    trained = {
        'seg_labelled.loss_dice',
        'seg_unlabelled.loss_kl',
        'cls_labelled.loss_ce',
        'cls_strong.loss_pseudo',
    }
    assert {name for name in log if 'loss' in name} - {'loss'} == trained
    assert log['loss'].item() == pytest.approx(sum(log[name].item() for name in trained), rel=1e-6)
    assert all(module.training for module in model.modules())


@pytest.mark.parametrize(
    ('changes', 'branches', 'parts'),
    [
        (dict(bridge=None), BRANCHES[:1] + BRANCHES[2:], {'backbone', 'decode_head', 'cls_head'}),
        (
            dict(loss_pseudo=None),
            ('seg_labelled', 'cls_labelled'),
            {'backbone', 'decode_head', 'cls_head'},
        ),
        (
            dict(decode_head=None, bridge=None),
            ('cls_labelled', 'cls_weak', 'cls_strong'),
            {'backbone', 'cls_head'},
        ),
        (dict(decode_head=None, bridge=None, loss_pseudo=None), ('cls_labelled',), None),
        (
            dict(cls_head=None, bridge=None, loss_pseudo=None, kl='bernoulli'),
            ('seg_labelled', 'seg_unlabelled'),
            {'backbone', 'decode_head'},
        ),
    ],
)
def test_without_some_parts(changes, branches, parts):
    """The baselines of the method's table; each needs its batches only."""
    if 'bridge' in changes and changes.get('decode_head', 1) is not None:
        head = {**config()['decode_head'], 'in_channels': CHANNELS}
        changes = {**changes, 'decode_head': head}
    model = make(**changes)
    assert model.branches == branches
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    log = step(model, batch(branches), adam(model))
    assert torch.isfinite(log['loss']) and log['loss'] > 0
    assert all(not torch.equal(p, before[name]) for name, p in model.named_parameters())
    assert parts is None or {name.split('.')[0] for name in before} == parts


def test_weak_views_get_no_gradient_and_the_rest_does():
    model = make(kl='bernoulli')
    inputs, samples = batch()
    for images in inputs.values():
        images.requires_grad_()
    sum(v for k, v in model(inputs, samples, mode='loss').items() if 'loss' in k).backward()
    for branch, images in inputs.items():
        assert (images.grad is None) == (branch == 'cls_weak'), branch


def test_resumed_training_gives_the_same_bits():
    def run(model, optimizer, iterations):
        for i in iterations:
            step(model, batch(seed=i), optimizer, seed=i)

    whole = make()
    run(whole, adam(whole), range(4))
    first = make()
    optimizer = adam(first)
    run(first, optimizer, range(2))
    second = make(seed=1)
    second.load_state_dict(first.state_dict())
    other = adam(second)
    other.load_state_dict(optimizer.state_dict())
    run(second, other, range(2, 4))
    for name, value in whole.state_dict().items():
        assert torch.equal(value, second.state_dict()[name]), name


def test_mixed_precision():
    """The saliency and the losses stay in single precision."""
    model = make(kl='bernoulli')
    expected = model.saliency(batch()[0]['seg_labelled'])
    with torch.autocast('cpu', torch.bfloat16):
        assert torch.equal(model.saliency(batch()[0]['seg_labelled']), expected)
        losses = model(*batch(), mode='loss')
    for name, value in losses.items():
        assert value.dtype == torch.float32 and torch.isfinite(value), name


# -------------------------------------------------------------------------------------- prediction


@pytest.mark.parametrize('around', [torch.enable_grad, torch.no_grad, torch.inference_mode])
def test_prediction(around):
    """With and without gradients around it; the same twice, since dropout is off."""
    model = make().eval()
    inputs, samples = batch()
    images, found = inputs['seg_labelled'], samples['seg_labelled']
    expected = model.infer(images)
    with around():
        results = model(images, found, mode='predict')
        again = model.infer(images)
    assert torch.equal(expected.seg_logits, again.seg_logits)
    for i, sample in enumerate(results):
        assert sample.seg_logits.data.shape == (2, *SIZE)
        assert torch.equal(sample.seg_logits.data, expected.seg_logits[i])
        assert torch.equal(sample.pred_sem_seg.data[0], expected.seg_logits[i].argmax(0))
        assert torch.equal(sample.pred_score, expected.cls_logits[i].softmax(0))
        assert set(sample.seg_uncertainty.keys()) == {'predictive_entropy'}
    assert not any(module.training for module in model.modules())


def test_the_mask_depends_on_the_saliency():
    model = make().eval()
    images = batch()[0]['seg_labelled']
    seen = model.infer(images).seg_logits
    model.cls_head.fc.weight.data *= 100
    assert not torch.equal(model.infer(images).seg_logits, seen)


def test_class_alone():
    """Saving 5: the encoder only."""
    model = make().eval()
    inputs, samples = batch()
    expected = model.infer(inputs['cls_labelled']).cls_logits
    model = make(class_only=True).eval()
    model.decode_head.forward = model.saliency = None
    output = model.infer(inputs['cls_labelled'])
    assert torch.equal(output.cls_logits, expected) and output.seg_logits is None
    assert torch.equal(model(inputs['cls_labelled']).cls_logits, expected)
    (sample, *_) = model(inputs['cls_labelled'], samples['cls_labelled'], mode='predict')
    assert 'pred_label' in sample and 'pred_sem_seg' not in sample


def test_legacy_dropout():
    """The encoder's is on, the decoder's not; the saliency has none, and modes are restored."""
    model = make(legacy_eval_dropout=True).eval()
    images = batch()[0]['seg_labelled']
    assert torch.equal(model.saliency(images), model.saliency(images))
    outputs = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        outputs.append(model.infer(images))
    for first, second, third in zip(*outputs, strict=True):
        if first is not None:
            assert torch.equal(first, second) and not torch.equal(first, third)
    assert not any(module.training for module in model.modules())
    modes = []
    for part in (model.backbone.blocks[0].dropout, model.decode_head.blocks[0].dropout):
        part.register_forward_hook(lambda module, args, out: modes.append(module.training))
    model.infer(images)
    assert modes == [True, False, False]  # the encoder, its saliency, the decoder


@torch.no_grad()
def test_mc_dropout():
    """Passes differ by the dropout of encoder and decoder; their saliency is one and the same."""
    model = make().eval()
    inputs, samples = batch(number=2)
    images = inputs['seg_labelled']
    computed = []
    model.backbone.register_forward_pre_hook(
        lambda module, args: computed.append(len(args[0])) if dropout_is_off() else None
    )
    found = []
    for fused in (False, True):
        estimator = MCDropout(model, num_samples=6, fused=fused).eval()
        found.append(estimator.predict(images, [sample.clone() for sample in samples['cls_weak']]))
        # Fused: once per image, and once more for the comparison with a pass in full.
        assert computed == [1] * (3 if fused else 12)
        computed.clear()
    (plan,) = estimator._plans.values()
    assert plan.repeatable and plan.batch > 1
    for full, fast in zip(*found, strict=True):
        torch.testing.assert_close(full.pred_score, fast.pred_score, rtol=0, atol=1e-5)
        for name in ('predictive_entropy', 'mutual_information', 'variance'):
            maps = getattr(full.seg_uncertainty, name)
            other = getattr(fast.seg_uncertainty, name)
            torch.testing.assert_close(maps, other, rtol=0, atol=1e-5, msg=name)
        assert full.seg_uncertainty.mutual_information.max() > 1e-3
        assert full.cls_uncertainty.mutual_information > 0


def test_mc_dropout_is_a_loop_with_the_same_masks():
    """By the definition: dropout layers alone in training mode, the saliency without dropout."""
    model = make().eval()
    image = batch(number=1)[0]['seg_labelled']
    estimator = MCDropout(model, num_samples=3).eval()
    drawn = {}
    draw = estimator.mask_source

    def source(name, number, shape, p):
        drawn[name, number] = draw(name, number, shape, p)
        return drawn[name, number]

    estimator.mask_source = source
    (sample,) = estimator.predict(image, [JointDataSample()])
    saliency = model.saliency(image)
    layers = {name: m for name, m in model.named_modules() if isinstance(m, nn.Dropout)}
    assert {name for name, _ in drawn} == set(layers)
    probs = []
    for number in range(3):
        hooks = [
            layer.register_forward_hook(
                lambda m, args, out, name=name, number=number: out * drawn[name, number]
            )
            for name, layer in layers.items()
        ]
        with torch.no_grad():
            feats = model.extract_feat(image)
            logits = model.decode_head(model.bridge(feats, image, saliency))
        probs.append(logits[0].double().softmax(0))
        for hook in hooks:
            hook.remove()
    mean = torch.stack(probs).mean(0)
    torch.testing.assert_close(sample.seg_logits.data.double().softmax(0), mean, rtol=0, atol=1e-6)


@torch.no_grad()
def test_operations_can_be_counted():
    """Of the saliency, the forward pass and the gradients of all maps."""
    model = make().eval()
    images = batch(number=1)[0]['seg_labelled']

    def count(function):
        with FlopCounterMode(display=False) as counter:
            function(images)
        return counter.get_total_flops()

    encoder, saliency = count(model.classify), count(model.saliency)
    assert 2 * encoder * 0.95 < saliency <= 2 * encoder
    feats = model.extract_feat(images)
    decoder = count(lambda x: model.decode_head(model.bridge(feats, x, x)))
    assert count(model) == encoder + saliency + decoder


# ------------------------------------------------------------------------------------ other models


def test_bridge_on_another_encoder():
    """A supervised joint model of stock parts: a ResNet whose head joins the bridge's map."""
    torch.manual_seed(0)
    model = build(
        dict(
            type='JointModel',
            backbone=dict(
                type='mmpretrain.ResNet',
                depth=18,
                in_channels=1,
                base_channels=4,
                stem_channels=4,
                out_indices=(0, 1, 2, 3),
            ),
            bridge=dict(type='SaliencyBridge', level=1),
            decode_head=dict(
                type='JointFCNHead',
                in_channels=(4, 8 + 2, 16, 32),
                in_index=(0, 1, 2, 3),
                input_transform='resize_concat',
                channels=8,
                num_convs=1,
                num_classes=2,
                single_logit=True,
                loss_decode=dict(type='SampleDiceLoss'),
            ),
            cls_head=dict(
                type='JointLinearClsHead',
                in_channels=32,
                num_classes=2,
                loss=dict(type='MaskedCrossEntropyLoss'),
            ),
        )
    ).train()
    inputs, samples = batch()
    mean = model.backbone.bn1.running_mean.clone()
    saliency = model.saliency(inputs['seg_labelled'])
    assert saliency.shape == (3, 1, *SIZE) and saliency.max() > 0
    assert torch.equal(model.backbone.bn1.running_mean, mean)
    for branch, name in (('seg_labelled', 'decode.loss_dice'), ('cls_labelled', 'cls.loss_ce')):
        losses = model(inputs[branch], samples[branch], mode='loss')
        assert losses[name] > 0
    with torch.no_grad():
        results = model.eval()(inputs['cls_weak'], samples['cls_weak'], mode='predict')
        raw = model(inputs['cls_weak'])
    assert results[0].pred_sem_seg.data.shape == (1, *SIZE)
    assert raw.seg_logits.shape[:2] == (3, 2) and raw.cls_logits.shape == (3, 2)


def test_mistakes():
    inputs, samples = batch()
    model = make()
    lacking = {branch: images for branch, images in inputs.items() if branch != 'cls_weak'}
    with pytest.raises(UserError, match=r"the branches \['seg_labelled', 'cls_labelled', "):
        model(lacking, samples, mode='loss')
    with pytest.raises(UserError, match='odd'):
        model({**inputs, 'odd': inputs['cls_weak']}, samples, mode='loss')
    with pytest.raises(UserError, match='found Tensor; .* MultiBranchDataPreprocessor'):
        model(inputs['seg_labelled'], samples['seg_labelled'], mode='loss')
    model = make(kl='bernoulli')
    inputs['seg_unlabelled'] = inputs['seg_unlabelled'][:2]
    with pytest.raises(ValueError, match=r'batches of one shape, got \(3, 2, 16, 24\) and \(2,'):
        model(inputs, samples, mode='loss')
    head = config()['decode_head']
    two_logits = {**head, 'single_logit': False}
    three = {**two_logits, 'num_classes': 3}
    for options, message in (
        (dict(kl='off'), "kl must be one of .*, got 'off'"),
        (dict(kl_weight=-1), 'kl_weight must be >= 0, got -1'),
        (dict(decode_head=two_logits), "kl='single_channel' needs a decode_head of one logit"),
        (dict(decode_head=three, kl='bernoulli'), 'needs two pixel classes, got 3'),
        (dict(decode_head=None, bridge=None, kl='bernoulli'), 'needs a decode_head'),
        (dict(cls_head=None, bridge=None), 'loss_pseudo and class_only need a cls_head'),
        (dict(cls_head=None), 'bridge leads from cls_head to decode_head; give both'),
    ):
        with pytest.raises(ValueError, match=message):
            make(**options)
