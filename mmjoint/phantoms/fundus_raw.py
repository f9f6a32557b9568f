"""Shared by the phantoms of the fundus sets: truth beside the raw files, masks in odd formats."""

import gzip
import io
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from mmjoint.utils.errors import UserError
from mmjoint.utils.index_png import write_index_png
from mmjoint.utils.io import atomic_write_bytes

from .fundus_structures import LESIONS, StructuredFundus

TRUTH = 'truth'
"""Folder of what is known, beside the files that the real set has: for tests alone."""


def write_truth(root: Path, case_id: str, phantom: StructuredFundus) -> dict[str, Any]:
    """Write the label maps of all tasks and sum up what is in them.

    Args:
        root: Folder of the raw files.
        case_id: Name of the maps.
        phantom: The photograph.

    Returns:
        Cup/disc ratio and the share of the field of view that each structure takes.
    """
    for task, ids in phantom.truth.items():
        write_index_png(root / TRUTH / task / f'{case_id}.png', ids)
    area = phantom.fov.sum()
    lesion = phantom.lesion
    return {
        'vertical_cdr': round(phantom.vertical_cdr, 4),
        'vessel_share': round(float(phantom.vessel.sum() / area), 5),
        **{
            f'{kind}_share': round(float((lesion == number).sum() / area), 5)
            for number, kind in enumerate(LESIONS, 1)
        },
    }


def encode(mask: np.ndarray, kind: str) -> bytes:
    """Encode a mask (H, W) of bool as a file of 0 and 255.

    Args:
        mask: The mask.
        kind: ``'GIF'``, ``'TIFF'`` or ``'PNG'``, grey; ``'red palette'`` or ``'red'``: TIFF as
            IDRiD has it, with a palette of two colours, or red, green, blue and alpha.

    Returns:
        The bytes, which depend on the arguments alone.
    """
    stream = io.BytesIO()
    if kind == 'red palette':
        image = Image.fromarray(mask.astype(np.uint8))
        image.putpalette([0, 0, 0, 255, 0, 0])
    elif kind == 'red':
        values = np.zeros((*mask.shape, 4), np.uint8)
        values[mask, 0] = 255
        values[..., 3] = 255
        image = Image.fromarray(values)
    else:
        image = Image.fromarray(mask.astype(np.uint8) * 255)
    image.save(stream, kind if kind in ('GIF', 'PNG') else 'TIFF')
    return stream.getvalue()


def write_mask(path: Path, mask: np.ndarray, kind: str) -> None:
    """Write a mask; see :func:`encode`."""
    atomic_write_bytes(path, encode(mask > 0, kind))


def write_packed(path: Path, image: np.ndarray) -> None:
    """Write a portable pixmap, packed.

    Args:
        path: File ending in ``.ppm.gz``.
        image: uint8 array (H, W), or (H, W, 3) with red first.
    """
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, 'PPM')
    atomic_write_bytes(path, gzip.compress(stream.getvalue(), mtime=0))


def check_numbers(dataset: str, num_cases: int) -> None:
    """Refuse more cases than names of two digits can tell apart.

    Raises:
        UserError: There are more than 99.
    """
    if num_cases > 99:
        raise UserError(
            f'--num-cases: expected at most 99 for {dataset}, whose files have numbers of two '
            f'digits, found {num_cases}; give fewer'
        )


def coarser(vessel: np.ndarray) -> np.ndarray:
    """What a second observer marks: vessels without the finest branches, bool (H, W)."""
    square = np.ones((2, 2), np.uint8)
    # The squares that fit into the vessels: each is found at its last pixel and drawn from there.
    fitting = cv2.erode((vessel > 0).astype(np.uint8), square, anchor=(1, 1))
    return cv2.dilate(fitting, square, anchor=(0, 0)) > 0
