"""Learning-rate schedulers that mmengine lacks."""

from collections.abc import Mapping
from typing import Literal

from mmengine.optim import BaseOptimWrapper
from mmengine.optim.scheduler.param_scheduler import (
    INF,
    ReduceOnPlateauParamScheduler,
    _ParamScheduler,
)
from torch.optim import Optimizer

from mmjoint.functional.schedules import poly_after
from mmjoint.registry import PARAM_SCHEDULERS
from mmjoint.utils.errors import UserError


@PARAM_SCHEDULERS.register_module()
class PolyAfterLR(_ParamScheduler):
    """Keep the learning rate, then let it decay polynomially per iteration down to a floor.

    The position in training is counted as ``steps_per_epoch * epoch + i`` with a
    ``steps_per_epoch`` that need not be whole (samples / batch size), while ``i`` counts the real
    batches of the epoch: with a short last batch the position falls back a little at each epoch.
    So does the original of UML, whose values this gives exactly. All parameter groups are set,
    each from its own initial value (the original sets the first only).

    Args:
        optimizer: Wrapped optimizer or optimizer.
        max_epochs: Length of training in epochs.
        steps_per_epoch: Samples per epoch divided by the samples of one iteration over all ranks.
            ``JointRunner`` fills it in.
        iters_per_epoch: Iterations per epoch. ``JointRunner`` fills it in.
        change_epoch: First epoch (from 0) that decays; from ``max_epochs`` on, none does. ``None``
            decays from the start.
        power: Exponent of the decay.
        min_lr: Floor of the learning rate of every group.
        begin: First iteration at which the scheduler acts.
        end: Iteration at which it stops to act.
        last_step: Index of the last step, -1 for a fresh start.
        by_epoch: Must be ``False``; here because mmengine's runner asks for it.
        verbose: Log every change.

    Raises:
        ValueError: If a length is not positive or ``change_epoch`` is negative.

    Reference:
        Uncertainty-informed mutual learning (UML, MICCAI 2023), training code of the repository.
    """

    # JointRunner passes max_epochs, steps_per_epoch and iters_per_epoch to classes that say so.
    needs_epoch_lengths = True

    def __init__(
        self,
        optimizer: Optimizer | BaseOptimWrapper,
        max_epochs: int,
        steps_per_epoch: float,
        iters_per_epoch: int,
        change_epoch: int | None = None,
        power: float = 0.9,
        min_lr: float = 1e-5,
        begin: int = 0,
        end: int = INF,
        last_step: int = -1,
        by_epoch: bool = False,
        verbose: bool = False,
    ) -> None:
        if by_epoch:
            raise ValueError('PolyAfterLR works per iteration; set by_epoch=False')
        if max_epochs < 1 or steps_per_epoch <= 0 or iters_per_epoch < 1:
            raise ValueError(
                f'lengths must be positive, got max_epochs={max_epochs}, '
                f'steps_per_epoch={steps_per_epoch}, iters_per_epoch={iters_per_epoch}'
            )
        if change_epoch is not None and change_epoch < 0:
            raise ValueError(f'change_epoch must be >= 0, got {change_epoch}')
        self.max_epochs = max_epochs
        self.steps_per_epoch = float(steps_per_epoch)
        self.iters_per_epoch = iters_per_epoch
        self.change_epoch = change_epoch
        self.power = power
        self.min_lr = min_lr
        super().__init__(
            optimizer,
            param_name='lr',
            begin=begin,
            end=end,
            last_step=last_step,
            by_epoch=False,
            verbose=verbose,
        )

    def _get_value(self) -> list[float]:
        epoch, inner = divmod(self.last_step, self.iters_per_epoch)
        change = None if self.change_epoch is None else self.change_epoch * self.steps_per_epoch
        return [
            poly_after(
                self.steps_per_epoch * epoch + inner,
                base=base,
                total_steps=self.max_epochs * self.steps_per_epoch,
                change_step=change,
                power=self.power,
                floor=self.min_lr,
            )
            for base in self.base_values
        ]


@PARAM_SCHEDULERS.register_module()
class PlateauLR(ReduceOnPlateauParamScheduler):
    """Lower the learning rate when a validation result has stopped to improve.

    It counts validations, wherever in training they lie: after more than ``patience`` of them in a
    row without an improvement the rate of every parameter group is multiplied by ``factor``.
    mmengine's ``ReduceOnPlateauLR``, with a misspelt option or ``monitor`` as the user's error.

    Args:
        optimizer: Wrapped optimizer or optimizer.
        monitor: Key of the result, as ``seg/Dice.lesion``.
        rule: Whether it improves when ``'greater'`` or ``'less'``.
        factor: Factor of the rate, below 1.
        patience: Validations without an improvement that are put up with.
        threshold: What counts as an improvement: relative to the best result so far.
        min_lr: Floor of the learning rate. Steps of less than 1e-8 are not taken.
        begin: First epoch (from 0) in which validations count.
        end: Epoch from which on they do not.
        last_step: Index of the last step, -1 for a fresh start.
        by_epoch: Must be ``True``; here because mmengine's runner asks for it.
        verbose: Log every change.
    """

    def __init__(
        self,
        optimizer: Optimizer | BaseOptimWrapper,
        monitor: str,
        rule: Literal['greater', 'less'] = 'greater',
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        min_lr: float = 0.0,
        begin: int = 0,
        end: int = INF,
        last_step: int = -1,
        by_epoch: bool = True,
        verbose: bool = False,
    ) -> None:
        super().__init__(
            optimizer,
            param_name='lr',
            monitor=monitor,
            rule=rule,
            factor=factor,
            patience=patience,
            threshold=threshold,
            min_value=min_lr,
            begin=begin,
            end=end,
            last_step=last_step,
            by_epoch=by_epoch,
            verbose=verbose,
        )

    def step(self, metrics: Mapping[str, float] | None = None) -> None:
        """Take a validation's results into account; without any, count an epoch.

        Raises:
            UserError: If ``monitor`` is not among the results.
        """
        if metrics is not None and self.monitor not in metrics:
            raise UserError(
                f'PlateauLR: param_scheduler.monitor={self.monitor} is not among the results '
                f'({", ".join(metrics)})'
            )
        super().step(metrics)
