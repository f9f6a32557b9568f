import numpy as np
import pytest
import torch
from scipy.special import entr

from mmjoint.functional.predictive import StreamingProbs


def stream(maps, **options):
    streaming = StreamingProbs(**options)
    for probs in maps:
        streaming.update(probs)
    return streaming


def close(actual, expected, tolerance=1e-6):
    np.testing.assert_allclose(np.asarray(actual), expected, rtol=0, atol=tolerance)


def test_by_hand():
    maps = torch.tensor([[[0.9], [0.1]], [[0.5], [0.5]], [[0.1], [0.9]]])
    streaming = stream(maps)
    close(streaming.mean(), [[0.5], [0.5]])
    measures = streaming.measures()
    certain = -(0.9 * np.log(0.9) + 0.1 * np.log(0.1))
    expected = (2 * certain + np.log(2)) / 3
    close(measures['predictive_entropy'], [[np.log(2)]])
    close(measures['expected_entropy'], [[expected]])
    close(measures['mutual_information'], [[np.log(2) - expected]])
    close(measures['variance'], [[2 * 0.4**2 / 3]])
    close(streaming.std(), [[(2 * 0.4**2 / 3) ** 0.5]] * 2)


@pytest.mark.parametrize('num_classes', [2, 3, 5])
@pytest.mark.parametrize('shape', [(), (7,), (4, 5), (3, 4, 2)])
def test_streamed_equals_stacked(num_classes, shape):
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(9, num_classes, *shape, generator=generator)
    maps = logits.softmax(1)
    streaming = stream(maps)
    maps = maps.double().numpy()
    mean, axis = maps.mean(0), 0
    close(streaming.mean(), mean)
    close(streaming.std(), maps.std(0))
    total, expected = entr(mean).sum(axis), entr(maps).sum(1).mean(0)
    values = {name: value[0] for name, value in streaming.measures().items()}
    assert {name: tuple(value.shape) for name, value in values.items()} == dict.fromkeys(
        ('predictive_entropy', 'expected_entropy', 'mutual_information', 'variance'), shape
    )
    close(values['predictive_entropy'], total)
    close(values['expected_entropy'], expected)
    close(values['mutual_information'], total - expected)
    close(values['variance'], maps.var(0).mean(0))
    only_mean = stream(torch.from_numpy(maps).float(), spread=False)
    close(only_mean.mean(), mean)
    assert set(only_mean.measures()) == {'predictive_entropy'}


def test_margins_are_softmax_over_two_classes():
    generator = torch.Generator().manual_seed(0)
    margins = 8 * torch.randn(6, 1, 5, 4, generator=generator)
    by_probs, by_margin, by_logits = StreamingProbs(), StreamingProbs(), StreamingProbs()
    for margin in margins:
        logits = torch.cat([torch.ones_like(margin), margin + 1])
        by_probs.update(logits.softmax(0))
        by_margin.update_margin(margin)
        by_logits.update_logits(logits)
    for other in (by_margin, by_logits):
        close(other.mean(), by_probs.mean())
        close(other.std(), by_probs.std())
        for name, value in by_probs.measures().items():
            close(other.measures()[name], value)


def test_logits_of_many_classes():
    logits = 4 * torch.randn(6, 4, 5, 3, generator=torch.Generator().manual_seed(0))
    streaming = StreamingProbs()
    for each in logits:
        streaming.update_logits(each)
    other = stream(logits.softmax(1))
    close(streaming.mean(), other.mean())
    for name, value in other.measures().items():
        close(streaming.measures()[name], value)


@pytest.mark.parametrize('size', [50.0, 200.0, 1e4])
def test_extreme_logits(size):
    margin = torch.tensor([[-size, size, 0.0]])
    both = StreamingProbs()
    for sign in (1, -1):
        both.update_margin(sign * margin)
    close(both.mean(), 0.5)
    measures = both.measures()
    close(measures['expected_entropy'], [[0, 0, np.log(2)]])
    close(measures['mutual_information'], [[np.log(2), np.log(2), 0]])
    close(measures['variance'], [[0.25, 0.25, 0]])
    one = StreamingProbs()
    one.update_margin(margin)
    close(one.mean(), [[1, 0, 0.5], [0, 1, 0.5]])
    # The entropy of a nearly certain pixel does not vanish by cancelling.
    expected = (size + 1) * np.exp(-size) if size == 50 else 0.0
    np.testing.assert_allclose(one.measures()['expected_entropy'][0, :2], expected, rtol=1e-4)
    logits = torch.tensor([[-size], [size], [0.0]])
    three = stream([logits.softmax(0), logits.softmax(0)])
    assert all(torch.isfinite(value).all() for value in three.measures().values())


def test_the_variance_does_not_cancel():
    """Many passes close to 1, where the mean of squares less the square of the mean is noise."""
    rng = np.random.default_rng(0)
    p = (1 - 1e-4 * rng.random((200, 1, 50))).astype(np.float32)
    streaming = StreamingProbs()
    for each in torch.from_numpy(p):
        streaming.update(torch.cat([1 - each, each]))
    expected = p.astype(float).std(0)[0]
    np.testing.assert_allclose(streaming.std()[1], expected, rtol=1e-2)


def test_equal_maps_have_no_spread():
    probs = torch.tensor([[0.3], [0.5], [0.2]])
    measures = stream([probs] * 7).measures()
    assert measures['mutual_information'].item() < 1e-6 and measures['variance'].item() < 1e-12


def test_what_is_given_is_not_changed():
    probs = torch.tensor([[0.3], [0.7]])
    streaming = stream([probs, probs.flip(0)])
    mean = streaming.mean()
    streaming.update(probs)
    close(probs, [[0.3], [0.7]])
    close(mean, [[0.5], [0.5]])


def test_what_is_refused():
    with pytest.raises(ValueError, match='no map was taken in yet'):
        StreamingProbs().mean()
    with pytest.raises(ValueError, match='use spread=True'):
        stream([torch.tensor([0.5, 0.5])], spread=False).std()
    with pytest.raises(ValueError, match='must agree in classes and shape'):
        stream([torch.full((2, 3), 0.5), torch.full((2, 4), 0.5)])
    with pytest.raises(ValueError, match='must agree in classes and shape'):
        stream([torch.full((2, 3), 0.5), torch.full((3, 3), 1 / 3)])
