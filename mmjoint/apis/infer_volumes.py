"""What the prediction of a volume leaves on disk: NIfTI files, a picture and a row of a table."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mmjoint.structures import JointDataSample
from mmjoint.utils.errors import UserError

from .infer_outputs import OutputOptions, PredictionWriter
from .volume_writer import VolumeWriter, grid_of


class VolumePredictionWriter(PredictionWriter):
    """Writes the files of one volume after the other and collects the table.

    ``<name>_pred.nii.gz`` and ``<name>_<measure>.nii.gz`` lie in the geometry of the file,
    ``<name>_slices.png`` shows three slices. Of the options count ``pictures``, ``out_map`` (a
    probability map is written beside the labels), ``mask_threshold``, ``passes`` and ``arrays``
    (both on the network's grid).

    Args:
        out, names, options, dataset_meta: See :class:`PredictionWriter`.
    """

    def __init__(
        self,
        out: Path,
        names: Sequence[str],
        options: OutputOptions,
        dataset_meta: Mapping[str, Any],
    ) -> None:
        super().__init__(out, names, options, dataset_meta)
        self._volumes = VolumeWriter(out)

    def write(
        self,
        index: int,
        shown: str,
        image: np.ndarray,
        sample: JointDataSample,
        truth: Path | None = None,
    ) -> None:
        """Write the files of a volume and add its row.

        Args:
            index: Number of the volume.
            shown: Its name in the table.
            image: uint8 ``(D, H, W)``, grey, on the grid of the prediction.
            sample: Its prediction.
            truth: Is not used.

        Raises:
            ImpossibleOptionError: If an option does not go with the model.
            UserError: If there is no mask, or it cannot be placed.
        """
        if 'pred_sem_seg' not in sample:
            self._check(0)
            raise UserError(f'{shown}: expected a mask, found none; use a model that segments')
        options = self.options
        probs = self._probabilities(sample)
        maps = {}
        if options.out_map == 'prob':
            name = f'prob_c{options.class_index}'
            maps[name] = torch.from_numpy(probs[options.class_index])
        arrays = self._volumes.restored(sample, maps)
        row: dict[str, Any] = dict(image=shown, **self._size_row(sample, arrays['pred']))
        row |= self._certainty_row(sample, probs)
        if 'pred_score' in sample:
            row |= self._class_row(sample)
        if options.pictures:
            self._volumes.save(arrays, sample, self.names[index])
            self._draw(index, image, sample)
            if options.arrays:
                self._write_arrays(index, sample, probs, sample.pred_sem_seg.data[0].numpy())
            if index in self._open:
                self._open.pop(index).close()
        self.rows.append(row)

    def _size_row(self, sample: JointDataSample, labels: np.ndarray) -> dict[str, Any]:
        """Shape and spacing of the file, and how much of it each class takes."""
        grid = grid_of(sample)
        row: dict[str, Any] = {'voxels': 'x'.join(map(str, grid.raw_shape))}
        known = 'spacing' in sample.metainfo  # else the affine counts voxels
        row['spacing_mm'] = 'x'.join(f'{step:.6g}' for step in grid.raw_spacing) if known else ''
        counts = np.bincount(labels.ravel(), minlength=self.num_classes).tolist()
        names = self._class_names('classes', self.num_classes)
        # The affine may be sheared: its determinant, not the product of the spacings.
        volume = abs(float(np.linalg.det(np.asarray(grid.affine)[:3, :3])))
        for name, count in list(zip(names, counts, strict=True))[1:]:
            row[f'voxels_{name}'] = count
            row[f'ml_{name}'] = count * volume / 1000 if known else ''
        return row

    def _draw(self, index: int, image: np.ndarray, sample: JointDataSample) -> None:
        # Only where pictures are wanted are matplotlib's figures needed.
        from mmjoint.visualization.volume_slices import draw_slices

        caption = Path(self.names[index]).name
        self._pictures.write(
            self._path(index, '_slices.png'), draw_slices(image, sample, self.meta, caption=caption)
        )
        self._pictures.wait()


def check_options(args: argparse.Namespace) -> None:
    """Refuse options of a command line that make pictures of images, which volumes are not.

    Raises:
        UserError: If there is one.
    """
    given = {
        '--input-size': args.input_size is not None,
        '--masks': args.masks is not None,
        '--mask-values': args.mask_values is not None,
        '--rounding': args.rounding != 'floor',
        '--bits': args.bits != 8,
        '--save-samples': args.save_samples,
        '--save-mean-std': args.save_mean_std,
        '--save-maps': args.save_maps,
        '--overlay': args.overlay,
        '--explain': args.explain is not None,
    }
    for name, wanted in given.items():
        if wanted:
            raise UserError(
                f'{name}: is for images, but the config is for volumes, which get NIfTI files of '
                'labels and uncertainty and a picture of three slices; leave it out'
            )
