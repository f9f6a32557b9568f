"""Predictions of models with several tasks: back in the frame of the raw file, and as files."""

import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from mmengine.model import is_model_wrapper
from mmengine.structures import PixelData
from torch import Tensor, nn

from mmjoint.functional.fundus_frame import to_raw_frame
from mmjoint.functional.multilabel import Channels
from mmjoint.functional.task_labels import labels_from_probs
from mmjoint.models.explanations import Explainer
from mmjoint.models.uncertainty import UncertaintyEstimator
from mmjoint.structures import JointDataSample
from mmjoint.utils.errors import UserError
from mmjoint.utils.index_png import write_index_png
from mmjoint.utils.io import atomic_write_bytes
from mmjoint.visualization.drawing import write_image
from mmjoint.visualization.uncertainty_maps import probability_png

# What lies outside of the photograph's crop, where the model saw nothing.
_OUTSIDE = {'pred_tasks': 0.0, 'task_std': 0.0, 'seg_uncertainty': float('nan')}


def tasks_of(model: nn.Module) -> dict[str, Channels]:
    """Give the table of tasks of a model, whatever stands around it; empty without tasks."""
    while is_model_wrapper(model):
        model = model.module
    if isinstance(model, Explainer):
        model = model.predictor
    if isinstance(model, UncertaintyEstimator):
        model = model.model
    return dict(getattr(model, 'tasks', None) or {})


def in_raw_frame(sample: JointDataSample) -> JointDataSample:
    """Bring predicted tasks from the frame of the prepared image back to that of the raw file.

    Outside of the crop nothing is predicted: probabilities are 0 there, and maps of uncertainty
    NaN. Where the record of the sample tells a size of the raw file but no frame, the prepared
    image was resized, and so are the maps.

    Args:
        sample: On the CPU; with the metainfo ``frame`` and ``raw_shape``.

    Returns:
        A new sample with the metainfo and the predicted fields; ``sample`` itself where the raw
        file has no other frame.

    Raises:
        UserError: A frame does not fit the prediction or the file, or what is predicted is a mask,
            of which nothing is known outside of the crop.
    """
    shape = sample.metainfo.get('raw_shape')
    if shape is None:
        return sample
    if 'pred_tasks' not in sample:
        if 'frame' not in sample.metainfo:
            return sample
        raise UserError(
            f'{_name(sample)}: expected a model of tasks behind CropFieldOfView, found one without '
            'pred_tasks; take CropFieldOfView out of infer_pipeline'
        )
    result = JointDataSample(metainfo={**sample.metainfo, 'ori_shape': tuple(shape)[:2]})
    for field, outside in _OUTSIDE.items():
        if field not in sample:
            continue
        maps = {
            name: torch.from_numpy(map_in_raw_frame(values.float().numpy(), sample, outside))
            for name, values in sample.get(field).items()
        }
        result.set_field(PixelData(**maps), field)
    return result


def map_in_raw_frame(
    values: np.ndarray, sample: JointDataSample, outside: float = 0.0
) -> np.ndarray:
    """Do what :func:`in_raw_frame` does to one array ``(C, H, W)``.

    Args:
        values: Of the size of the prepared image.
        sample: Its metainfo counts.
        outside: Value outside of the crop.
    """
    shape = sample.metainfo.get('raw_shape')
    if shape is None:
        return values
    height, width = (int(length) for length in shape[:2])
    if 'frame' in sample.metainfo:
        try:
            return to_raw_frame(values, sample.metainfo['frame'], (height, width), outside=outside)
        except ValueError as error:
            raise UserError(
                f'{_name(sample)}: the frame of its record does not fit the prediction: {error}; '
                'prepare the set again'
            ) from error
    if values.shape[1:] == (height, width):
        return values
    return np.stack([cv2.resize(each, (width, height)) for each in values])


def _name(sample: JointDataSample) -> str:
    return str(sample.metainfo.get('img_path', 'a sample'))


def label_maps(
    sample: JointDataSample, tasks: Mapping[str, Channels], threshold: float = 0.5
) -> Iterator[tuple[str, Tensor, np.ndarray]]:
    """Give for each predicted task its name, probabilities ``(C, H, W)`` and label map.

    Args:
        sample: With ``pred_tasks``.
        tasks: Channels of each task.
        threshold: A channel is there where its probability is greater.

    Yields:
        Label maps are uint8 ``(H, W)``, see
        :func:`mmjoint.functional.task_labels.labels_from_probs`.

    Raises:
        UserError: A task is not in the table, or has another number of channels there.
    """
    for task, probs in sample.pred_tasks.items():
        if len(tasks.get(task, ())) != len(probs):
            raise UserError(
                f'{_name(sample)}: expected the {len(probs)} channels of the task {task} in the '
                f'table of tasks, found {list(tasks.get(task, ()))}; use the config of the model'
            )
        yield task, probs, labels_from_probs(probs, tasks[task], threshold=threshold).numpy()


class TaskWriter:
    """Write predicted tasks as files in the frame of the raw photograph.

    For each task ``<name>_<task>.png`` is a label map: 8 bit, the values of the table of tasks, the
    palette of PASCAL VOC. ``<name>_<task>_<channel>_prob.png`` is the probability of each channel,
    16 bit, over 65535; ``<name>_<measure>_<task>.npy`` is each map of uncertainty, float32.

    Args:
        out_dir: Folder of the files.
        tasks: Channels of each task.
    """

    def __init__(self, out_dir: str | Path, tasks: Mapping[str, Channels]) -> None:
        self.out_dir = Path(out_dir)
        self.tasks = tasks

    def write(self, sample: JointDataSample, name: str) -> dict[str, Path]:
        """Write what a sample holds of predicted tasks.

        Args:
            sample: With ``pred_tasks``.
            name: First part of the files' names.

        Returns:
            ``<task>``, ``<task>_<channel>_prob`` and ``<measure>_<task>`` -> its file.

        Raises:
            UserError: The prediction does not fit the table of tasks or the raw file.
        """
        sample = in_raw_frame(sample.cpu())
        files = {}
        for task, probs, labels in label_maps(sample, self.tasks):
            files[task] = self.out_dir / f'{name}_{task}.png'
            write_index_png(files[task], labels)
            for channel, values in zip(self.tasks[task], probs.numpy(), strict=True):
                key = f'{task}_{channel}_prob'
                files[key] = self.out_dir / f'{name}_{key}.png'
                write_image(files[key], probability_png(values, rounding='nearest', bits=16))
        measures: Any = sample.seg_uncertainty.items() if 'seg_uncertainty' in sample else ()
        for measure, values in measures:
            files[measure] = self.out_dir / f'{name}_{measure}.npy'
            data = io.BytesIO()
            np.save(data, values[0].float().numpy())
            atomic_write_bytes(files[measure], data.getvalue())
        return files
