"""Batches of fixed composition out of several sources."""

from collections.abc import Iterator, Sequence
from typing import Protocol

from mmengine.dist import get_dist_info, sync_random_seed
from torch.utils.data import Sampler

from mmjoint.registry import DATA_SAMPLERS
from mmjoint.utils.errors import UserError
from mmjoint.utils.random import SeededIndex, derive_seed

from .resumable import check_position, draw_order

# Tells the hashes of this file from those of other users of the same seed.
_ORDER_STREAM = 13
_VISIT_STREAM = 14


class _Sources(Protocol):
    source_sizes: tuple[int, ...]


@DATA_SAMPLERS.register_module()
class MultiSourceSampler(Sampler):
    """Fill each batch with so many samples of each source, in the order of the sources.

    An epoch goes once through the source that lasts longest; what does not fill a batch at its end
    is left out. The others are repeated up to the same length (so their samples come up equally
    often, give or take one) and then shuffled as a whole. This is two shuffled data loaders with
    ``drop_last``, zipped, where there are two sources; but with one place in the epoch, from which
    training goes on exactly. Another source may decide how long an epoch is (``epoch_source``): of
    one that lasts longer each epoch then draws other samples.

    Order and seeds follow from the run's seed, the epoch and the place alone. Of several ranks
    each takes its batch from one global batch: slot j of rank r of W is number j * W + r of it.

    Args:
        dataset: A :class:`mmjoint.datasets.MultiSourceDataset`; only the sizes of its sources are
            used.
        counts: Samples of each source in a batch, e.g. (4, 4) for 4 labelled and 4 unlabelled
            ones. Their sum must be the ``batch_size`` of the data loader.
        num_batches: Batches of an epoch, in place of what the source that lasts longest gives; so
            a training on few labels alone gets the iterations of one that has unlabelled data too.
        epoch_source: Number of the source through which an epoch goes once, in place of the one
            that lasts longest.
        shuffle: Draw new orders for each epoch; for all sources or for each of them.
        whole_passes: Shuffle each pass through a repeated source by itself, so that a sample comes
            up again only when all others have: 10 samples in batches of 10 make batches without
            duplicates, as from a data loader that starts anew.
        seed: The same number on all ranks; ``None`` draws one and shares it.
        endless: Let one epoch follow the other, for training by iterations.

    Raises:
        UserError: ``counts`` does not fit the sources.
    """

    def __init__(
        self,
        dataset: _Sources,
        counts: Sequence[int],
        num_batches: int | None = None,
        epoch_source: int | None = None,
        shuffle: bool | Sequence[bool] = True,
        whole_passes: bool = False,
        seed: int | None = None,
        endless: bool = False,
    ) -> None:
        self.rank, self.world_size = get_dist_info()
        self.sizes = tuple(getattr(dataset, 'source_sizes', ()))
        if not self.sizes:
            raise UserError(
                'MultiSourceSampler: expected a MultiSourceDataset, found '
                f'{type(dataset).__name__}; use ResumableSampler for it'
            )
        if len(counts) != len(self.sizes) or min(counts) < 1:
            raise UserError(
                f'MultiSourceSampler: expected counts to be {len(self.sizes)} numbers >= 1, one '
                f'for each source, found {tuple(counts)}'
            )
        if min(self.sizes) == 0:
            raise UserError(
                f'MultiSourceSampler: expected samples in every source, found the sizes '
                f'{self.sizes}'
            )
        if num_batches is not None and num_batches < 1:
            raise UserError(f'MultiSourceSampler: expected num_batches >= 1, found {num_batches}')
        if epoch_source is not None and not (
            num_batches is None and 0 <= epoch_source < len(self.sizes)
        ):
            raise UserError(
                f'MultiSourceSampler: expected epoch_source to be one of 0 to '
                f'{len(self.sizes) - 1}, without num_batches, found epoch_source={epoch_source}, '
                f'num_batches={num_batches}'
            )
        self.counts = tuple(counts)
        self.batch_size = sum(counts)
        self.shuffle = (shuffle,) * len(self.sizes) if isinstance(shuffle, bool) else tuple(shuffle)
        if len(self.shuffle) != len(self.sizes):
            raise UserError(
                f'MultiSourceSampler: expected shuffle to be True, False or {len(self.sizes)} of '
                f'them, one for each source, found {shuffle}'
            )
        self.whole_passes = whole_passes
        self.seed = sync_random_seed() if seed is None else seed
        self.endless = endless
        self.epoch = 0
        self._skipped = 0
        taken = [count * self.world_size for count in self.counts]
        # Fewer samples than one batch takes: then all sources are repeated.
        lasting = [n // t for n, t in zip(self.sizes, taken, strict=True)]
        lasts = max(lasting) if epoch_source is None else lasting[epoch_source]
        self.num_batches = max(1, lasts) if num_batches is None else num_batches
        # As many as go with the source that lasts longest, also with its last, short batch; or with
        # the source that was chosen, and at least all of a longer one, of which none comes twice.
        self.lengths = tuple(
            max(
                self.num_batches * own,
                *(
                    -(-n * own // t)
                    for number, (n, t) in enumerate(zip(self.sizes, taken, strict=True))
                    if epoch_source is None or number in (epoch_source, source)
                ),
            )
            for source, own in enumerate(taken)
        )

    def __iter__(self) -> Iterator[SeededIndex]:
        """Yield this rank's indices, batch by batch, from where :meth:`skip` put it."""
        place = self._skipped
        epoch, orders = None, []
        while self.endless or place < len(self):
            now, within = divmod(place, len(self)) if self.endless else (self.epoch, place)
            if now != epoch:
                epoch, orders = now, self._orders(now)
            yield self._index(epoch, orders, *divmod(within, self.batch_size))
            place += 1

    def __len__(self) -> int:
        """Number of samples of this rank in a whole epoch, whatever was skipped."""
        return self.num_batches * self.batch_size

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch and start it from its beginning; an endless sequence has none.

        Args:
            epoch: Counted from 0.
        """
        if not self.endless:
            self.epoch = epoch
            self._skipped = 0

    def skip(self, num_samples: int) -> None:
        """Start after the first ``num_samples`` samples of this rank.

        Args:
            num_samples: Samples of this rank that were already used, at least 0: in the current
                epoch, or in the whole training of an endless sampler.

        Raises:
            ValueError: If ``num_samples`` is negative.
        """
        check_position(num_samples, sum(self.sizes))
        self._skipped = num_samples

    def _orders(self, epoch: int) -> list[list[int]]:
        """Orders of the repeated sources in one epoch."""
        orders = []
        for source, length in enumerate(self.lengths):
            place = (self.seed, _ORDER_STREAM, epoch, source)
            if not (self.whole_passes and self.shuffle[source]):
                orders.append(draw_order(length, self.shuffle[source], derive_seed(*place)))
                continue
            size = self.sizes[source]
            orders.append([])
            for number in range(-(-length // size)):
                orders[-1] += draw_order(size, True, derive_seed(*place, number))
        return orders

    def _index(self, epoch: int, orders: list[list[int]], batch: int, slot: int) -> SeededIndex:
        source, first = 0, 0
        while slot >= self.counts[source]:
            slot -= self.counts[source]
            first += self.sizes[source]
            source += 1
        position = (batch * self.counts[source] + slot) * self.world_size + self.rank
        number = orders[source][position] % self.sizes[source]
        seed = derive_seed(self.seed, _VISIT_STREAM, epoch, source, position)
        return SeededIndex(first + number, seed)
