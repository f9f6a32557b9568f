from collections.abc import Callable

import numpy as np


class ArrayCache:
    """Decoded arrays by path, kept in memory.

    Small sets are read again each epoch; 400 images of 256x256 take 79 MB as uint8. What is given
    out is a copy, so a transform may write into it. Copies of the cache are the cache itself and
    pickling gives an empty one: each worker process fills its own.
    """

    def __init__(self) -> None:
        self._arrays: dict[str, np.ndarray] = {}

    def get(self, path: str, read: Callable[[str], np.ndarray]) -> np.ndarray:
        """Give the array of ``path``, from memory or by ``read(path)``."""
        array = self._arrays.get(path)
        if array is None:
            array = self._arrays[path] = read(path)
        return array.copy()

    def __len__(self) -> int:
        return len(self._arrays)

    def __deepcopy__(self, memo: dict) -> 'ArrayCache':
        return self

    def __copy__(self) -> 'ArrayCache':
        return self

    def __reduce__(self) -> tuple[type, tuple]:
        return type(self), ()
