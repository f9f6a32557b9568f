import math
import os
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from mmengine.dist import master_only
from mmengine.visualization import Visualizer

from mmjoint.functional.explanation_scale import (
    EXPLANATION_PERCENTILE,
    EXPLANATIONS,
    explanation_upper,
)
from mmjoint.functional.uncertainty_scale import primary_measure, uncertainty_upper_bound
from mmjoint.registry import VISUALIZERS
from mmjoint.structures import JointDataSample

from .drawing import (
    EXPLANATION_COLOURS,
    PROBABILITY_COLOURS,
    as_rgb,
    class_palette,
    draw_contours,
    heat_map,
    measure_unit,
    overlay_heat,
    overlay_labels,
    resize_to_fit,
    write_image,
)
from .panels import Panel, compose
from .task_panels import draw_tasks

_IGNORE = 255
_CONTOUR = (120, 255, 255)
# Errors by what the truth and the prediction have there; none is a colour of a default palette.
_ERRORS = (
    ('error: missed', (255, 70, 50)),
    ('error: added', (60, 140, 255)),
    ('error: other class', (255, 235, 60)),
)


@VISUALIZERS.register_module()
class JointVisualizer(Visualizer):
    """Draw a sample as a row of panels with titles, colour bars and a legend.

    The panels are: image, ground truth, prediction, probabilities, uncertainty maps, maps that
    explain the class (over the image, from 0 to their 99th percentile), errors.

    The titles carry the image-level class: the true one, over the ground truth or, without a mask,
    over the image; the predicted one with its probability and its uncertainty. A field that a
    sample does not have leaves its panel or its words out. A sample of several tasks
    gets a row of panels for each, see :func:`~mmjoint.visualization.task_panels.draw_tasks`.

    Args:
        name: Of this visualizer among mmengine's global instances.
        classes: Names of the mask classes. ``None``: those of ``dataset_meta``, else numbers.
        cls_classes: Names of the image classes, in the same way.
        palette: One RGB colour for each mask class, in the same way.
        opacity: Of the coloured areas, 0 to 1.
        measures: Uncertainty maps to draw. ``None``: the one that cases are ranked by.
        entropy_unit: Unit of the measures that are entropies, ``nats`` or ``bits``.
        probability_classes: Mask classes whose probability (softmax of ``seg_logits``, for an
            estimator of uncertainty the mean over its passes) gets a panel.
        with_errors: Draw where ground truth and prediction differ, if there is a ground truth.
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
        entropy_unit: Literal['nats', 'bits'] = 'nats',
        probability_classes: Sequence[int] = (),
        with_errors: bool = False,
        panel_size: int = 320,
        vis_backends: list[dict] | dict | None = None,
        save_dir: str | None = None,
    ) -> None:
        super().__init__(name=name, vis_backends=vis_backends, save_dir=save_dir)
        if not 0 <= opacity <= 1:
            raise ValueError(f'opacity must be in 0..1, got {opacity}')
        if entropy_unit not in ('nats', 'bits'):
            raise ValueError(f"entropy_unit must be 'nats' or 'bits', got {entropy_unit!r}")
        self.classes = classes
        self.cls_classes = cls_classes
        self.palette = palette
        self.opacity = opacity
        self.measures = measures
        self.entropy_unit = entropy_unit
        self.probability_classes = probability_classes
        self.with_errors = with_errors
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
        if 'pred_tasks' in sample or 'gt_tasks' in sample:
            return draw_tasks(
                as_rgb(image),
                sample,
                self._meta('tasks'),
                draw_gt=draw_gt,
                draw_pred=draw_pred,
                caption=caption,
                panel_size=self.panel_size,
                opacity=self.opacity,
            )
        gt_map = _plane_stack(sample, 'gt_sem_seg', 'data') if draw_gt else None
        pred_map = _plane_stack(sample, 'pred_sem_seg', 'data') if draw_pred else None
        plane = _plane_index(image, gt_map, pred_map)
        image = as_rgb(image if plane is None else image[plane])
        gt_map = _take(gt_map, plane)
        pred_map = _take(pred_map, plane)
        num_classes = self._num_classes(sample, gt_map, pred_map)
        palette = class_palette(num_classes, self._meta('palette'))

        for labels in (gt_map, pred_map):
            if labels is not None and labels.shape != image.shape[:2]:
                raise ValueError(
                    f'the mask is {labels.shape}, the image {image.shape[:2]}: give the image at '
                    'the size of the mask'
                )
        # All is drawn at the size of the panel: lines stay sharp, large images cost little.
        small = self._fit(image)

        def overlay(labels: np.ndarray | None) -> np.ndarray:
            if labels is None:
                return small
            return overlay_labels(small, self._fit(labels), palette, opacity=self.opacity)

        title = 'image'
        if draw_gt and gt_map is None and 'gt_label' in sample:
            # A panel of its own would show the image once more.
            title = f'image, truth: {self._class_name(_integer(sample.gt_label))}'
        panels = [Panel(small, title)]
        if gt_map is not None:
            panels.append(Panel(overlay(gt_map), self._gt_title(sample)))
        if draw_pred and ('pred_label' in sample or pred_map is not None):
            panels.append(Panel(overlay(pred_map), self._pred_title(sample)))
        names = self._names('classes', num_classes)
        if draw_pred and 'seg_logits' in sample:
            panels += self._probability_panels(sample, plane, names)
        if draw_pred and 'seg_uncertainty' in sample:
            panels += self._uncertainty_panels(sample, plane, pred_map, num_classes)
        if draw_pred and 'explanations' in sample and plane is None:
            panels += self._explanation_panels(sample, image)
        drawn_classes = _present([gt_map, pred_map], num_classes)
        legend = [(names[index], palette[index]) for index in drawn_classes]
        if self.with_errors and gt_map is not None and pred_map is not None:
            kinds = _error_kinds(gt_map, pred_map, sample.get('annotated_classes'), num_classes)
            panels.append(self._error_panel(small, kinds))
            legend += [entry for kind, entry in enumerate(_ERRORS, 1) if (kinds == kind).any()]
        return compose(panels, legend, caption, self.panel_size)

    def _fit(self, plane: np.ndarray) -> np.ndarray:
        """Give an image, a label map or a map of values at the size of a panel."""
        is_labels = np.issubdtype(plane.dtype, np.integer) and plane.ndim == 2
        # Pixels of tiny images are shown as they are.
        nearest = is_labels or max(plane.shape[:2]) < 64
        return resize_to_fit(
            plane.astype(np.int16) if is_labels else plane, self.panel_size, nearest
        )

    def _probability_panels(
        self, sample: JointDataSample, plane: int | None, names: list[str]
    ) -> list[Panel]:
        logits = sample.seg_logits.data
        probs = torch.as_tensor(logits).detach().cpu().float().softmax(0).numpy()
        panels = []
        for index in self.probability_classes:
            if not 0 <= index < len(probs):
                raise ValueError(f'probability_classes has {index}, there are {len(probs)} classes')
            values = _take(probs[index], plane)
            drawn = heat_map(self._fit(values), colours=PROBABILITY_COLOURS)
            title = f'probability of {names[index]}'
            panels.append(Panel(drawn, title, 1.0, 'probability', PROBABILITY_COLOURS))
        return panels

    def _uncertainty_panels(
        self,
        sample: JointDataSample,
        plane: int | None,
        pred_map: np.ndarray | None,
        num_classes: int,
    ) -> list[Panel]:
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
            unit = measure_unit(measure)
            if unit and self.entropy_unit == 'bits':
                values, upper, unit = values / math.log(2), upper / math.log(2), 'bits'
            drawn = heat_map(self._fit(values), 0.0, upper)
            if pred_map is not None and pred_map.shape == values.shape:
                drawn = draw_contours(drawn, self._fit(pred_map), [_CONTOUR] * num_classes)
            mean = f'{np.nanmean(values):.3f} {unit}'.strip()
            title = f'{measure.replace("_", " ")} (mean {mean})'
            panels.append(Panel(drawn, title, upper, unit))
        return panels

    def _explanation_panels(self, sample: JointDataSample, image: np.ndarray) -> list[Panel]:
        panels = []
        for name in EXPLANATIONS:
            values = _plane_stack(sample, 'explanations', name)
            if values is None:
                continue
            if values.shape != image.shape[:2]:
                raise ValueError(
                    f'the map {name} is {values.shape}, the image {image.shape[:2]}: give the '
                    'image at the size of the map'
                )
            small = self._fit(values)
            upper = explanation_upper(small)
            title = name.replace('_', ' ')
            if 'pred_label' in sample:
                title += f' of {self._class_name(_integer(sample.pred_label))}'
            title += f', 0 to its {EXPLANATION_PERCENTILE}th percentile'
            drawn = overlay_heat(self._fit(image), small, upper)
            panels.append(Panel(drawn, title, upper, colours=EXPLANATION_COLOURS))
        return panels

    def _error_panel(self, image: np.ndarray, kinds: np.ndarray) -> Panel:
        # The image stays dark and grey, so that any colour is an error.
        grey = np.repeat(image.mean(2, keepdims=True) * 0.45, 3, axis=2).astype(np.uint8)
        colours = [(0, 0, 0), *(colour for _, colour in _ERRORS)]
        drawn = overlay_labels(grey, self._fit(kinds), colours, opacity=1.0, contour_width=0)
        known = kinds[kinds != _IGNORE]
        share = f'{100 * (known != 0).mean():.2g} % of the pixels' if known.size else 'not known'
        return Panel(drawn, f'errors: {share}')

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
        own = getattr(self, key, None)
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
        largest = [int(m[m != _IGNORE].max(initial=0)) for m in (gt_map, pred_map) if m is not None]
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
            areas += ((labels != 0) & (labels != _IGNORE)).sum((1, 2))
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


def _error_kinds(
    gt_map: np.ndarray,
    pred_map: np.ndarray,
    annotated: Sequence[int] | None,
    num_classes: int,
) -> np.ndarray:
    """Give 0 where right, the number of the entry of ``_ERRORS``, or 255 where it is not known.

    Where only some classes are annotated, any other may hide in the background.
    """
    found, wanted = pred_map != 0, gt_map != 0
    kinds = np.where(wanted & ~found, 1, np.where(found & ~wanted, 2, 3))
    kinds[gt_map == pred_map] = 0
    kinds[gt_map == _IGNORE] = _IGNORE
    if annotated is not None and not set(range(1, num_classes)) <= set(annotated):
        kinds[gt_map == 0] = _IGNORE
    return kinds


def _integer(label: torch.Tensor) -> int:
    return int(label.reshape(-1)[0])
