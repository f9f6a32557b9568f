"""Drawing on numpy images: label overlays, heat maps, colour bars, contact sheets.

Images are ``(H, W, 3)`` uint8 RGB, label maps ``(H, W)`` integer class ids, maps of values
``(H, W)`` float. Nothing here changes its arguments.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import cv2
import matplotlib
import numpy as np

from mmjoint.utils.io import atomic_write_bytes

# Okabe and Ito's colours, told apart with any kind of colour vision; class 0 is background.
DEFAULT_PALETTE = (
    (0, 0, 0),
    (0, 158, 115),
    (230, 159, 0),
    (86, 180, 233),
    (204, 121, 167),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
)
HEAT_COLOURS = 'inferno'
PROBABILITY_COLOURS = 'viridis'
EXPLANATION_COLOURS = 'plasma'


def measure_unit(measure: str) -> str:
    """Give the unit of an uncertainty measure: ``nats`` for entropies, else nothing."""
    return 'nats' if measure.endswith(('entropy', 'information')) else ''


def class_palette(
    num_classes: int, palette: Sequence[Sequence[int]] | None = None
) -> list[tuple[int, int, int]]:
    """Give one colour for each class.

    Args:
        num_classes: Number of classes.
        palette: Colours of the data set, 0 to 255. Where it ends or is absent the default colours
            go on, repeating after their end.

    Returns:
        ``num_classes`` colours.
    """
    colours = [(int(red), int(green), int(blue)) for red, green, blue in palette or ()]
    for index in range(len(colours), num_classes):
        colours.append(DEFAULT_PALETTE[(index - 1) % 7 + 1] if index else DEFAULT_PALETTE[0])
    return colours[:num_classes]


def as_rgb(image: np.ndarray) -> np.ndarray:
    """Check an image and give it as ``(H, W, 3)`` uint8; a grey one is repeated.

    Args:
        image: ``(H, W)``, ``(H, W, 1)`` or ``(H, W, 3)`` uint8.

    Raises:
        ValueError: If the dtype or the shape is another one.
    """
    image = np.asarray(image)
    if image.dtype != np.uint8:
        raise ValueError(f'image must be uint8 in 0..255, got {image.dtype}; scale it first')
    if image.ndim == 3 and image.shape[2] == 1:
        image = image[:, :, 0]
    if image.ndim == 2:
        image = np.repeat(image[:, :, None], 3, axis=2)
    if image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f'image must have shape (H, W, 3), got {image.shape}')
    return np.ascontiguousarray(image)


def resize_to_fit(image: np.ndarray, size: int, nearest: bool = False) -> np.ndarray:
    """Resize so that the longer side is ``size`` pixels, the aspect kept.

    Args:
        image: ``(H, W)`` or ``(H, W, C)``.
        size: Length of the longer side, in pixels.
        nearest: Take the nearest pixel, as label maps need; else area or linear interpolation.
    """
    height, width = image.shape[:2]
    scale = size / max(height, width)
    target = (max(1, round(width * scale)), max(1, round(height * scale)))
    if nearest:
        method = cv2.INTER_NEAREST_EXACT
    else:
        method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return cv2.resize(np.ascontiguousarray(image), target, interpolation=method)


def _contour_mask(region: np.ndarray, width: int) -> np.ndarray:
    """Give the pixels of a region that lie within ``width`` pixels of its border, inside it."""
    padded = np.pad(region.astype(np.uint8), width)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * width + 1, 2 * width + 1))
    inner = cv2.erode(padded, kernel)[width:-width, width:-width]
    return region & (inner == 0)


def overlay_labels(
    image: np.ndarray,
    labels: np.ndarray,
    palette: Sequence[Sequence[int]],
    *,
    opacity: float = 0.35,
    contour_width: int = 1,
    skip: Sequence[int] = (0,),
    ignore_index: int = 255,
) -> np.ndarray:
    """Lay a label map over an image: tinted areas, fully coloured borders.

    Args:
        image: ``(H, W, 3)`` uint8.
        labels: ``(H, W)`` class ids.
        palette: One colour for each class id.
        opacity: Of the areas, 0 to 1.
        contour_width: Of the borders, in pixels; 0 draws none.
        skip: Classes that stay bare, usually the background.
        ignore_index: Drawn as grey stripes: not annotated.

    Returns:
        ``(H, W, 3)`` uint8.

    Raises:
        ValueError: If the shapes differ or a class id has no colour.
    """
    image = as_rgb(image)
    labels = np.asarray(labels)
    if labels.shape != image.shape[:2]:
        raise ValueError(f'labels are {labels.shape}, the image is {image.shape[:2]}')
    result = image.astype(np.float32)
    for class_id in np.unique(labels):
        if class_id in skip or class_id == ignore_index:
            continue
        if not 0 <= class_id < len(palette):
            raise ValueError(f'class id {class_id} has no colour in a palette of {len(palette)}')
        region = labels == class_id
        colour = np.asarray(palette[class_id], np.float32)
        result[region] = (1 - opacity) * result[region] + opacity * colour
        if contour_width:
            result[_contour_mask(region, contour_width)] = colour
    ignored = labels == ignore_index
    if ignored.any():
        rows, columns = np.indices(labels.shape)
        stripes = ignored & ((rows + columns) % 6 < 2)
        result[stripes] = 128
    return np.clip(np.rint(result), 0, 255).astype(np.uint8)


def draw_contours(
    image: np.ndarray,
    labels: np.ndarray,
    colours: Sequence[Sequence[int]],
    *,
    width: int = 1,
    skip: Sequence[int] = (0,),
    ignore_index: int = 255,
) -> np.ndarray:
    """Draw only the borders of the classes of a label map; see ``overlay_labels``."""
    return overlay_labels(
        image,
        np.where(labels == ignore_index, skip[0] if skip else 0, labels),
        colours,
        opacity=0.0,
        contour_width=width,
        skip=skip,
        ignore_index=-1,
    )


def heat_table(colours: str = HEAT_COLOURS) -> np.ndarray:
    """Give the colours of the heat maps, ``(256, 3)`` uint8, from 0 to the upper bound.

    Args:
        colours: Name of a palette of matplotlib.
    """
    table = matplotlib.colormaps[colours](np.linspace(0, 1, 256))[:, :3]
    return np.rint(table * 255).astype(np.uint8)


def heat_map(
    values: np.ndarray, lower: float = 0.0, upper: float = 1.0, *, colours: str = HEAT_COLOURS
) -> np.ndarray:
    """Colour a map of values on a fixed range, so that two maps can be compared by eye.

    Args:
        values: ``(H, W)`` float; NaN is drawn grey.
        lower: Value of the darkest colour; smaller values take it too.
        upper: Value of the brightest colour; larger values take it too.
        colours: Name of a palette of matplotlib.

    Returns:
        ``(H, W, 3)`` uint8.

    Raises:
        ValueError: If the map is not two-dimensional or the range is empty.
    """
    values = np.asarray(values, np.float64)
    if values.ndim != 2:
        raise ValueError(f'values must have shape (H, W), got {values.shape}')
    if not upper > lower:
        raise ValueError(f'upper must be above lower, got {lower} and {upper}')
    unknown = np.isnan(values)
    scaled = np.clip((np.where(unknown, lower, values) - lower) / (upper - lower), 0, 1)
    result = heat_table(colours)[np.rint(scaled * 255).astype(np.uint8)]
    result[unknown] = 128
    return result


def overlay_heat(
    image: np.ndarray,
    values: np.ndarray,
    upper: float,
    *,
    colours: str = EXPLANATION_COLOURS,
    opacity: float = 0.75,
) -> np.ndarray:
    """Lay a map of values >= 0 over an image: the larger the value, the less of the image shows.

    Args:
        image: ``(H, W, 3)`` uint8 RGB, or grey; drawn in grey.
        values: ``(H, W)`` float; NaN counts as 0.
        upper: Value of the brightest colour; larger values take it too.
        colours: Name of a palette of matplotlib.
        opacity: Of the brightest colour, 0 to 1.

    Returns:
        ``(H, W, 3)`` uint8.

    Raises:
        ValueError: If the sizes differ.
    """
    image, values = as_rgb(image), np.nan_to_num(np.asarray(values, np.float64))
    if values.shape != image.shape[:2]:
        raise ValueError(f'the map is {values.shape}, the image {image.shape[:2]}')
    grey = image.mean(2, keepdims=True)
    weight = opacity * np.clip(values / upper, 0, 1)[..., None]
    heat = heat_map(values, 0.0, upper, colours=colours)
    return np.rint((1 - weight) * grey + weight * heat).astype(np.uint8)


def colour_bar(height: int, width: int) -> np.ndarray:
    """Give an upright colour bar, ``(height, width, 3)`` uint8, the upper bound on top."""
    ramp = np.linspace(1, 0, height)[:, None]
    return heat_map(np.repeat(ramp, width, axis=1))


def contact_sheet(
    tiles: Sequence[np.ndarray], columns: int, *, gap: int = 6, background: int = 255
) -> np.ndarray:
    """Put pictures side by side in rows, each at the upper left of a cell of the largest size.

    Args:
        tiles: ``(H, W, 3)`` uint8 each; the sizes may differ.
        columns: Pictures in a row.
        gap: Between the pictures, in pixels.
        background: Grey level between the pictures.

    Returns:
        ``(H, W, 3)`` uint8.

    Raises:
        ValueError: If there is no picture or no column.
    """
    if not tiles or columns < 1:
        raise ValueError(f'need pictures and columns, got {len(tiles)} and {columns}')
    height = max(tile.shape[0] for tile in tiles)
    width = max(tile.shape[1] for tile in tiles)
    columns = min(columns, len(tiles))
    rows = -(-len(tiles) // columns)
    sheet = np.full(
        (rows * (height + gap) + gap, columns * (width + gap) + gap, 3), background, np.uint8
    )
    for index, tile in enumerate(tiles):
        top = gap + index // columns * (height + gap)
        left = gap + index % columns * (width + gap)
        sheet[top : top + tile.shape[0], left : left + tile.shape[1]] = as_rgb(tile)
    return sheet


def write_image(path: str | os.PathLike[str], image: np.ndarray) -> None:
    """Write an RGB image under its final name, whole or not at all.

    Args:
        path: Its suffix names the format: ``.png`` or ``.jpg``.
        image: ``(H, W, 3)`` uint8 RGB.

    Raises:
        ValueError: If the suffix names no format.
    """
    atomic_write_bytes(path, encode_image(image, Path(path).suffix))


def encode_image(image: np.ndarray, suffix: str = '.png', quality: int = 88) -> bytes:
    """Encode an RGB or a grey image.

    Args:
        image: ``(H, W, 3)`` RGB or ``(H, W)``, uint8.
        suffix: ``.png``, ``.jpg`` or ``.jpeg``.
        quality: Of a JPEG, 0 to 100.

    Raises:
        ValueError: If the suffix names no format.
    """
    suffix = suffix.lower()
    if suffix not in ('.png', '.jpg', '.jpeg'):
        raise ValueError(f'pictures are written as .png or .jpg, got {suffix!r}')
    pixels = cv2.cvtColor(image, cv2.COLOR_RGB2BGR) if image.ndim == 3 else image
    options = [] if suffix == '.png' else [cv2.IMWRITE_JPEG_QUALITY, quality]
    done, data = cv2.imencode(suffix, pixels, options)
    if not done:
        raise ValueError(f'cannot encode an image of shape {image.shape} as {suffix}')
    return data.tobytes()


def decode_image(data: bytes) -> np.ndarray:
    """Decode what ``encode_image`` wrote: ``(H, W, 3)`` RGB, or ``(H, W)`` if it was grey."""
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise ValueError('the bytes are no image')
    return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB) if pixels.ndim == 3 else pixels
