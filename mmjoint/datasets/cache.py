import copy
from collections.abc import Callable, Sequence

import numpy as np
from mmcv.transforms import BaseTransform


class ArrayCache:
    """What the deterministic leading transforms make of the records, kept in memory.

    Small sets are read again each epoch; 900 images of 128x128 with their masks take 59 MB as
    uint8. A transform says by the class attribute ``deterministic = True`` that its result follows
    from its input alone; those at the start of a pipeline run once per record, whatever comes
    behind runs each time. So nothing random is kept, and where the last of them resizes, the small
    arrays are kept and not the decoded files.

    What is given out is a copy, so later transforms may write into it. Entries are found by the
    record and the transforms themselves, not by their place: copies of the cache are the cache
    itself, also those in copies of the data set that hold other samples. Pickling gives an empty
    one: each worker process fills its own.
    """

    def __init__(self) -> None:
        self._results: dict[tuple[str, str], dict] = {}

    def get(self, info: dict, transforms: Sequence[Callable]) -> dict | None:
        """Give what ``transforms`` make of a record, from memory or by running them.

        Args:
            info: The record as the data set gives it to the pipeline, without arrays.
            transforms: Deterministic transforms, told apart by their ``repr``.

        Returns:
            Results of which the caller may change everything; ``None`` if a transform gave it.
        """
        key = (repr(info), repr(transforms))
        kept = self._results.get(key)
        if kept is None:
            kept = info
            for transform in transforms:
                kept = transform(kept)
                if kept is None:
                    return None
            self._results[key] = kept
        return copy.deepcopy(kept)

    def __len__(self) -> int:
        """Count the arrays."""
        return sum(
            isinstance(value, np.ndarray)
            for results in self._results.values()
            for value in results.values()
        )

    def __deepcopy__(self, memo: dict) -> 'ArrayCache':
        return self

    def __copy__(self) -> 'ArrayCache':
        return self

    def __reduce__(self) -> tuple[type, tuple]:
        return type(self), ()


def leading_deterministic(transforms: Sequence[Callable]) -> list[BaseTransform]:
    """Give the transforms at the start of a pipeline that are marked ``deterministic``."""
    leading = []
    for transform in transforms:
        # Of the class itself: a subclass may draw, and has to say again that it does not.
        if not vars(type(transform)).get('deterministic', False):
            break
        leading.append(transform)
    return leading
