"""A sign by which a network says that what it computes now is without dropout, whoever asks."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_OFF = ContextVar('dropout_off', default=False)


@contextmanager
def without_dropout() -> Iterator[None]:
    """Keep those who switch dropout on from outside, as Monte Carlo dropout, from doing so."""
    token = _OFF.set(True)
    try:
        yield
    finally:
        _OFF.reset(token)


def dropout_is_off() -> bool:
    """Whether what runs now stands under :func:`without_dropout`."""
    return _OFF.get()
