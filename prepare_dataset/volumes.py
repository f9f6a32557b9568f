"""Reads raw volumes for the scripts of this folder; every damage is told in one line."""

import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import nibabel
import numpy as np
from nibabel.filebasedimages import ImageFileError
from reading import contents

from mmjoint.utils.errors import UserError


@dataclass(frozen=True)
class Volume:
    """Image and label map of one raw case, in the raw files' order of axes.

    Args:
        image: float32 array (X, Y, Z) or (X, Y, Z, T).
        label: Integer array of the same shape.
        affine: 4x4 matrix from voxel indices to mm, R, A and S positive.
    """

    image: np.ndarray
    label: np.ndarray
    affine: np.ndarray


def _load(path: Path) -> tuple[np.ndarray, np.ndarray, tuple[float, ...]]:
    """Read a NIfTI file as it is: values, affine and spacing along the first three axes."""
    try:
        volume = nibabel.load(path)
        data = np.asanyarray(volume.dataobj)
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
    if len(spacing) != 3 or not all(np.isfinite(spacing)) or min(spacing) <= 0:
        raise UserError(
            f'{path}: expected a positive voxel spacing, found {spacing} mm; correct the header'
        )
    return data, volume.affine, spacing


def check_finite(path: Path, data: np.ndarray) -> None:
    """Refuse NaN and infinity.

    Args:
        path: File, for the message.
        data: Its values.

    Raises:
        UserError: There are some.
    """
    damaged = int(data.size - np.isfinite(data).sum())
    if damaged:
        raise UserError(
            f'{path}: expected finite values, found NaN or infinity in {damaged} of {data.size} '
            'voxels; repair or leave out this case'
        )


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
    data, _, spacing = _load(path)
    data = data.astype(np.float32)
    if data.ndim > 3 and data.shape[3:] == (1,) * (data.ndim - 3):
        data = data.reshape(data.shape[:3])
    if data.ndim != 3:
        raise UserError(
            f'{path}: expected a volume of 3 axes, found the shape {data.shape}; '
            'use the first dynamic series alone'
        )
    check_finite(path, data)
    return data, spacing


def check_label_values(path: Path, label: np.ndarray, allowed: Sequence[int]) -> np.ndarray:
    """Refuse label values that the data set does not have.

    Args:
        path: File, for the message.
        label: Its values.
        allowed: The values that may occur.

    Returns:
        int16 array of the same shape.

    Raises:
        UserError: There are others, or nothing but 0.
    """
    values, counts = np.unique(label, return_counts=True)
    wrong = ~np.isin(values, allowed)
    if wrong.any():
        shown = ', '.join(f'{value:g}' for value in values[wrong][:5].tolist())
        shown += ', ...' if wrong.sum() > 5 else ''
        raise UserError(
            f'{path}: expected label values {", ".join(map(str, allowed))}, found {shown} in '
            f'{counts[wrong].sum()} voxels; use the original file'
        )
    if not values.any():
        raise UserError(
            f'{path}: expected at least one labelled voxel, found only 0; use the original file'
        )
    return label.astype(np.int16)


def check_same_shape(image: Path, shape: Sequence[int], label: Path, found: Sequence[int]) -> None:
    """Refuse an image and a label map of different shapes.

    Raises:
        UserError: They differ.
    """
    if tuple(shape) != tuple(found):
        raise UserError(
            f'{label}: expected the shape of its image {image.name}, {tuple(shape)}, found '
            f'{tuple(found)}; use the original files'
        )


def _check_same_place(
    image: Path, image_affine: np.ndarray, label: Path, label_affine: np.ndarray, shape: Sequence
) -> None:
    """Refuse a label map that lies elsewhere in the patient: half a voxel is a difference."""
    corners = np.array(np.meshgrid(*([0, length - 1] for length in shape[:3]))).reshape(3, -1)
    corners = np.vstack([corners, np.ones(corners.shape[1])])
    shift = ((label_affine - image_affine) @ corners)[:3]
    furthest = float(np.linalg.norm(shift, axis=0).max())
    voxel = float(np.linalg.norm(image_affine[:3, :3], axis=0).min())
    if not furthest <= 0.5 * voxel:  # NaN too
        raise UserError(
            f'{label}: expected the position of its image {image.name}, found a corner '
            f'{furthest:.3g} mm away; correct the header, or add --ignore-affine if only the '
            'header is wrong'
        )


def read_volume(
    image: Path,
    label: Path,
    allowed: Sequence[int],
    *,
    num_axes: int = 3,
    ignore_affine: bool = False,
) -> Volume:
    """Read and check the NIfTI files of a case.

    Args:
        image: File of the image.
        label: File of the label map.
        allowed: Label values that may occur.
        num_axes: 3, or 4 with time.
        ignore_affine: Do not compare the positions that the two headers give.

    Returns:
        The case, placed where the header of the image says.

    Raises:
        UserError: A file is absent, damaged, of another number of axes, holds values that may not
            be there, or the two do not fit together.
    """
    loaded = []
    for path in (image, label):
        data, affine, _ = _load(path)
        while data.ndim > num_axes and data.shape[-1] == 1:
            data = data[..., 0]
        if data.ndim == 3 and num_axes == 4:  # a file of one frame
            data = data[..., None]
        if data.ndim != num_axes:
            raise UserError(
                f'{path}: expected a volume of {num_axes} axes, found the shape {data.shape}; '
                'use the original file'
            )
        loaded.append((data, affine))
    (data, affine), (ids, label_affine) = loaded
    check_same_shape(image, data.shape, label, ids.shape)
    data = data.astype(np.float32)
    check_finite(image, data)
    check_finite(label, ids)
    ids = check_label_values(label, ids, allowed)
    if not ignore_affine:
        _check_same_place(image, affine, label, label_affine, data.shape)
    return Volume(data, ids, affine)


def read_hdf5(path: Path, names: Sequence[str]) -> list[np.ndarray]:
    """Read some arrays of an HDF5 file.

    Args:
        path: ``.h5`` file.
        names: Names of its data sets.

    Returns:
        The arrays.

    Raises:
        UserError: The file is absent or damaged, or lacks a name.
    """
    try:
        with h5py.File(path, 'r') as stored:
            missing = [name for name in names if name not in stored]
            if missing:
                raise UserError(
                    f'{path}: expected a data set {missing[0]!r}, found '
                    f'{", ".join(repr(name) for name in stored) or "none"}; use the original file'
                )
            return [np.asarray(stored[name]) for name in names]
    except FileNotFoundError as error:
        raise UserError(
            f'{path}: expected an HDF5 file, found nothing there; unpack the data set again'
        ) from error
    except (OSError, RuntimeError, TypeError) as error:
        raise UserError(
            f'{path}: expected a whole HDF5 file, found one cut off or damaged '
            f'({path.stat().st_size} bytes); download or unpack it again'
        ) from error


def index_files(raw_root: Path, files: Sequence[Path], pattern: str, what: str) -> dict[str, Path]:
    """Find files by their name.

    Args:
        raw_root: Folder of the raw files.
        files: All files below it, relative.
        pattern: Regular expression of the whole name, whose one group is the id.
        what: What such a file is, for the message.

    Returns:
        Id -> file.

    Raises:
        UserError: An id is there twice.
    """
    found: dict[str, Path] = {}
    for path in files:
        match = re.fullmatch(pattern, path.name)
        if match is None:
            continue
        case_id = match.group(1)
        if case_id in found:
            raise UserError(
                f'{raw_root / path}: expected one {what} per id, found another for {case_id} '
                f'({found[case_id]}); remove one of them'
            )
        found[case_id] = raw_root / path
    return found


def pair_files(
    raw_root: Path, images: dict[str, Path], labels: dict[str, Path], names: tuple[str, str]
) -> dict[str, tuple[Path, Path]]:
    """Pair images and label maps by case id.

    Args:
        raw_root: Folder of the raw files.
        images: Case id -> file.
        labels: Case id -> file.
        names: How an image and a label map are called, with ``<id>``, for messages.

    Returns:
        Case id -> image and label map, sorted by id.

    Raises:
        UserError: There are none, or a case lacks one of them; the first is named.
    """
    for found, name in ((images, names[0]), (labels, names[1])):
        if not found:
            raise UserError(
                f'{raw_root}: expected files {name}, found {contents(raw_root)}; '
                'unpack the data set there'
            )
    for present, absent, name in ((images, labels, names[1]), (labels, images, names[0])):
        alone = sorted(present.keys() - absent.keys())
        if alone:
            more = f' (and {len(alone) - 1} more cases lack theirs)' if len(alone) > 1 else ''
            raise UserError(
                f'{present[alone[0]]}: expected {name.replace("<id>", alone[0])} beside it, found '
                f'no such file{more}; unpack the data set again'
            )
    return {case_id: (images[case_id], labels[case_id]) for case_id in sorted(images)}


def orient(volume: np.ndarray, axes: Sequence[int], flips: Sequence[bool]) -> np.ndarray:
    """Reorder the axes of a volume and reverse some of them; see ``VolumeGrid``.

    Args:
        volume: Array of three axes.
        axes: Axis i of the result is axis ``axes[i]`` of ``volume``.
        flips: Whether axis i of the result is reversed.

    Returns:
        A view.
    """
    reversed_axes = tuple(axis for axis, flipped in enumerate(flips) if flipped)
    return np.flip(volume.transpose(axes), reversed_axes)
