"""Samplers that can start in the middle, and whose every index carries a seed.

Both deal one global sequence of samples out to the ranks in turn (rank r of W gets the positions
r, r + W, ...), as mmengine's samplers do. The seed of an index is a hash of the run's seed, the
epoch and the global position, so that the augmentation of a visit does not depend on the number of
ranks or workers, nor on where a run was resumed.
"""

import math
from collections.abc import Iterator, Sized

import numpy as np
from mmengine.dist import get_dist_info, sync_random_seed
from torch.utils.data import Sampler

from mmjoint.registry import DATA_SAMPLERS
from mmjoint.utils.random import SeededIndex, derive_seed

# Tells the hashes of this file from those of other users of the same seed.
_ORDER_STREAM = 11
_VISIT_STREAM = 12


def _order(size: int, shuffle: bool, seed: int, epoch: int) -> list[int]:
    """Give the order of all samples in one epoch: a permutation of ``range(size)``."""
    return draw_order(size, shuffle, derive_seed(seed, _ORDER_STREAM, epoch))


def draw_order(size: int, shuffle: bool, seed: int) -> list[int]:
    """Give ``range(size)`` as a list, shuffled by ``seed`` or as it is."""
    if not shuffle:
        return list(range(size))
    return np.random.Generator(np.random.PCG64(seed)).permutation(size).tolist()


def check_position(num_samples: int, size: int) -> None:
    """Refuse an empty dataset and negative positions."""
    if size == 0:
        raise ValueError('a sampler needs at least one sample, the dataset is empty')
    if num_samples < 0:
        raise ValueError(f'num_samples must be >= 0, got {num_samples}')


@DATA_SAMPLERS.register_module()
class ResumableSampler(Sampler):
    """Go through the dataset once per epoch; :meth:`skip` starts an epoch in the middle.

    Args:
        dataset: The dataset; only its length is used.
        shuffle: Draw a new order for each epoch from ``seed`` and the epoch. Defaults to ``True``.
        seed: The same number on all ranks; ``None`` draws one and shares it.
        round_up: Repeat the first samples of the order until every rank has equally many, which
            training on several ranks needs. With ``False`` no sample is seen twice, which
            evaluation wants. Defaults to ``True``.

    Raises:
        ValueError: If the dataset is empty.
    """

    def __init__(
        self,
        dataset: Sized,
        shuffle: bool = True,
        seed: int | None = None,
        round_up: bool = True,
    ) -> None:
        self.rank, self.world_size = get_dist_info()
        self.size = len(dataset)
        check_position(0, self.size)
        self.shuffle = shuffle
        self.seed = sync_random_seed() if seed is None else seed
        self.round_up = round_up
        self.epoch = 0
        self._skipped = 0
        if round_up:
            self.num_samples = math.ceil(self.size / self.world_size)
        else:
            self.num_samples = max(0, math.ceil((self.size - self.rank) / self.world_size))

    def __iter__(self) -> Iterator[SeededIndex]:
        """Yield this rank's indices of the current epoch, from where :meth:`skip` put it."""
        order = _order(self.size, self.shuffle, self.seed, self.epoch)
        for visit in range(self._skipped, self.num_samples):
            position = self.rank + visit * self.world_size
            seed = derive_seed(self.seed, _VISIT_STREAM, self.epoch, position)
            yield SeededIndex(order[position % self.size], seed)

    def __len__(self) -> int:
        """Number of samples of this rank in a whole epoch, whatever was skipped."""
        return self.num_samples

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch and start it from its beginning.

        Args:
            epoch: Counted from 0.
        """
        self.epoch = epoch
        self._skipped = 0

    def skip(self, num_samples: int) -> None:
        """Start the current epoch after its first ``num_samples`` samples of this rank.

        The position is absolute and holds until :meth:`set_epoch`.

        Args:
            num_samples: Samples of this rank that were already used, at least 0.

        Raises:
            ValueError: If ``num_samples`` is negative.
        """
        check_position(num_samples, self.size)
        self._skipped = num_samples


@DATA_SAMPLERS.register_module()
class InfiniteResumableSampler(Sampler):
    """Repeat the dataset without end, for training by iterations; :meth:`skip` starts anywhere.

    The sequence is one order after the other; batches run across the seams, so no batch is short.
    Unlike mmengine's ``InfiniteSampler`` it does not generate what it skips.

    Args:
        dataset: The dataset; only its length is used.
        shuffle: Draw a new order for each pass from ``seed``. Defaults to ``True``.
        seed: The same number on all ranks; ``None`` draws one and shares it.

    Attributes:
        endless: Tells the loop that trains by iterations that it never runs out.

    Raises:
        ValueError: If the dataset is empty.
    """

    endless = True

    def __init__(self, dataset: Sized, shuffle: bool = True, seed: int | None = None) -> None:
        self.rank, self.world_size = get_dist_info()
        self.size = len(dataset)
        check_position(0, self.size)
        self.shuffle = shuffle
        self.seed = sync_random_seed() if seed is None else seed
        self._skipped = 0

    def __iter__(self) -> Iterator[SeededIndex]:
        """Yield this rank's indices without end."""
        position = self.rank + self._skipped * self.world_size
        epoch, order = -1, []
        while True:
            if position // self.size != epoch:
                epoch = position // self.size
                order = _order(self.size, self.shuffle, self.seed, epoch)
            seed = derive_seed(self.seed, _VISIT_STREAM, epoch, position % self.size)
            yield SeededIndex(order[position % self.size], seed)
            position += self.world_size

    def __len__(self) -> int:
        """Number of samples in the dataset."""
        return self.size

    def set_epoch(self, epoch: int) -> None:
        """Do nothing: the sequence has no epochs. mmengine's hooks call this."""

    def skip(self, num_samples: int) -> None:
        """Start after the first ``num_samples`` samples of this rank, counted from the very start.

        Args:
            num_samples: Samples of this rank that were already used, at least 0.

        Raises:
            ValueError: If ``num_samples`` is negative.
        """
        check_position(num_samples, self.size)
        self._skipped = num_samples
