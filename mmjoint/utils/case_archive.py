"""The files between a test run and its report: one record, small tables and pictures per case."""

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .errors import UserError
from .io import atomic_path, atomic_write_json, sha256_file

CASES_FILE = 'cases.json'
ARRAYS_FILE = 'cases.npz'
VERSION = 1


@dataclass
class CaseArchive:
    """The cases of one test run.

    Attributes:
        info: What holds for all cases: class names, bounds of the uncertainty measures, ...
        cases: One plain dict per case.
        tables: Arrays whose axis 0 runs over the cases: confusion matrices, histograms.
        pictures: ``pictures[i][kind]`` is an encoded PNG or JPEG of case ``i``; cases without
            pictures are absent.
    """

    info: dict[str, Any]
    cases: list[dict[str, Any]]
    tables: dict[str, np.ndarray] = field(default_factory=dict)
    pictures: dict[int, dict[str, bytes]] = field(default_factory=dict)


def _plain(value: Any) -> Any:
    """Turn numpy values into Python's, and NaN and infinity, which JSON does not know, to null."""
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [_plain(entry) for entry in value]
    return value


def write_case_archive(folder: str | os.PathLike[str], archive: CaseArchive) -> None:
    """Write ``cases.npz``, then ``cases.json``, which names the checksum of the former.

    Args:
        folder: Made if need be. The same archive gives the same bytes.
        archive: The cases; a NaN becomes null.

    Raises:
        ValueError: If a table does not have one row per case.
    """
    folder = Path(folder)
    for name, table in archive.tables.items():
        if len(table) != len(archive.cases):
            raise ValueError(f'{name} has {len(table)} rows for {len(archive.cases)} cases')
    arrays = {f'table/{name}': table for name, table in archive.tables.items()}
    for index, pictures in sorted(archive.pictures.items()):
        for kind, data in pictures.items():
            arrays[f'picture/{index}/{kind}'] = np.frombuffer(data, np.uint8)
    with atomic_path(folder / ARRAYS_FILE) as temporary:
        np.savez(temporary, **arrays)
    atomic_write_json(
        folder / CASES_FILE,
        {
            'version': VERSION,
            'arrays_sha256': sha256_file(folder / ARRAYS_FILE),
            'info': _plain(archive.info),
            'cases': _plain(archive.cases),
        },
    )


def read_case_archive(folder: str | os.PathLike[str]) -> CaseArchive:
    """Read what ``write_case_archive`` wrote.

    Args:
        folder: With ``cases.json`` and ``cases.npz``.

    Raises:
        UserError: If a file is missing or damaged, or the two are of different test runs.
    """
    path = Path(folder) / CASES_FILE
    arrays_path = Path(folder) / ARRAYS_FILE
    for wanted in (path, arrays_path):
        if not wanted.is_file():
            raise UserError(
                f'{wanted}: no such file; a test run with --report writes the case records'
            )
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
    except ValueError as error:
        raise UserError(f'{path}: expected JSON, found {error}; run the test again') from error
    if not isinstance(content, dict) or content.get('version') != VERSION:
        found = content.get('version') if isinstance(content, dict) else type(content).__name__
        raise UserError(
            f'{path}: expected case records of version {VERSION}, found {found}; run the test again'
        )
    if content['arrays_sha256'] != sha256_file(arrays_path):
        raise UserError(
            f'{arrays_path}: is not of the same test run as {path.name}, or damaged; '
            'run the test again'
        )
    archive = CaseArchive(info=content['info'], cases=content['cases'])
    with np.load(arrays_path) as arrays:
        for name in arrays.files:
            kind, _, rest = name.partition('/')
            if kind == 'table':
                archive.tables[rest] = arrays[name]
            else:
                index, _, picture = rest.partition('/')
                archive.pictures.setdefault(int(index), {})[picture] = arrays[name].tobytes()
    return archive
