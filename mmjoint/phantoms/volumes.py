"""What volumes are drawn from: bodies in a warped space, and what a scanner adds to them.

Anatomy is drawn in normalised coordinates, 0..1 along each axis of the field of view, which a
smooth random warp bends, so that no two cases have the same shapes.
"""

import gzip
import io
import math
from collections.abc import Sequence
from pathlib import Path

import nibabel
import numpy as np
from scipy import ndimage


def space(rng: np.random.Generator, shape: tuple[int, int, int], bend: float = 0.02) -> np.ndarray:
    """Give the place of each voxel in a bent space.

    Args:
        rng: Generator.
        shape: Voxels along the three axes.
        bend: Standard deviation of the bending, as a share of the field of view.

    Returns:
        float32 array (3, *shape), about 0..1.
    """
    straight = (np.indices(shape, dtype=np.float32) + np.float32(0.5)) / np.reshape(
        np.asarray(shape, np.float32), (3, 1, 1, 1)
    )
    if bend:
        # Blobs of a quarter of the field of view: organs change their form, not their outline.
        for axis in range(3):
            straight[axis] += bend * _blobs(rng, shape, 0.25)
    return straight


def _blobs(rng: np.random.Generator, shape: tuple[int, ...], size: float) -> np.ndarray:
    """Smooth noise of deviation 1 whose blobs take the share ``size`` of each axis."""
    coarse = rng.standard_normal((math.ceil(1 / size) + 1,) * 3)
    zoom = [length / coarse.shape[0] for length in shape]
    field = ndimage.zoom(coarse, zoom, order=3, grid_mode=True, mode='nearest')
    return ((field - field.mean()) / field.std()).astype(np.float32)


def rotation(angles: Sequence[float]) -> np.ndarray:
    """Give the matrix that turns by three angles about the axes 0, 1 and 2, one after another.

    Args:
        angles: In degrees.

    Returns:
        float64 array (3, 3).
    """
    result = np.eye(3)
    for axis, angle in enumerate(np.deg2rad(angles)):
        first, second = [place for place in range(3) if place != axis]
        turn = np.eye(3)
        turn[first, first] = turn[second, second] = np.cos(angle)
        turn[first, second], turn[second, first] = -np.sin(angle), np.sin(angle)
        result = turn @ result
    return result


def turned(places: np.ndarray, matrix: np.ndarray, centre: Sequence[float]) -> np.ndarray:
    """Turn a space about a point, so that what is drawn in it turns the other way round.

    Args:
        places: Array (3, *shape).
        matrix: Rotation (3, 3).
        centre: The point that stays.

    Returns:
        Array of the same shape.
    """
    middle = np.reshape(np.asarray(centre, np.float32), (3, 1, 1, 1))
    moved = np.tensordot(matrix.T.astype(np.float32), places - middle, axes=1)
    return moved + middle


def ellipsoid(
    places: np.ndarray,
    centre: Sequence[float],
    radii: Sequence[float],
    angles: Sequence[float] = (0, 0, 0),
) -> np.ndarray:
    """Give the distance from the centre of an ellipsoid, 1 on its surface.

    Args:
        places: Array (3, *shape).
        centre: Its centre.
        radii: Its radii before turning.
        angles: Turns it, see :func:`rotation`.

    Returns:
        float32 array of ``shape``.
    """
    offset = places - np.reshape(np.asarray(centre, np.float32), (3, 1, 1, 1))
    if any(angles):
        offset = np.tensordot(rotation(angles).T.astype(np.float32), offset, axes=1)
    scaled = offset / np.reshape(np.asarray(radii, np.float32), (3, 1, 1, 1))
    return np.sqrt(np.square(scaled).sum(axis=0))


def tube(places: np.ndarray, points: Sequence[Sequence[float]], radius: float) -> np.ndarray:
    """Give the distance from a line through some points, 1 at ``radius``.

    Args:
        places: Array (3, *shape).
        points: At least two.
        radius: Radius of the tube.

    Returns:
        float32 array of ``shape``.
    """
    points = np.asarray(points, np.float32)
    nearest = np.full(places.shape[1:], np.inf, np.float32)
    for start, stop in zip(points[:-1], points[1:], strict=True):
        along = stop - start
        offset = places - start.reshape(3, 1, 1, 1)
        share = np.tensordot(along, offset, axes=1) / max(float(along @ along), 1e-12)
        offset -= along.reshape(3, 1, 1, 1) * np.clip(share, 0, 1)
        nearest = np.minimum(nearest, np.square(offset).sum(axis=0))
    return np.sqrt(nearest) / np.float32(radius)


def paint(target: np.ndarray, distance: np.ndarray, value: int, *, over: bool = True) -> None:
    """Write a value where a distance is below 1, in one voxel at least.

    Args:
        target: Integer array that is changed.
        distance: Array of the same shape.
        value: What to write.
        over: Also where something else than 0 stands.
    """
    inside = distance < 1
    if not inside.any():  # small organs do not vanish from small volumes
        inside.flat[distance.argmin()] = True
    elif not over:
        inside &= target == 0
    target[inside] = value


def look_up(tissue: np.ndarray, values: dict[int, float]) -> np.ndarray:
    """Give each tissue its brightness.

    Args:
        tissue: Integer array of keys of ``values``.
        values: Brightness per tissue.

    Returns:
        float32 array of the same shape.
    """
    table = np.zeros(max(values) + 1, np.float32)
    table[list(values)] = list(values.values())
    return table[tissue]


def bias_field(rng: np.random.Generator, shape: tuple[int, ...], strength: float) -> np.ndarray:
    """Draw how the sensitivity of the coils varies.

    Args:
        rng: Generator.
        shape: Shape of the volume.
        strength: Standard deviation of its logarithm.

    Returns:
        Positive float32 array of ``shape``.
    """
    return np.exp(strength * _blobs(rng, shape, 0.7)).astype(np.float32)


def rician(rng: np.random.Generator, image: np.ndarray, noise: float) -> np.ndarray:
    """Add the noise of magnitude images.

    Args:
        rng: Generator.
        image: Array.
        noise: Standard deviation in each of the two channels.

    Returns:
        float32 array, not negative.
    """
    real, imaginary = rng.normal(0, noise, (2, *image.shape)).astype(np.float32)
    return np.hypot(image + real, imaginary)


def blurred(image: np.ndarray, width: float | Sequence[float]) -> np.ndarray:
    """Blur by a Gaussian, as partial volumes and the scanner do.

    Args:
        image: Array.
        width: Standard deviation in voxels, for all axes or each.

    Returns:
        Array of the same shape.
    """
    return ndimage.gaussian_filter(image, width, mode='nearest')


def save_nifti(path: Path, data: np.ndarray, affine: np.ndarray) -> None:
    """Write ``.nii.gz`` whose bytes depend on its content alone.

    Args:
        path: File to write; its folder is made.
        data: Integer or float32 array, X first.
        affine: 4x4 matrix from voxel indices to mm.
    """
    image = nibabel.Nifti1Image(data, affine)
    image.header.set_xyzt_units('mm', 'sec' if data.ndim == 4 else None)
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode='wb', compresslevel=1, mtime=0) as stream:
        stream.write(image.to_bytes())
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(packed.getvalue())
