"""Inputs of networks as pictures."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch


def to_picture(inputs: torch.Tensor) -> np.ndarray:
    """Turn an input of the model's data preprocessor into a picture.

    Args:
        inputs: ``(C, H, W)`` or ``(C, D, H, W)``, C 1 or 3. uint8, and colours (C = 3, in
            [0, 255]), are taken as they are and clipped; grey floats, whatever their range, are
            stretched to 0..255.

    Returns:
        ``(H, W, 3)`` or ``(D, H, W, 3)`` uint8.
    """
    values = inputs.detach().cpu().float()
    if inputs.dtype != torch.uint8 and inputs.shape[0] != 3:
        low, high = float(values.min()), float(values.max())
        values = (values - low) * (255 / max(high - low, 1e-12))
    picture = values.round().clamp(0, 255).byte().movedim(0, -1).numpy()
    return np.repeat(picture, 3, axis=-1) if picture.shape[-1] == 1 else picture[..., :3]


def without_padding(picture: np.ndarray, metainfo: Mapping[str, Any]) -> np.ndarray:
    """Cut off what was padded on the right and below; what is left covers the whole image.

    Args:
        picture: ``(H, W, 3)`` of a network's input.
        metainfo: Of the sample; ``img_shape`` is the size before padding.
    """
    height, width = (metainfo.get('img_shape') or picture.shape)[:2]
    return picture[:height, :width]
