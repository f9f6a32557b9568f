import numpy as np
import pytest

from mmjoint.datasets.transforms import (
    RandomBlurPatch,
    RandomBrightnessPatch,
    RandomContrastPatch,
    RandomGammaPatch,
    RandomRotatePatch,
    RandomScalePatch,
    RandomSubset,
)
from mmjoint.registry import TRANSFORMS
from mmjoint.utils.random import local_seed

SIX = (
    RandomRotatePatch,
    RandomScalePatch,
    RandomBlurPatch,
    RandomBrightnessPatch,
    RandomContrastPatch,
    RandomGammaPatch,
)


def sample(shape=(5, 9, 8), channels=1, labelled=True):
    rng = np.random.default_rng(0)
    results = dict(img=rng.random((*shape, channels), np.float32))
    if labelled:
        results['gt_seg_map'] = rng.integers(0, 3, shape).astype(np.uint8)
        results['seg_fields'] = ['gt_seg_map']
    return results


def drawn(transform, count=2000):
    with local_seed(5):
        return np.array([transform.draw() for _ in range(count)])


@pytest.mark.parametrize(
    ('transform', 'low', 'high'),
    [
        (RandomRotatePatch(), -15, 15),
        (RandomRotatePatch(degrees=(3, 4)), 3, 4),
        (RandomBlurPatch(), 0.7, 1.3),
        (RandomBrightnessPatch(factor=(0.5, 2)), 0.5, 2),
    ],
)
def test_uniform_draws(transform, low, high):
    values = drawn(transform)
    assert low <= values.min() < low + 0.01 * (high - low)
    assert high >= values.max() > high - 0.01 * (high - low)
    assert values.mean() == pytest.approx((low + high) / 2, abs=0.03 * (high - low))


def test_scale_is_exactly_one_half_of_the_time():
    values = drawn(RandomScalePatch())
    assert (values == 1.0).mean() == pytest.approx(0.5, abs=0.04)
    assert 0.7 <= values.min() and values[values != 1].mean() == pytest.approx(0.85, abs=0.01)


@pytest.mark.parametrize('kind', [RandomContrastPatch, RandomGammaPatch])
def test_two_ranges(kind):
    values = drawn(kind(below=(0.5, 1), above=(1, 2)))
    assert (values < 1).mean() == pytest.approx(0.5, abs=0.04)
    assert values[values < 1].mean() == pytest.approx(0.75, abs=0.02)
    assert values[values > 1].mean() == pytest.approx(1.5, abs=0.04)


@pytest.mark.parametrize('kind', SIX)
@pytest.mark.parametrize('shape', [(5, 19, 18), (19, 18)])
def test_results_follow_from_the_seed_and_inputs_are_not_written_to(kind, shape):
    before = sample(shape)
    kept = {key: before[key].copy() for key in ('img', 'gt_seg_map')}
    originals = {key: before[key] for key in kept}
    with local_seed(1):
        first = kind()(dict(before))
    with local_seed(1):
        second = kind()(dict(before))
    for key in kept:
        assert np.array_equal(first[key], second[key])
        assert np.array_equal(originals[key], kept[key])
        assert first[key].shape == kept[key].shape and first[key].dtype == kept[key].dtype
    assert not np.array_equal(first['img'], kept['img'])
    moved = not np.array_equal(first['gt_seg_map'], kept['gt_seg_map'])
    assert moved == (kind in SIX[:2])


@pytest.mark.parametrize('kind', SIX)
def test_each_channel_for_itself(kind):
    whole = sample(channels=2)
    value = 0.8
    together = kind().apply(dict(whole), value)['img']
    for channel in range(2):
        alone = dict(whole, img=whole['img'][..., channel : channel + 1])
        assert np.array_equal(kind().apply(alone, value)['img'][..., 0], together[..., channel])


def test_unlabelled_samples_have_no_map_resampled(monkeypatch):
    from mmjoint.datasets.transforms import augmenting

    for name in ('rotate_labels', 'scale_labels'):
        monkeypatch.setattr(augmenting, name, lambda *args, **kwargs: 1 / 0)
    for kind in SIX[:2]:
        assert 'gt_seg_map' not in kind().apply(sample(labelled=False), 0.8)
        with pytest.raises(ZeroDivisionError):
            kind().apply(sample(), 0.8)


@pytest.mark.parametrize('axis', [0, 1, 2])
def test_rotation_about_another_axis(axis):
    results = sample((7, 7, 7))
    turned = RandomRotatePatch(axis=axis).apply(dict(results), 10)
    moved = {key: np.moveaxis(results[key], axis, 0) for key in ('img', 'gt_seg_map')}
    expected = RandomRotatePatch().apply(dict(results, **moved), 10)
    for key in moved:
        assert np.array_equal(np.moveaxis(turned[key], axis, 0), expected[key])


def test_integers_are_refused():
    with pytest.raises(TypeError, match='takes floating-point images, got uint8'):
        RandomRotatePatch()(dict(img=np.zeros((4, 4, 1), np.uint8)))


def test_wrong_ranges():
    with pytest.raises(ValueError, match=r'RandomBlurPatch: sigma must be .* above 0'):
        RandomBlurPatch(sigma=(0, 1))
    with pytest.raises(ValueError, match=r'degrees must be \(lowest, highest\)'):
        RandomRotatePatch(degrees=(15, -15))
    with pytest.raises(ValueError, match='axis must be 0, 1 or 2'):
        RandomRotatePatch(axis=3)


class Mark:
    def __init__(self, name):
        self.name = name

    def __call__(self, results):
        results['marks'].append(self.name)
        return results


def test_subset_draws_without_replacement_in_random_order():
    subset = RandomSubset([Mark(n) for n in range(6)], num=3, prob=0.7)
    runs = []
    with local_seed(0):
        for _ in range(3000):
            runs.append(subset(dict(marks=[]))['marks'])
    assert all(len(set(run)) == len(run) <= 3 for run in runs)
    assert np.mean([len(run) for run in runs]) == pytest.approx(2.1, abs=0.05)
    for number in range(6):
        assert np.mean([number in run for run in runs]) == pytest.approx(0.35, abs=0.03)
    ordered = [run.index(0) < run.index(1) for run in runs if {0, 1} <= set(run)]
    assert np.mean(ordered) == pytest.approx(0.5, abs=0.1)


def test_subset_with_certainty_and_without():
    assert len(RandomSubset([Mark(n) for n in range(6)], 6, 1.0)(dict(marks=[]))['marks']) == 6
    assert not RandomSubset([Mark(n) for n in range(6)], 3, 0.0)(dict(marks=[]))['marks']
    given = RandomSubset([Mark(n) for n in range(6)]).apply(dict(marks=[]), [4, 2])
    assert given['marks'] == [4, 2]


def test_subset_from_a_config_and_misuse():
    names = [dict(type=kind.__name__) for kind in SIX]
    subset = TRANSFORMS.build(dict(type='RandomSubset', transforms=names, num=3, prob=0.7))
    assert [type(t) for t in subset.transforms] == list(SIX)
    with pytest.raises(ValueError, match=r'num must be in 0\.\.6'):
        RandomSubset(names, num=7)
    with pytest.raises(ValueError, match='prob must be in'):
        RandomSubset(names, prob=1.5)
