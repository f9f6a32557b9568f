from typing import NamedTuple

import pytest
import torch
from monai.data.utils import compute_importance_map
from monai.inferers import sliding_window_inference as monai_inference
from torch import Tensor, nn

from mmjoint.functional import sliding_window
from mmjoint.functional.sliding_window import (
    labels_and_entropy,
    sliding_window_inference,
    window_starts,
    window_stride,
    window_weights,
)


class Prediction(NamedTuple):
    seg_logits: Tensor
    seg_evidence: Tensor | None = None
    cls_logits: Tensor | None = None


def network(dims, classes=3, channels=2, seed=0):
    """A convolution with padding: what it gives depends on where the window lies."""
    torch.manual_seed(seed)
    kind = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}[dims]
    return kind(channels, classes, 3, padding=1).requires_grad_(False)


def volume(shape, seed=1, channels=2, batch=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn((batch, channels, *shape), generator=generator)


def test_starts_by_hand():
    assert window_starts(10, 4, 3) == [0, 3, 6]
    assert window_starts(11, 4, 3) == [0, 3, 6, 7]
    assert window_starts(4, 4, 1) == [0]
    assert window_starts(5, 4, 9) == [0, 1]  # a long stride leaves no gap here
    assert window_starts(8, 4, 9) == [0, 4]
    assert window_stride((9, 8, 3), 0.25) == (6, 6, 2)
    assert window_stride((9, 8), (0.5, 0.99)) == (4, 1)


def test_average_by_hand():
    """Three windows of two elements on three elements; the middle one is in both."""
    seen = []

    def predictor(windows):
        seen.append(windows.tolist())
        return windows * torch.tensor([1.0, 3.0])

    inputs = torch.tensor([[[1.0, 2.0, 4.0]]])
    result = sliding_window_inference(inputs, predictor, 2, stride=1, average='raw')
    assert seen == [[[[1.0, 2.0]]], [[[2.0, 4.0]]]]
    assert result.tolist() == [[[1.0, (6 + 2) / 2, 12.0]]]
    # A window of two: offsets of half an element either side, so the weights are equal.
    weighted = sliding_window_inference(
        inputs, predictor, 2, stride=1, average='raw', weights='gaussian'
    )
    torch.testing.assert_close(weighted, result)


@pytest.mark.parametrize('size', [(5,), (6, 7), (8, 4, 6)])
@pytest.mark.parametrize('kind', ['uniform', 'gaussian'])
@pytest.mark.parametrize('sigma_scale', [0.125, 0.3])
def test_weights_equal_monai(size, kind, sigma_scale):
    mode = 'constant' if kind == 'uniform' else kind
    expected = compute_importance_map(size, mode=mode, sigma_scale=sigma_scale)
    actual = window_weights(size, kind, sigma_scale=sigma_scale)
    torch.testing.assert_close(actual, expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    ('shape', 'roi'),
    [
        ((13,), (5,)),
        ((17, 12), (6, 5)),
        ((11, 9, 12), (5, 4, 6)),
        ((5, 9, 7), (8, 4, 7)),  # shorter than the window, and as long as it
        ((3, 4), (6, 9)),
    ],
)
@pytest.mark.parametrize('overlap', [0.0, 0.25, 0.5, 0.7])
@pytest.mark.parametrize('weights', ['uniform', 'gaussian'])
@pytest.mark.parametrize('window_batch', [1, 4])
def test_equals_monai(shape, roi, overlap, weights, window_batch):
    model, inputs = network(len(shape)), volume(shape, batch=2)
    expected = monai_inference(
        inputs,
        roi,
        window_batch,
        model,
        overlap=overlap,
        mode='constant' if weights == 'uniform' else weights,
    )
    options = dict(overlap=overlap, weights=weights, window_batch=window_batch)
    actual = sliding_window_inference(inputs, model, roi, average='raw', **options)
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-6)
    probs = sliding_window_inference(inputs, model, roi, **options)
    expected = monai_inference(
        inputs,
        roi,
        window_batch,
        lambda x: model(x).softmax(1),
        overlap=overlap,
        mode='constant' if weights == 'uniform' else weights,
    )
    torch.testing.assert_close(probs, expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(probs.sum(1), torch.ones(2, *shape))


@pytest.mark.parametrize(
    ('shape', 'roi', 'stride'),
    [
        ((23,), 6, 2),
        ((17, 12), (6, 5), (3, 4)),
        ((14, 9, 10), (5, 4, 6), (2, 4, 3)),
        ((3, 9), 5, 2),
    ],
)
@pytest.mark.parametrize('weights', ['uniform', 'gaussian'])
@pytest.mark.parametrize('window_batch', [1, 3, 100])
@pytest.mark.parametrize('piece', [1, 2**18])
def test_bounded_memory_changes_nothing(
    monkeypatch, shape, roi, stride, weights, window_batch, piece
):
    monkeypatch.setattr(sliding_window, '_PIECE', piece)
    model, inputs = network(len(shape)), volume(shape, batch=2)
    options = dict(stride=stride, weights=weights, window_batch=window_batch)
    probs = sliding_window_inference(inputs, model, roi, **options)
    same = sliding_window_inference(inputs, model, roi, reduction=torch.clone, **options)
    assert torch.equal(same, probs)
    reduced = sliding_window_inference(inputs, model, roi, reduction=labels_and_entropy, **options)
    assert set(reduced) == {'labels', 'predictive_entropy'}
    assert reduced['labels'].dtype == torch.uint8
    assert torch.equal(reduced['labels'], probs.argmax(1, keepdim=True).to(torch.uint8))
    entropy = -(probs.double() * probs.double().log()).sum(1, keepdim=True)
    torch.testing.assert_close(reduced['predictive_entropy'].double(), entropy, rtol=0, atol=1e-6)


def test_bounded_memory_is_bounded(monkeypatch):
    """Averages exist for no more planes than a window has, in no more than a piece at once."""
    monkeypatch.setattr(sliding_window, '_PIECE', 2 * 6 * 5)
    planes, rings = [], []
    new = sliding_window._Stitcher.finish

    def finish(self, stop):
        rings.extend(sums.shape[2] for sums in self.sums.values())
        new(self, stop)

    monkeypatch.setattr(sliding_window._Stitcher, 'finish', finish)

    def reduction(probs):
        planes.append(probs.shape[2])
        return labels_and_entropy(probs, entropy_dtype=torch.float16)

    result = sliding_window_inference(
        volume((40, 6, 5)), network(3), (4, 3, 3), stride=3, reduction=reduction
    )
    assert set(rings) == {4}
    assert max(planes) == 2
    assert sum(planes) == 40
    assert result['predictive_entropy'].dtype == torch.float16


def test_several_outputs():
    model, inputs = network(2, classes=4), volume((9, 11))

    def predictor(windows):
        logits = model(windows)
        return Prediction(seg_logits=logits, seg_evidence=logits.relu())

    options = dict(stride=3, weights='gaussian')
    result = sliding_window_inference(
        inputs, predictor, 5, average={'seg_logits': 'log_probs'}, **options
    )
    assert isinstance(result, Prediction)
    assert result.cls_logits is None
    probs = sliding_window_inference(inputs, model, 5, **options)
    torch.testing.assert_close(result.seg_logits.softmax(1), probs)
    torch.testing.assert_close(result.seg_logits, probs.log())
    evidence = sliding_window_inference(
        inputs, lambda x: model(x).relu(), 5, average='raw', **options
    )
    assert torch.equal(result.seg_evidence, evidence)

    def reduction(prediction):
        assert isinstance(prediction, Prediction)
        return labels_and_entropy(prediction.seg_logits.softmax(1))

    reduced = sliding_window_inference(
        inputs, predictor, 5, average={'seg_logits': 'log_probs'}, reduction=reduction, **options
    )
    assert torch.equal(reduced['labels'], probs.argmax(1, keepdim=True).to(torch.uint8))
    as_dict = sliding_window_inference(
        inputs, lambda x: predictor(x)._asdict(), 5, average='raw', **options
    )
    assert set(as_dict) == {'seg_logits', 'seg_evidence', 'cls_logits'}
    assert torch.equal(as_dict['seg_evidence'], evidence)


def test_probability_zero_has_a_finite_logarithm():
    logits = torch.tensor([0.0, -1e4]).view(1, 2, 1).expand(1, 2, 3)
    result = sliding_window_inference(
        torch.zeros(1, 1, 3), lambda x: logits, 3, stride=1, average='log_probs'
    )
    assert result.isfinite().all()
    assert result.softmax(1)[0, :, 0].tolist() == [1.0, pytest.approx(0.0, abs=1e-30)]


def test_half_precision_is_summed_in_single_and_double_stays():
    inputs = volume((9,), channels=1)
    for dtype, expected in ((torch.bfloat16, torch.float32), (torch.float64, torch.float64)):
        result = sliding_window_inference(
            inputs, lambda x, to=dtype: x.to(to), 4, overlap=0.5, average='raw', weights='gaussian'
        )
        assert result.dtype == expected
        torch.testing.assert_close(result.to(dtype), inputs.to(dtype))


def test_inputs_and_gradients_are_left_alone():
    inputs = volume((7, 6)).requires_grad_()
    before = inputs.detach().clone()
    result = sliding_window_inference(inputs, network(2), 5, stride=2, reduction=torch.clone)
    assert not result.requires_grad
    assert torch.equal(inputs, before)


@pytest.mark.parametrize(
    ('options', 'match'),
    [
        (dict(), 'either stride or overlap, got None and None'),
        (dict(stride=2, overlap=0.5), 'either stride or overlap'),
        (dict(overlap=1.0), r'overlap must lie in \[0, 1\), got 1.0'),
        (dict(overlap=(0.5,)), 'overlap must have 2 axes'),
        (dict(stride=0), 'stride must be 2 numbers of at least 1, got 0'),
        (dict(stride=(1, 2, 3)), 'stride must be 2 numbers'),
        (dict(stride=7), 'windows of 3 at a stride of 7 leave gaps on an axis of 9'),
        (dict(stride=2, weights='constant'), "'uniform' or 'gaussian', got 'constant'"),
        (dict(stride=2, average='logits'), r"average must be among .* got \['logits'\]"),
        (dict(stride=2, average={'seg': 'raw'}), 'the predictor gives one tensor'),
        (dict(stride=2, window_batch=0), 'window_batch must be at least 1'),
        (dict(stride=2, reduction=lambda x: x[:, :, 1:]), r'must keep the space \(2, 9\)'),
    ],
)
def test_ill_options(options, match):
    with pytest.raises(ValueError, match=match):
        sliding_window_inference(volume((9, 9)), network(2), 3, **options)


def test_ill_outputs():
    inputs, model = volume((9, 9)), network(2)

    def run(predictor, **options):
        sliding_window_inference(inputs, predictor, 3, stride=2, **options)

    with pytest.raises(ValueError, match=r'must give \(1, .*, 3, 3\) for output, got'):
        run(lambda x: model(x)[..., 1:])
    with pytest.raises(ValueError, match='say what is averaged for each'):
        run(lambda x: Prediction(model(x), model(x)))
    with pytest.raises(ValueError, match=r"average names \['logits'\]"):
        run(lambda x: Prediction(model(x)), average={'logits': 'probs'})
    with pytest.raises(ValueError, match='at least 2 classes'):
        run(lambda x: model(x)[:, :1])
    with pytest.raises(TypeError, match='got list'):
        run(lambda x: [model(x)])
    with pytest.raises(ValueError, match='at most 256 classes, got 300'):
        labels_and_entropy(torch.ones(1, 300, 2))
