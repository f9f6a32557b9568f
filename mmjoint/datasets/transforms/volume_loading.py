import math
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from mmcv.transforms import BaseTransform

from mmjoint.functional.geometry import AXIS_ORDERS, AxisOrder, as_grid, file_grid
from mmjoint.functional.intensity import intensity_range, scale_from_range
from mmjoint.registry import TRANSFORMS
from mmjoint.utils.errors import UserError
from mmjoint.utils.volume_files import VolumeFile, read_volume_file

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

    Added Keys:

    - img (np.ndarray): float32 ``(D, H, W, 1)`` or ``(H, W, 1)`` in [0, 1]
    - img_shape, ori_shape (tuple[int, ...]): the space axes
    - geometry (dict), spacing (tuple[float, ...]): from the file's header, where it has one and
      the record has none

    Args:
        clip: Lowest and highest value, e.g. (-75, 275) HU for abdominal CT.
        percentiles: Clip at these percentiles of the volume instead, e.g. (0.5, 99.5).
        axes: Order of axes of what is read from a file with a header: ``'file'`` as stored,
            ``'reversed'`` Z first, ``'body'`` Z, Y, X towards head, back and left. Prepared files
            have their order.
        size: Resize what is read from a file with a header to these three lengths, linearly and
            before the intensities are scaled, as Synapse is prepared. So one pipeline reads
            prepared files and raw ones; ``geometry`` tells the way back.
        key: Name of the array in an HDF5 file.
    """

    deterministic = True

    def __init__(
        self,
        clip: tuple[float, float] | None = None,
        percentiles: tuple[float, float] | None = None,
        axes: AxisOrder = 'file',
        size: tuple[int, int, int] | None = None,
        key: str = 'image',
    ) -> None:
        if axes not in AXIS_ORDERS:
            raise ValueError(f'LoadVolume: axes must be one of {AXIS_ORDERS}, got {axes!r}')
        intensity_range(np.zeros(1), clip=clip, percentiles=percentiles)  # refuses wrong limits
        self.clip = None if clip is None else tuple(clip)
        self.percentiles = None if percentiles is None else tuple(percentiles)
        if size is not None and (len(size) != 3 or min(size) < 1):
            raise ValueError(f'LoadVolume: size must be three lengths >= 1, got {size!r}')
        self.axes = axes
        self.size = None if size is None else tuple(size)
        self.key = key
        self._ranges: dict[str, tuple[float, float]] = {}

    def transform(self, results: dict) -> dict:
        """Read ``results['img_path']``.

        Raises:
            UserError: The file is missing, damaged or constant, holds values that are not finite,
                or has another shape than its geometry says.
        """
        path = results['img_path']
        array, grid = _read(path, self.axes, self.key)
        if grid is not None and self.size is not None:
            array, grid = _resized(array, self.size), replace(grid, shape=self.size)
        if grid is not None and 'geometry' not in results:
            results['geometry'] = grid.to_dict()
            results['spacing'] = grid.spacing
        if 'geometry' in results:
            _check_shape(path, array.shape, results['geometry'])
        if path not in self._ranges:
            self._ranges[path] = self._range_of(path, array)
        results['img'] = scale_from_range(array, *self._ranges[path])[..., None]
        results['img_shape'] = results['ori_shape'] = array.shape
        return results

    def _range_of(self, path: str, array: np.ndarray) -> tuple[float, float]:
        low, high = intensity_range(array, clip=self.clip, percentiles=self.percentiles)
        if not (math.isfinite(low) and math.isfinite(high)):
            count = int(array.size - np.isfinite(array).sum())
            raise UserError(
                f'{path}: expected finite values, found NaN or infinity in {count} of '
                f'{array.size} voxels; repair or leave out this file'
            )
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
            f'axes={self.axes!r}, size={self.size}, key={self.key!r})'
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
        labels, _ = _read(path, self.axes, self.key)
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


def _read(path: str, axes: AxisOrder, key: str) -> tuple[np.ndarray, Any]:
    """Array in the wanted order and the grid that the file's header tells, if any."""
    stored: VolumeFile = read_volume_file(path, key=key)
    if stored.affine is None or stored.array.ndim != 3:
        return stored.array, None
    try:
        grid = file_grid(path, stored.array.shape, stored.affine, axes)
    except ValueError as error:
        raise UserError(
            f'{path}: expected an affine that places the voxels, found {stored.affine.tolist()}; '
            'correct the header'
        ) from error
    return grid.turned(stored.array), grid


def _resized(array: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    volume = torch.from_numpy(np.ascontiguousarray(array, np.float32))[None, None]
    return F.interpolate(volume, size, mode='trilinear', align_corners=False)[0, 0].numpy()


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
