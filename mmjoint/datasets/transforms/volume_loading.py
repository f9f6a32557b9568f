import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from mmcv.transforms import BaseTransform
from scipy import ndimage

from mmjoint.functional.geometry import AXIS_ORDERS, AxisOrder, as_grid, file_grid
from mmjoint.functional.intensity import Limits, intensity_range, scale_from_range
from mmjoint.registry import TRANSFORMS
from mmjoint.utils.errors import UserError
from mmjoint.utils.volume_files import read_volume_file
from mmjoint.utils.volume_grid import VolumeGrid

from .loading import check_class_numbers, keep_classes


@TRANSFORMS.register_module()
class LoadVolume(BaseTransform):
    """Read a volume, or a slice of one, and scale its intensities to [0, 1].

    Intensities are clipped (or not), then the smallest becomes 0 and the largest 1, over the whole
    volume. This range is looked for once per file and process, so that a later visit costs one
    pass over the volume. Prepared files (``.npy``) are mapped into memory: all processes of a node
    share one copy in the system's page cache, and none is kept in theirs.

    Required Keys:

    - img_path (str): ``.npy``, NIfTI, HDF5, MetaImage or NRRD file
    - geometry (dict, optional): fields of :class:`mmjoint.utils.volume_grid.VolumeGrid`
    - frame (int, optional): index along the fourth axis of the file, with ``frames``

    Added Keys:

    - img (np.ndarray): float32 ``(D, H, W, 1)`` or ``(H, W, 1)`` in [0, 1]
    - img_shape, ori_shape (tuple[int, ...]): the space axes
    - geometry (dict), spacing (tuple[float, ...]): of raw files, where the record has none. HDF5
      files tell no spacing: without the option ``spacing`` there is none, and the affine of their
      geometry counts voxels.

    The options from ``axes`` on are for raw files, which are all but ``.npy``: they do what was
    done to the prepared ones, so one pipeline may read both. ``geometry`` tells the way back.

    Args:
        clip: Lowest and highest value, e.g. (-75, 275) HU for abdominal CT; ``None`` for no limit
            at an end.
        percentiles: Clip at these percentiles of the volume instead, e.g. (0.5, 99.5), or at one
            end: ``clip=(0, None), percentiles=(None, 98)``.
        axes: Order of axes: ``'file'`` as stored, ``'reversed'`` Z first, ``'body'`` Z, Y, X
            towards head, back and left.
        size: Resize to these three lengths, before the intensities are scaled.
        resizing: ``'linear'`` as images of Synapse are prepared (torch; predictions are brought
            back as its labels were resized), or ``'nearest'`` as MMWHS and M&Ms are
            (``scipy.ndimage.zoom``).
        central: Of these axes, after reordering, only the middle two thirds are kept, before
            resizing, as in M&Ms.
        key: Name of the array in an HDF5 file.
        spacing: Voxel size in mm of HDF5 files, in their order of axes.
        frames: Whether a NIfTI file may hold several volumes along a fourth axis, of which
            ``frame`` chooses one.
    """

    deterministic = True

    def __init__(
        self,
        clip: Limits | None = None,
        percentiles: Limits | None = None,
        axes: AxisOrder = 'file',
        size: tuple[int, int, int] | None = None,
        resizing: Literal['linear', 'nearest'] = 'linear',
        central: Sequence[int] = (),
        key: str = 'image',
        spacing: tuple[float, float, float] | None = None,
        frames: bool = False,
    ) -> None:
        if axes not in AXIS_ORDERS:
            raise ValueError(f'LoadVolume: axes must be one of {AXIS_ORDERS}, got {axes!r}')
        intensity_range(np.zeros(1), clip=clip, percentiles=percentiles)  # refuses wrong limits
        if size is not None and (len(size) != 3 or min(size) < 1):
            raise ValueError(f'LoadVolume: size must be three lengths >= 1, got {size!r}')
        if resizing not in ('linear', 'nearest'):
            raise ValueError(
                f"LoadVolume: resizing must be 'linear' or 'nearest', got {resizing!r}"
            )
        if not set(central) <= {0, 1, 2}:
            raise ValueError(f'LoadVolume: central must name axes 0, 1 or 2, got {central!r}')
        if spacing is not None and (len(spacing) != 3 or min(spacing) <= 0):
            raise ValueError(f'LoadVolume: spacing must be three lengths > 0, got {spacing!r}')
        self.clip = None if clip is None else tuple(clip)
        self.percentiles = None if percentiles is None else tuple(percentiles)
        self.axes = axes
        self.size = None if size is None else tuple(size)
        self.resizing = resizing
        self.central = tuple(central)
        self.key = key
        self.spacing = None if spacing is None else tuple(spacing)
        self.frames = frames
        self._ranges: dict[tuple[str, int | None], tuple[float, float]] = {}

    def transform(self, results: dict) -> dict:
        """Read ``results['img_path']``.

        Raises:
            UserError: The file is missing, damaged or constant, holds values that are not finite,
                or has another shape than its geometry says.
        """
        path, frame = results['img_path'], results.get('frame') if self.frames else None
        array, grid, spacing_known = _read(path, self.axes, self.key, frame, self.spacing)
        if grid is not None:
            array, grid = self._as_prepared(path, array, replace(grid, frame=frame))
        if grid is not None and 'geometry' not in results:
            results['geometry'] = grid.to_dict()
            if spacing_known:
                results['spacing'] = grid.spacing
        if 'geometry' in results:
            _check_shape(path, array.shape, results['geometry'])
        if (path, frame) not in self._ranges:
            self._ranges[path, frame] = self._range_of(path, array)
        results['img'] = scale_from_range(array, *self._ranges[path, frame])[..., None]
        results['img_shape'] = results['ori_shape'] = array.shape
        return results

    def _as_prepared(
        self, path: str, array: np.ndarray, grid: VolumeGrid
    ) -> tuple[np.ndarray, VolumeGrid]:
        """Cut and resize a raw volume whose axes are turned."""
        if self.central:
            box = tuple(
                _middle(length) if axis in self.central else (0, length)
                for axis, length in enumerate(array.shape)
            )
            if any(start == stop for start, stop in box):
                raise UserError(
                    f'{path}: expected at least 3 voxels along the axes {self.central} of which '
                    f'the middle is kept, found the shape {array.shape}; use whole volumes'
                )
            array = array[tuple(slice(*bounds) for bounds in box)]
            grid = replace(grid, crop=box, shape=array.shape)
        if self.size is not None:
            _check_finite(path, array)  # resizing could skip or spread what is not finite
            array = _RESIZE[self.resizing](array, self.size)
            # What is brought back are labels, which Synapse resizes by torch's nearest rule.
            alignment = 'starts' if self.resizing == 'linear' else 'corners'
            grid = replace(grid, shape=self.size, alignment=alignment)
        return array, grid

    def _range_of(self, path: str, array: np.ndarray) -> tuple[float, float]:
        low, high = intensity_range(array, clip=self.clip, percentiles=self.percentiles)
        if not (math.isfinite(low) and math.isfinite(high)):
            _check_finite(path, array)
        if low == high:
            clipped = '' if self.clip is self.percentiles is None else ' after clipping'
            raise UserError(
                f'{path}: expected an image, found the one value {low:g}{clipped} in all voxels; '
                'repair or leave out this file'
            )
        return low, high

    def __repr__(self) -> str:
        """Show the options."""
        return (
            f'{type(self).__name__}(clip={self.clip}, percentiles={self.percentiles}, '
            f'axes={self.axes!r}, size={self.size}, resizing={self.resizing!r}, '
            f'central={self.central}, key={self.key!r}, spacing={self.spacing}, '
            f'frames={self.frames})'
        )


@TRANSFORMS.register_module()
class LoadVolumeAnnotations(BaseTransform):
    """Read the label map of a volume, or of a slice, where it has one.

    Where ``annotated_classes`` is among the keys, voxels of all other classes become background
    (0); ignored ones (255) stay.

    Required Keys:

    - seg_map_path (str, optional): absent where the sample has no label map
    - classes (tuple[str, ...])
    - ori_shape (tuple[int, ...])
    - annotated_classes (tuple[int, ...], optional)

    Modified Keys:

    - seg_fields (list[str]): gets ``gt_seg_map``

    Added Keys:

    - gt_seg_map (np.ndarray): uint8, read-only, of the shape ``ori_shape``, classes in ``[0, C)``
      or 255; only with a label map

    Args:
        axes: As in :class:`LoadVolume`.
        key: Name of the array in an HDF5 file.
    """

    deterministic = True

    def __init__(self, axes: AxisOrder = 'file', key: str = 'label') -> None:
        if axes not in AXIS_ORDERS:
            raise ValueError(
                f'LoadVolumeAnnotations: axes must be one of {AXIS_ORDERS}, got {axes!r}'
            )
        self.axes = axes
        self.key = key

    def transform(self, results: dict) -> dict:
        """Read ``results['seg_map_path']``.

        Raises:
            UserError: The file is missing or damaged, of another size than the image or holds a
                value that is no class.
        """
        if 'seg_map_path' not in results:
            return results
        path = results['seg_map_path']
        labels, _, _ = _read(path, self.axes, self.key)
        if labels.shape != tuple(results['ori_shape']):
            raise UserError(
                f'{path}: expected the shape of the image {results["img_path"]}, '
                f'{tuple(results["ori_shape"])}, found {labels.shape}; prepare the set again'
            )
        labels = _as_class_numbers(path, labels)
        check_class_numbers(path, labels, results['classes'])
        if 'annotated_classes' in results:
            labels = keep_classes(labels, results['annotated_classes'])
        results['gt_seg_map'] = labels
        results.setdefault('seg_fields', []).append('gt_seg_map')
        return results

    def __repr__(self) -> str:
        """Show the options."""
        return f'{type(self).__name__}(axes={self.axes!r}, key={self.key!r})'


def _read(
    path: str,
    axes: AxisOrder,
    key: str,
    frame: int | None = None,
    spacing: Sequence[float] | None = None,
) -> tuple[np.ndarray, VolumeGrid | None, bool]:
    """Array in the wanted order, the grid of a raw file, and whether its spacing is known."""
    stored = read_volume_file(path, key=key, frame=frame)
    array, affine = stored.array, stored.affine
    if array.ndim != 3 or path.lower().endswith('.npy'):
        return array, None, False
    if affine is None and axes == 'body':
        raise UserError(
            f"{path}: expected a file that tells how it lies in the body, as axes='body' needs, "
            'found HDF5; convert it to NIfTI'
        )
    known = affine is not None or spacing is not None
    if affine is None:
        affine = np.diag([*(spacing or (1.0, 1.0, 1.0)), 1.0])
    if not (np.isfinite(affine).all() and np.linalg.det(affine)):
        raise UserError(
            f'{path}: expected an affine that places the voxels, found {affine.tolist()}; '
            'correct the header'
        )
    grid = file_grid(path, array.shape, affine, axes)
    return grid.turned(array), grid, known


def _middle(length: int) -> tuple[int, int]:
    """Start and stop of the middle two thirds, rounded as the code that was published for M&Ms."""
    return length // 2 - length // 3, length // 2 + length // 3


def _linear(array: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    volume = torch.from_numpy(np.ascontiguousarray(array, np.float32))[None, None]
    return F.interpolate(volume, size, mode='trilinear', align_corners=False)[0, 0].numpy()


def _nearest(array: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    factors = [new / old for old, new in zip(array.shape, size, strict=True)]
    return ndimage.zoom(array.astype(np.float32, copy=False), factors, order=0)


_RESIZE = {'linear': _linear, 'nearest': _nearest}


def _check_finite(path: str, array: np.ndarray) -> None:
    count = int(array.size - np.isfinite(array).sum())
    if count:
        raise UserError(
            f'{path}: expected finite values, found NaN or infinity in {count} of '
            f'{array.size} voxels; repair or leave out this file'
        )


def _check_shape(path: str, shape: tuple[int, ...], geometry: dict) -> None:
    try:
        grid = as_grid(geometry)
    except ValueError as error:
        raise UserError(f'{path}: its record has a wrong geometry: {error}') from error
    if shape != grid.shape[-len(shape) :] or set(grid.shape[: -len(shape)]) - {1}:
        raise UserError(
            f'{path}: expected the shape {grid.shape} that its record tells, found {shape}; '
            'prepare the set again'
        )


def _as_class_numbers(path: str, labels: np.ndarray) -> np.ndarray:
    if labels.dtype == np.uint8:
        return labels
    numbers = labels.astype(np.uint8)
    if not np.array_equal(numbers, labels):
        raise UserError(
            f'{path}: expected class numbers, found values of {labels.dtype} that are negative, '
            'too large or not whole; prepare the set again'
        )
    return numbers
