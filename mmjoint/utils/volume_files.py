"""Reads and writes the files of volumes."""

import gzip
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import nibabel
import numpy as np
from nibabel.filebasedimages import ImageFileError

from .errors import UserError
from .io import atomic_write_bytes

NIFTI_SUFFIXES = ('.nii', '.nii.gz')
HDF5_SUFFIXES = ('.h5', '.hdf5')
ITK_SUFFIXES = ('.mha', '.mhd', '.nrrd', '.nhdr')
SUFFIXES = ('.npy', *NIFTI_SUFFIXES, *HDF5_SUFFIXES, *ITK_SUFFIXES)


@dataclass(frozen=True)
class VolumeFile:
    """What a file holds.

    Args:
        array: As stored, in the file's order of axes (X first in medical formats). From ``.npy``
            it is a read-only map of the file, whose pages all processes of a node share.
        affine: 4x4 matrix from voxel indices to mm, R, A and S positive; ``None`` where the
            format (``.npy``, HDF5) does not tell.
    """

    array: np.ndarray
    affine: np.ndarray | None


def read_volume_file(
    path: str | Path, *, key: str = 'image', frame: int | None = None
) -> VolumeFile:
    """Read a volume or an image by the suffix of its name.

    Nothing is kept open, so this may be called in any process, forked or spawned.

    Args:
        path: ``.npy``, NIfTI, HDF5, MetaImage or NRRD file.
        key: Name of the array in an HDF5 file.
        frame: Index along the fourth axis of a NIfTI file, which alone is read.

    Returns:
        Array of 2 or 3 axes (trailing axes of length 1 beyond are dropped) and affine.

    Raises:
        UserError: The file is absent, damaged, of another format or of more axes, or has no such
            frame.
    """
    path = Path(path)
    name = path.name.lower()
    if not path.is_file():
        raise UserError(f'{path}: expected a volume, found no such file; prepare the set again')
    if name.endswith('.npy'):
        array, affine = _read_npy(path), None
    elif name.endswith(NIFTI_SUFFIXES):
        array, affine = _read_nifti(path, frame)
    elif name.endswith(HDF5_SUFFIXES):
        array, affine = _read_hdf5(path, key), None
    elif name.endswith(ITK_SUFFIXES):
        array, affine = _read_itk(path)
    else:
        raise UserError(
            f'{path}: expected a file of the kind {", ".join(SUFFIXES)}, found "{path.suffix}"; '
            'convert it'
        )
    while array.ndim > 3 and array.shape[-1] == 1:
        array = array[..., 0]
    if array.ndim not in (2, 3) or array.size == 0:
        raise UserError(
            f'{path}: expected a volume of 3 axes (or an image of 2), found the shape '
            f'{array.shape}; store each frame or channel in a file of its own'
        )
    if not np.issubdtype(array.dtype, np.number) or np.iscomplexobj(array):
        raise UserError(f'{path}: expected real numbers, found {array.dtype}; convert the file')
    return VolumeFile(array, affine)


def count_frames(path: str | Path) -> int | None:
    """Number of frames along the fourth axis of a NIfTI file, from its header alone.

    Args:
        path: Any file.

    Returns:
        A number above 1, or ``None`` for all other files, also for damaged ones: reading them
        tells what is wrong.
    """
    if not str(path).lower().endswith(NIFTI_SUFFIXES):
        return None
    try:
        shape = nibabel.load(path).shape
    except (ImageFileError, OSError, EOFError, ValueError, zlib.error):
        return None
    return shape[3] if len(shape) == 4 and shape[3] > 1 else None


def write_nifti(
    path: str | Path, array: np.ndarray, affine: np.ndarray | Sequence[Sequence[float]]
) -> None:
    """Write a volume as NIfTI, whole or not at all.

    Args:
        path: ``.nii`` or ``.nii.gz`` file.
        array: Three axes; a dtype that NIfTI knows.
        affine: 4x4 matrix from voxel indices to mm, R, A and S positive.
    """
    image = nibabel.Nifti1Image(np.asarray(array), np.asarray(affine, np.float64))
    image.header.set_xyzt_units('mm')
    data = image.to_bytes()
    if str(path).lower().endswith('.gz'):
        # Without the time of day, so that equal volumes are equal files.
        data = gzip.compress(data, compresslevel=4, mtime=0)
    atomic_write_bytes(path, data)


def without_suffix(path: str | Path) -> str:
    """Name of a volume without its folder and its (double) suffix."""
    name = Path(path).name
    ending = max((s for s in SUFFIXES if name.lower().endswith(s)), key=len, default='')
    return name[: len(name) - len(ending)] or name


def _damaged(path: Path, kind: str) -> UserError:
    return UserError(
        f'{path}: expected a whole {kind} file, found one of {path.stat().st_size} bytes that is '
        'cut off or damaged; make or download it again'
    )


def _read_npy(path: Path) -> np.ndarray:
    try:
        return np.load(path, mmap_mode='r', allow_pickle=False)
    except (OSError, EOFError, ValueError) as error:
        raise _damaged(path, '.npy') from error


def _read_nifti(path: Path, frame: int | None) -> tuple[np.ndarray, np.ndarray]:
    try:
        volume = nibabel.load(path)
        if frame is not None and (len(volume.shape) != 4 or not 0 <= frame < volume.shape[3]):
            raise UserError(
                f'{path}: expected a frame {frame}, found the shape {volume.shape}; count frames '
                'from 0'
            )
        array = np.asanyarray(volume.dataobj if frame is None else volume.dataobj[..., frame])
    except (ImageFileError, OSError, EOFError, ValueError, zlib.error) as error:
        raise _damaged(path, 'NIfTI') from error
    return array, volume.affine


def _read_hdf5(path: Path, key: str) -> np.ndarray:
    try:
        with h5py.File(path, 'r') as stored:
            if key not in stored:
                names = ', '.join(repr(name) for name in stored) or 'none'
                raise UserError(
                    f'{path}: expected an array {key!r}, found {names}; give another key'
                )
            return np.asarray(stored[key])
    except (OSError, RuntimeError, TypeError) as error:
        raise _damaged(path, 'HDF5') from error


def _read_itk(path: Path) -> tuple[np.ndarray, np.ndarray]:
    # Takes as long to import as all others together, and is for rare formats only.
    import SimpleITK

    try:
        image = SimpleITK.ReadImage(str(path))
    except RuntimeError as error:
        raise _damaged(path, path.suffix) from error
    array = SimpleITK.GetArrayFromImage(image)
    if image.GetNumberOfComponentsPerPixel() > 1:
        raise UserError(
            f'{path}: expected one value per voxel, found '
            f'{image.GetNumberOfComponentsPerPixel()}; convert the file'
        )
    size = image.GetDimension()
    affine = np.eye(4)
    affine[:size, :size] = np.reshape(image.GetDirection(), (size, size)) * image.GetSpacing()
    affine[:size, 3] = image.GetOrigin()
    # ITK counts to the left and the back, nibabel to the right and the front.
    affine[:2] *= -1
    return array.transpose(), affine
