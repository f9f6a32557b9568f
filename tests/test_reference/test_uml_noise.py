import re

import numpy as np

from mmjoint.datasets.transforms.noise import gaussian_noise, salt_and_pepper

from .loader import assert_close, reference


def numbers(arrays, prefix):
    """The noise levels that stand in the array names behind a prefix."""
    found = {name: re.fullmatch(rf'{prefix}([0-9.eE+-]+)', name) for name in arrays}
    levels = {name: float(match[1]) for name, match in found.items() if match}
    assert levels, f'no array {prefix}<number>'
    return levels


def test_gaussian_noise():
    arrays = reference('uml', 'noise')
    for name, sigma in numbers(arrays, 'gaussian_sigma').items():
        generator = np.random.RandomState(int(arrays['np_seed_gaussian']))
        noisy = gaussian_noise(arrays['image'], sigma, generator)
        assert_close(noisy, arrays[name], 1e-7, name)


def test_salt_and_pepper_as_published():
    arrays = reference('uml', 'noise')
    for name, amount in numbers(arrays, 'saltpepper_amount').items():
        generator = np.random.RandomState(int(arrays['np_seed_saltpepper']))
        noisy = salt_and_pepper(arrays['image'], amount, 'pepper_upstream', generator)
        np.testing.assert_array_equal(noisy, arrays[name], err_msg=name)
