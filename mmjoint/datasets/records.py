"""Reading and checking of ``annotations/<split>.json``."""

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from mmjoint.utils.errors import UserError


def read_records(path: str, prepare_command: str) -> list[Any]:
    """Read the list of records of one split.

    Args:
        path: The JSON file.
        prepare_command: What makes it, for the error message.

    Raises:
        UserError: If the file is missing, no JSON, no list or empty.
    """
    try:
        text = Path(path).read_text(encoding='utf-8')
    except OSError as error:
        raise UserError(
            f'{path}: cannot read the annotations ({error.strerror}); '
            f'make them by `{prepare_command}`'
        ) from error
    except UnicodeDecodeError as error:
        raise UserError(f'{path}: expected JSON in UTF-8, found other bytes') from error
    try:
        records = json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(
            f'{path}: expected JSON, found a fault in line {error.lineno}, column {error.colno} '
            f'({error.msg}); make it again by `{prepare_command}`'
        ) from error
    if not isinstance(records, list):
        raise UserError(f'{path}: expected a list of records, found {type(records).__name__}')
    if not records:
        raise UserError(f'{path}: expected at least one record, found an empty list')
    return records


def check_records(
    records: list[Any],
    path: str,
    *,
    num_classes: int,
    num_cls_classes: int,
    tasks: Collection[str] | None = None,
) -> None:
    """Check each record's keys, types and ranges.

    Args:
        records: What the file holds.
        path: The file, for the error message.
        num_classes: Number C of mask classes.
        num_cls_classes: Number K of image classes.
        tasks: Names of the tasks that records may have label maps of. By default nothing is asked
            of them.

    Raises:
        UserError: At the first record that is wrong.
    """
    for number, record in enumerate(records):
        fault = _fault(record, num_classes, num_cls_classes)
        if not fault and tasks is not None:
            fault = _fault_of_tasks(record, tasks)
        if fault:
            raise UserError(f'{path}: record {number}: {fault}')


def _fault(record: Any, num_classes: int, num_cls_classes: int) -> str | None:
    if not isinstance(record, dict):
        return f'expected an object, found {type(record).__name__}'
    if 'img_path' not in record:
        return f'img_path is missing, found the keys {sorted(record)}'
    for key in ('img_path', 'seg_map_path', 'patient_id', 'domain'):
        value = record.get(key, 'absent')
        if not isinstance(value, str) or not value:
            return f'expected a text under {key}, found {value!r}'
    if 'gt_label' in record and not _is_class(record['gt_label'], num_cls_classes):
        return f'expected a gt_label in [0, {num_cls_classes}), found {record["gt_label"]!r}'
    annotated = record.get('annotated_classes', [])
    if not isinstance(annotated, list) or not all(_is_class(c, num_classes) for c in annotated):
        return (
            f'expected annotated_classes to be a list of classes in [0, {num_classes}), '
            f'found {annotated!r}'
        )
    return _fault_of_geometry(record)


def _fault_of_tasks(record: dict, tasks: Collection[str]) -> str | None:
    paths = record.get('task_map_paths', {})
    if not isinstance(paths, dict) or not all(
        isinstance(path, str) and path for path in paths.values()
    ):
        return f'expected task_map_paths to be texts by task, found {paths!r}'
    unknown = sorted(set(paths) - set(tasks))
    if unknown:
        return f'expected task_map_paths of the tasks {tuple(tasks)}, found {unknown[0]!r}'
    fov = record.get('fov_path', 'absent')
    if not isinstance(fov, str) or not fov:
        return f'expected a text under fov_path, found {fov!r}'
    return None


def _fault_of_geometry(record: dict) -> str | None:
    spacing = record.get('spacing')
    if spacing is not None and not (
        isinstance(spacing, list)
        and len(spacing) in (2, 3)
        and all(isinstance(length, (int, float)) and length > 0 for length in spacing)
    ):
        return f'expected spacing to be null or 2 or 3 lengths > 0 in mm, found {spacing!r}'
    shape = record.get('ori_shape', [1, 1])
    if not (
        isinstance(shape, list)
        and len(shape) in (2, 3)
        and all(isinstance(length, int) and length > 0 for length in shape)
    ):
        return f'expected ori_shape to be 2 or 3 integers > 0, found {shape!r}'
    return None


def _is_class(value: Any, count: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < count
