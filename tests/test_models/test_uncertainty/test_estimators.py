"""What all estimators have in common."""

import gc

import numpy as np
import pytest
import torch
from mmengine.structures import PixelData

from mmjoint.functional.dirichlet import expected_probs
from mmjoint.models.joint import BatchPrediction
from mmjoint.models.uncertainty import (
    Ensemble,
    Evidential,
    Softmax,
    TestTimeAugmentation,
    UncertaintyEstimator,
)
from mmjoint.structures import VolumeData
from mmjoint.utils.errors import UserError

from .models import (
    TASKS,
    Tiny,
    check_cls,
    check_seg,
    close,
    make_inputs,
    make_samples,
    stacked,
    watched,
)

MAKERS = {
    'softmax': lambda model, **options: Softmax(model, **options),
    'tta': lambda model, **options: TestTimeAugmentation(model, **options),
    'ensemble': lambda model, **options: Ensemble(
        model, checkpoints=[another(model, seed) for seed in (1, 2)], **options
    ),
}
PASSES = {'softmax': {2: 1, 3: 1}, 'tta': {2: 8, 3: 8}, 'ensemble': {2: 3, 3: 3}}


def another(model, seed):
    axes = model.head.weight.dim() - 2
    return Tiny(axes, model.task, len(model.head.weight), len(model.cls.weight), seed=seed).eval()


class Repeated(UncertaintyEstimator):
    """Passes of random logits, in chunks."""

    def __init__(self, model, chunks, **options):
        super().__init__(model, **options)
        self.chunks = chunks

    def passes(self, inputs, sample):
        generator = torch.Generator().manual_seed(0)
        for count in self.chunks:
            yield BatchPrediction(
                seg_logits=2 * torch.randn(count, 3, *inputs.shape[2:], generator=generator),
                cls_logits=torch.randn(count, 4, generator=generator),
            )


@pytest.mark.parametrize('num_classes', [2, 3])
@pytest.mark.parametrize('task', TASKS)
@pytest.mark.parametrize('axes', [2, 3])
@pytest.mark.parametrize('name', MAKERS)
def test_streamed_equals_stacked(name, axes, task, num_classes):
    model = Tiny(axes, task, num_classes, num_classes).eval()
    inputs, original = make_inputs(axes), (9, 7, 6)[:axes]
    estimator = MAKERS[name](model, keep_std=True)
    samples, probs = watched(estimator, inputs, original)
    sample = samples[-1]
    assert ('pred_sem_seg' in sample) == (task != 'cls')
    assert ('pred_score' in sample) == (task != 'seg')
    if task != 'cls':
        assert probs.shape == (PASSES[name][axes], num_classes, *original)
        close(probs.sum(1), 1.0)
        assert type(sample.seg_uncertainty) is (PixelData if axes == 2 else VolumeData)
        check_seg(sample, probs, std=True)
    if task != 'seg':
        with torch.no_grad():
            chunks = list(estimator.passes(inputs[-1:], sample))
        probs = torch.cat([chunk.cls_logits for chunk in chunks]).double().softmax(1).numpy()
        assert len(probs) == PASSES[name][axes]
        check_cls(sample, probs)


@pytest.mark.parametrize('name', MAKERS)
def test_an_evidential_class_counts_by_its_mean(name):
    model = Tiny(2, 'cls', evidence=True).eval()
    if name == 'ensemble':
        members = [Tiny(2, 'cls', evidence=True, seed=seed).eval() for seed in (1, 2)]
        estimator = Ensemble(model, checkpoints=members)
    else:
        estimator = MAKERS[name](model)
    inputs = make_inputs()
    samples, _ = watched(estimator, inputs)
    with torch.no_grad():
        chunks = list(estimator.passes(inputs[-1:], samples[-1]))
    alpha = torch.cat([chunk.cls_alpha for chunk in chunks]).double()
    check_cls(samples[-1], expected_probs(alpha).numpy())


@pytest.mark.parametrize('name', MAKERS)
def test_without_the_spread_the_mean_is_the_same(name):
    model, inputs = Tiny(), make_inputs()
    (whole, _), (mean, _) = (
        watched(MAKERS[name](model.eval(), spread=spread), inputs) for spread in (True, False)
    )
    for one, two in zip(whole, mean, strict=True):
        close(one.seg_logits.data, two.seg_logits.data)
        close(one.pred_score, two.pred_score)
        assert set(two.seg_uncertainty.keys()) == {'predictive_entropy'}
        assert set(two.cls_uncertainty.keys()) == {'predictive_entropy'}


@pytest.mark.parametrize('num_classes', [2, 3])
def test_temperatures_act_on_the_mean(num_classes):
    model, inputs = Tiny(2, 'joint', num_classes, num_classes).eval(), make_inputs()
    options = dict(seg_temperature=2.0, cls_temperature=0.5)
    plain, _ = watched(MAKERS['ensemble'](model), inputs)
    scaled, _ = watched(MAKERS['ensemble'](model, **options), inputs)
    for one, two in zip(plain, scaled, strict=True):
        probs = one.seg_logits.data.double().softmax(0)
        expected = (probs**0.5 / (probs**0.5).sum(0)).numpy()
        close(two.seg_logits.data.double().softmax(0), expected)
        close(two.seg_uncertainty.predictive_entropy[0], -(expected * np.log(expected)).sum(0))
        close(two.seg_uncertainty.variance, one.seg_uncertainty.variance)
        score = one.pred_score.double() ** 2
        close(two.pred_score, score / score.sum())
        close(two.cls_uncertainty.expected_entropy, one.cls_uncertainty.expected_entropy)


def test_softmax_has_no_spread():
    samples, _ = watched(Softmax(Tiny().eval()), make_inputs())
    for uncertainty in (samples[0].seg_uncertainty, samples[0].cls_uncertainty):
        close(uncertainty.mutual_information, 0.0)
        close(uncertainty.variance, 0.0)
        close(uncertainty.expected_entropy, uncertainty.predictive_entropy)


@pytest.mark.parametrize('chunks', [(1,) * 12, (5, 7), (12,)])
def test_chunks_do_not_matter(chunks):
    samples, probs = watched(Repeated(Tiny().eval(), chunks), make_inputs(), (9, 7))
    assert len(probs) == 12
    check_seg(samples[-1], probs)


def test_memory_does_not_grow_with_the_passes():
    counts = []

    def count(sample, number, probs):
        alive = [o for o in gc.get_objects() if issubclass(type(o), torch.Tensor)]
        counts.append(sum(each.numel() for each in alive if each.numel() >= 63))

    estimator = Repeated(Tiny().eval(), (1,) * 20)
    estimator.observer = count
    inputs = make_inputs(count=1)
    estimator.predict(inputs, make_samples(inputs, (9, 7)))
    assert len(counts) == 20 and len(set(counts[2:])) == 1


def test_padding_is_cut_off_and_sizes_are_restored():
    model, inputs = Tiny().eval(), make_inputs(size=(8, 8))
    samples = make_samples(inputs, (12, 10))
    for sample in samples:
        sample.set_metainfo(dict(img_shape=(6, 5)))
    Softmax(model).predict(inputs, samples)
    with torch.no_grad():
        logits = torch.nn.functional.interpolate(
            model.infer(inputs).seg_logits[..., :6, :5], (12, 10), mode='bilinear'
        )
    close(samples[1].seg_logits.data.softmax(0), logits[1].softmax(0))


def test_takes_the_place_of_a_model():
    images = torch.randint(0, 256, (2, 3, 6, 8), dtype=torch.uint8)
    for kind in (Softmax, TestTimeAugmentation):
        data = dict(inputs=list(images), data_samples=make_samples(images))
        samples = kind(Tiny().eval()).test_step(data)
        assert all(sample.pred_sem_seg.shape == (6, 8) for sample in samples)


@pytest.mark.parametrize('evidence_of', TASKS)
@pytest.mark.parametrize('axes', [2, 3])
def test_evidential_is_what_the_model_predicts_itself(axes, evidence_of):
    model, inputs = Tiny(axes, evidence_of, evidence=True).eval(), make_inputs(axes)
    with torch.no_grad():
        own = model.predict(inputs, make_samples(inputs, (9, 7, 6)[:axes]))
    samples, seen = watched(Evidential(model), inputs, (9, 7, 6)[:axes])
    for one, two in zip(own, samples, strict=True):
        assert set(one.keys()) == set(two.keys())
        if evidence_of != 'cls':
            assert torch.equal(one.seg_logits.data, two.seg_logits.data)
            assert torch.equal(one.pred_sem_seg.data, two.pred_sem_seg.data)
            assert set(two.seg_uncertainty.keys()) == set(Evidential.measures)
            for name, value in one.seg_uncertainty.items():
                assert torch.equal(value, getattr(two.seg_uncertainty, name))
        if evidence_of != 'seg':
            close(two.pred_score, one.cls_alpha / one.cls_alpha.sum())
            assert set(two.cls_uncertainty.keys()) == set(Evidential.measures)
            for name, value in one.cls_uncertainty.items():
                assert torch.equal(value, getattr(two.cls_uncertainty, name))
    if evidence_of != 'cls':
        close(seen[0], samples[-1].seg_logits.data.softmax(0))


def test_evidential_temperatures():
    model, inputs = Tiny(evidence=True).eval(), make_inputs()
    plain, _ = watched(Evidential(model), inputs)
    scaled, _ = watched(Evidential(model, seg_temperature=3.0, cls_temperature=2.0), inputs)
    for one, two in zip(plain, scaled, strict=True):
        close(two.seg_logits.data.softmax(0), (one.seg_logits.data / 3).softmax(0))
        for name in Evidential.measures:  # of the opinion, not of the mask
            close(getattr(two.seg_uncertainty, name), getattr(one.seg_uncertainty, name))
        score = one.pred_score.double() ** 0.5
        expected = score / score.sum()
        close(two.pred_score, expected)
        mean, measures = stacked(expected.numpy()[None])
        close(two.cls_uncertainty.predictive_entropy, measures['predictive_entropy'])
        close(two.cls_uncertainty.vacuity, one.cls_uncertainty.vacuity)


def test_what_is_refused():
    model = Tiny()
    with pytest.raises(ValueError, match='seg_temperature must be > 0, got 0'):
        Softmax(model, seg_temperature=0)
    with pytest.raises(ValueError, match='keep_std needs spread=True'):
        Softmax(model, keep_std=True, spread=False)


@pytest.mark.parametrize('task', TASKS)
def test_a_model_without_evidence_is_refused_in_one_line(task):
    inputs = make_inputs()
    with pytest.raises(UserError, match='expected a model that gives evidence.*found Tiny') as told:
        Evidential(Tiny(task=task)).predict(inputs, make_samples(inputs))
    assert '\n' not in str(told.value)
