"""How a failing process of a training or a test speaks: once, in one line."""

import json
import os
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmjoint.utils.cli import one_line
from mmjoint.utils.dist import rank_from_environment
from mmjoint.utils.errors import UserError
from mmjoint.utils.io import atomic_write_json

# A folder in which the processes started by tools/launch.py leave their last words, so that the
# launcher can tell the first of them instead of each process telling its own.
ERROR_DIR = 'MMJOINT_ERROR_DIR'
LAUNCHER_PID = 'MMJOINT_LAUNCHER_PID'
_WORKER = re.compile(r'Caught (\w+) in DataLoader worker process')


def is_launched() -> bool:
    """Whether tools/launch.py started this process and has checked its arguments."""
    return ERROR_DIR in os.environ


def of_worker(error: BaseException) -> BaseException:
    """Give the error that a data worker met in place of torch's report with its traceback."""
    if not _WORKER.search(str(error)):
        return error
    # The report ends with "<module>.<Type>: <message>".
    last = str(error).strip().splitlines()[-1]
    name, _, message = last.partition(': ')
    if name.rpartition('.')[2] == UserError.__name__:
        return UserError(message)
    return UserError(f'while reading data: {last}')


@contextmanager
def speaking_once() -> Iterator[None]:
    """Let one line come out of however many processes fail.

    In a process of tools/launch.py an error is left for the launcher, and the process ends with
    exit code 1 (130 when interrupted). Elsewhere errors pass; those of data workers are cut to
    what the worker said.
    """
    try:
        yield
    except KeyboardInterrupt:
        if is_launched():
            sys.exit(130)
        raise
    except Exception as error:
        plain = of_worker(error)
        if is_launched() and '--traceback' not in sys.argv:
            _leave(plain)
            sys.exit(1)
        if plain is error:
            raise
        raise plain from error


@contextmanager
def main_speaks(launcher: str) -> Iterator[None]:
    """In checks that all processes make alike, let only the main process tell a mistake."""
    try:
        yield
    except UserError:
        if launcher != 'none' and not is_launched() and rank_from_environment() != 0:
            sys.exit(1)
        raise


def _leave(error: BaseException) -> None:
    record = {
        'time': time.time(),
        'user_error': isinstance(error, UserError),
        'line': one_line(error),
    }
    path = Path(os.environ[ERROR_DIR]) / f'rank_{rank_from_environment()}.json'
    atomic_write_json(path, record)


def first_failure(folder: str | Path) -> tuple[str, bool] | None:
    """Give the line of the process that failed first, and whether it is a user's mistake."""
    records = [json.loads(path.read_text()) for path in Path(folder).glob('rank_*.json')]
    if not records:
        return None
    # When one process fails, others fail for want of it: a user's mistake is never such an echo.
    first = min(records, key=lambda record: (not record['user_error'], record['time']))
    return first['line'], first['user_error']
