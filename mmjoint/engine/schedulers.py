"""Learning-rate schedulers that mmengine lacks."""

from mmengine.optim import BaseOptimWrapper
from mmengine.optim.scheduler.param_scheduler import INF, _ParamScheduler
from torch.optim import Optimizer

from mmjoint.functional.schedules import poly_after
from mmjoint.registry import PARAM_SCHEDULERS


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
