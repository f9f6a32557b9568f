"""Intensities of images: scaling to [0, 1], blur, brightness, contrast and gamma."""

import numpy as np
from scipy import ndimage

Limits = tuple[float | None, float | None]


def normalize_volume(
    image: np.ndarray,
    *,
    clip: Limits | None = None,
    percentiles: Limits | None = None,
) -> np.ndarray:
    """Clip a volume and scale it to [0, 1].

    Args:
        image: Array of any shape, finite.
        clip: Lowest and highest value, e.g. (-75, 275) HU for abdominal CT; ``None``, also for one
            of them: no limit.
        percentiles: Clip at these percentiles of the volume instead, e.g. (0.5, 99.5); ``None``,
            also for one of them: do not. The two kinds may limit different ends.

    Returns:
        float32 array of the same shape with minimum 0 and maximum 1; all 0 where the clipped
        volume is constant (dividing by its range of 0 would give NaN).

    Raises:
        ValueError: Both kinds of limits were given for one end, or limits are in the wrong order.
    """
    low, high = intensity_range(image, clip=clip, percentiles=percentiles)
    if low == high:
        return np.zeros(image.shape, np.float32)
    return scale_from_range(image, low, high)


def intensity_range(
    image: np.ndarray,
    *,
    clip: Limits | None = None,
    percentiles: Limits | None = None,
) -> tuple[float, float]:
    """Find the lowest and highest value of a volume after clipping.

    Args:
        image: Array of any shape.
        clip: See :func:`normalize_volume`.
        percentiles: See :func:`normalize_volume`.

    Returns:
        Two values of single precision; equal where the clipped volume is constant, NaN where the
        volume holds NaN.

    Raises:
        ValueError: Both kinds of limits were given for one end, or limits are in the wrong order.
    """
    for name, limits in (('clip', clip), ('percentiles', percentiles)):
        if limits is not None and None not in limits and not limits[0] < limits[1]:
            raise ValueError(f'{name} must rise, got {limits}')
    ends = list(clip or (None, None))
    shares = list(percentiles or (None, None))
    if any(end is not None and share is not None for end, share in zip(ends, shares, strict=True)):
        raise ValueError('give clip or percentiles for an end, not both')
    image = image.astype(np.float32, copy=False)
    found = np.array([image.min(), image.max()])
    given = [place for place, share in enumerate(shares) if share is not None]
    if given:
        values = np.percentile(image, [shares[place] for place in given]).tolist()
        for place, value in zip(given, values, strict=True):
            ends[place] = value
    return tuple((found if ends == [None, None] else np.clip(found, *ends)).tolist())


def scale_from_range(image: np.ndarray, low: float, high: float) -> np.ndarray:
    """Clip to [low, high] and scale this range to [0, 1].

    Args:
        image: Array of any shape.
        low: What becomes 0, of single precision.
        high: What becomes 1, above ``low``.

    Returns:
        A new float32 array of the same shape.
    """
    scaled = np.clip(image.astype(np.float32, copy=False), np.float32(low), np.float32(high))
    scaled -= np.float32(low)
    scaled /= np.float32(high) - np.float32(low)
    return scaled


def gaussian_blur(image: np.ndarray, sigma: float) -> np.ndarray:
    """Blur an image; beyond its borders it is reflected, beyond 4 ``sigma`` the kernel ends.

    Args:
        image: Floating-point array of any number of axes, which are all blurred.
        sigma: Standard deviation of the kernel in voxels, > 0.

    Returns:
        Array of the same shape and dtype.
    """
    return ndimage.gaussian_filter(image, sigma)


def change_contrast(image: np.ndarray, factor: float) -> np.ndarray:
    """Stretch the differences from the mean and clip to the old extremes.

    Args:
        image: Floating-point array of any shape.
        factor: 1 changes nothing.

    Returns:
        Array of the same shape and dtype.
    """
    mean = image.mean()
    return np.clip((image - mean) * float(factor) + mean, image.min(), image.max())


def change_gamma(image: np.ndarray, gamma: float) -> np.ndarray:
    """Raise the values, scaled to [0, 1], to a power and restore their spread.

    The old mean is restored first; then the values are scaled about 0 to the old standard
    deviation, so that the mean is not quite kept, as in batchgenerators.

    Args:
        image: Floating-point array of any shape.
        gamma: The power, > 0.

    Returns:
        Array of the same shape and dtype; a constant image becomes 0.
    """
    mean, deviation, low = image.mean(), image.std(), image.min()
    span = image.max() - low + np.float32(1e-7)
    changed = ((image - low) / span) ** float(gamma) * span + low
    changed += mean - changed.mean()
    return changed / (changed.std() + np.float32(1e-8)) * deviation
