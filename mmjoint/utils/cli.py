"""How a command line tool ends when something is wrong: one line and an exit code."""

import sys
from collections.abc import Callable

from .errors import UserError


def one_line(error: BaseException) -> str:
    """Fold an error into one line; errors that are not a ``UserError`` carry their type."""
    text = ' '.join(str(error).split())
    if isinstance(error, UserError):
        return text
    return f'{type(error).__name__}: {text}' if text else type(error).__name__


def run_cli(main: Callable[[list[str] | None], None], argv: list[str] | None = None) -> None:
    """Run ``main`` and turn an error into one line on stderr and exit code 1.

    ``--traceback`` anywhere among the arguments lets the error through with its traceback; it is
    taken off before ``main`` sees the arguments.

    Args:
        main: Takes the list of arguments (``None`` means ``sys.argv[1:]``).
        argv: Arguments in place of ``sys.argv[1:]``.
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    with_traceback = '--traceback' in argv
    argv = [word for word in argv if word != '--traceback']
    try:
        main(argv)
    except KeyboardInterrupt:
        print('error: stopped by the user', file=sys.stderr)
        sys.exit(130)
    except Exception as error:  # the last line of defence of every tool: nothing is swallowed
        if with_traceback:
            raise
        print(f'error: {one_line(error)}', file=sys.stderr)
        if not isinstance(error, UserError):
            print('(run again with --traceback for the details)', file=sys.stderr)
        sys.exit(1)
