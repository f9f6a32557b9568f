"""Three slices through a predicted volume, as a doctor would see them."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np

from mmjoint.functional.geometry import as_grid, file_grid
from mmjoint.functional.uncertainty_scale import primary_measure, uncertainty_upper_bound
from mmjoint.structures import JointDataSample
from mmjoint.utils.volume_grid import VolumeGrid, body_axes

from .drawing import as_rgb, class_palette, heat_map, measure_unit, overlay_labels
from .panels import Panel, compose

_VIEWS = ('axial', 'coronal', 'sagittal')


class _Plane(NamedTuple):
    """A slice across one of the body's axes.

    Attributes:
        axis: 0, 1, 2: Z, Y, X.
        place: Its index along that axis.
        size: Width and height of its panel, in pixels.
        title: What to call it.
    """

    axis: int
    place: int
    size: tuple[int, int]
    title: str


def draw_slices(
    image: np.ndarray,
    sample: JointDataSample,
    dataset_meta: Mapping[str, Any] | None = None,
    *,
    caption: str = '',
    panel_size: int = 320,
) -> np.ndarray:
    """Draw an axial, a coronal and a sagittal slice: image, prediction, uncertainty.

    Each slice is the one with the largest predicted area, or the middle one where nothing is
    predicted; of oblique volumes, across the axis of the file that is nearest. Pixels are square
    in mm; the head is up, the front up in the axial slice, and the patient's left on the right.

    Args:
        image: uint8 ``(D, H, W)``, grey.
        sample: Its prediction of the same shape; ``geometry`` in its metainfo tells how it lies in
            the body (else the axes are taken for X, Y, Z of equal spacing).
        dataset_meta: Names (``classes``) and colours (``palette``) of the classes.
        caption: At the lower right.
        panel_size: Length of the longest side of all panels, in pixels.

    Returns:
        ``(H, W, 3)`` uint8 RGB.

    Raises:
        ValueError: Image and prediction have other shapes than the geometry tells.
    """
    geometry = sample.metainfo.get('geometry')
    grid = file_grid('', image.shape, np.eye(4)) if geometry is None else as_grid(geometry)
    axes, flips = body_axes(np.asarray(grid.affine))

    def turned(volume: np.ndarray, fill: float = 0) -> np.ndarray:
        volume = grid.restore(volume, fill=fill).transpose(axes)
        return np.flip(volume, [axis for axis, flipped in enumerate(flips) if flipped])

    meta = dataset_meta or {}
    labels = sample.pred_sem_seg.data[0].cpu().numpy().astype(np.uint8)
    names = [str(name) for name in meta.get('classes') or ()]
    names += [f'class {number}' for number in range(len(names), max(2, int(labels.max()) + 1))]
    palette = class_palette(len(names), meta.get('palette'))
    image, labels = turned(image), turned(labels)
    planes = _choose_planes(labels, grid, axes, flips, panel_size)
    pictures = [as_rgb(_cut(image, plane, cv2.INTER_LINEAR)) for plane in planes]
    drawn = [_cut(labels, plane, cv2.INTER_NEAREST_EXACT) for plane in planes]
    overlays = [
        overlay_labels(picture, cut, palette) for picture, cut in zip(pictures, drawn, strict=True)
    ]
    rows = [
        [Panel(pixels, plane.title) for pixels, plane in zip(pictures, planes, strict=True)],
        [Panel(pixels, 'prediction') for pixels in overlays],
    ]
    present = sorted({int(number) for cut in drawn for number in np.unique(cut)} - {0})
    legends = [[], [(names[number], palette[number]) for number in present]]
    measures = list(sample.seg_uncertainty.keys()) if 'seg_uncertainty' in sample else []
    measure = primary_measure(measures)
    if measure is not None:
        values = sample.seg_uncertainty.get(measure)[0].float().cpu().numpy()
        values = turned(values, fill=float('nan'))
        upper, unit = uncertainty_upper_bound(measure, len(names)), measure_unit(measure)
        heats = [
            heat_map(_cut(values, plane, cv2.INTER_NEAREST_EXACT), 0, upper) for plane in planes
        ]
        title = measure.replace('_', ' ')
        rows.append([Panel(heat, title) for heat in heats[:-1]])
        rows[-1].append(Panel(heats[-1], title, upper, unit))  # one bar: the scale is the same
        legends.append([])
    captions = [''] * (len(rows) - 1) + [caption]
    composed = [
        compose(row, legend, words, panel_size)
        for row, legend, words in zip(rows, legends, captions, strict=True)
    ]
    width = max(picture.shape[1] for picture in composed)
    pads = [((0, 0), (0, width - picture.shape[1]), (0, 0)) for picture in composed]
    return np.concatenate(
        [
            np.pad(picture, pad, constant_values=255)
            for picture, pad in zip(composed, pads, strict=True)
        ]
    )


def _choose_planes(
    labels: np.ndarray,
    grid: VolumeGrid,
    axes: Sequence[int],
    flips: Sequence[bool],
    panel_size: int,
) -> list[_Plane]:
    lengths = [n * grid.raw_spacing[axis] for n, axis in zip(labels.shape, axes, strict=True)]
    scale = panel_size / max(lengths)
    planes = []
    for axis, count in enumerate(labels.shape):
        rows, columns = (other for other in range(3) if other != axis)
        areas = np.count_nonzero(labels, axis=(rows, columns))
        place = int(areas.argmax()) if areas.any() else count // 2
        number = count - 1 - place if flips[axis] else place
        size = tuple(max(1, round(lengths[other] * scale)) for other in (columns, rows))
        title = f'{_VIEWS[axis]}, {"ijk"[axes[axis]]} = {number} (0 to {count - 1})'
        planes.append(_Plane(axis, place, size, title))
    return planes


def _cut(volume: np.ndarray, plane: _Plane, interpolation: int) -> np.ndarray:
    """Take a slice out of a volume (Z, Y, X), upright and with square pixels."""
    pixels = volume.take(plane.place, plane.axis)
    if plane.axis != 0:  # rows run towards the head
        pixels = pixels[::-1]
    return cv2.resize(np.ascontiguousarray(pixels), plane.size, interpolation=interpolation)
