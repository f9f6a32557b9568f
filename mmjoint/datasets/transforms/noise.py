"""Noise for robustness tests, as functions on images in [0, 1] and as transforms on 0..255."""

import math
from typing import Literal

import numpy as np
from mmcv.transforms import BaseTransform
from mmcv.transforms.utils import cache_randomness

from mmjoint.registry import TRANSFORMS
from mmjoint.utils.random import derive_seed

SaltAndPepperVariant = Literal['correct', 'pepper_upstream']


def gaussian_noise(
    image: np.ndarray, sigma: float, generator: np.random.RandomState | None = None
) -> np.ndarray:
    """Add independent normal noise to each value and clip to [0, 1].

    Args:
        image: Any shape, in [0, 1]. One draw of this shape is taken.
        sigma: Standard deviation, >= 0.
        generator: Source of the draws; numpy's global one by default.

    Returns:
        The noisy image, as float of the same shape in [0, 1].
    """
    draws = np.random if generator is None else generator
    noisy = np.clip(image + draws.normal(0.0, sigma, image.shape), 0.0, 1.0)
    return noisy.astype(image.dtype)


def salt_and_pepper(
    image: np.ndarray,
    amount: float,
    variant: SaltAndPepperVariant = 'correct',
    generator: np.random.RandomState | None = None,
) -> np.ndarray:
    """Set a share of the pixels to 1 or 0, all channels of a pixel alike.

    ``ceil(amount * H * W / 2)`` pixels are drawn with replacement for salt, then as many for
    pepper, in the order: rows and columns of salt, rows and columns of pepper. Pepper comes last,
    so a pixel drawn for both ends at 0.

    Args:
        image: Any shape ``(..., H, W)``, in [0, 1].
        amount: Share of the pixels that is drawn, in [0, 1].
        variant: ``'correct'`` as above. ``'pepper_upstream'`` as in UML's published evaluation:
            pepper overwrites the salt at the salt's places, so half the amount becomes 0 and
            nothing 1, and the last row and column are never drawn.
        generator: Source of the draws; numpy's global one by default.

    Returns:
        The noisy image, a new array.

    Reference:
        Ren et al., Uncertainty-informed Mutual Learning, MICCAI 2023: robustness test of the
        published code. Its defect is kept as a variant, for comparison with its numbers.
    """
    draws = np.random if generator is None else generator
    height, width = image.shape[-2:]
    count = math.ceil(amount * height * width * 0.5)
    # Upstream's upper bound is one less: numpy's randint leaves its upper bound out already.
    short = 1 if variant == 'pepper_upstream' else 0
    salt, pepper = (
        tuple(draws.randint(0, length - short, count) for length in (height, width))
        for _ in range(2)
    )
    noisy = image.copy()
    noisy[..., salt[0], salt[1]] = 1
    if variant == 'pepper_upstream':
        pepper = salt
    noisy[..., pepper[0], pepper[1]] = 0
    return noisy


class _Noise(BaseTransform):
    """Shared part: from 0..255 ``(H, W, C)`` to [0, 1] ``(C, H, W)`` and back.

    The result is float32 in [0, 255], not rounded to integers: divided by 255 by the data
    preprocessor, it is the noisy image up to float rounding.
    """

    def __init__(self, seed: int | None) -> None:
        self.seed = seed

    def transform(self, results: dict) -> dict:
        """Replace ``results['img']`` by its noisy form."""
        image = np.moveaxis(results['img'], -1, 0).astype(np.float64) / 255
        noisy = self._apply(image, self._generator(results))
        results['img'] = np.ascontiguousarray(np.moveaxis(noisy * 255, 0, -1).astype(np.float32))
        return results

    def _apply(self, image: np.ndarray, generator: np.random.RandomState) -> np.ndarray:
        raise NotImplementedError

    def _generator(self, results: dict) -> np.random.RandomState:
        if self.seed is not None:
            return np.random.RandomState(derive_seed(self.seed, results['sample_idx']))
        return np.random.RandomState(self._draw_seed())

    @cache_randomness
    def _draw_seed(self) -> int:
        return int(np.random.randint(2**31))


@TRANSFORMS.register_module()
class GaussianNoise(_Noise):
    """Add independent normal noise to an image.

    The network's input becomes ``clip(image / 255 + N(0, sigma), 0, 1)``.

    Required Keys:

    - img (np.ndarray): ``(H, W, C)``, values in [0, 255]
    - sample_idx (int): only with ``seed``

    Modified Keys:

    - img: float32 of the same shape in [0, 255]

    Args:
        sigma: Standard deviation on the scale where white is 1. 0 changes nothing.
        seed: With a number, each sample gets the same noise in every run; with ``None``, new noise
            at each visit, from numpy's global state.
    """

    def __init__(self, sigma: float, seed: int | None = None) -> None:
        if not sigma >= 0:
            raise ValueError(f'GaussianNoise: sigma must be >= 0, got {sigma}')
        super().__init__(seed)
        self.sigma = sigma

    def _apply(self, image: np.ndarray, generator: np.random.RandomState) -> np.ndarray:
        return gaussian_noise(image, self.sigma, generator)

    def __repr__(self) -> str:
        """Show the options."""
        return f'{type(self).__name__}(sigma={self.sigma}, seed={self.seed})'


@TRANSFORMS.register_module()
class SaltAndPepper(_Noise):
    """Set a share of an image's pixels to white or black; see :func:`salt_and_pepper`.

    Required Keys:

    - img (np.ndarray): ``(H, W, C)``, values in [0, 255]
    - sample_idx (int): only with ``seed``

    Modified Keys:

    - img: float32 of the same shape in [0, 255]

    Args:
        amount: Share of the pixels, in [0, 1].
        variant: ``'correct'``, or ``'pepper_upstream'`` for the published evaluation's defect.
        seed: With a number, each sample gets the same noise in every run; with ``None``, new noise
            at each visit, from numpy's global state.
    """

    def __init__(
        self, amount: float, variant: SaltAndPepperVariant = 'correct', seed: int | None = None
    ) -> None:
        if not 0 <= amount <= 1:
            raise ValueError(f'SaltAndPepper: amount must be in [0, 1], got {amount}')
        if variant not in ('correct', 'pepper_upstream'):
            raise ValueError(
                f"SaltAndPepper: variant must be 'correct' or 'pepper_upstream', got {variant!r}"
            )
        super().__init__(seed)
        self.amount = amount
        self.variant = variant

    def _apply(self, image: np.ndarray, generator: np.random.RandomState) -> np.ndarray:
        return salt_and_pepper(image, self.amount, self.variant, generator)

    def __repr__(self) -> str:
        """Show the options."""
        return (
            f'{type(self).__name__}(amount={self.amount}, variant={self.variant!r}, '
            f'seed={self.seed})'
        )
