"""Reads raw volumes for the scripts of this folder; every damage is told in one line."""

import zlib
from pathlib import Path

import nibabel
import numpy as np
from nibabel.filebasedimages import ImageFileError

from mmjoint.utils.errors import UserError


def read_nifti(path: Path) -> tuple[np.ndarray, tuple[float, float, float]]:
    """Read a three-dimensional NIfTI file.

    Args:
        path: ``.nii`` or ``.nii.gz`` file.

    Returns:
        float32 array (X, Y, Z) and the spacing along the same axes in mm.

    Raises:
        UserError: The file is absent or damaged, not three-dimensional, or holds values that are
            not finite.
    """
    try:
        volume = nibabel.load(path)
        data = np.asarray(volume.dataobj, dtype=np.float32)
        spacing = tuple(round(float(step), 6) for step in volume.header.get_zooms()[:3])
    except FileNotFoundError as error:
        raise UserError(
            f'{path}: expected a NIfTI file, found nothing there; unpack the data set again'
        ) from error
    except (ImageFileError, OSError, EOFError, ValueError, zlib.error) as error:
        raise UserError(
            f'{path}: expected a whole NIfTI file, found one cut off or damaged '
            f'({path.stat().st_size} bytes); download or unpack it again'
        ) from error
    if data.ndim > 3 and data.shape[3:] == (1,) * (data.ndim - 3):
        data = data.reshape(data.shape[:3])
    if data.ndim != 3:
        raise UserError(
            f'{path}: expected a volume of 3 axes, found the shape {data.shape}; '
            'use the first dynamic series alone'
        )
    damaged = int(data.size - np.isfinite(data).sum())
    if damaged:
        raise UserError(
            f'{path}: expected finite values, found NaN or infinity in {damaged} of {data.size} '
            'voxels; repair or leave out this case'
        )
    if len(spacing) != 3 or not all(np.isfinite(spacing)) or min(spacing) <= 0:
        raise UserError(
            f'{path}: expected a positive voxel spacing, found {spacing} mm; correct the header'
        )
    return data, spacing
