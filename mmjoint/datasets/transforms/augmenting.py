"""Random changes of patches of any number of axes.

In each, :meth:`draw` alone draws, from numpy's global state, and :meth:`apply` does the rest.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from mmcv.transforms import BaseTransform
from mmcv.transforms.utils import cache_randomness

from mmjoint.functional.intensity import change_contrast, change_gamma, gaussian_blur
from mmjoint.functional.resampling import rotate_image, rotate_labels, scale_image, scale_labels
from mmjoint.registry import TRANSFORMS

Range = tuple[float, float]


def _uniform(bounds: Range) -> float:
    return float(np.random.uniform(*bounds))


def _checked(
    owner: object, name: str, bounds: Sequence[float], above: float | None = None
) -> Range:
    low, high = bounds
    if not low <= high or (above is not None and not low > above):
        more = '' if above is None else f' above {above:g}'
        raise ValueError(
            f'{type(owner).__name__}: {name} must be (lowest, highest){more}, got {bounds!r}'
        )
    return float(low), float(high)


class _ChangePatch(BaseTransform):
    """Shared part: draw one number, then apply it to each channel and map."""

    def transform(self, results: dict) -> dict:
        """Apply a number that is drawn."""
        return self.apply(results, self.draw())

    @cache_randomness
    def draw(self) -> float:
        """Draw the parameter of one application."""
        raise NotImplementedError

    def apply(self, results: dict, value: float) -> dict:
        """Change the image, and its maps where they move with it.

        Args:
            results: The sample.
            value: What :meth:`draw` gives.

        Raises:
            TypeError: The image holds integers.
        """
        if not np.issubdtype(results['img'].dtype, np.floating):
            raise TypeError(
                f'{type(self).__name__} takes floating-point images, got {results["img"].dtype}; '
                'put it behind the transform that scales intensities'
            )
        results['img'] = self._each_channel(results['img'], value)
        return results

    def _each_channel(self, image: np.ndarray, value: float) -> np.ndarray:
        channels = np.moveaxis(image, -1, 0)
        return np.stack([self._change(channel, value) for channel in channels], axis=-1)

    def _change(self, image: np.ndarray, value: float) -> np.ndarray:
        raise NotImplementedError


class _MovePatch(_ChangePatch):
    def __init__(self, fast: bool) -> None:
        self.fast = fast

    def apply(self, results: dict, value: float) -> dict:
        """Move the image and the maps of ``seg_fields``.

        Args:
            results: The sample.
            value: What :meth:`draw` gives.
        """
        super().apply(results, value)
        for field in results.get('seg_fields', ()):
            results[field] = self._move_labels(results[field], value)
        return results

    def _move_labels(self, labels: np.ndarray, value: float) -> np.ndarray:
        raise NotImplementedError


@TRANSFORMS.register_module()
class RandomRotatePatch(_MovePatch):
    """Rotate an image about its centre, or a volume about one of its axes.

    Images are interpolated by cubic splines, 0 outside. A label wins a voxel where the linear
    interpolation of its mask is at least 0.5, a larger one before a smaller. Where there is no
    label map, none is resampled.

    Required Keys:

    - img (np.ndarray): float ``(H, W, C)`` or ``(D, H, W, C)``
    - seg_fields (list[str], optional): names of maps, ``(H, W)`` or ``(D, H, W)``

    Modified Keys:

    - img, and the maps that ``seg_fields`` names

    Args:
        degrees: Lowest and highest angle.
        axis: The axis of a volume that is turned about, 0 to 2. Not used for images.
        fast: Resample slice by slice; see :mod:`mmjoint.functional.resampling`. ``False`` does the
            same as the original code, at its cost.
    """

    def __init__(self, degrees: Range = (-15.0, 15.0), axis: int = 0, fast: bool = True) -> None:
        super().__init__(fast)
        if axis not in (0, 1, 2):
            raise ValueError(f'RandomRotatePatch: axis must be 0, 1 or 2, got {axis!r}')
        self.degrees = _checked(self, 'degrees', degrees)
        self.axis = axis

    @cache_randomness
    def draw(self) -> float:
        """Draw an angle in degrees."""
        return _uniform(self.degrees)

    def _change(self, image: np.ndarray, value: float) -> np.ndarray:
        return rotate_image(image, value, axis=self.axis, fast=self.fast)

    def _move_labels(self, labels: np.ndarray, value: float) -> np.ndarray:
        return rotate_labels(labels, value, axis=self.axis, fast=self.fast)

    def __repr__(self) -> str:
        """Show the options."""
        return f'{type(self).__name__}(degrees={self.degrees}, axis={self.axis}, fast={self.fast})'


class _TwoRanges:
    """Shared part: a factor from one of two ranges, each as often."""

    def _init_ranges(self, below: Range, above: Range) -> None:
        self.below = _checked(self, 'below', below, above=0)
        self.above = _checked(self, 'above', above, above=0)

    def _draw_factor(self) -> float:
        return _uniform(self.below if np.random.uniform() < 0.5 else self.above)

    def __repr__(self) -> str:
        """Show the options."""
        return f'{type(self).__name__}(below={self.below}, above={self.above})'


@TRANSFORMS.register_module()
class RandomScalePatch(_TwoRanges, _MovePatch):
    """Scale an image or a volume about its centre by one factor for all axes.

    The factor multiplies the coordinates, so below 1 the image is enlarged. It is drawn from
    ``below`` or ``above``, each as often; a factor of 1 costs nothing. Interpolated as by
    :class:`RandomRotatePatch`.

    Required Keys:

    - img (np.ndarray): float ``(H, W, C)`` or ``(D, H, W, C)``
    - seg_fields (list[str], optional): names of maps, ``(H, W)`` or ``(D, H, W)``

    Modified Keys:

    - img, and the maps that ``seg_fields`` names

    Args:
        below: Lowest and highest factor of the one range; (0.5, 1) for the slices of M&Ms.
        above: Lowest and highest factor of the other range. (1, 1), as in the published code,
            leaves every second patch as it is.
        fast: Resample axis after axis; see :mod:`mmjoint.functional.resampling`. ``False`` does
            the same as the original code, at its cost.
    """

    def __init__(
        self, below: Range = (0.7, 1.0), above: Range = (1.0, 1.0), fast: bool = True
    ) -> None:
        super().__init__(fast)
        self._init_ranges(below, above)

    @cache_randomness
    def draw(self) -> float:
        """Draw a factor."""
        return self._draw_factor()

    def _change(self, image: np.ndarray, value: float) -> np.ndarray:
        return scale_image(image, value, fast=self.fast)

    def _move_labels(self, labels: np.ndarray, value: float) -> np.ndarray:
        return scale_labels(labels, value, fast=self.fast)

    def __repr__(self) -> str:
        """Show the options."""
        return f'{type(self).__name__}(below={self.below}, above={self.above}, fast={self.fast})'


@TRANSFORMS.register_module()
class RandomBlurPatch(_ChangePatch):
    """Blur an image or a volume by a Gaussian kernel, alike along all axes.

    Required Keys:

    - img (np.ndarray): float ``(H, W, C)`` or ``(D, H, W, C)``

    Modified Keys:

    - img

    Args:
        sigma: Lowest and highest standard deviation of the kernel in voxels.
    """

    def __init__(self, sigma: Range = (0.7, 1.3)) -> None:
        self.sigma = _checked(self, 'sigma', sigma, above=0)

    @cache_randomness
    def draw(self) -> float:
        """Draw a standard deviation."""
        return _uniform(self.sigma)

    def _change(self, image: np.ndarray, value: float) -> np.ndarray:
        return gaussian_blur(image, value)

    def __repr__(self) -> str:
        """Show the options."""
        return f'{type(self).__name__}(sigma={self.sigma})'


@TRANSFORMS.register_module()
class RandomBrightnessPatch(_ChangePatch):
    """Multiply an image or a volume by a number.

    Required Keys:

    - img (np.ndarray): float ``(H, W, C)`` or ``(D, H, W, C)``

    Modified Keys:

    - img: values may leave [0, 1]

    Args:
        factor: Lowest and highest number; (0.5, 2) for the slices of M&Ms.
    """

    def __init__(self, factor: Range = (0.7, 1.3)) -> None:
        self.factor = _checked(self, 'factor', factor, above=0)

    @cache_randomness
    def draw(self) -> float:
        """Draw a factor."""
        return _uniform(self.factor)

    def _change(self, image: np.ndarray, value: float) -> np.ndarray:
        return image * float(value)

    def __repr__(self) -> str:
        """Show the options."""
        return f'{type(self).__name__}(factor={self.factor})'


@TRANSFORMS.register_module()
class RandomContrastPatch(_TwoRanges, _ChangePatch):
    """Stretch the differences from the mean of each channel and clip to its old extremes.

    Required Keys:

    - img (np.ndarray): float ``(H, W, C)`` or ``(D, H, W, C)``

    Modified Keys:

    - img

    Args:
        below: Lowest and highest factor of the one range; (0.5, 1) for the slices of M&Ms.
        above: Lowest and highest factor of the other range, drawn as often; (1, 1.5) for slices.
    """

    def __init__(self, below: Range = (0.7, 1.0), above: Range = (1.0, 1.3)) -> None:
        self._init_ranges(below, above)

    @cache_randomness
    def draw(self) -> float:
        """Draw a factor."""
        return self._draw_factor()

    def _change(self, image: np.ndarray, value: float) -> np.ndarray:
        return change_contrast(image, value)


@TRANSFORMS.register_module()
class RandomGammaPatch(_TwoRanges, _ChangePatch):
    """Raise each channel, scaled to [0, 1], to a power and restore mean and spread.

    Required Keys:

    - img (np.ndarray): float ``(H, W, C)`` or ``(D, H, W, C)``

    Modified Keys:

    - img: values may leave [0, 1]

    Args:
        below: Lowest and highest power of the one range; (0.5, 1) for the slices of M&Ms.
        above: Lowest and highest power of the other range, drawn as often; (1, 2) for slices.
    """

    def __init__(self, below: Range = (0.7, 1.0), above: Range = (1.0, 1.3)) -> None:
        self._init_ranges(below, above)

    @cache_randomness
    def draw(self) -> float:
        """Draw a power."""
        return self._draw_factor()

    def _change(self, image: np.ndarray, value: float) -> np.ndarray:
        return change_gamma(image, value)


@TRANSFORMS.register_module()
class RandomSubset(BaseTransform):
    """Choose some of the transforms, in random order, each of which then acts or not.

    Args:
        transforms: Configs or built transforms.
        num: How many are drawn, without replacement.
        prob: Probability with which one that was drawn acts.

    Raises:
        ValueError: ``num`` or ``prob`` is out of range.
    """

    def __init__(
        self, transforms: Sequence[dict | Callable], num: int = 3, prob: float = 0.7
    ) -> None:
        if not 0 <= num <= len(transforms):
            raise ValueError(
                f'RandomSubset: num must be in 0..{len(transforms)}, the number of transforms, '
                f'got {num!r}'
            )
        if not 0 <= prob <= 1:
            raise ValueError(f'RandomSubset: prob must be in [0, 1], got {prob!r}')
        self.transforms = [
            TRANSFORMS.build(item) if isinstance(item, Mapping) else item for item in transforms
        ]
        self.num = num
        self.prob = prob

    @cache_randomness
    def draw(self) -> list[int]:
        """Draw the numbers of the transforms that act, in their order."""
        chosen = np.random.choice(len(self.transforms), self.num, replace=False)
        return [int(number) for number in chosen if np.random.uniform() < self.prob]

    def transform(self, results: dict) -> dict | None:
        """Apply transforms that are drawn."""
        return self.apply(results, self.draw())

    def apply(self, results: dict, chosen: Sequence[int]) -> dict | None:
        """Apply the transforms of these numbers one after the other."""
        for number in chosen:
            if results is None:
                break
            results = self.transforms[number](results)
        return results

    def __repr__(self) -> str:
        """Show the options."""
        return (
            f'{type(self).__name__}(transforms={self.transforms}, num={self.num}, prob={self.prob})'
        )
