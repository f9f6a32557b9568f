"""Label maps as PNG files of 8 bits whose pixels are numbers and whose palette gives them colours.

Whoever reads such a file as a picture gets colours or grey values in place of the numbers: OpenCV's
grey reading turns 1 and 2 into 38 and 75. So there is a reader here, too.
"""

import os
from pathlib import Path

import numpy as np
from PIL import Image

from .io import atomic_path


def voc_palette(count: int = 256) -> np.ndarray:
    """Give the colours of PASCAL VOC: the bits of a number spread over red, green and blue.

    Args:
        count: How many colours, at most 256.

    Returns:
        uint8 array (count, 3), red first; number 0 is black.
    """
    colours = np.zeros((count, 3), np.uint8)
    numbers = np.arange(count)
    for place in range(3):
        for channel in range(3):
            bit = (numbers >> (3 * place + channel)) & 1
            colours[:, channel] |= (bit << (7 - place)).astype(np.uint8)
    return colours


def write_index_png(path: str | os.PathLike[str], ids: np.ndarray) -> None:
    """Write a label map, whole or not at all.

    Args:
        path: File to write; its folder is made.
        ids: uint8 array (H, W).

    Raises:
        ValueError: ``ids`` is another kind of array.
    """
    if ids.ndim != 2 or ids.dtype != np.uint8:
        raise ValueError(f'ids must be a uint8 array (H, W), got {ids.dtype} {ids.shape}')
    image = Image.fromarray(ids)
    image.putpalette(voc_palette().tobytes())
    with atomic_path(path) as temporary:
        image.save(temporary, 'PNG')


def read_index_png(path: str | os.PathLike[str]) -> np.ndarray:
    """Read the numbers of a label map; a palette is ignored.

    Args:
        path: PNG file of one channel, with or without a palette.

    Returns:
        uint8 array (H, W).

    Raises:
        OSError: The file is absent, damaged or no image.
        ValueError: It is a picture of colours or has more than 8 bits.
    """
    with Image.open(Path(path)) as image:
        image.load()
        if image.mode not in ('P', 'L'):
            raise ValueError(
                f'{path}: expected a label map (one channel of 8 bits), found the mode {image.mode}'
            )
        return np.array(image)
