"""Parts of the record of a case whose sample has several tasks."""

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
import torch

from mmjoint.functional.multilabel import NO_LABEL, Channels, channel_masks
from mmjoint.functional.overlap import dice
from mmjoint.functional.surface import assd_from_distances, surface_distances
from mmjoint.functional.task_labels import labels_from_probs
from mmjoint.functional.uncertainty_scale import (
    primary_measure,
    split_measure,
    uncertainty_upper_bound,
)

from .case_parts import map_scores, right_wrong_histograms, to_numpy

# A label is kept in a smaller picture where it fills at least this share of a pixel: structures
# that are thinner than a pixel would be lost by nearest neighbours.
_KEPT_SHARE = 0.3


def region_names(tasks: Mapping[str, Channels]) -> dict[tuple[str, str], str]:
    """Give each channel ``(task, channel)`` a name: its own, or with its task's where shared."""
    names = [channel for channels in tasks.values() for channel in channels]
    return {
        (task, channel): channel if names.count(channel) == 1 else f'{task} {channel}'
        for task, channels in tasks.items()
        for channel in channels
    }


def task_record(
    sample: dict, maps: Mapping[str, np.ndarray], tasks: Mapping[str, Channels], with_surface: bool
) -> tuple[dict[str, Any], dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Give what tasks contribute to a record.

    Args:
        sample: With ``pred_tasks`` and ``gt_tasks`` as far as there are any.
        maps: Uncertainty, ``(H, W)`` by ``<measure>_<task>``.
        tasks: Channels of each task.
        with_surface: Measure the surface distance of each channel, in pixels.

    Returns:
        Entries of the record: ``dice``, ``iou``, ``assd`` {channel: value or ``None``},
        ``num_pixels`` and ``num_wrong_pixels`` of all annotated tasks, ``has_foreground``,
        ``seg_uncertainty``. Tables: ``uncertainty/<measure>_<task>``, where a pixel is right if all
        channels of the task are. Pictures: ``gt/<task>``, ``pred/<task>`` (label maps) and
        ``uncertainty/<task>`` (0..255 over the measure's range).
    """
    names = region_names(tasks)
    record: dict[str, Any] = dict(dice=None, iou=None, assd=None)
    record |= dict(num_pixels=None, num_wrong_pixels=None, has_foreground=None)
    tables, planes, scores = {}, {}, {}
    predicted, annotated = sample.get('pred_tasks') or {}, sample.get('gt_tasks') or {}
    for task, channels in tasks.items():
        gt = None if task not in annotated else to_numpy(annotated[task])[0]
        if gt is not None:
            planes[f'gt/{task}'] = gt.astype(np.uint8)
        if task not in predicted:
            continue
        probs = torch.as_tensor(predicted[task]).detach().cpu().float()
        labels = labels_from_probs(probs, channels).numpy()
        planes[f'pred/{task}'] = labels
        record['has_foreground'] = bool(record['has_foreground'] or (labels != 0).any())
        own = {name: values for name, values in maps.items() if split_measure(name)[1] == task}
        scores |= map_scores(own, labels) or {}
        measure = primary_measure(list(own))
        if measure is not None:
            upper = uncertainty_upper_bound(measure, 2)
            scaled = np.clip(np.nan_to_num(own[measure]) / upper, 0, 1)
            planes[f'uncertainty/{task}'] = np.rint(scaled * 255).astype(np.uint8)
        if gt is None:
            continue
        known = gt != NO_LABEL
        found = (probs > 0.5).numpy()
        wanted = channel_masks(torch.from_numpy(gt.astype(np.int64))[None], channels)[0].numpy()
        _measure(record, [names[task, c] for c in channels], found, wanted, known, with_surface)
        right = (found == wanted).all(0)[known]
        record['num_pixels'] = (record['num_pixels'] or 0) + right.size
        record['num_wrong_pixels'] = (record['num_wrong_pixels'] or 0) + int((~right).sum())
        for name, values in own.items():
            upper = uncertainty_upper_bound(name, 2)
            tables[f'uncertainty/{name}'] = right_wrong_histograms(values[known], right, upper)
    record['seg_uncertainty'] = scores or None
    return record, tables, planes


def _measure(
    record: dict[str, Any],
    names: list[str],
    found: np.ndarray,
    wanted: np.ndarray,
    known: np.ndarray,
    with_surface: bool,
) -> None:
    for name, pred, gt in zip(names, found & known, wanted & known, strict=True):
        value = float(dice(pred, gt, empty=None))
        value = None if np.isnan(value) else value
        for key, entry in (
            ('dice', value),
            ('iou', None if value is None else value / (2 - value)),
        ):
            record[key] = {**(record[key] or {}), name: entry}
        if with_surface:
            distances = surface_distances(pred, gt)
            entry = None if distances is None else assd_from_distances(distances)
            record['assd'] = {**(record['assd'] or {}), name: entry}


def shrink_labels(labels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Shrink a label map so that thin structures stay.

    Args:
        labels: uint8 ``(H, W)``.
        size: Width and height of the result.

    Returns:
        uint8 ``(height, width)``: of the labels that fill a good share of a pixel the highest.
    """
    result = np.zeros(size[::-1], np.uint8)
    for value in np.unique(labels[labels != 0]):
        share = cv2.resize((labels == value).astype(np.float32), size, interpolation=cv2.INTER_AREA)
        result[share >= _KEPT_SHARE] = value
    return result
