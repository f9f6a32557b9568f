"""What a prediction of several tasks leaves on disk: label maps, probabilities, maps, pictures."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmjoint.functional.aggregation import aggregate_maps
from mmjoint.functional.multilabel import Channels
from mmjoint.functional.task_labels import label_confidence
from mmjoint.functional.uncertainty_scale import split_measure, uncertainty_upper_bound
from mmjoint.structures import JointDataSample
from mmjoint.utils.errors import UserError
from mmjoint.utils.index_png import write_index_png
from mmjoint.visualization.drawing import PROBABILITY_COLOURS, heat_map
from mmjoint.visualization.task_panels import overlay_tasks
from mmjoint.visualization.uncertainty_maps import colour_map

from .infer_outputs import OutputOptions, PassFile, PredictionWriter, measures_of_sample
from .task_files import label_maps, map_in_raw_frame


class TaskPredictionWriter(PredictionWriter):
    """Writes the files of one photograph after the other and collects the table.

    For each task ``<name>_<task>.png`` is a label map, 8 bit, with the values of the table of
    tasks. Of the options count:

    - ``out_map='prob'``: ``<name>_<task>_<channel>_prob.png`` beside the label maps;
    - ``mask_threshold``: of all channels, 0.5 by default;
    - ``arrays``: ``<name>.npz``, the probabilities of a task under its name, its label map as
      ``pred_<task>``, with passes ``std_<task>``, and all maps of uncertainty;
    - ``passes``: ``<name>_probs.npy`` ``(T, C, H, W)``, channels of all tasks in their order;
    - ``samples``: ``<name>_mcTT_<task>_<channel>.png``;
    - ``mean_std``: ``<name>_mean_<task>_<channel>.png`` and ``<name>_std_<task>_<channel>.png``;
    - ``maps``: coloured maps of each probability and each measure;
    - ``overlay``: ``<name>_overlay.png``, panels, and ``<name>_tasks.png``, the photograph with all
      tasks.

    Args:
        out, names, options, dataset_meta: See :class:`PredictionWriter`; ``dataset_meta`` has the
            table of ``tasks``.
    """

    def __init__(
        self,
        out: Path,
        names: Sequence[str],
        options: OutputOptions,
        dataset_meta: Mapping[str, Any],
    ) -> None:
        super().__init__(out, names, options, dataset_meta)
        self.tasks: dict[str, Channels] = dict(dataset_meta['tasks'])
        self._channels = [f'{task}_{name}' for task, names in self.tasks.items() for name in names]

    def observe(self, sample: JointDataSample, number: int, probs: Tensor) -> None:
        """Write one pass of a photograph.

        Args:
            sample: Its ``sample_idx`` is the number of the photograph.
            number: Of the pass, from 0.
            probs: ``(C, H, W)`` of the channels of all tasks.
        """
        index = sample.metainfo['sample_idx']
        maps = map_in_raw_frame(probs.detach().cpu().float().numpy(), sample)
        if self.options.passes:
            if number == 0:
                self.abandon(index)
                self._open[index] = PassFile(self._path(index, '_probs.npy'), maps.shape)
            self._open[index].append(maps)
        if self.options.samples:
            for name, values in zip(self._channels, maps, strict=True):
                self._probability(index, f'_mc{number:02d}_{name}', values)

    def write(
        self,
        index: int,
        shown: str,
        image: np.ndarray,
        sample: JointDataSample,
        truth: Path | None = None,
    ) -> None:
        """Write the files of a photograph and add its row.

        Args:
            index: Number of the photograph.
            shown: Its name in the table.
            image: uint8 ``(H, W, 3)``, RGB.
            sample: Its prediction, of the size of ``image``.
            truth: Is not used.

        Raises:
            UserError: The prediction does not fit the table of tasks.
        """
        height, width = image.shape[:2]
        threshold = self.options.mask_threshold
        row: dict[str, Any] = dict(image=shown, width=width, height=height)
        labels, probs = {}, {}
        found = label_maps(sample, self.tasks, 0.5 if threshold is None else threshold)
        for task, values, own in found:
            row |= self._task_row(task, values, own)
            labels[task], probs[task] = own, values.numpy()
        measures = measures_of_sample(sample)
        for name, values in measures.items():
            pred = labels.get(split_measure(name)[1])
            for score, value in aggregate_maps({name: values}, pred)[name].items():
                row[f'{name}_{score}'] = value
        if self.options.pictures:
            self._write_task_files(index, image, sample, labels, probs)
        self.rows.append(row)

    def _task_row(self, task: str, probs: Tensor, labels: np.ndarray) -> dict[str, Any]:
        own = torch.from_numpy(labels)
        row: dict[str, Any] = {}
        for channel, values in self.tasks[task].items():
            area = int(np.isin(labels, list(values)).sum())
            row[f'area_{task}_{channel}'] = area
            row[f'share_{task}_{channel}'] = area / labels.size
        confidence = label_confidence(probs, own, self.tasks[task])
        row[f'mean_confidence_{task}'] = float(confidence.double().mean())
        return row

    def _write_task_files(
        self,
        index: int,
        image: np.ndarray,
        sample: JointDataSample,
        labels: Mapping[str, np.ndarray],
        probs: Mapping[str, np.ndarray],
    ) -> None:
        options, measures = self.options, measures_of_sample(sample)
        stds = {task: np.zeros_like(values) for task, values in probs.items()}
        if 'task_std' in sample:
            stds = {task: values.numpy() for task, values in sample.task_std.items()}
        for task, own in labels.items():
            write_index_png(self._path(index, f'_{task}.png'), own)
            for number, channel in enumerate(self.tasks[task]):
                values, name = probs[task][number], f'{task}_{channel}'
                if options.out_map == 'prob':
                    self._probability(index, f'_{name}_prob', values)
                if options.mean_std:
                    self._probability(index, f'_mean_{name}', values)
                    self._probability(index, f'_std_{name}', stds[task][number])
                if options.maps:
                    drawn = colour_map(values, PROBABILITY_COLOURS)
                    path = self._path(index, f'_{name}_probability_map.png')
                    self._pictures.write(path, drawn)
        if options.maps:
            for name, values in measures.items():
                drawn = heat_map(values, 0.0, uncertainty_upper_bound(name, 2))
                self._pictures.write(self._path(index, f'_{name}.png'), drawn)
        if options.arrays:
            arrays = {**probs, **{f'pred_{task}': own for task, own in labels.items()}, **measures}
            if 'task_std' in sample:
                arrays |= {f'std_{task}': values for task, values in stds.items()}
            self._save_arrays(index, arrays)
        if options.overlay:
            self._write_panels(index, image, sample, draw_gt=False)
            drawn = overlay_tasks(image, labels, self.tasks)
            self._pictures.write(self._path(index, '_tasks.png'), drawn)
        self._pictures.wait()
        if index in self._open:
            self._open.pop(index).close()


def check_task_options(args: argparse.Namespace) -> None:
    """Refuse options of a command line that are for models of one mask.

    Raises:
        UserError: If there is one.
    """
    given = {
        '--masks': (args.masks is not None, 'test against label maps by tools/test.py'),
        '--mask-values': (args.mask_values is not None, 'the table of tasks has the values'),
        '--class-index': (args.class_index != 1, 'all channels are written'),
    }
    for name, (wanted, instead) in given.items():
        if wanted:
            raise UserError(
                f'{name}: is for models of one mask, but this one has several tasks; leave it out '
                f'({instead})'
            )
