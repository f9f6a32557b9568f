import pytest
import torch
from mmengine.optim import OptimWrapper
from mmengine.structures import PixelData

from mmjoint.functional.dirichlet import opinion_measures

from ..tiny import make_samples, make_uml, unlabelled, vary_norms

names = pytest.mark.parametrize('name', ['UML', 'UMLPaper'])
PARTS = {'backbone', 'seg_backbone', 'neck', 'mutual_head', 'decode_head', 'cls_head'}
MEASURES = {
    'vacuity',
    'dissonance',
    'predictive_entropy',
    'expected_entropy',
    'mutual_information',
    'variance',
}


def make(name, **options):
    torch.manual_seed(0)
    return make_uml(name, **options)


def data(samples, size=(16, 16)):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (len(samples), 3, *size), generator=generator)
    return {'inputs': list(images.to(torch.uint8)), 'data_samples': samples}


def step(model, samples):
    before = {name: value.clone() for name, value in model.named_parameters()}
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1))
    log = model.train().train_step(data(samples), wrapper)
    changed = {n for n, value in model.named_parameters() if not torch.equal(value, before[n])}
    return log, changed


@names
def test_step_changes_every_part(name):
    log, changed = step(make(name), make_samples())
    assert {key.split('.')[0] for key in changed} == PARTS
    levels = [''] if name == 'UMLPaper' else ['_1', '_2', '_3', '_4']
    expected = {'loss', 'cls.loss_evidential', 'decode.loss_dice'}
    expected |= {f'mutual.loss_{kind}{i}' for kind in ('evidential', 'dice') for i in levels}
    if name == 'UML':
        expected.add('decode.loss_ce')
    assert set(log) == expected


@names
def test_step_without_labels_changes_nothing(name):
    log, changed = step(make(name), unlabelled())
    assert not changed
    assert all(value == 0 for value in log.values())


@names
def test_step_with_class_labels_only(name):
    samples = make_samples()
    for sample in samples:
        del sample.gt_sem_seg
    log, changed = step(make(name), samples)
    nonzero = {key for key, value in log.items() if value != 0}
    assert nonzero == {'loss', 'cls.loss_evidential'}
    # The guide carries the class loss into the segmentation branch, not to its own outputs.
    assert 'cls_head' in {key.split('.')[0] for key in changed}
    assert not any('out_conv.' in key for key in changed)


@names
def test_step_with_masks_only(name):
    samples = make_samples()
    for sample in samples:
        del sample.gt_label
    log, changed = step(make(name), samples)
    assert log['cls.loss_evidential'] == 0 and log['decode.loss_dice'] > 0
    assert not any(key.startswith('cls_head') for key in changed)


@names
def test_unlabelled_sample_does_not_count(name):
    model = vary_norms(make(name)).eval()
    image = torch.rand(2, 3, 16, 16)
    samples = [make_samples(1)[0], *unlabelled(1)]
    with torch.no_grad():
        both = model(image, samples, mode='loss')
        alone = model(image[:1], samples[:1], mode='loss')
    for key, value in alone.items():
        torch.testing.assert_close(both[key], value, msg=key, rtol=1e-5, atol=1e-6)


@names
def test_predictions(name):
    model = vary_norms(make(name)).eval()
    samples = unlabelled(2, (16, 16), ori_shape=(20, 12))
    inputs = data(samples)
    with torch.no_grad():
        results = model.test_step(inputs)
        image = model.data_preprocessor(inputs, False)['inputs']
        raw = model(image.contiguous(memory_format=torch.channels_last))
    for i, sample in enumerate(results):
        assert set(sample.keys()) == {
            'seg_logits',
            'pred_sem_seg',
            'seg_uncertainty',
            'pred_label',
            'pred_score',
            'cls_alpha',
            'cls_uncertainty',
        }
        assert sample.seg_logits.data.shape == (3, 20, 12)
        assert sample.pred_sem_seg.data.shape == (1, 20, 12)
        assert set(sample.seg_uncertainty.keys()) == MEASURES
        assert set(sample.cls_uncertainty.keys()) == MEASURES
        alpha = raw.cls_evidence[i] + 1
        torch.testing.assert_close(sample.cls_alpha, alpha)
        torch.testing.assert_close(sample.pred_score, alpha / alpha.sum())
        assert sample.cls_uncertainty.vacuity.item() == pytest.approx(2 / alpha.sum().item())
        evidence = torch.nn.functional.interpolate(
            raw.mutual.evidence[0][i : i + 1], (20, 12), mode='bilinear'
        )
        for key, value in opinion_measures(evidence + 1).items():
            torch.testing.assert_close(sample.seg_uncertainty.get(key), value[0], msg=key)


@names
def test_partial_mask_does_not_push_the_hidden_class_down(name):
    model = make(name, num_classes=3)
    for module in model.modules():
        if hasattr(module, 'set_train_progress'):
            module.set_train_progress(0.2)
    samples = make_samples(1, (8, 8), annotated_classes=(0, 2))
    seg_map = samples[0].gt_sem_seg.data
    seg_map[seg_map == 1] = 0
    background = seg_map == 0
    evidence = 3 * torch.rand(1, 3, 8, 8)
    logits = torch.randn(1, 3, 8, 8)
    for head, values in ((model.mutual_head, evidence), (model.decode_head, logits)):
        leaf = values.clone().requires_grad_()
        losses = head.loss_by_feat((leaf,), samples)
        sum(losses.values()).backward()
        assert (leaf.grad[:, 1][background] <= 0).all()
        for share in (0.1, 0.9):
            other = values.clone()
            if head is model.mutual_head:
                joint = values[:, 0] + values[:, 1]
                other[:, 0], other[:, 1] = share * joint, (1 - share) * joint
            else:
                joint = values[:, :2].logsumexp(1).exp()
                other[:, 0], other[:, 1] = (share * joint).log(), ((1 - share) * joint).log()
            for key, value in head.loss_by_feat((other,), samples).items():
                torch.testing.assert_close(value, losses[key], msg=key)


def test_dice_of_the_dirichlets_mean():
    model = make('UML')
    head = model.mutual_head
    head.dice_on = 'expected_probs'
    samples = make_samples(1, (1, 1))
    samples[0].gt_sem_seg = PixelData(data=torch.tensor([[[2]]]))
    evidence = torch.tensor([1.0, 0.0, 2.0]).view(1, 3, 1, 1)  # alpha / S = (2, 1, 3) / 6
    value = head.loss_by_feat((evidence,), samples)['loss_dice']
    smooth = head.loss_dice.smooth
    dices = [smooth / (2 / 6 + smooth), smooth / (1 / 6 + smooth), 1 / (3 / 6 + 1)]
    expected = -0.1 * sum(torch.tensor(dices).log()) / 3
    assert value.item() == pytest.approx(expected.item(), rel=1e-4)
    with pytest.raises(ValueError, match="dice_on must be .* got 'probs'"):
        cfg = dict(num_classes=3, in_channels=(2, 8, 16, 32), dice_on='probs')
        type(head)(loss_evidential={}, loss_dice={}, **cfg)


@names
def test_size_must_be_a_multiple_of_eight(name):
    with pytest.raises(ValueError, match=r'multiples of 8, got \(16, 20\)'):
        make(name)(torch.rand(1, 3, 16, 20))


@names
def test_one_missing_mask_shape_is_told(name):
    samples = make_samples(2, (16, 16))
    samples[1].gt_sem_seg = PixelData(data=torch.zeros(1, 8, 8, dtype=torch.int64))
    with pytest.raises(ValueError, match=r'the mask has the shape \(1, 8, 8\)'):
        make(name)(torch.rand(2, 3, 16, 16), samples, mode='loss')
