import numpy as np
import pytest
import torch
from mmcv.transforms.utils import cache_random_params

from mmjoint.datasets.transforms import GaussianNoise, PackJointInputs, SaltAndPepper
from mmjoint.datasets.transforms.noise import gaussian_noise, salt_and_pepper
from mmjoint.registry import TRANSFORMS
from mmjoint.utils.random import derive_seed, local_seed


def image(height=20, width=30):
    return np.random.RandomState(3).randint(0, 256, (height, width, 3), np.uint8)


def run(transform, sample_idx=0, **more):
    return transform.transform(dict(img=image(**more), sample_idx=sample_idx))['img']


def test_gaussian_statistics():
    noisy = gaussian_noise(np.full((3, 200, 200), 0.5), 0.1, np.random.RandomState(0)) - 0.5
    # 120,000 draws: the standard errors are 0.0003 and 0.0002.
    assert abs(noisy.mean()) < 0.0012
    assert abs(noisy.std() - 0.1) < 0.0008


def test_gaussian_is_clipped():
    noisy = gaussian_noise(np.zeros((3, 9, 9)), 5.0, np.random.RandomState(0))
    assert noisy.min() == 0.0 and noisy.max() == 1.0


def test_salt_and_pepper_counts():
    noisy = salt_and_pepper(np.full((3, 200, 200), 0.5), 0.02, 'correct', np.random.RandomState(0))
    assert np.array_equal(noisy[0], noisy[1]) and np.array_equal(noisy[0], noisy[2])
    white, black = (noisy[0] == 1).sum(), (noisy[0] == 0).sum()
    # 400 draws each with replacement out of 40,000: about 2 hit twice, about 4 white ones are lost.
    assert 385 <= white <= 400 and 388 <= black <= 400
    assert (noisy[0] == 0.5).sum() == 40_000 - white - black


def test_every_pixel_may_be_hit():
    noisy = salt_and_pepper(np.full((2, 2), 0.5), 1.0, 'correct', np.random.RandomState(2))
    hits = sum(
        salt_and_pepper(np.full((2, 2), 0.5), 1.0, 'correct', np.random.RandomState(seed)) != 0.5
        for seed in range(50)
    )
    assert noisy.shape == (2, 2) and (hits > 0).all()


def test_published_variant_has_only_pepper():
    noisy = salt_and_pepper(
        np.full((3, 100, 100), 0.5), 0.2, 'pepper_upstream', np.random.RandomState(0)
    )
    assert set(np.unique(noisy)) == {0.0, 0.5}
    assert 900 < (noisy[0] == 0).sum() <= 1000
    assert (noisy[:, -1] == 0.5).all() and (noisy[:, :, -1] == 0.5).all()


def test_nothing_happens_without_noise():
    assert np.array_equal(run(GaussianNoise(0.0, seed=0)), image().astype(np.float32))
    assert np.array_equal(run(SaltAndPepper(0.0, seed=0)), image().astype(np.float32))


@pytest.mark.parametrize(
    ('config', 'function'),
    [
        (dict(type='GaussianNoise', sigma=0.2), lambda x, g: gaussian_noise(x, 0.2, g)),
        (
            dict(type='SaltAndPepper', amount=0.3),
            lambda x, g: salt_and_pepper(x, 0.3, 'correct', g),
        ),
        (
            dict(type='SaltAndPepper', amount=0.3, variant='pepper_upstream'),
            lambda x, g: salt_and_pepper(x, 0.3, 'pepper_upstream', g),
        ),
    ],
)
def test_network_input_is_the_noisy_image(config, function):
    transform = TRANSFORMS.build(dict(seed=4, **config))
    inputs = PackJointInputs().transform(dict(img=run(transform, sample_idx=7)))['inputs'] / 255
    generator = np.random.RandomState(derive_seed(4, 7))
    expected = function(image().transpose(2, 0, 1) / 255, generator)
    assert inputs.dtype == torch.float32
    assert np.abs(inputs.numpy() - expected).max() <= 1.2e-7
    assert inputs.min() == 0 and inputs.max() <= 1


def test_seed_fixes_the_noise_of_each_sample():
    transform = GaussianNoise(0.1, seed=0)
    assert np.array_equal(run(transform, 1), run(transform, 1))
    assert not np.array_equal(run(transform, 1), run(transform, 2))
    assert not np.array_equal(run(transform, 1), run(GaussianNoise(0.1, seed=1), 1))


def test_without_seed_the_global_state_decides():
    transform = GaussianNoise(0.1)
    with local_seed(1):
        first, second = run(transform), run(transform)
    with local_seed(1):
        assert np.array_equal(run(transform), first)
    assert not np.array_equal(first, second)
    with cache_random_params(transform):
        assert np.array_equal(run(transform), run(transform))


@pytest.mark.parametrize(
    ('make', 'message'),
    [
        (lambda: GaussianNoise(-0.1), 'sigma must be >= 0, got -0.1'),
        (lambda: GaussianNoise(float('nan')), 'sigma must be >= 0, got nan'),
        (lambda: SaltAndPepper(1.5), r'amount must be in \[0, 1\], got 1.5'),
        (lambda: SaltAndPepper(0.1, variant='salt'), "variant must be .* got 'salt'"),
    ],
)
def test_impossible_options(make, message):
    with pytest.raises(ValueError, match=message):
        make()
