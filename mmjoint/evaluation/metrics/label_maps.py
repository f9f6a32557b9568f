"""Label maps as metrics keep them: packed small, stacked to volumes, measured by region."""

import zlib
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from scipy import ndimage

from mmjoint.functional.surface import SurfaceDistances, set_distances, surface_distances


def pack_map(label_map: np.ndarray) -> tuple[bytes, str, tuple[int, ...]]:
    """Compress a label map; masks shrink to about a hundredth."""
    label_map = np.ascontiguousarray(label_map)
    return zlib.compress(label_map.tobytes(), 1), label_map.dtype.str, label_map.shape


def unpack_map(packed: tuple[bytes, str, tuple[int, ...]]) -> np.ndarray:
    """Undo :func:`pack_map`."""
    data, dtype, shape = packed
    return np.frombuffer(zlib.decompress(data), dtype).reshape(shape)


def stack_slices(maps: Sequence[np.ndarray], numbers: Sequence[int]) -> np.ndarray:
    """Put slices at their numbers into a volume; what lies between them belongs to no class.

    Args:
        maps: Label maps ``(H, W)`` of one size.
        numbers: Their slice numbers, in any order, none twice.

    Returns:
        ``(last - first + 1, H, W)``, -1 where there is no slice.
    """
    first = min(numbers)
    volume = np.full((max(numbers) - first + 1, *maps[0].shape), -1, maps[0].dtype)
    for label_map, number in zip(maps, numbers, strict=True):
        volume[number - first] = label_map
    return volume


def region_distances(
    pred: np.ndarray,
    gt: np.ndarray,
    regions: Iterable[Sequence[int]],
    measures: Sequence[Callable[[SurfaceDistances], float]],
    spacing: Sequence[float] | None,
    set_measures: Sequence[Callable[[SurfaceDistances], float]] = (),
) -> np.ndarray:
    """Measures of the distances between regions of two label maps.

    Args:
        pred: Predicted class ids ``(*space)``, an integer type; negative ids belong to no region.
        gt: Reference class ids of the same shape.
        regions: R groups of class ids.
        measures: Functions of the distances between borders.
        spacing: In mm, of the last axes, or ``None`` for pixels.
        set_measures: Functions of the distances between all elements of the regions.

    Returns:
        ``(R, M)`` for M functions of both kinds; NaN where either map lacks the region.
    """
    # The boxes of all classes, found in one pass: a region is looked at inside its own box only.
    boxes = [ndimage.find_objects(np.maximum(each, -1) + 1) for each in (pred, gt)]
    rows = []
    for ids in regions:
        own = [b[i] for b in boxes for i in ids if i < len(b) and b[i] is not None]
        values = [np.nan] * (len(measures) + len(set_measures))
        if own:
            window = tuple(
                slice(min(s.start for s in axis), max(s.stop for s in axis))
                for axis in zip(*own, strict=True)
            )
            masks = np.isin(pred[window], ids), np.isin(gt[window], ids)
            steps = None if spacing is None else spacing[-pred.ndim :]
            if masks[0].any() and masks[1].any():
                values = []
                for functions, distances_of in (
                    (measures, surface_distances),
                    (set_measures, set_distances),
                ):
                    if functions:
                        distances = distances_of(*masks, spacing=steps)
                        values += [each(distances) for each in functions]
        rows.append(values)
    return np.array(rows, float).reshape(len(rows), len(measures) + len(set_measures))
