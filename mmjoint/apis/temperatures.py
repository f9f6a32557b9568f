"""Files of fitted temperatures: written by ``tools/calibrate.py``, read by ``tools/test.py``."""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmjoint import __version__
from mmjoint.utils.errors import UserError
from mmjoint.utils.io import atomic_write_json, sha256_file

from .uncertainty import same_estimator, settings_of

KEYS = ('seg_temperature', 'cls_temperature')
# They change the costs or the draws, or what is kept, but not what is estimated.
_IRRELEVANT = {*KEYS, 'type', 'seed', 'spread', 'keep_std', 'fused', 'batch_size', 'checkpoints'}
_IRRELEVANT |= {'memory_budget_mib'}


def write_temperatures(
    path: str | Path,
    results: Mapping[str, float],
    uq: Mapping[str, Any],
    *,
    config: str,
    checkpoint: str,
    split: str,
) -> dict[str, Any]:
    """Write fitted temperatures with what they were fitted to.

    Args:
        path: A ``.json`` file.
        results: Those of the ``TemperatureMetric`` of each task.
        uq: The estimator.
        config: The config file.
        checkpoint: The checkpoint.
        split: Name of the split.

    Returns:
        What was written. A task without labels or predictions has the temperature None.
    """
    files = [checkpoint, *(uq.get('checkpoints') or ())]
    record = {
        **{f'{task}_temperature': results.get(f'{task}/temperature') for task in ('seg', 'cls')},
        'uq': settings_of({k: v for k, v in uq.items() if k not in KEYS}),
        'results': dict(results),
        'split': split,
        'config': config,
        'checkpoints': {str(file): sha256_file(file) for file in files},
        'date': time.strftime('%Y-%m-%d %H:%M'),
        'mmjoint_version': __version__,
    }
    atomic_write_json(path, record)
    return record


def read_temperatures(path: str | Path) -> dict[str, Any]:
    """Read and check a file of temperatures.

    Raises:
        UserError: If there is no such file, or it is none of ``tools/calibrate.py``.
    """
    try:
        record = json.loads(Path(path).read_text(encoding='utf-8'))
    except OSError as error:
        raise UserError(f'{path}: cannot read the temperatures ({error.strerror})') from error
    except ValueError as error:
        raise UserError(
            f'{path}: expected a JSON file of tools/calibrate.py, found no JSON: {error}'
        ) from error
    record = record if isinstance(record, dict) else {}
    lacking = [key for key in (*KEYS, 'uq', 'checkpoints') if key not in record]
    if lacking or not isinstance(record['uq'], dict) or 'type' not in record['uq']:
        raise UserError(
            f'{path}: expected a file of tools/calibrate.py, found one without '
            f'{", ".join(lacking) or "uq.type"}'
        )
    for key in KEYS:
        value = record[key]
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if value is not None and not (number and value > 0):
            raise UserError(f'{path}: {key}: expected a number > 0 or null, found {value!r}')
    return record


def with_temperatures(uq: Mapping[str, Any], path: str | Path) -> dict[str, Any]:
    """Give an estimator's settings with the temperatures of a file.

    Raises:
        UserError: If they were fitted for another estimator.
    """
    record = read_temperatures(path)
    fitted = record['uq']['type']
    if not same_estimator(fitted, uq['type']):
        raise UserError(
            f'{path}: expected temperatures of the estimator {uq["type"]}, found those of '
            f'{fitted}; add --uq {fitted}, or calibrate {uq["type"]} by tools/calibrate.py'
        )
    return {**uq, **{key: record[key] for key in KEYS if record[key] is not None}}


def doubts(uq: Mapping[str, Any], path: str | Path, checkpoint: str) -> list[str]:
    """Tell in what a test differs from what its temperatures were fitted to, a line each."""
    record = read_temperatures(path)
    lines = []
    files = [checkpoint, *(uq.get('checkpoints') or ())]
    if {sha256_file(file) for file in files} != set(record['checkpoints'].values()):
        lines.append(f'{path}: fitted to other weights ({", ".join(record["checkpoints"])})')
    now = settings_of(uq)
    for key, value in record['uq'].items():
        if key not in _IRRELEVANT and now.get(key) != value:
            lines.append(f'{path}: fitted with {key}={value!r}, this test has {now.get(key)!r}')
    return lines
