import copy

import pytest
import torch
import torch.nn.functional as F
from mmengine.structures import PixelData

from mmjoint.functional.explanation_scale import EXPLANATIONS
from mmjoint.models.explanations import Explainer, explain
from mmjoint.models.uncertainty import MCDropout, Softmax
from mmjoint.structures import JointDataSample
from mmjoint.utils.errors import UserError

from .test_semi.test_multimix import make as make_multimix
from .tiny import build, make_uml, vary_norms

SIZE = (16, 24)


def joint(head='JointLinearClsHead', **changes):
    """Three classes on a map of 4 x 6."""
    torch.manual_seed(0)
    settings = dict(
        type='JointModel',
        backbone=dict(type='InstanceUNetEncoder', in_channels=2, channels=(4, 6, 8), dropout=0.5),
        cls_head=dict(
            type=head, in_channels=8, num_classes=3, loss=dict(type='MaskedCrossEntropyLoss')
        ),
    )
    model = build({**settings, **changes}).eval()
    if getattr(model, 'cls_head', None) is not None:
        model.cls_head.fc.weight.data.mul_(20)
        # Instance norms make the means of the maps much alike: let each class be the largest once.
        with torch.no_grad():
            model.cls_head.fc.bias -= model.classify(images(16, seed=9)).mean(0)
    return model


def images(number=3, channels=2, size=SIZE, seed=0):
    return torch.randn(number, channels, *size, generator=torch.Generator().manual_seed(seed))


def enlarged(maps):
    return F.interpolate(maps, size=SIZE, mode='bilinear', align_corners=False)


@pytest.mark.parametrize('head', ['JointLinearClsHead', 'PooledLinearClsHead'])
def test_class_activation_is_that_of_the_linear_weights(head):
    """Of the maximum in windows, too: each channel's gradients sum up to its weight."""
    model, inputs = joint(head), images(8)
    found = explain(model, inputs, ['class_activation'])
    with torch.no_grad():
        feats = model.extract_feat(inputs)
        labels = model.cls_head(feats).argmax(1)
        weights = model.cls_head.fc.weight[labels]
        closed = torch.einsum('bk,bkhw->bhw', weights, feats[-1])[:, None]
    assert list(found) == ['class_activation'] and len(labels.unique()) > 1
    torch.testing.assert_close(found['class_activation'], enlarged(closed.relu()))
    assert (closed < 0).any() and found['class_activation'].min() == 0


def test_activation_tells_the_logit():
    """Before what is negative is cut off, its mean and the bias are the class's logit."""
    model, inputs = joint(), images()
    model.cls_head.fc.weight.data.abs_()  # the maps behind a ReLU would do the same
    model.backbone.register_forward_hook(lambda m, args, out: (*out[:-1], out[-1].relu()))
    labels = torch.tensor([2, 0, 1])
    activation = explain(model, inputs, ['class_activation'], labels)['class_activation']
    with torch.no_grad():
        logits = model.classify(inputs)[torch.arange(3), labels]
    # Enlarging keeps the mean.
    means = activation.mean((1, 2, 3)) + model.cls_head.fc.bias[labels]
    torch.testing.assert_close(means, logits)


@pytest.mark.parametrize('labels', [None, [2, 0, 1]])
def test_saliency_is_that_of_a_whole_backward_pass(labels):
    model, inputs = joint(), images()
    found = explain(model, inputs, ['saliency'], None if labels is None else torch.tensor(labels))
    other = copy.deepcopy(model)
    x = inputs.clone().requires_grad_()
    logits = other.classify(x)
    for i, row in enumerate(logits):
        (row.max() if labels is None else row[labels[i]]).backward(retain_graph=True)
    assert torch.equal(found['saliency'], x.grad.abs().max(1, keepdim=True).values)
    if labels is None:
        assert torch.equal(found['saliency'], model.saliency(inputs))


def test_of_multimix():
    """The saliency is what its bridge shows the decoder."""
    model = make_multimix().train()
    inputs = images(channels=1)
    found = explain(model, inputs)
    assert list(found) == list(EXPLANATIONS) and model.backbone.training
    assert torch.equal(found['saliency'], model.saliency(inputs))
    assert all(one.shape == (3, 1, *SIZE) for one in found.values())


def test_of_uml():
    """The evidence of the class stands in place of its logit."""
    model = vary_norms(make_uml()).eval()
    inputs = images(2, channels=3, size=(32, 32)).abs().clamp(0, 1)
    found = explain(model, inputs)
    x = inputs.clone().requires_grad_()
    evidence = model.infer(x).cls_alpha - 1
    (gradient,) = torch.autograd.grad(evidence.max(1).values.sum(), x)
    torch.testing.assert_close(found['saliency'], gradient.abs().amax(1, keepdim=True))
    assert found['class_activation'].shape == (2, 1, 32, 32)
    assert found['saliency'].max() > 0 and found['class_activation'].min() >= 0


@pytest.mark.parametrize('around', ['no_grad', 'inference_mode', 'autocast'])
def test_it_does_not_depend_on_what_is_around_it(around):
    model, inputs = joint(), images()
    expected = explain(model, inputs)
    for i, parameter in enumerate(model.train().parameters()):
        parameter.grad = torch.full_like(parameter, i)
    model.backbone.eval()
    modes = [module.training for module in model.modules()]
    contexts = {
        'no_grad': torch.no_grad,
        'inference_mode': torch.inference_mode,
        'autocast': lambda: torch.autocast('cpu', torch.bfloat16),
    }
    with contexts[around]():
        found = explain(model, images())
    for name in EXPLANATIONS:
        assert torch.equal(found[name], expected[name]) and found[name].dtype == torch.float32
        assert not found[name].requires_grad
    assert [module.training for module in model.modules()] == modes
    assert all((parameter.grad == i).all() for i, parameter in enumerate(model.parameters()))
    assert not model.cls_head._forward_pre_hooks


def samples(number=3, ori_shape=(40, 30), img_shape=(16, 20)):
    return [
        JointDataSample(metainfo=dict(ori_shape=ori_shape, img_shape=img_shape))
        for _ in range(number)
    ]


def test_samples_get_maps_of_their_own_size():
    """Padding on the right is cut off, then the map is enlarged."""
    model, inputs = joint(), images()
    filled = Explainer(model, EXPLANATIONS)(inputs, samples())
    plain = model(inputs, samples(), mode='predict')
    maps = explain(model, inputs)
    for i, (sample, other) in enumerate(zip(filled, plain, strict=True)):
        assert torch.equal(sample.pred_score, other.pred_score)
        assert isinstance(sample.explanations, PixelData)
        assert sorted(sample.explanations.keys()) == sorted(EXPLANATIONS)
        for name in EXPLANATIONS:
            inner = maps[name][i : i + 1, :, :, :20]
            expected = F.interpolate(inner, size=(40, 30), mode='bilinear', align_corners=False)
            assert torch.equal(sample.explanations.get(name), expected[0])


@pytest.mark.parametrize('kind', [Softmax, MCDropout])
def test_around_an_estimator_the_class_of_the_sample_is_explained(kind):
    model, inputs = joint(), images(12)
    options = dict(num_samples=5) if kind is MCDropout else {}
    explainer = Explainer(kind(model, **options), ['class_activation']).eval()
    filled = explainer(inputs, samples(12, SIZE, SIZE))
    alone = kind(model, **options).eval()(inputs, samples(12, SIZE, SIZE))
    labels = torch.cat([sample.pred_label for sample in alone])
    # Here the mean of the passes does not always say what the network says without dropout.
    assert (kind is MCDropout) == (labels != model.classify(inputs).argmax(1)).any()
    expected = explain(model, inputs, ['class_activation'], labels)['class_activation']
    for i, (sample, other) in enumerate(zip(filled, alone, strict=True)):
        assert torch.equal(sample.pred_score, other.pred_score)
        assert torch.equal(sample.explanations.class_activation, expected[i])
        assert sample.explanations.keys() == ['class_activation']


def test_other_modes_are_those_of_the_model():
    model = joint()
    output = Explainer(model)(images(), mode='tensor')
    assert torch.equal(output.cls_logits, model(images()).cls_logits)


def test_mistakes():
    head = dict(
        type='InstanceUNetHead',
        in_channels=(4, 6, 8),
        channels=(4, 6),
        loss_decode=dict(type='SampleDiceLoss'),
    )
    masks_alone = joint(decode_head=head, cls_head=None)
    with pytest.raises(UserError, match=r'explain: expected a model with a class head .* JointMod'):
        Explainer(masks_alone)
    with pytest.raises(UserError, match='expected images .*, found volumes'):
        explain(joint(), torch.zeros(1, 2, 8, 8, 8))
    pooled = joint(
        neck=dict(type='mmpretrain.GlobalAveragePooling'),
        cls_head=dict(
            type='mmpretrain.LinearClsHead',
            in_channels=8,
            num_classes=3,
            loss=dict(type='mmpretrain.CrossEntropyLoss'),
        ),
    )
    assert explain(pooled, images(), ['saliency'])['saliency'].max() > 0
    with pytest.raises(UserError, match=r'reads a map .*, found \(3, 8\)'):
        explain(pooled, images())
    assert not pooled.cls_head._forward_pre_hooks
