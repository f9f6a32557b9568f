"""Pictures of several tasks: all over one image, and a row of panels for each."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from mmjoint.functional.multilabel import NO_LABEL, Channels, channel_masks
from mmjoint.functional.task_labels import labels_from_probs
from mmjoint.functional.uncertainty_scale import (
    primary_measure,
    split_measure,
    uncertainty_upper_bound,
)
from mmjoint.structures import JointDataSample

from .drawing import (
    class_palette,
    draw_contours,
    heat_map,
    measure_unit,
    overlay_labels,
    resize_to_fit,
)
from .panels import Panel, compose

Colours = dict[str, dict[str, tuple[int, int, int]]]
"""By task, the colour of each channel."""

_TRUTH = (255, 255, 255)
_CONTOUR = (120, 255, 255)


def task_colours(tasks: Mapping[str, Channels]) -> Colours:
    """Give each channel of each task a colour; they repeat after seven."""
    numbers = [(task, channel) for task, channels in tasks.items() for channel in channels]
    palette = class_palette(len(numbers) + 1)[1:]
    colours: Colours = {task: {} for task in tasks}
    for (task, channel), colour in zip(numbers, palette, strict=True):
        colours[task][channel] = colour
    return colours


def table_of(sample: JointDataSample, tasks: Mapping[str, Channels] | None) -> dict[str, Channels]:
    """Give the table of the tasks that a sample has; channels without names are numbered."""
    table = dict(tasks or {})
    for task, probs in sample.get('pred_tasks', {}).items():
        if len(table.get(task, ())) != len(probs):
            table[task] = {f'channel {n}': (n,) for n in range(1, len(probs) + 1)}
    for task in sample.get('gt_tasks', {}).keys():
        table.setdefault(task, {})
    return table


def masks_of(labels: np.ndarray, channels: Channels) -> dict[str, np.ndarray]:
    """Give the mask ``(H, W)`` of each channel in a label map."""
    masks = channel_masks(torch.from_numpy(np.asarray(labels, np.int64))[None], channels)[0]
    return dict(zip(channels, masks.numpy(), strict=True))


def overlay_channels(
    image: np.ndarray,
    labels: np.ndarray,
    channels: Channels,
    colours: Mapping[str, Sequence[int]],
    *,
    opacity: float = 0.35,
) -> np.ndarray:
    """Lay the channels of a task over an image, one after the other.

    Args:
        image: ``(H, W, 3)`` uint8.
        labels: ``(H, W)`` label map; where it is 255 it is drawn as grey stripes.
        channels: Values by channel.
        colours: Colour by channel.
        opacity: Of the areas, 0 to 1.

    Returns:
        ``(H, W, 3)`` uint8.
    """
    for channel, mask in masks_of(labels, channels).items():
        palette = [(0, 0, 0), colours[channel]]
        image = overlay_labels(image, mask.astype(np.uint8), palette, opacity=opacity)
    unknown = np.where(labels == NO_LABEL, NO_LABEL, 0)
    return overlay_labels(image, unknown, [(0, 0, 0)])


def outline_channels(image: np.ndarray, labels: np.ndarray, channels: Channels) -> np.ndarray:
    """Draw the borders of the channels of a true label map in white; see ``overlay_channels``."""
    for mask in masks_of(labels, channels).values():
        image = draw_contours(image, mask.astype(np.uint8), [_TRUTH, _TRUTH])
    return image


def draw_tasks(
    image: np.ndarray,
    sample: JointDataSample,
    tasks: Mapping[str, Channels] | None,
    *,
    draw_gt: bool = True,
    draw_pred: bool = True,
    caption: str = '',
    panel_size: int = 320,
    opacity: float = 0.35,
) -> np.ndarray:
    """Give a picture of a sample's tasks.

    The first row has the image and all predicted tasks over it, then each task has a row: its
    truth where it is annotated, its prediction with the truth as white lines, its uncertainty.

    Args:
        image: ``(H, W, 3)`` uint8, at the size of the maps.
        sample: With ``gt_tasks``, ``pred_tasks`` and ``seg_uncertainty`` as far as there are any.
        tasks: Table of the tasks; see :mod:`mmjoint.functional.multilabel`.
        draw_gt: Draw the truth.
        draw_pred: Draw the prediction and its uncertainty.
        caption: At the lower right.
        panel_size: Length of a panel's longer side, in pixels.
        opacity: Of the coloured areas, 0 to 1.

    Returns:
        ``(H, W, 3)`` uint8 RGB.

    Raises:
        ValueError: A map has another size than the image.
    """
    table = table_of(sample, tasks)
    colours = task_colours(table)
    small = resize_to_fit(image, panel_size, nearest=max(image.shape[:2]) < 64)
    truth = _label_maps(sample, 'gt_tasks', table) if draw_gt else {}
    preds = _label_maps(sample, 'pred_tasks', table) if draw_pred else {}
    for labels in (*truth.values(), *preds.values()):
        if labels.shape != image.shape[:2]:
            raise ValueError(
                f'a label map is {labels.shape}, the image {image.shape[:2]}: give the image at '
                'the size of the maps'
            )
    truth = {task: _fit(labels, panel_size) for task, labels in truth.items()}
    preds = {task: _fit(labels, panel_size) for task, labels in preds.items()}
    shown = [task for task in table if task in truth or task in preds]

    def overlay(drawn: np.ndarray, labels: np.ndarray, task: str) -> np.ndarray:
        return overlay_channels(drawn, labels, table[task], colours[task], opacity=opacity)

    first = [Panel(small, 'image')]
    for title, maps in (('truth, all tasks', truth), ('prediction, all tasks', preds)):
        if len(maps) > 1:
            drawn = small
            for task, labels in maps.items():
                drawn = overlay(drawn, np.where(labels == NO_LABEL, 0, labels), task)
            first.append(Panel(drawn, title))
    rows = [compose(first, [], '' if shown else caption, panel_size)]
    for task in shown:
        panels = []
        if task in truth:
            title = (
                f'{task}: truth' if (truth[task] != 0).any() else f'{task}: truth (nothing there)'
            )
            panels.append(Panel(overlay(small, truth[task], task), title))
        if task in preds:
            drawn, title = overlay(small, preds[task], task), f'{task}: prediction'
            if not (preds[task] != 0).any():
                title += ' (nothing found)'
            if task in truth and (truth[task] != 0).any():
                drawn = outline_channels(drawn, truth[task], table[task])
                title += ', truth as white lines'
            panels.append(Panel(drawn, title))
            panels += _uncertainty_panels(sample, task, preds[task], panel_size)
        legend = list(colours[task].items())
        rows.append(compose(panels, legend, caption if task == shown[-1] else '', panel_size))
    return _stack(rows)


def overlay_tasks(
    image: np.ndarray, labels: Mapping[str, np.ndarray], tasks: Mapping[str, Channels]
) -> np.ndarray:
    """Lay the label maps of all tasks over an image, at its own size.

    Args:
        image: ``(H, W, 3)`` uint8.
        labels: By task, ``(H, W)``.
        tasks: Channels of each task.
    """
    colours = task_colours(tasks)
    for task, each in labels.items():
        image = overlay_channels(image, each, tasks[task], colours[task])
    return image


def _label_maps(
    sample: JointDataSample, field: str, table: Mapping[str, Channels]
) -> dict[str, np.ndarray]:
    maps = {}
    for task, values in sample.get(field, {}).items():
        values: Tensor = torch.as_tensor(values).detach().cpu()
        labels = values[0] if field == 'gt_tasks' else labels_from_probs(values, table[task])
        maps[task] = labels.numpy()
    return maps


def _fit(labels: np.ndarray, size: int) -> np.ndarray:
    return resize_to_fit(labels.astype(np.int16), size, nearest=True)


def _uncertainty_panels(
    sample: JointDataSample, task: str, labels: np.ndarray, panel_size: int
) -> list[Panel]:
    maps = {
        measure: name
        for name in sample.get('seg_uncertainty', {}).keys()
        for measure, own in [split_measure(name)]
        if own == task
    }
    measure = primary_measure(list(maps))
    if measure is None:
        return []
    values = sample.seg_uncertainty.get(maps[measure])[0].detach().cpu().float().numpy()
    upper, unit = uncertainty_upper_bound(measure, 2), measure_unit(measure)
    drawn = heat_map(resize_to_fit(values, panel_size), 0.0, upper)
    drawn = draw_contours(drawn, (labels != 0).astype(np.uint8), [_CONTOUR] * 2)
    mean = f'{np.nanmean(values):.3f} {unit}'.strip()
    return [Panel(drawn, f'{task}: {measure.replace("_", " ")} (mean {mean})', upper, unit)]


def _stack(rows: Sequence[np.ndarray]) -> np.ndarray:
    width = max(row.shape[1] for row in rows)
    padded = [
        np.pad(row, ((0, 0), (0, width - row.shape[1]), (0, 0)), constant_values=255)
        for row in rows
    ]
    return np.concatenate(padded)
