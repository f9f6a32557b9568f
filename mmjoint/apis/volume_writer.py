"""Writes predictions as files: volumes where the raw ones lie in space, images at their size."""

import io
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
from torch import Tensor

from mmjoint.functional.geometry import as_grid, restore_labels, restore_map
from mmjoint.functional.multilabel import Channels
from mmjoint.structures import JointDataSample
from mmjoint.utils.errors import UserError
from mmjoint.utils.io import atomic_write_bytes
from mmjoint.utils.volume_files import without_suffix, write_nifti
from mmjoint.utils.volume_grid import VolumeGrid
from mmjoint.visualization.drawing import write_image

from .task_files import TaskWriter


class VolumeWriter:
    """Write label maps and maps of uncertainty as NIfTI files in the geometry of the raw images.

    Crop, resizing (labels by nearest voxels, maps linearly), reversal and reordering of axes are
    undone, so that the files lie over the raw image in any viewer. Outside the crop labels are 0
    and maps NaN: the model said nothing there.

    Args:
        out_dir: Folder of the files.
        suffix: ``'.nii.gz'``, or ``'.nii'`` without compression.
    """

    def __init__(self, out_dir: str | Path, *, suffix: str = '.nii.gz') -> None:
        if suffix not in ('.nii', '.nii.gz'):
            raise ValueError(f"suffix must be '.nii' or '.nii.gz', got {suffix!r}")
        self.out_dir = Path(out_dir)
        self.suffix = suffix

    def write(self, sample: JointDataSample, name: str | None = None) -> dict[str, Path]:
        """Write what a sample holds of predictions.

        Args:
            sample: With the metainfo ``geometry`` (and ``img_path``), and ``pred_sem_seg`` or
                ``seg_uncertainty`` of the prepared shape.
            name: First part of the files' names; that of ``img_path`` by default.

        Returns:
            ``pred`` (label map, uint8) and each measure of uncertainty (float32) -> the file
            ``<name>_pred.nii.gz``, ``<name>_<measure>.nii.gz``.

        Raises:
            UserError: The sample tells no geometry, or a prediction has another shape.
        """
        if name is None:
            name = without_suffix(sample.metainfo.get('img_path', 'sample'))
        return self.save(self.restored(sample), sample, name)

    def restored(
        self, sample: JointDataSample, maps: Mapping[str, Tensor] | None = None
    ) -> dict[str, np.ndarray]:
        """Give what a sample holds of predictions on the grid of the raw file.

        Args:
            sample: See :meth:`write`.
            maps: Further maps of numbers of the prepared shape, by name.

        Returns:
            ``pred`` (uint8), each measure of uncertainty and each of ``maps`` (float32).

        Raises:
            UserError: See :meth:`write`.
        """
        grid = grid_of(sample)
        path = sample.metainfo.get('img_path', 'the sample')
        arrays = {}
        if 'pred_sem_seg' in sample:
            labels = _stored(sample.pred_sem_seg.data[0].cpu().numpy(), grid, path)
            arrays['pred'] = restore_labels(labels.astype(np.uint8), grid)
        measures = {}
        if 'seg_uncertainty' in sample:
            measures = {name: values[0] for name, values in sample.seg_uncertainty.items()}
        for name, values in {**measures, **(maps or {})}.items():
            values = _stored(values.float().cpu().numpy(), grid, path)
            arrays[name] = restore_map(values, grid)
        return arrays

    def save(
        self, arrays: Mapping[str, np.ndarray], sample: JointDataSample, name: str
    ) -> dict[str, Path]:
        """Write arrays on the raw grid of a sample; gives their files ``<name>_<kind>``."""
        files = {}
        for kind, array in arrays.items():
            files[kind] = self.out_dir / f'{name}_{kind}{self.suffix}'
            write_nifti(files[kind], array, grid_of(sample).affine)
        return files


class SampleWriter:
    """Write the prediction of a sample of any data set.

    What has a geometry goes to a :class:`VolumeWriter`. Of images, ``<name>_pred.png`` holds the
    class numbers, 8 bit, and ``<name>_<measure>.npy`` each map of uncertainty, float32, both at
    the size that the image had before it was prepared (labels by nearest pixels, maps linearly).
    Of models with several tasks see :class:`mmjoint.apis.task_files.TaskWriter`.

    Args:
        out_dir: Folder of the files.
        tasks: Channels of each task, of models that have several.
    """

    def __init__(self, out_dir: str | Path, tasks: Mapping[str, Channels] | None = None) -> None:
        self.out_dir = Path(out_dir)
        self._volumes = VolumeWriter(out_dir)
        self._tasks = TaskWriter(out_dir, tasks or {})

    def __call__(self, sample: JointDataSample, name: str) -> dict[str, Path]:
        """Write what a sample holds of predictions.

        Args:
            sample: With ``pred_sem_seg`` or ``pred_tasks``.
            name: First part of the files' names.

        Returns:
            ``pred`` and each measure of uncertainty -> its file.

        Raises:
            UserError: There is no mask, or it cannot be placed.
        """
        if 'pred_tasks' in sample:
            return self._tasks.write(sample, name)
        if 'pred_sem_seg' not in sample:
            path = sample.metainfo.get('img_path', 'the sample')
            raise UserError(
                f'{path}: expected a predicted mask to write, found none; use a model that segments'
            )
        labels = sample.pred_sem_seg.data[0].cpu().numpy()
        if 'geometry' in sample.metainfo or labels.ndim != 2:
            return self._volumes.write(sample, name)
        height, width = sample.metainfo.get('raw_shape', labels.shape)
        files = {'pred': self.out_dir / f'{name}_pred.png'}
        resized = cv2.resize(
            labels.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST_EXACT
        )
        write_image(files['pred'], resized)
        measures = sample.seg_uncertainty.items() if 'seg_uncertainty' in sample else ()
        for measure, values in measures:
            files[measure] = self.out_dir / f'{name}_{measure}.npy'
            values = cv2.resize(values[0].float().cpu().numpy(), (width, height))
            data = io.BytesIO()
            np.save(data, values)
            atomic_write_bytes(files[measure], data.getvalue())
        return files


def grid_of(sample: JointDataSample) -> VolumeGrid:
    """Give the grid that the metainfo of a sample describes.

    Raises:
        UserError: There is none.
    """
    if 'geometry' not in sample.metainfo:
        path = sample.metainfo.get('img_path', 'the sample')
        raise UserError(
            f'{path}: expected a geometry in its record, found none (a patch has none), so the '
            'prediction cannot be placed; prepare the set again, or predict whole raw files'
        )
    return as_grid(sample.metainfo['geometry'])


def _stored(values: np.ndarray, grid: VolumeGrid, path: str) -> np.ndarray:
    try:
        return grid.as_stored(values)
    except ValueError as error:
        raise UserError(
            f'{path}: its geometry is that of the shape {grid.shape}, the prediction has '
            f'{values.shape}; predict the whole volume at its prepared size'
        ) from error
