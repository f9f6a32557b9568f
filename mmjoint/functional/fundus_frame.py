"""Brings predictions on a prepared photograph back to the frame of its raw file."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mmjoint.utils.image_frame import ImageFrame


def to_raw_frame(
    array: np.ndarray,
    frame: ImageFrame | Mapping[str, Any],
    raw_shape: Sequence[int],
    *,
    outside: float = 0,
) -> np.ndarray:
    """Undo the crop to the field of view and the padding to a square.

    Args:
        array: Maps ``(..., H, W)`` of the prepared size: labels, or one map per channel.
        frame: The frame, or its entries as a record of the prepared set holds them:
            ``crop`` (left, top, width, height) and ``pad`` (top, bottom, left, right), in pixels.
        raw_shape: Height and width of the raw file, ``ori_shape`` of the record.
        outside: Value outside of the crop, where the model saw nothing.

    Returns:
        New array ``(..., raw H, raw W)`` of the dtype of ``array``.

    Raises:
        ValueError: ``array`` has another size than the frame, or the frame does not fit the file.

    Example:
        >>> frame = dict(crop=[1, 0, 2, 1], pad=[0, 1, 0, 0])
        >>> to_raw_frame(np.array([[7, 8], [0, 0]]), frame, (2, 4))
        array([[0, 7, 8, 0],
               [0, 0, 0, 0]])
    """
    if not isinstance(frame, ImageFrame):
        frame = ImageFrame.from_dict(frame)
    return frame.restore(array, tuple(raw_shape), fill=outside)
