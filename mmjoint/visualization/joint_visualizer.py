import math
import os
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from mmengine.dist import master_only
from mmengine.visualization import Visualizer

from mmjoint.functional.uncertainty_scale import primary_measure, uncertainty_upper_bound
from mmjoint.registry import VISUALIZERS
from mmjoint.structures import JointDataSample

from .drawing import (
    HEAT_COLOURS,
    as_rgb,
    class_palette,
    draw_contours,
    heat_map,
    overlay_labels,
    resize_to_fit,
    write_image,
)

_CONTOUR = (120, 255, 255)


@dataclass
class _Panel:
    """One picture of a row: its pixels, its title, and the upper bound of its colour bar."""

    image: np.ndarray
    title: str
    upper: float | None = None


@VISUALIZERS.register_module()
class JointVisualizer(Visualizer):
    """Draw a sample as a row of panels: image, ground truth, prediction, uncertainty maps.

    The titles carry the image-level class: the true one; the predicted one with its probability
    and its uncertainty. A field that a sample does not have leaves its panel or its words out.

    Args:
        name: Of this visualizer among mmengine's global instances.
        classes: Names of the mask classes. ``None``: those of ``dataset_meta``, else numbers.
        cls_classes: Names of the image classes, in the same way.
        palette: One RGB colour for each mask class, in the same way.
        opacity: Of the coloured areas, 0 to 1.
        measures: Uncertainty maps to draw. ``None``: the one that cases are ranked by.
        panel_size: Length of a panel's longer side, in pixels.
        vis_backends, save_dir: See :class:`mmengine.visualization.Visualizer`.
    """

    def __init__(
        self,
        name: str = 'visualizer',
        classes: list[str] | tuple[str, ...] | None = None,
        cls_classes: list[str] | tuple[str, ...] | None = None,
        palette: list[list[int]] | None = None,
        opacity: float = 0.35,
        measures: list[str] | tuple[str, ...] | None = None,
        panel_size: int = 320,
        vis_backends: list[dict] | dict | None = None,
        save_dir: str | None = None,
    ) -> None:
        super().__init__(name=name, vis_backends=vis_backends, save_dir=save_dir)
        if not 0 <= opacity <= 1:
            raise ValueError(f'opacity must be in 0..1, got {opacity}')
        self.classes = classes
        self.cls_classes = cls_classes
        self.palette = palette
        self.opacity = opacity
        self.measures = measures
        self.panel_size = panel_size

    @master_only
    def add_datasample(
        self,
        name: str,
        image: np.ndarray,
        data_sample: JointDataSample | None = None,
        draw_gt: bool = True,
        draw_pred: bool = True,
        show: bool = False,
        wait_time: float = 0.0,
        out_file: str | os.PathLike[str] | None = None,
        step: int = 0,
    ) -> None:
        """Draw a sample and write it to ``out_file`` or to the backends.

        Args:
            name: Of the picture in the backends.
            image: ``(H, W, 3)`` uint8 RGB. A volume ``(D, H, W, 3)`` is drawn by its slice with
                the largest annotated or predicted area.
            data_sample: With any of the fields of :class:`JointDataSample`.
            draw_gt: Draw the panel of the ground truth.
            draw_pred: Draw the panels of the prediction and of its uncertainty.
            show: Also open a window.
            wait_time: Seconds that the window stays; 0 waits for a key.
            out_file: Write here in place of the backends, whole or not at all.
            step: Of the picture in the backends.
        """
        drawn = self.draw(image, data_sample, draw_gt=draw_gt, draw_pred=draw_pred, caption=name)
        if show:
            self.show(drawn, win_name=name, wait_time=wait_time)
        if out_file is not None:
            write_image(out_file, drawn)
        else:
            self.add_image(name, drawn, step)

    def draw(
        self,
        image: np.ndarray,
        data_sample: JointDataSample | None = None,
        *,
        draw_gt: bool = True,
        draw_pred: bool = True,
        caption: str = '',
    ) -> np.ndarray:
        """Give the row of panels as an ``(H, W, 3)`` uint8 RGB picture; see ``add_datasample``."""
        sample = JointDataSample() if data_sample is None else data_sample
        image = np.asarray(image)
        gt_map = _plane_stack(sample, 'gt_sem_seg', 'data') if draw_gt else None
        pred_map = _plane_stack(sample, 'pred_sem_seg', 'data') if draw_pred else None
        plane = _plane_index(image, gt_map, pred_map)
        image = as_rgb(image if plane is None else image[plane])
        gt_map = _take(gt_map, plane)
        pred_map = _take(pred_map, plane)
        num_classes = self._num_classes(sample, gt_map, pred_map)
        palette = class_palette(num_classes, self._meta('palette'))

        panels = [_Panel(image, 'image')]
        if draw_gt and ('gt_label' in sample or gt_map is not None):
            drawn = self._overlay(image, gt_map, palette)
            panels.append(_Panel(drawn, self._gt_title(sample)))
        if draw_pred and ('pred_label' in sample or pred_map is not None):
            drawn = self._overlay(image, pred_map, palette)
            panels.append(_Panel(drawn, self._pred_title(sample)))
        if draw_pred and 'seg_uncertainty' in sample:
            panels += self._uncertainty_panels(sample, plane, pred_map, num_classes)
        drawn_classes = _present([gt_map, pred_map], num_classes)
        names = self._names('classes', num_classes)
        legend = [(names[index], palette[index]) for index in drawn_classes]
        return _compose(panels, legend, caption, self.panel_size)

    def _overlay(
        self, image: np.ndarray, labels: np.ndarray | None, palette: list[tuple[int, int, int]]
    ) -> np.ndarray:
        if labels is None:
            return image
        if labels.shape != image.shape[:2]:
            raise ValueError(
                f'the mask is {labels.shape}, the image {image.shape[:2]}: give the image at the '
                'size of the mask'
            )
        return overlay_labels(image, labels, palette, opacity=self.opacity)

    def _uncertainty_panels(
        self,
        sample: JointDataSample,
        plane: int | None,
        pred_map: np.ndarray | None,
        num_classes: int,
    ) -> list[_Panel]:
        available = sorted(sample.seg_uncertainty.keys())
        wanted = self.measures
        if wanted is None:
            first = primary_measure(available)
            wanted = [] if first is None else [first]
        panels = []
        for measure in wanted:
            if measure not in available:
                continue
            values = _take(_plane_stack(sample, 'seg_uncertainty', measure), plane)
            upper = uncertainty_upper_bound(measure, num_classes)
            drawn = heat_map(values, 0.0, upper)
            if pred_map is not None and pred_map.shape == values.shape:
                drawn = draw_contours(drawn, pred_map, [_CONTOUR] * num_classes)
            title = f'{measure.replace("_", " ")} (mean {np.nanmean(values):.3f})'
            panels.append(_Panel(drawn, title, upper))
        return panels

    def _gt_title(self, sample: JointDataSample) -> str:
        if 'gt_label' not in sample:
            return 'ground truth'
        return f'ground truth: {self._class_name(_integer(sample.gt_label))}'

    def _pred_title(self, sample: JointDataSample) -> str:
        if 'pred_label' not in sample:
            return 'prediction'
        label = _integer(sample.pred_label)
        words = [f'prediction: {self._class_name(label)}']
        if 'pred_score' in sample:
            words.append(f'p = {float(sample.pred_score[label]):.2f}')
        if 'cls_uncertainty' in sample:
            measure = primary_measure(list(sample.cls_uncertainty.keys()))
            if measure is not None:
                value = float(sample.cls_uncertainty.get(measure))
                words.append(f'{measure.replace("_", " ")} {value:.2f}')
        title = ', '.join(words)
        if 'gt_label' in sample and label != _integer(sample.gt_label):
            title += '  [wrong]'
        return title

    def _meta(self, key: str) -> Any:
        own = getattr(self, key)
        return own if own is not None else (self.dataset_meta or {}).get(key)

    def _names(self, key: str, count: int) -> list[str]:
        names = [str(name) for name in self._meta(key) or ()]
        return names + [f'class {index}' for index in range(len(names), count)]

    def _class_name(self, label: int) -> str:
        return self._names('cls_classes', label + 1)[label]

    def _num_classes(
        self, sample: JointDataSample, gt_map: np.ndarray | None, pred_map: np.ndarray | None
    ) -> int:
        if self._meta('classes'):
            return len(self._meta('classes'))
        if 'seg_logits' in sample:
            return max(2, int(sample.seg_logits.data.shape[0]))
        largest = [int(m[m != 255].max(initial=0)) for m in (gt_map, pred_map) if m is not None]
        return max([1, *largest]) + 1


def _plane_stack(sample: JointDataSample, field: str, key: str) -> np.ndarray | None:
    """Give a map without its channel axis: ``(H, W)`` or ``(D, H, W)``."""
    if field not in sample or key not in sample.get(field):
        return None
    value = sample.get(field).get(key)
    value = value.detach().cpu().numpy() if isinstance(value, torch.Tensor) else np.asarray(value)
    return value[0]


def _plane_index(image: np.ndarray, *maps: np.ndarray | None) -> int | None:
    """Give the slice of a volume to draw; ``None`` for an image."""
    if image.ndim != 4:
        return None
    areas = np.zeros(image.shape[0])
    for labels in maps:
        if labels is not None:
            areas += ((labels != 0) & (labels != 255)).sum((1, 2))
    return int(areas.argmax()) if areas.any() else image.shape[0] // 2


def _take(volume: np.ndarray | None, plane: int | None) -> np.ndarray | None:
    return volume if volume is None or plane is None else volume[plane]


def _present(maps: list[np.ndarray | None], num_classes: int) -> list[int]:
    """Give the classes without background that occur in any of the maps."""
    found = set()
    for labels in maps:
        if labels is not None:
            found |= set(np.unique(labels).tolist())
    return [index for index in range(1, num_classes) if index in found]


def _integer(label: torch.Tensor) -> int:
    return int(label.reshape(-1)[0])


def _compose(
    panels: list[_Panel],
    legend: list[tuple[str, tuple[int, int, int]]],
    caption: str,
    panel_size: int,
) -> np.ndarray:
    """Set panels in a row with titles above, colour bars beside and a legend below."""
    dpi = 100
    pad, top, bottom, bar = 14, 54, 34, 58
    pictures = [resize_to_fit(p.image, panel_size, nearest=p.image.shape[0] < 64) for p in panels]
    height = max(picture.shape[0] for picture in pictures)
    width = pad + sum(
        picture.shape[1] + pad + (bar if panel.upper is not None else 0)
        for picture, panel in zip(pictures, panels, strict=True)
    )
    total = height + top + bottom
    # Some matplotlib versions cut a product such as 401.9999 to 401 pixels.
    figsize = ((width + 0.01) / dpi, (total + 0.01) / dpi)
    figure = Figure(figsize=figsize, dpi=dpi, facecolor='white')
    canvas = FigureCanvasAgg(figure)
    left = pad
    for picture, panel in zip(pictures, panels, strict=True):
        size = picture.shape[1] / width, picture.shape[0] / total
        axes = figure.add_axes((left / width, 1 - (top + picture.shape[0]) / total, *size))
        axes.imshow(picture, interpolation='none', aspect='auto')
        axes.set_axis_off()
        axes.set_title(_wrap(panel.title, picture.shape[1]), fontsize=9, pad=4)
        left += picture.shape[1]
        if panel.upper is not None:
            _draw_bar(figure, (left + 8) / width, axes.get_position().y0, size[1], panel.upper)
            left += bar
        left += pad
    if legend:
        handles = [
            Patch(facecolor=np.asarray(colour) / 255, edgecolor='black', linewidth=0.4, label=name)
            for name, colour in legend
        ]
        figure.legend(
            handles=handles,
            loc='lower left',
            bbox_to_anchor=(pad / width, 0.0),
            ncols=len(handles),
            fontsize=8,
            frameon=False,
            borderaxespad=0.2,
            borderpad=0.2,
        )
    if caption:
        figure.text(1 - pad / width, 9 / total, caption, ha='right', fontsize=8, color='0.35')
    canvas.draw()
    return np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[:, :, :3])


def _draw_bar(figure: Figure, left: float, bottom: float, height: float, upper: float) -> None:
    axes = figure.add_axes((left, bottom, 12 / figure.get_dpi() / figure.get_figwidth(), height))
    ramp = np.linspace(0, 1, 256)[:, None]
    axes.imshow(ramp, cmap=HEAT_COLOURS, origin='lower', aspect='auto', extent=(0, 1, 0, upper))
    axes.set_xticks([])
    axes.yaxis.tick_right()
    axes.set_yticks(np.linspace(0, upper, 3))
    axes.set_yticklabels([f'{tick:.3g}' for tick in np.linspace(0, upper, 3)])
    axes.tick_params(labelsize=7, length=2, pad=2)


def _wrap(title: str, width: int) -> str:
    """Break a title into at most two lines of what fits above ``width`` pixels."""
    room = max(8, math.floor(width / 6.4))
    if len(title) <= room:
        return title
    cut = title.rfind(' ', 0, room + 1)
    cut = cut if cut > 0 else room
    second = title[cut:].strip()
    return title[:cut] + '\n' + (second if len(second) <= room else second[: room - 1] + '…')
