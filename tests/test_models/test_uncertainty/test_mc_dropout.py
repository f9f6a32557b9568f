import copy
import pickle

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mmjoint.models.joint import BaseJointModel, BatchPrediction
from mmjoint.models.uncertainty import MCDropout, mc_dropout
from mmjoint.structures import JointDataSample
from mmjoint.utils.errors import UserError

CONV = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
DROPOUT = {1: nn.Dropout1d, 2: nn.Dropout2d, 3: nn.Dropout3d}
NORM = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}


class Tiny(BaseJointModel):
    """A stem without dropout, then channel dropout, then an elementwise one in the classifier."""

    def __init__(self, axes=2, num_classes=2, p=0.5, with_cls=True):
        super().__init__()
        self.stem = CONV[axes](1, 6, 3, padding=1)
        self.norm = NORM[axes](6)
        self.drop = DROPOUT[axes](p)
        self.head = CONV[axes](12, num_classes, 3, padding=1)
        self.cls = nn.Sequential(nn.Linear(6, 5), nn.Dropout(p), nn.Linear(5, 3))
        self.with_cls = with_cls

    def loss(self, inputs, data_samples):
        raise NotImplementedError

    def _forward(self, inputs):
        raise NotImplementedError

    def infer_window(self, inputs):
        stem = F.relu(self.norm(self.stem(inputs)))
        maps = self.drop(stem)
        logits = self.head(torch.cat([stem, maps], 1))
        pooled = maps.flatten(2).mean(2)
        cls_logits = self.cls(pooled) if self.with_cls else None
        return BatchPrediction(seg_logits=4 * logits, cls_logits=cls_logits)


def make(model=None, axes=2, **options):
    torch.manual_seed(0)
    model = (model or Tiny(axes)).eval()
    inputs = torch.randn(2, 1, *(8, 6, 5)[:axes])
    return model, inputs, MCDropout(model, num_samples=6, **options).eval()


def predict(estimator, inputs):
    samples = [JointDataSample() for _ in inputs]
    return estimator.predict(inputs, samples)


def maps_of(sample):
    names = sorted(sample.seg_uncertainty.keys())
    maps = [sample.seg_logits.data.softmax(0), *(getattr(sample.seg_uncertainty, n) for n in names)]
    classes = [sample.pred_score, *(getattr(sample.cls_uncertainty, n)[None] for n in names)]
    return torch.cat([*(each.flatten() for each in maps), *classes])


@pytest.mark.parametrize('axes', [2, 3])
@pytest.mark.parametrize('num_classes', [2, 3])
@pytest.mark.parametrize('budget', [1e-6, 1.0])
def test_fast_form_equals_passes_in_full(axes, num_classes, budget):
    model, inputs, plain = make(Tiny(axes, num_classes), axes, fused=False)
    fast = MCDropout(model, num_samples=6, memory_budget_mib=budget).eval()
    for a, b in zip(predict(plain, inputs), predict(fast, inputs), strict=True):
        torch.testing.assert_close(maps_of(a), maps_of(b), rtol=0, atol=1e-5)
    (plan,) = fast._plans.values()
    assert plan.repeatable and plan.batch == (1 if budget < 1 else 5)


def test_equal_to_a_loop_with_the_same_masks():
    """The definition, on the network's own layers: eval mode, dropout alone switched on."""
    model, inputs, estimator = make(Tiny(with_cls=False))
    masks = [(torch.rand(1, 6, 1, 1) < 0.5) / 0.5 for _ in range(6)]
    estimator.mask_source = lambda name, number, shape, p: masks[number].expand(shape)
    (sample,) = predict(estimator, inputs[:1])
    probs = []
    with torch.no_grad():
        for mask in masks:
            stem = F.relu(model.norm(model.stem(inputs[:1])))
            logits = 4 * model.head(torch.cat([stem, stem * mask], 1))
            probs.append(logits[0].double().softmax(0))
    probs = torch.stack(probs)
    mean = probs.mean(0)
    torch.testing.assert_close(sample.seg_logits.data.double().softmax(0), mean, rtol=0, atol=1e-6)
    measures = sample.seg_uncertainty
    total = torch.special.entr(mean).sum(0)
    expected = torch.special.entr(probs).sum(1).mean(0)
    for name, value in {
        'predictive_entropy': total,
        'expected_entropy': expected,
        'mutual_information': total - expected,
        'variance': probs.var(0, unbiased=False).mean(0),
    }.items():
        actual = getattr(measures, name)[0].double()
        torch.testing.assert_close(actual, value, rtol=0, atol=1e-6, msg=name)
    assert measures.mutual_information.max() > 0.01


def test_mean_converges_to_the_expectation_over_all_masks():
    """One layer of two channels has four masks, whose probabilities are known."""

    class Two(Tiny):
        def __init__(self):
            super().__init__(with_cls=False)
            self.stem, self.norm = nn.Conv2d(1, 2, 1), nn.Identity()
            self.head, self.drop = nn.Conv2d(4, 2, 1), nn.Dropout2d(0.3)

    model, inputs, _ = make(Two())
    estimator = MCDropout(model, num_samples=4000).eval()
    (sample,) = predict(estimator, inputs[:1, :, :2, :2])
    expected = 0
    with torch.no_grad():
        stem = F.relu(model.stem(inputs[:1, :, :2, :2]))
        for first in (0, 1):
            for second in (0, 1):
                mask = torch.tensor([first, second]).view(1, 2, 1, 1) / 0.7
                logits = 4 * model.head(torch.cat([stem, stem * mask], 1))
                weight = 0.7 ** (first + second) * 0.3 ** (2 - first - second)
                expected = expected + weight * logits[0].softmax(0)
    # The standard error of a mean of 4000 values in [0, 1] is below 0.008.
    torch.testing.assert_close(sample.seg_logits.data.softmax(0), expected, rtol=0, atol=0.03)


def test_share_that_is_dropped():
    model, inputs, estimator = make(Tiny(p=0.2))
    mask = estimator.mask_source('drop', 3, (1000, 50), 0.2)
    assert set(mask.unique().tolist()) == {0.0, 1.25}
    assert mask.mean() == pytest.approx(1, abs=0.02)
    assert not torch.equal(mask, estimator.mask_source('drop', 4, (1000, 50), 0.2))
    assert not torch.equal(mask, estimator.mask_source('other', 3, (1000, 50), 0.2))


def test_channels_are_dropped_as_a_whole():
    model, inputs, estimator = make()
    shapes = {}
    draw = estimator.mask_source

    def spy(name, number, shape, p):
        shapes[name] = shape
        return draw(name, number, shape, p)

    estimator.mask_source = spy
    predict(estimator, inputs[:1])
    assert shapes == {'drop': (1, 6, 1, 1), 'cls.1': (1, 5)}


def test_results_depend_on_the_seed_alone():
    model, inputs, estimator = make()
    torch.manual_seed(1)
    together = [maps_of(sample) for sample in predict(estimator, inputs)]
    torch.manual_seed(2)
    state = torch.get_rng_state()
    alone = maps_of(predict(MCDropout(model, num_samples=6).eval(), inputs[1:])[0])
    assert torch.equal(together[1], alone)
    assert torch.equal(torch.get_rng_state(), state)
    other = maps_of(predict(MCDropout(model, num_samples=6, seed=1).eval(), inputs[1:])[0])
    assert not torch.allclose(other, alone)


def test_nothing_of_the_model_changes():
    model, inputs, estimator = make()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with torch.no_grad():
        plain = model.infer(inputs)
    predict(estimator, inputs)
    assert not any(module.training for module in model.modules())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    with torch.no_grad():
        again = model.infer(inputs)
    assert torch.equal(plain.seg_logits, again.seg_logits)
    assert not any(module._forward_hooks for module in model.modules())


def test_what_the_masks_do_not_change_is_computed_once():
    model, inputs, estimator = make(Tiny(with_cls=False), memory_budget_mib=1e-6)
    with torch.no_grad(), FlopCounterMode(display=False) as one:
        model.infer(inputs[:1])
    predict(estimator, inputs[:1])  # the first image of a size is a trial as well
    with FlopCounterMode(display=False) as six:
        predict(estimator, inputs[:1])
    space = 8 * 6
    fixed = 2 * space * 9 * (1 * 6 + 6 * 2)  # the stem, and the head's half that sees it
    assert six.get_total_flops() == 6 * one.get_total_flops() - 5 * fixed


def test_inference_mode():
    model, inputs, estimator = make()
    expected = [maps_of(sample) for sample in predict(estimator, inputs)]
    with torch.inference_mode():
        actual = predict(MCDropout(model, num_samples=6).eval(), inputs.clone())
    assert all(torch.equal(a, maps_of(b)) for a, b in zip(expected, actual, strict=True))


class FunctionalPart(nn.Module):
    def forward(self, maps):
        return F.dropout(maps, p=0.4, training=self.training)


class HoldsFunctional(Tiny):
    def __init__(self):
        super().__init__(with_cls=False)
        self.part = FunctionalPart()

    def infer_window(self, inputs):
        maps = self.part(self.stem(inputs))
        return BatchPrediction(seg_logits=self.head(torch.cat([maps, self.drop(maps)], 1)))


def test_functional_dropout_is_named_and_stays_off(monkeypatch):
    lines = []
    monkeypatch.setattr(mc_dropout, 'print_log', lambda line, **_: lines.append(line))
    model, inputs, estimator = make(HoldsFunctional())
    names = set()
    draw = estimator.mask_source
    estimator.mask_source = lambda *args: names.add(args[0]) or draw(*args)
    predict(estimator, inputs)
    predict(estimator, inputs)
    assert names == {'drop'}
    assert len(lines) == 2  # told once
    assert lines[0].endswith('on in drop, cls.1') and lines[1].endswith(': part')


@pytest.mark.parametrize('budget', [1e-6, 1.0])
def test_functional_dropout_takes_part_where_named(budget):
    model, inputs, estimator = make(HoldsFunctional(), functional=['pa*'], memory_budget_mib=budget)
    plain = MCDropout(model, num_samples=6, functional=['part'], fused=False).eval()
    off = MCDropout(model, num_samples=6).eval()
    shapes = set()
    draw = plain.mask_source
    plain.mask_source = lambda *args: shapes.add((args[0], args[2])) or draw(*args)
    results = [predict(each, inputs)[0].seg_logits.data for each in (estimator, plain, off)]
    torch.testing.assert_close(results[0], results[1], rtol=0, atol=1e-5)
    assert not torch.allclose(results[0], results[2], atol=1e-3)
    assert ('part()', (1, 6, 8, 6)) in shapes  # elementwise


def test_a_layer_that_is_used_twice_draws_twice():
    class Twice(Tiny):
        def infer_window(self, inputs):
            maps = self.drop(self.drop(self.stem(inputs)))
            return BatchPrediction(seg_logits=self.head(torch.cat([maps, maps], 1)))

    model, inputs, estimator = make(Twice())
    names = set()
    draw = estimator.mask_source
    estimator.mask_source = lambda *args: names.add(args[0]) or draw(*args)
    predict(estimator, inputs[:1])
    assert names == {'drop', 'drop#1'}


def test_falls_back_to_single_passes():
    class Looks(Tiny):
        def infer_window(self, inputs):
            result = super().infer_window(inputs)
            return result if result.seg_logits.mean() > -1e9 else None

    model, inputs, estimator = make(Looks())
    plain = MCDropout(model, num_samples=6, fused=False).eval()
    for a, b in zip(predict(plain, inputs), predict(estimator, inputs), strict=True):
        assert torch.equal(maps_of(a), maps_of(b))
    (plan,) = estimator._plans.values()
    assert not plan.repeatable


def test_batches_are_not_trusted_blindly():
    """Where axis 0 does not hold images, passes cannot be stacked; single ones still repeat."""

    class Flat(Tiny):
        def infer_window(self, inputs):
            stem = self.stem(inputs)[0]  # (6, H, W)
            maps = stem * self.drop(stem[None])[0]
            return BatchPrediction(seg_logits=self.head(torch.cat([stem, maps])[None]))

    model, inputs, estimator = make(Flat(), memory_budget_mib=1.0)
    plain = MCDropout(model, num_samples=6, fused=False).eval()
    (expected,), (actual,) = predict(plain, inputs[:1]), predict(estimator, inputs[:1])
    torch.testing.assert_close(actual.seg_logits.data, expected.seg_logits.data, rtol=0, atol=1e-4)
    (plan,) = estimator._plans.values()
    assert plan.repeatable and plan.batch == 1


class TakesOneImage(Tiny):
    """Gates all images by the first one."""

    def infer_window(self, inputs):
        maps = self.drop(self.stem(inputs))
        gate = maps.mean((2, 3))[0, :, None, None]
        return BatchPrediction(seg_logits=self.head(torch.cat([maps, 9 * maps * gate], 1)))


class MixesImages(Tiny):
    """Normalizes over the batch, at so small a scale that errors are small, too."""

    def infer_window(self, inputs):
        maps = self.drop(self.stem(inputs))
        maps = F.batch_norm(maps, None, None, training=True)
        return BatchPrediction(seg_logits=1e-3 * self.head(torch.cat([maps, maps], 1)))


class Asserts(Tiny):
    """Takes it for granted that there is one image behind the dropout as well."""

    def infer_window(self, inputs):
        maps = self.drop(self.stem(inputs))
        assert len(maps) == 1
        return BatchPrediction(seg_logits=self.head(torch.cat([maps, maps], 1)))


class Scripted(Tiny):
    """Its prefix does not pass through torch functions that could be recorded."""

    def __init__(self):
        super().__init__()
        self.scripted = torch.jit.script(nn.Sequential(nn.Conv2d(6, 6, 1), nn.ReLU()))

    def infer_window(self, inputs):
        maps = self.scripted(self.stem(inputs))
        return BatchPrediction(seg_logits=self.head(torch.cat([maps, self.drop(maps.exp())], 1)))


class WritesToData(Tiny):
    """Changes a fixed map behind the back of its version counter."""

    def infer_window(self, inputs):
        stem = self.stem(inputs)
        stem.data.add_(self.drop(2 * stem))
        return BatchPrediction(seg_logits=self.head(torch.cat([stem, stem], 1)))


@pytest.mark.parametrize('budget', [1e-6, 1.0])
@pytest.mark.parametrize(
    ('kind', 'repeatable'),
    [
        (TakesOneImage, True),
        (MixesImages, True),
        (Asserts, True),
        (Scripted, False),
        (WritesToData, False),
    ],
)
def test_what_a_record_or_a_batch_would_get_wrong(kind, repeatable, budget):
    model, inputs, estimator = make(kind(), memory_budget_mib=budget)
    plain = MCDropout(model, num_samples=6, fused=False).eval()
    for a, b in zip(predict(plain, inputs), predict(estimator, inputs), strict=True):
        torch.testing.assert_close(
            a.seg_uncertainty.variance, b.seg_uncertainty.variance, rtol=1e-3, atol=0
        )
        torch.testing.assert_close(a.seg_logits.data, b.seg_logits.data, rtol=0, atol=1e-6)
    (plan,) = estimator._plans.values()
    assert plan.repeatable == repeatable and plan.batch == int(repeatable)


class Attends(Tiny):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(6, 2, dropout=0.4, batch_first=True)

    def infer_window(self, inputs):
        tokens = self.stem(inputs).flatten(2).transpose(1, 2)
        tokens = self.attention(tokens, tokens, tokens)[0]
        return BatchPrediction(cls_logits=self.cls(tokens.mean(1)))


def test_dropout_within_functions_of_torch_is_named(monkeypatch):
    lines = []
    monkeypatch.setattr(mc_dropout, 'print_log', lambda line, **_: lines.append(line))
    model, inputs, estimator = make(Attends())
    predict(estimator, inputs)
    assert lines[1].endswith('stay off: attention')


def test_patterns_that_switch_nothing_on_are_refused():
    model, inputs, estimator = make(Attends(), functional=['attention'])
    with pytest.raises(UserError, match=r"functional=\['attention'\]: expected modules that call"):
        predict(estimator, inputs)


def test_training_mode_is_refused():
    model, inputs, estimator = make()
    with pytest.raises(ValueError, match=r'call \.eval\(\) first'):
        predict(estimator.train(), inputs)


@pytest.mark.parametrize('remake', [copy.deepcopy, lambda each: pickle.loads(pickle.dumps(each))])
def test_copies(remake):
    """A copy draws for its own model, also after the original has predicted."""
    model, inputs, estimator = make()
    expected = predict(estimator, inputs)
    other = remake(estimator)
    for a, b in zip(expected, predict(other, inputs), strict=True):
        assert torch.equal(maps_of(a), maps_of(b))
    assert not {id(layer) for layer in other._layers.values()} & {id(m) for m in model.modules()}


@pytest.mark.parametrize(
    ('model', 'options', 'match'),
    [
        (lambda: Tiny(p=0.0), {}, 'has no active dropout'),
        (Tiny, {'num_samples': 0}, 'num_samples must be an integer >= 1'),
        (Tiny, {'num_samples': 2.5}, 'num_samples must be an integer >= 1'),
        (Tiny, {'memory_budget_mib': 0}, 'memory_budget_mib must be > 0'),
        (Tiny, {'functional': ['nothing']}, 'matches no module'),
    ],
)
def test_impossible(model, options, match):
    with pytest.raises(ValueError, match=match):
        MCDropout(model(), **options)


def test_alpha_dropout_is_refused():
    model = Tiny()
    model.drop = nn.AlphaDropout(0.1)
    with pytest.raises(ValueError, match='alpha dropout'):
        MCDropout(model)
