"""Shared by all phantoms: seeding, textures, spreadsheets that are equal byte for byte."""

import io
import re
import zipfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
import openpyxl
from scipy import ndimage

from mmjoint.utils.io import atomic_write_bytes

T = TypeVar('T')
Track = Callable[[Sequence[T], str], Iterable[T]]
_EPOCH = '2018-01-01T00:00:00Z'


def untracked(items: Sequence[T], what: str) -> Iterable[T]:
    """Go through ``items`` without showing progress; the default of all writers."""
    del what
    return items


def case_rng(seed: int, *place: int) -> np.random.Generator:
    """Give the generator of one case, independent of how many other cases are made.

    Args:
        seed: Seed of the whole set.
        *place: Numbers that name the case, e.g. split and index.

    Returns:
        A fresh generator.
    """
    return np.random.default_rng([seed, *place])


def draw_labels(rng: np.random.Generator, num_cases: int, share: float) -> np.ndarray:
    """Shuffle a fixed number of positive labels among the cases.

    Args:
        rng: Generator.
        num_cases: Number of cases.
        share: Wanted share of positives; from two cases on, each label occurs at least once.

    Returns:
        int array (num_cases,) of 0 and 1.
    """
    positive = round(share * num_cases)
    if num_cases >= 2:
        positive = min(max(positive, 1), num_cases - 1)
    labels = np.zeros(num_cases, int)
    labels[:positive] = 1
    return rng.permutation(labels)


def divide(total: int, ratio: Sequence[float]) -> list[int]:
    """Divide ``total`` by ``ratio``, with at least one for each part where that is possible.

    Args:
        total: What to divide.
        ratio: Relative sizes of the parts.

    Returns:
        Parts that sum to ``total``.
    """
    bounds = np.rint(np.cumsum([0, *ratio]) / sum(ratio) * total).astype(int)
    parts = np.diff(bounds).tolist()
    while total >= len(parts) and min(parts) == 0:
        parts[parts.index(0)] += 1
        parts[parts.index(max(parts))] -= 1
    return parts


def smooth_noise(rng: np.random.Generator, shape: tuple[int, ...], scale: float) -> np.ndarray:
    """Draw a random field without small detail.

    Args:
        rng: Generator.
        shape: Two or three axes.
        scale: Size of the blobs, in pixels of ``shape``.

    Returns:
        float32 array of ``shape``, mean 0 and standard deviation 1.
    """
    coarse = tuple(max(4, round(length / scale) + 3) for length in shape)
    field = rng.standard_normal(coarse).astype(np.float32)
    if len(shape) == 2:
        field = cv2.resize(field, shape[::-1], interpolation=cv2.INTER_CUBIC)
    else:
        zoom = [length / count for length, count in zip(shape, coarse, strict=True)]
        field = ndimage.zoom(field, zoom, order=1, grid_mode=True, mode='nearest')
    return (field - field.mean()) / field.std()


def write_sheet(path: Path, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Write an ``.xlsx`` file whose bytes depend on its content alone.

    Args:
        path: File to write.
        columns: Names in the first row.
        rows: Cells of the other rows.
    """
    book = openpyxl.Workbook()
    for row in (columns, *rows):
        book.active.append(list(row))
    draft = io.BytesIO()
    book.save(draft)
    # Excel files are zip archives; openpyxl writes the time of saving into them in two places.
    fixed = io.BytesIO()
    with zipfile.ZipFile(draft) as source, zipfile.ZipFile(fixed, 'w') as target:
        for name in sorted(source.namelist()):
            data = source.read(name)
            if name == 'docProps/core.xml':
                data = re.sub(rb'\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ', _EPOCH.encode(), data)
            entry = zipfile.ZipInfo(name, date_time=(2018, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            target.writestr(entry, data)
    atomic_write_bytes(path, fixed.getvalue())


def write_image(path: Path, image: np.ndarray) -> None:
    """Encode an image by the suffix of its path (JPEG quality 95) and write it.

    Args:
        path: File to write; its folder is made.
        image: uint8 array (H, W), or (H, W, 3) with red first.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _, data = cv2.imencode(path.suffix, image if image.ndim == 2 else image[..., ::-1])
    path.write_bytes(data.tobytes())
