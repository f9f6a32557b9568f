"""Training loops that go on exactly where a checkpoint was taken, also inside an epoch."""

from typing import Any

from mmengine.dist import get_world_size
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop
from torch import nn
from torch.utils.data import BatchSampler, DataLoader

from mmjoint.registry import LOOPS
from mmjoint.utils.errors import UserError

# Stands in the message hub, so that a resumed run knows whether the validation that was due at
# its checkpoint had been done.
_LAST_VALIDATED = 'last_validated_iter'


def check_loop_dataloader(dataloader: DataLoader) -> None:
    """Stop if a dataloader has no batch, or cuts the batches of its sampler differently.

    Without a batch mmengine would train nothing.
    """
    if len(dataloader) == 0:
        raise UserError(
            f'train_dataloader: no batch comes out of {len(dataloader.dataset)} samples with '
            f'batch_size={dataloader.batch_size} and drop_last={dataloader.drop_last}; make the '
            'batches smaller or set drop_last=False'
        )
    sampler = getattr(dataloader.batch_sampler, 'sampler', None)
    composed = getattr(sampler, 'batch_size', None)
    if composed is not None and composed != dataloader.batch_sampler.batch_size:
        raise UserError(
            f'train_dataloader.batch_size: expected {composed}, the sum of the counts of '
            f'{type(sampler).__name__}, found {dataloader.batch_sampler.batch_size}'
        )


def skip_batches(dataloader: DataLoader, num_batches: int) -> None:
    """Let the next pass over a dataloader start after ``num_batches`` batches, reading none.

    Args:
        dataloader: Its sampler (or batch sampler) must have a ``skip`` method.
        num_batches: Number of batches, counted from the start of the epoch or of training.

    Raises:
        UserError: If neither can skip.
    """
    batch_sampler = dataloader.batch_sampler
    if hasattr(batch_sampler, 'skip'):
        batch_sampler.skip(num_batches * batch_sampler.batch_size)
    elif type(batch_sampler) is BatchSampler and hasattr(batch_sampler.sampler, 'skip'):
        batch_sampler.sampler.skip(num_batches * batch_sampler.batch_size)
    elif num_batches:
        kind = type(getattr(batch_sampler, 'sampler', batch_sampler)).__name__
        raise UserError(
            f'train_dataloader.sampler: {kind} has no skip(), so training cannot be resumed after '
            f'{num_batches} batches; use ResumableSampler or InfiniteResumableSampler'
        )


def _validation_is_due(loop: Any, done: int, total: int) -> bool:
    return (
        loop.runner.val_loop is not None
        and done >= loop.val_begin
        and (done % loop.val_interval == 0 or done == total)
    )


def _validate(loop: Any) -> None:
    # Noted before the validation: hooks of its end save checkpoints, which must know of it.
    loop.runner.message_hub.update_info(_LAST_VALIDATED, loop.iter)
    loop.runner.val_loop.run()


def _was_validated(loop: Any) -> bool:
    return loop.runner.message_hub.get_info(_LAST_VALIDATED) == loop.iter


@LOOPS.register_module()
class JointEpochBasedTrainLoop(EpochBasedTrainLoop):
    """Train by epochs; a run resumed in the middle of an epoch reads only what is left of it.

    A validation that was due at the checkpoint, but had not been done, is made up for.

    Args:
        runner: The runner.
        dataloader: Built or to be built. Its sampler must have ``skip``.
        max_epochs: Length of training.
        val_begin: First epoch (from 1) that is followed by a validation, or has one inside.
        val_interval: Validate after every so many-th epoch, and after the last one.
        dynamic_intervals: Pairs (first epoch, interval from there on).
        val_per_epoch: Validate about so many times within an epoch, in place of ``val_interval``:
            after every ``samples // (val_per_epoch * batch)`` iterations (at least 1), counted
            through all epochs, and at the end. The batch is that of all processes together.

    Raises:
        ValueError: ``val_per_epoch`` is not positive, or given together with other intervals.
    """

    def __init__(
        self,
        runner: Any,
        dataloader: DataLoader | dict,
        max_epochs: int,
        val_begin: int = 1,
        val_interval: int = 1,
        dynamic_intervals: list[tuple[int, int]] | None = None,
        val_per_epoch: int | None = None,
    ) -> None:
        super().__init__(runner, dataloader, max_epochs, val_begin, val_interval, dynamic_intervals)
        check_loop_dataloader(self.dataloader)
        self._batches_done = 0
        self.val_iters: int | None = None
        """Number of iterations from one validation to the next, or None: whole epochs."""
        if val_per_epoch is not None:
            if val_per_epoch < 1 or val_interval != 1 or dynamic_intervals:
                raise ValueError(
                    'val_per_epoch must be >= 1 and stand without val_interval and '
                    f'dynamic_intervals, got {val_per_epoch}, {val_interval}, {dynamic_intervals}'
                )
            batch = self.dataloader.batch_sampler.batch_size * get_world_size()
            self.val_iters = max(1, len(self.dataloader.dataset) // (val_per_epoch * batch))

    def resume_at(self, epoch: int, iteration: int, batches_done: int) -> None:
        """Set the position from which :meth:`run` goes on.

        Args:
            epoch: Number of finished epochs.
            iteration: Number of finished iterations.
            batches_done: Finished iterations of the current epoch; all of them if only the hooks
                of its end are left to do.
        """
        self._epoch, self._iter, self._batches_done = epoch, iteration, batches_done

    def run(self) -> nn.Module:
        """Launch training, from the start or from where :meth:`resume_at` said."""
        self.runner.call_hook('before_train')
        self._decide_current_val_interval()
        if self._iter and not _was_validated(self):
            self._validate_inside()
            if not self._batches_done:
                self._validate_if_due()
        # A stop decided within an epoch takes effect at its end, also in a resumed run.
        while self._epoch < self._max_epochs and (self._batches_done or not self.stop_training):
            self.run_epoch()
            self._decide_current_val_interval()
            self._validate_if_due()
        self.runner.call_hook('after_train')
        return self.runner.model

    def run_epoch(self) -> None:
        """Iterate over one epoch, or over what is left of it."""
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        done, self._batches_done = self._batches_done, 0
        if done:
            # After before_train_epoch, whose hooks set the sampler's epoch.
            skip_batches(self.dataloader, done)
        if done < len(self.dataloader):
            for index, data_batch in enumerate(self.dataloader, start=done):
                self.run_iter(index, data_batch)
                self._validate_inside()
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1

    def _validate_inside(self) -> None:
        """Validate within an epoch if it is time, and go on in training mode."""
        if self.val_iters is None or self.runner.val_loop is None:
            return
        # Counted from 1; the last iteration of an epoch belongs to it.
        epoch = (self._iter - 1) // len(self.dataloader) + 1
        if epoch >= self.val_begin and self._iter % self.val_iters == 0:
            _validate(self)
            self.runner.model.train()

    def _validate_if_due(self) -> None:
        """Validate after whole epochs, or at the end only if the others lie within them."""
        if self.val_iters is not None and (self._epoch < self._max_epochs or _was_validated(self)):
            return
        if _validation_is_due(self, self._epoch, self._max_epochs):
            _validate(self)


@LOOPS.register_module()
class JointIterBasedTrainLoop(IterBasedTrainLoop):
    """Train by iterations over an endless sampler; resuming starts the sampler where it was.

    A validation that was due at the checkpoint, but had not been done, is made up for.

    Args:
        runner: The runner.
        dataloader: Built or to be built, with an endless sampler.
        max_iters: Length of training.
        val_begin: First iteration (from 1) that may be followed by a validation.
        val_interval: Validate after every so many-th iteration, and after the last one.
        dynamic_intervals: Pairs (first iteration, interval from there on).
    """

    def __init__(
        self,
        runner: Any,
        dataloader: DataLoader | dict,
        max_iters: int,
        val_begin: int = 1,
        val_interval: int = 1000,
        dynamic_intervals: list[tuple[int, int]] | None = None,
    ) -> None:
        super().__init__(runner, dataloader, max_iters, val_begin, val_interval, dynamic_intervals)
        check_loop_dataloader(self.dataloader)
        sampler = getattr(self.dataloader.batch_sampler, 'sampler', self.dataloader.sampler)
        if not getattr(sampler, 'endless', False):
            raise UserError(
                f'train_dataloader.sampler: {type(sampler).__name__} ends with the data, training '
                'by iterations needs an endless one; use InfiniteResumableSampler'
            )

    def resume_at(self, epoch: int, iteration: int, batches_done: int) -> None:
        """Set the number of finished iterations; see :class:`JointEpochBasedTrainLoop`."""
        self._epoch, self._iter = epoch, iteration

    def run(self) -> nn.Module:
        """Launch training, from the start or from where :meth:`resume_at` said."""
        self.runner.call_hook('before_train')
        # The whole training is one big epoch to the hooks.
        self.runner.call_hook('before_train_epoch')
        self._decide_current_val_interval()
        if self._iter and not _was_validated(self):
            self._validate_if_due()
        if self._iter:
            skip_batches(self.dataloader, self._iter)
        batches = iter(self.dataloader) if self._iter < self._max_iters else iter(())
        while self._iter < self._max_iters and not self.stop_training:
            self.runner.model.train()
            self.run_iter(next(batches))
            self._decide_current_val_interval()
            self._validate_if_due()
        self.runner.call_hook('after_train_epoch')
        self.runner.call_hook('after_train')
        return self.runner.model

    def _validate_if_due(self) -> None:
        if _validation_is_due(self, self._iter, self._max_iters):
            _validate(self)


def resumable_loop_cfg(loop_cfg: dict[str, Any]) -> dict[str, Any]:
    """Replace mmengine's two training loops in a ``train_cfg`` by ours.

    Args:
        loop_cfg: With ``by_epoch`` or ``type``, as ``Runner`` takes it.

    Returns:
        A copy with the ``type`` of a loop that resumes exactly; other loops stay.
    """
    loop_cfg = dict(loop_cfg)
    ours = {
        'EpochBasedTrainLoop': 'JointEpochBasedTrainLoop',
        'IterBasedTrainLoop': 'JointIterBasedTrainLoop',
    }
    if 'type' not in loop_cfg and 'by_epoch' in loop_cfg:
        by_epoch = loop_cfg.pop('by_epoch')
        loop_cfg['type'] = 'EpochBasedTrainLoop' if by_epoch else 'IterBasedTrainLoop'
    if isinstance(loop_cfg.get('type'), str):
        name = loop_cfg['type'].removeprefix('mmengine.')
        loop_cfg['type'] = ours.get(name, loop_cfg['type'])
    return loop_cfg
