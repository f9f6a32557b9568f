"""UML with all exact savings against UML without any: losses, all gradients, buffers, float64."""

import pytest
import torch

from mmjoint.models.decode_heads import MutualEvidenceHead

from .tiny import assert_same, make_samples, make_uml, vary_norms

names = pytest.mark.parametrize('name', ['UML', 'UMLPaper'])


def twins(name, *, fused_options=None, **options):
    torch.manual_seed(0)
    plain = make_uml(name, fused=False, memory_format='channels_first', **options)
    vary_norms(plain.double())
    fused = make_uml(name, fused=True, **(fused_options or {}), **options).double()
    fused.load_state_dict(plain.state_dict())
    return plain, fused


def step(model, image, samples, progress, seed=0):
    """Losses and gradients of one pass in training mode, dropout included."""
    model.train()
    for module in model.modules():
        if hasattr(module, 'set_train_progress'):
            module.set_train_progress(progress)
    image = image.clone().requires_grad_()
    torch.manual_seed(seed)
    losses = model(image, samples, mode='loss')
    sum(losses.values()).backward()
    values = {f'loss {k}': v.detach() for k, v in losses.items()}
    gradients = {'image': image.grad} | {k: p.grad for k, p in model.named_parameters()}
    return values, gradients


@names
@pytest.mark.parametrize(
    ('num_classes', 'progress', 'layout'),
    [
        (3, 0.3, 'channels_first'),
        (3, 0.3, 'channels_last'),
        (2, 0.3, 'channels_last'),
        (3, 0.0, 'channels_first'),
        (5, 1.0, 'channels_last'),
    ],
)
def test_training_step(name, num_classes, progress, layout):
    plain, fused = twins(name, num_classes=num_classes, fused_options={'memory_format': layout})
    image = torch.rand(2, 3, 32, 32, dtype=torch.float64)
    samples = make_samples(2, (32, 32), num_classes=num_classes)
    expected, expected_gradients = step(plain, image, samples, progress)
    actual, gradients = step(fused, image, samples, progress)
    assert actual.keys() == expected.keys()
    assert min(value.item() for value in expected.values()) > 0
    for key, value in expected.items():
        assert_same(actual[key], value, key)
    # torch's trigamma function, which only the plain form of the loss of two classes takes, is good
    # to 1e-10; of gradients far below the largest one that error is a noticeable share.
    largest = max(g.abs().max().item() for g in expected_gradients.values())
    for key, value in expected_gradients.items():
        assert_same(gradients[key], value, key, floor=1e-2 * largest)
    for (key, ours), theirs in zip(fused.named_buffers(), plain.buffers(), strict=True):
        assert_same(ours.double(), theirs.double(), key)
        if key.endswith('num_batches_tracked'):
            assert ours == 1, key


@names
def test_every_parameter_has_a_gradient(name):
    model = make_uml(name)
    samples = make_samples()
    _, gradients = step(model, torch.rand(2, 3, 16, 16), samples, 0.5)
    missing = [key for key, gradient in gradients.items() if gradient is None]
    assert not missing


@names
def test_what_is_never_run_is_not_built(name):
    keys = make_uml(name).state_dict()
    assert not [key for key in keys if 'layer4' in key or key.startswith('backbone.fc')]
    stages = {key.split('.')[1] for key in keys if key.startswith('backbone.layer')}
    assert stages == {'layer1', 'layer2', 'layer3'}
    if name == 'UMLPaper':
        depths = {key.split('.')[2] for key in keys if key.startswith('seg_backbone.stages')}
        assert depths == {'0', '1', '2', '3'}


@pytest.mark.parametrize(('name', 'total'), [('UML', 44_650_389), ('UMLPaper', 39_357_992)])
def test_number_of_parameters_of_the_published_width(name, total):
    model = make_uml(name, width=64)
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == total


@names
def test_predictions(name):
    plain, fused = twins(name)
    image = torch.rand(2, 3, 24, 16, dtype=torch.float64)
    results = []
    for model in (plain, fused):
        with torch.no_grad():
            results.append(model.eval()(image, make_samples(2, (24, 16)), mode='predict'))
    for expected, actual in zip(*results, strict=True):
        # Samples hold float32.
        for field in ('seg_logits', 'seg_uncertainty', 'cls_uncertainty'):
            for key, value in getattr(expected, field).items():
                assert_same(getattr(actual, field).get(key), value, f'{field}.{key}', 1e-5, 1e-3)
        assert_same(actual.cls_alpha, expected.cls_alpha, 'cls_alpha', 1e-6)
        assert torch.equal(actual.pred_sem_seg.data, expected.pred_sem_seg.data)
        assert torch.equal(actual.pred_label, expected.pred_label)


def test_coarse_evidence_is_skipped_outside_training():
    _, model = twins('UML')
    image = torch.rand(1, 3, 16, 16, dtype=torch.float64)
    runs = []
    for i, conv in enumerate(model.mutual_head.evidence_convs):
        conv.register_forward_hook(lambda *_, level=i: runs.append(level))
    model.eval()
    with torch.no_grad():
        feats = model.extract_feat(image)
        full = model.decode(*feats)
        assert runs == [0, 1, 2, 3]
        runs.clear()
        model(image, make_samples(1), mode='predict')
        model(image)
        assert runs == [0, 0]
        short = model.decode(*feats, all_levels=False)
    assert [len(out.mutual.evidence) for out in (full, short)] == [4, 1]
    assert torch.equal(full.mutual.evidence[0], short.mutual.evidence[0])
    assert torch.equal(full.guided.logits[0], short.guided.logits[0])
    assert torch.equal(full.cls_evidence, short.cls_evidence)


def test_mixer_composes_only_where_the_decoder_asks():
    plain, fused = twins('UML')
    assert plain.mutual_head.projections() is None
    weights = fused.mutual_head.projections()
    assert weights[0] is None
    assert [w is c.weight for w, c in zip(weights[1:], fused.mutual_head.adjust, strict=True)] == [
        True
    ] * 3
    assert isinstance(fused.mutual_head, MutualEvidenceHead)
