"""Writes predictions of volumes where the raw files lie in space."""

from pathlib import Path

import numpy as np

from mmjoint.functional.geometry import as_grid, restore_labels, restore_map
from mmjoint.structures import JointDataSample
from mmjoint.utils.errors import UserError
from mmjoint.utils.volume_files import without_suffix, write_nifti
from mmjoint.utils.volume_grid import VolumeGrid


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
        path = sample.metainfo.get('img_path', 'the sample')
        if 'geometry' not in sample.metainfo:
            raise UserError(
                f'{path}: expected a geometry in its record, found none, so the prediction cannot '
                'be placed; prepare the set again or predict whole NIfTI files'
            )
        grid = as_grid(sample.metainfo['geometry'])
        name = without_suffix(path) if name is None else name
        restored = {}
        if 'pred_sem_seg' in sample:
            labels = _stored(sample.pred_sem_seg.data[0].cpu().numpy(), grid, path)
            restored['pred'] = restore_labels(labels.astype(np.uint8), grid)
        if 'seg_uncertainty' in sample:
            for measure, values in sample.seg_uncertainty.items():
                values = _stored(values[0].float().cpu().numpy(), grid, path)
                restored[measure] = restore_map(values, grid)
        files = {}
        for kind, array in restored.items():
            files[kind] = self.out_dir / f'{name}_{kind}{self.suffix}'
            write_nifti(files[kind], array, grid.affine)
        return files


def _stored(values: np.ndarray, grid: VolumeGrid, path: str) -> np.ndarray:
    try:
        return grid.as_stored(values)
    except ValueError as error:
        raise UserError(
            f'{path}: its geometry is that of the shape {grid.shape}, the prediction has '
            f'{values.shape}; predict the whole volume at its prepared size'
        ) from error
