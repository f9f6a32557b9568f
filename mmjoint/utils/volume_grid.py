"""How the grid of a prepared volume lies in the grid of its raw file, and the way back."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

import nibabel
import numpy as np

Alignment = Literal['corners', 'centres', 'starts']


@dataclass(frozen=True)
class VolumeGrid:
    """The steps that led from a raw volume to a prepared one, in this order.

    Raw axes are reordered, some are reversed, a box is cut out and resized. Each record of a
    prepared volume set holds these fields as ``geometry``.

    Args:
        raw_path: Raw file of the image, relative to the folder of the raw files.
        raw_shape: Voxels along the three space axes of the raw file, in the file's order (for
            NIfTI that of nibabel).
        affine: 4x4 matrix from raw voxel indices to mm, with R, A and S positive as in nibabel.
        axes: Prepared axis i is raw axis ``axes[i]``.
        flips: Whether prepared axis i runs against its raw axis.
        crop: (start, stop) of the box per prepared axis, counted after reordering and flipping.
        shape: Voxels of the prepared volume per axis. A 2-D image of one slice has the axis of
            that slice as a 1 here.
        alignment: What resizing keeps in place: ``'corners'`` the centres of the first and of the
            last voxel (``scipy.ndimage.zoom``), ``'centres'`` the outer borders of the box
            (``torch.nn.functional.interpolate``, linear), ``'starts'`` the border at index 0, where
            prepared label i is raw label ``floor(i * old / new)`` (the same, nearest). Labels so
            prepared lie up to half a voxel off their images, and so do the predictions of a model
            that has learned from them.
        frame: Index along the fourth axis of the raw file, ``None`` without one.
    """

    raw_path: str
    raw_shape: tuple[int, int, int]
    affine: tuple[tuple[float, float, float, float], ...]
    axes: tuple[int, int, int]
    flips: tuple[bool, bool, bool]
    crop: tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
    shape: tuple[int, int, int]
    alignment: Alignment = 'centres'
    frame: int | None = None

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> 'VolumeGrid':
        """Make a grid from what :meth:`to_dict` gave, or from the same read from JSON.

        Args:
            values: One entry per field; lists stand for tuples.

        Returns:
            The grid.

        Raises:
            ValueError: A field is missing, unknown or of another form.
        """
        names = {field.name for field in fields(cls)}
        if set(values) != names:
            raise ValueError(
                f'geometry must have the fields {sorted(names)}, got {sorted(values)}; '
                'prepare the data set again'
            )
        grid = cls(
            raw_path=values['raw_path'],
            raw_shape=tuple(values['raw_shape']),
            affine=tuple(tuple(float(value) for value in row) for row in values['affine']),
            axes=tuple(values['axes']),
            flips=tuple(values['flips']),
            crop=tuple((int(start), int(stop)) for start, stop in values['crop']),
            shape=tuple(values['shape']),
            alignment=values['alignment'],
            frame=values['frame'],
        )
        grid.check()
        return grid

    def to_dict(self) -> dict[str, Any]:
        """Give the fields as plain values for JSON."""
        return {
            name: [list(part) if isinstance(part, tuple) else part for part in value]
            if isinstance(value, tuple)
            else value
            for name, value in asdict(self).items()
        }

    def check(self) -> None:
        """Refuse a grid whose fields do not fit together.

        Raises:
            ValueError: See the message.
        """
        if sorted(self.axes) != [0, 1, 2]:
            raise ValueError(f'axes must be an order of 0, 1, 2, got {self.axes}')
        if np.shape(self.affine) != (4, 4):
            raise ValueError(f'affine must be a 4x4 matrix, got the shape {np.shape(self.affine)}')
        if self.alignment not in ('corners', 'centres', 'starts'):
            raise ValueError(
                f"alignment must be 'corners', 'centres' or 'starts', got {self.alignment!r}"
            )
        for (start, stop), length in zip(self.crop, self.full_shape, strict=True):
            if not 0 <= start < stop <= length:
                raise ValueError(f'crop {self.crop} must lie within the shape {self.full_shape}')
        if len(self.shape) != 3 or min(self.shape) < 1:
            raise ValueError(f'shape must have three positive lengths, got {self.shape}')

    @property
    def full_shape(self) -> tuple[int, int, int]:
        """Shape of the raw volume after reordering its axes, before the crop."""
        return tuple(self.raw_shape[axis] for axis in self.axes)

    @property
    def crop_shape(self) -> tuple[int, int, int]:
        """Shape of the box that was cut out, before resizing."""
        return tuple(stop - start for start, stop in self.crop)

    @property
    def raw_spacing(self) -> tuple[float, float, float]:
        """Voxel size of the raw file in mm, in the file's order of axes."""
        return tuple(np.linalg.norm(np.asarray(self.affine)[:3, :3], axis=0).tolist())

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Voxel size of the prepared volume in mm, in its own order of axes."""
        steps = []
        for axis, old, new in zip(self.axes, self.crop_shape, self.shape, strict=True):
            keeps_corners = self.alignment == 'corners' and old > 1 and new > 1
            ratio = (old - 1) / (new - 1) if keeps_corners else old / new
            steps.append(self.raw_spacing[axis] * ratio)
        return tuple(steps)

    def _nearest(self, old: int, new: int) -> np.ndarray:
        """Prepared index next to each index of a box's axis: ``new`` and ``old`` voxels."""
        places = np.arange(old)
        if self.alignment == 'corners':
            index = np.floor(places * ((new - 1) / max(old - 1, 1)) + 0.5)
        elif self.alignment == 'starts':
            # Of an axis that grew this is one of the voxels that took their label from here.
            index = np.ceil((places + 0.5) * (new / old) - 0.5)
        else:
            index = np.floor((places + 0.5) * (new / old))
        return np.clip(index.astype(int), 0, new - 1)

    def restore(self, values: np.ndarray, *, fill: float = 0) -> np.ndarray:
        """Bring a map on the prepared grid back to the grid of the raw file.

        Every raw voxel takes the nearest prepared one, so this fits labels as well as maps of
        numbers. Without resizing nothing is lost.

        Args:
            values: Array of ``shape``; axes of length 1 may be left out.
            fill: Value outside of the crop.

        Returns:
            Array of ``raw_shape`` and of the dtype of ``values``.

        Raises:
            ValueError: ``values`` has another shape.
        """
        values = self.as_stored(values)
        lengths = zip(self.crop_shape, self.shape, strict=True)
        index = [self._nearest(old, new) for old, new in lengths]
        full = np.full(self.full_shape, fill, values.dtype)
        full[tuple(slice(*bounds) for bounds in self.crop)] = values[np.ix_(*index)]
        return self.turned_back(full)

    def as_stored(self, values: np.ndarray) -> np.ndarray:
        """Check the shape of a map on the prepared grid and give it all three axes.

        Raises:
            ValueError: ``values`` has another shape than ``shape``, axes of length 1 apart.
        """
        long_axes = [length for length in self.shape if length > 1]
        if [length for length in values.shape if length > 1] != long_axes:
            raise ValueError(f'expected values of the shape {self.shape}, got {values.shape}')
        return values.reshape(self.shape)

    def turned(self, volume: np.ndarray) -> np.ndarray:
        """Reorder and reverse the axes of an array of ``raw_shape``; gives a view."""
        reversed_axes = tuple(axis for axis, flipped in enumerate(self.flips) if flipped)
        return np.flip(volume.transpose(self.axes), reversed_axes)

    def turned_back(self, volume: np.ndarray) -> np.ndarray:
        """Undo :meth:`turned` for an array of ``full_shape``; gives a view."""
        reversed_axes = tuple(axis for axis, flipped in enumerate(self.flips) if flipped)
        return np.flip(volume, reversed_axes).transpose(np.argsort(self.axes))


def body_axes(affine: np.ndarray) -> tuple[tuple[int, int, int], tuple[bool, bool, bool]]:
    """Find how to turn a volume to (Z, Y, X) towards the head, the back and the left.

    This is what ``SimpleITK.DICOMOrient(image, 'LPS')`` does to an array.

    Args:
        affine: 4x4 matrix from voxel indices to mm, R, A and S positive.

    Returns:
        ``axes`` and ``flips`` of a :class:`VolumeGrid`.
    """
    towards = nibabel.io_orientation(affine)  # per raw axis: R, A or S as 0, 1, 2, and the sign
    axes, flips = [], []
    for body_axis, wanted in ((2, 1), (1, -1), (0, -1)):
        (raw_axis,) = np.flatnonzero(towards[:, 0] == body_axis)
        axes.append(int(raw_axis))
        flips.append(bool(towards[raw_axis, 1] != wanted))
    return tuple(axes), tuple(flips)
