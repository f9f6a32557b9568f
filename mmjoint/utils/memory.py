"""Memory that a process has freed and will soon want again."""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

# Numbers of glibc's mallopt(3).
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4
_MiB = 2**20


@contextmanager
def keep_freed_memory() -> Iterator[None]:
    """Within the block, let the process keep the memory of freed arrays for the next ones.

    By default glibc gets every array above 32 MiB from the kernel and gives it back when it is
    freed, so each result of each operation on a batch of volumes costs a fault for each of its
    pages, and its clearing. On CPUs this is a third of a training step and more. What is computed
    stays the same. The process holds on to its peak (and to a little more, since free blocks
    between others may be too small for what comes) until the end of the block, which returns what
    is free; processes that it forks do the same.

    Without glibc (other systems, other allocators) nothing changes.
    """
    libc = _glibc()
    if libc is None:
        yield
        return
    libc.mallopt(_MMAP_MAX, 0)
    libc.mallopt(_TRIM_THRESHOLD, -1)
    try:
        yield
    finally:
        # Where glibc's own rules end up once large arrays were freed.
        libc.mallopt(_MMAP_MAX, 65536)
        libc.mallopt(_MMAP_THRESHOLD, 32 * _MiB)
        libc.mallopt(_TRIM_THRESHOLD, 64 * _MiB)
        libc.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    """The C library of this process, if it is glibc."""
    try:
        libc = ctypes.CDLL(None)
    except (OSError, TypeError):  # a system whose process is no library
        return None
    has_all = all(hasattr(libc, name) for name in ('gnu_get_libc_version', 'mallopt'))
    return libc if has_all else None
