"""Ranges of intensities: clipping at values or percentiles, and scaling to [0, 1]."""

import numpy as np


def rescale_to_unit(image: np.ndarray) -> np.ndarray:
    """Scale an image linearly so that its minimum becomes 0 and its maximum 1.

    Args:
        image: Array of any shape, finite.

    Returns:
        float32 array of the same shape; all 0 where the image is constant.
    """
    image = image.astype(np.float32, copy=False)
    low, high = image.min(), image.max()
    if low == high:
        return np.zeros_like(image)
    return (image - low) / (high - low)


def normalize_volume(
    image: np.ndarray,
    *,
    clip: tuple[float, float] | None = None,
    percentiles: tuple[float, float] | None = None,
) -> np.ndarray:
    """Clip a volume and scale it to [0, 1].

    Args:
        image: Array of any shape, finite.
        clip: Lowest and highest value, e.g. (-75, 275) HU for abdominal CT; ``None``: no limits.
        percentiles: Clip at these percentiles of the volume instead, e.g. (0.5, 99.5); ``None``:
            do not.

    Returns:
        float32 array of the same shape with minimum 0 and maximum 1; all 0 where the clipped
        volume is constant (dividing by its range of 0 would give NaN).

    Raises:
        ValueError: Both kinds of limits were given, or limits are in the wrong order.
    """
    if clip is not None and percentiles is not None:
        raise ValueError('give clip or percentiles, not both')
    for name, limits in (('clip', clip), ('percentiles', percentiles)):
        if limits is not None and not limits[0] < limits[1]:
            raise ValueError(f'{name} must rise, got {limits}')
    image = image.astype(np.float32, copy=False)
    if percentiles is not None:
        clip = np.percentile(image, percentiles).tolist()
    return rescale_to_unit(image if clip is None else np.clip(image, *clip))
