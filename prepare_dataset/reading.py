"""Reads raw files for the scripts of this folder; every damage is told in one line."""

import csv
import math
import struct
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import openpyxl
from openpyxl.utils.exceptions import InvalidFileException

from mmjoint.utils.errors import UserError

_JUNK = ('__MACOSX', 'Thumbs.db', 'desktop.ini')


def list_files(root: Path) -> list[Path]:
    """List all files below ``root``, sorted; hidden ones and litter of file managers left out.

    Args:
        root: Folder to search.

    Returns:
        Paths relative to ``root``.
    """
    return sorted(
        path.relative_to(root)
        for path in root.rglob('*')
        if path.is_file()
        and not any(part.startswith('.') or part in _JUNK for part in path.relative_to(root).parts)
    )


def contents(root: Path, limit: int = 6) -> str:
    """Name what lies directly in ``root``, for messages."""
    names = sorted(path.name for path in root.iterdir() if not path.name.startswith('.'))
    text = ', '.join(names[:limit]) or 'nothing'
    return text + (f' and {len(names) - limit} more' if len(names) > limit else '')


def _is_cut_off(data: bytes, suffix: str) -> bool:
    """Whether an image file ends before its content does (decoders fill the rest with grey)."""
    if suffix in ('.jpg', '.jpeg'):
        # The end marker FFD9 cannot occur inside coded data; one of a thumbnail comes before the
        # picture's own start-of-scan marker FFDA.
        return data.rfind(b'\xff\xd9') < data.rfind(b'\xff\xda')
    if suffix == '.png':
        return b'IEND' not in data[-64:]
    if suffix == '.bmp' and len(data) >= 54:
        (start,) = struct.unpack_from('<I', data, 10)
        width, height, _, bits, compression = struct.unpack_from('<iiHHI', data, 18)
        return compression == 0 and len(data) < start + (width * bits + 31) // 32 * 4 * abs(height)
    return suffix == '.bmp'


def read_image(path: Path) -> np.ndarray:
    """Read an image file.

    Args:
        path: JPEG, PNG or BMP file.

    Returns:
        uint8 array (H, W, 3), blue first.

    Raises:
        UserError: The file is absent, cut off or no image.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(
            f'{path}: expected a readable image, found: {error.strerror}; check the file'
        ) from error
    if data and not _is_cut_off(data, path.suffix.lower()):
        try:
            image = cv2.imdecode(
                np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
            )
        except cv2.error:
            image = None
        if image is not None:
            return image
        found = 'content that is no image'
    else:
        found = f'it cut off after {len(data)} bytes'
    raise UserError(
        f'{path}: expected a whole {path.suffix[1:].upper()} file, found {found}; '
        'download or unpack it again'
    )


def read_mask(path: Path, allowed: Sequence[int]) -> np.ndarray:
    """Read a label image and check its values.

    Args:
        path: Image file; its first channel counts.
        allowed: The values that may occur.

    Returns:
        uint8 array (H, W).

    Raises:
        UserError: The file cannot be read or holds other values.
    """
    mask = np.ascontiguousarray(read_image(path)[..., 0])
    histogram = np.bincount(mask.ravel(), minlength=256)
    wrong = [int(value) for value in np.flatnonzero(histogram) if value not in allowed]
    if wrong:
        shown = ', '.join(map(str, wrong[:5])) + (', ...' if len(wrong) > 5 else '')
        count = int(histogram[wrong].sum())
        raise UserError(
            f'{path}: expected mask values {", ".join(map(str, allowed))}, found {shown} in '
            f'{count} pixels; use the original file (not one saved as JPEG or drawn over)'
        )
    return mask


def write_image(path: Path, image: np.ndarray) -> None:
    """Encode by the suffix of ``path`` (OpenCV's defaults: JPEG quality 95) and write.

    Args:
        path: File to write; its folder is made.
        image: uint8 array (H, W) or (H, W, 3), blue first.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    ok, data = cv2.imencode(path.suffix, image)
    if not ok:
        raise RuntimeError(f'OpenCV cannot encode {path}')
    path.write_bytes(data.tobytes())


def _sheet_rows(path: Path, columns: Sequence[str]) -> list[tuple[Any, ...]]:
    """All rows of an Excel or CSV file; cells of the latter are texts, or None if empty."""
    is_csv = path.suffix.lower() == '.csv'
    try:
        if is_csv:
            with path.open(encoding='utf-8-sig', newline='') as stream:
                rows = list(csv.reader(stream, strict=True))
            return [tuple(cell.strip() or None for cell in row) for row in rows]
        with path.open('rb') as stream:
            book = openpyxl.load_workbook(stream, data_only=True)
            return list(book.worksheets[0].iter_rows(values_only=True))
    except FileNotFoundError as error:
        raise UserError(
            f'{path}: expected the sheet with the columns {", ".join(columns)}, found no such '
            'file; unpack the annotations again'
        ) from error
    except (
        OSError,
        zipfile.BadZipFile,
        InvalidFileException,
        KeyError,
        ValueError,
        IndexError,
        csv.Error,
    ) as error:
        kind = 'a CSV file' if is_csv else 'an Excel file (.xlsx)'
        raise UserError(
            f'{path}: expected {kind}, found content that cannot be read as one; '
            'download or unpack it again'
        ) from error


def read_sheet(
    path: Path, columns: Sequence[str], *, optional: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """Read some columns of the first table of an Excel file, or of a CSV file.

    Args:
        path: ``.xlsx`` or ``.csv`` file whose first row names the columns.
        columns: The columns to read; all must be there.
        optional: Columns to read where they are there.

    Returns:
        One dict per row that is not empty, with the columns and ``'row'``, the row number as
        Excel shows it. Cells of a CSV file are texts.

    Raises:
        UserError: The file is absent or damaged, a column is missing, or there are no rows.
    """
    rows = _sheet_rows(path, columns)
    header = [str(name).strip() if name is not None else '' for name in rows[0]] if rows else []
    missing = [name for name in columns if name not in header]
    if missing:
        raise UserError(
            f'{path}: expected a column {missing[0]!r}, found '
            f'{", ".join(repr(name) for name in header if name) or "no columns"}; '
            'use the sheet as it was distributed'
        )
    places = {name: header.index(name) for name in (*columns, *optional) if name in header}
    table = []
    for number, row in enumerate(rows[1:], 2):
        if any(value is not None for value in row):
            cells = (*row, *[None] * len(header))
            table.append({'row': number, **{name: cells[at] for name, at in places.items()}})
    if not table:
        raise UserError(
            f'{path}: expected a row per case below the header, found none; '
            'use the sheet as it was distributed'
        )
    return table


def binary_label(value: Any, where: str) -> int:
    """Turn a cell into 0 or 1.

    Args:
        value: Content of the cell.
        where: File, row and column, for the message.

    Returns:
        0 or 1.

    Raises:
        UserError: The cell holds something else.
    """
    if isinstance(value, str) and value.strip() in ('0', '1'):
        return int(value)
    if isinstance(value, (int, float)) and not math.isnan(value) and value in (0, 1):
        return int(value)
    found = 'an empty cell' if value is None else repr(value)
    raise UserError(f'{where}: expected the label 0 or 1, found {found}; correct the sheet')
