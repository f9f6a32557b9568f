"""Reading the scalars that mmengine writes while it trains."""

import json
import math
import os
from dataclasses import dataclass
from pathlib import Path

from mmjoint.utils.errors import UserError

_AXES = ('step', 'iter', 'epoch')


@dataclass
class Curve:
    """One scalar of a training run.

    Attributes:
        steps: Rising positions.
        values: Their values; NaN where the log holds none.
        unit: Of the positions: ``iteration`` or ``epoch``.
    """

    steps: list[float]
    values: list[float]
    unit: str


def find_train_logs(path: str | os.PathLike[str]) -> list[Path]:
    """Give the files to read for a log file or a work directory.

    Args:
        path: A file of JSON lines, or a folder below which ``scalars.json`` files lie.

    Returns:
        One file, or all of the folder, the oldest run first (their folders are named by time).

    Raises:
        UserError: If there is none.
    """
    path = Path(path)
    if path.is_file():
        return [path]
    if path.is_dir():
        found = sorted(path.glob('**/scalars.json'))
        if found:
            return found
        raise UserError(f'{path}: expected a scalars.json below this folder, found none')
    raise UserError(f'{path}: no such log; expected scalars.json or a work directory of a run')


def read_train_log(path: str | os.PathLike[str]) -> dict[str, Curve]:
    """Read a training log into one curve per scalar.

    Runs that resumed one training are joined; a step that was written again keeps its later value.
    Where a folder holds several trainings, the newest counts. Lines of training carry the iteration
    as ``step``, lines of validation the epoch or the iteration, as the loop counts.

    Args:
        path: See ``find_train_logs``.

    Returns:
        Curves by name, in the order of their first appearance.

    Raises:
        UserError: If there is no log, a line is no JSON object or no line holds a scalar.
    """
    records = _newest_training([_read_lines(file) for file in find_train_logs(path)])
    by_epoch = _validates_by_epoch(records)
    points: dict[str, dict[float, float]] = {}
    units: dict[str, str] = {}
    for record in records:
        step = next((record[axis] for axis in ('step', 'iter', 'epoch') if axis in record), None)
        if not _is_number(step):
            continue
        is_train = 'iter' in record or 'loss' in record
        for name, value in record.items():
            if name in _AXES or not (_is_number(value) or value is None):
                continue
            number = math.nan if value is None else float(value)
            points.setdefault(name, {})[float(step)] = number
            units.setdefault(name, 'iteration' if is_train or not by_epoch else 'epoch')
    if not points:
        raise UserError(f'{path}: expected lines with scalars, found none; the run wrote no log')
    return {
        name: Curve(sorted(found), [found[step] for step in sorted(found)], units[name])
        for name, found in points.items()
    }


def _newest_training(runs: list[list[dict]]) -> list[dict]:
    """Join the newest training's runs: one that begins no later than the first starts anew."""
    records: list[dict] = []
    beginning = None
    for run in runs:
        first = next((r['step'] for r in run if 'loss' in r and _is_number(r.get('step'))), None)
        if first is not None and (beginning is None or first <= beginning):
            records, beginning = [], first
        records = records + run
    return records


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _validates_by_epoch(records: list[dict]) -> bool:
    train = [record for record in records if 'iter' in record]
    other = [record['step'] for record in records if 'iter' not in record and 'step' in record]
    epochs = [record['epoch'] for record in train if 'epoch' in record]
    return bool(epochs) and bool(other) and max(other) <= max(epochs)


def _read_lines(path: Path) -> list[dict]:
    records = []
    try:
        text = path.read_text(encoding='utf-8')
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f'{path}: cannot be read as text ({error})') from error
    lines = text.splitlines()
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except ValueError as error:
            if number == len(lines) and not text.endswith('\n'):
                break  # the last line of a run that was killed while it wrote
            raise UserError(
                f'{path}: line {number}: expected a JSON object per line, found {line[:40]!r}; '
                'give the scalars.json of a run'
            ) from error
        if not isinstance(record, dict):
            raise UserError(
                f'{path}: line {number}: expected a JSON object, found {type(record).__name__}'
            )
        records.append(record)
    return records
