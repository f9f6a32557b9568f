"""Seeds that depend on what is computed, never on who computes it or on what came before.

A number that is drawn for sample 17 of epoch 3 must not depend on the number of workers or ranks,
nor on whether the run was interrupted. So seeds are derived (hashed) from the run's seed and the
place in the run, and code that draws does so under :func:`local_seed`.
"""

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def derive_seed(*values: int) -> int:
    """Hash integers into one seed.

    Neighbouring inputs give unrelated outputs, and the order matters: ``derive_seed(0, 1)`` and
    ``derive_seed(1, 0)`` differ.

    Args:
        values: Any integers, for example seed, rank and iteration.

    Returns:
        An integer in ``[0, 2**31)``, accepted by ``random``, numpy and torch alike.

    Raises:
        TypeError: If a value is not an integer.
    """
    for value in values:
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
            raise TypeError(f'derive_seed takes integers, got {value!r} ({type(value).__name__})')
    text = ','.join(str(int(value)) for value in values)
    digest = hashlib.blake2b(text.encode('ascii'), digest_size=8).digest()
    return int.from_bytes(digest, 'little') % 2**31


def seed_all(seed: int) -> None:
    """Seed the global generators of ``random``, numpy and torch (CPU and CUDA).

    Args:
        seed: In ``[0, 2**31)``, as :func:`derive_seed` gives it.
    """
    random.seed(seed)
    np.random.seed(seed)
    # torch.manual_seed seeds every CUDA device too, lazily where CUDA is not yet initialised.
    torch.manual_seed(seed)


@contextmanager
def local_seed(seed: int) -> Iterator[None]:
    """Seed ``random``, numpy and torch-CPU inside the block and restore their states after it.

    Args:
        seed: In ``[0, 2**31)``, as :func:`derive_seed` gives it.
    """
    python_state = random.getstate()
    numpy_state = np.random.get_state()
    torch_state = torch.get_rng_state()
    try:
        random.seed(seed)
        np.random.seed(seed)
        # Not torch.manual_seed, which would reseed the CUDA generators as well.
        torch.default_generator.manual_seed(seed)
        yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)
        torch.set_rng_state(torch_state)


class SeededIndex(int):
    """A sample index that carries the seed of this one visit to the sample.

    Samplers yield it, datasets read ``index.seed``; to everything else it is an ``int``. It
    survives pickling, so it reaches worker processes.

    Attributes:
        seed: In ``[0, 2**31)``.
    """

    seed: int

    def __new__(cls, index: int, seed: int) -> 'SeededIndex':
        """Make the index ``index`` with the visit's ``seed``."""
        self = super().__new__(cls, index)
        self.seed = int(seed)
        return self

    def __reduce__(self) -> tuple[type, tuple[int, int]]:
        """Rebuild with the seed: plain ``int`` pickling would call ``__new__`` without it."""
        return (type(self), (int(self), self.seed))

    def __repr__(self) -> str:
        """Show both numbers."""
        return f'SeededIndex({int(self)}, seed={self.seed})'
