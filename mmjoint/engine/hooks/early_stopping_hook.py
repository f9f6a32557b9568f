import math
from collections.abc import Mapping
from typing import Any, Literal

from mmengine.hooks import Hook

from mmjoint.registry import HOOKS
from mmjoint.utils.errors import UserError


@HOOKS.register_module()
class JointEarlyStoppingHook(Hook):
    """Stop training when a validation result has not improved for some validations.

    Training ends as soon as the best result is ``patience`` validations old (where every epoch is
    validated: when epoch - best epoch = ``patience``), at the end of that epoch. An undefined
    result is no improvement, nor is one that equals the best.

    Unlike mmengine's ``EarlyStoppingHook``, whose count starts anew with every process, the best
    result and its age stand in checkpoints, so a resumed training stops where one that was never
    interrupted does. A training that had stopped goes on when it is resumed with more patience.

    Args:
        monitor: Key of the result, as ``seg/mean_Dice``.
        patience: Validations without an improvement after which training stops.
        rule: Whether the result improves when ``'greater'`` or ``'less'``.

    Raises:
        ValueError: ``patience`` is not positive or ``rule`` is unknown.
    """

    # Before the checkpoint hook: what that saves after a validation must count it.
    priority = 'LOW'

    def __init__(
        self, monitor: str, patience: int, rule: Literal['greater', 'less'] = 'greater'
    ) -> None:
        if patience < 1:
            raise ValueError(f'patience must be at least 1, got {patience}')
        if rule not in ('greater', 'less'):
            raise ValueError(f"rule must be 'greater' or 'less', got {rule!r}")
        self.monitor = monitor
        self.patience = patience
        self.rule = rule
        self._name = f'early_stopping_{monitor}'

    def before_train(self, runner: Any) -> None:
        """Do not go on with a training that had stopped."""
        age = runner.message_hub.get_info(self._name, {}).get('age', 0)
        if age >= self.patience:
            runner.train_loop.stop_training = True
            runner.logger.info(f'training had been stopped: {self._reason(age)}')

    def after_val_epoch(self, runner: Any, metrics: Mapping[str, float] | None = None) -> None:
        """Compare a validation within training with the best one so far."""
        if self.monitor not in (metrics or {}):
            raise UserError(
                f'JointEarlyStoppingHook: monitor={self.monitor} is not among the results of '
                f'validation ({", ".join(metrics or {})})'
            )
        value = metrics[self.monitor]
        state = runner.message_hub.get_info(self._name, {})
        best, age = state.get('best'), state.get('age', 0) + 1
        if (
            value is not None
            and not math.isnan(value)
            and (best is None or self._beats(value, best))
        ):
            best, age = float(value), 0
        # In the message hub, hence in every checkpoint.
        runner.message_hub.update_info(self._name, {'best': best, 'age': age})
        if age >= self.patience:
            runner.train_loop.stop_training = True
            runner.logger.info(f'training stops early: {self._reason(age)}')

    def _beats(self, value: float, best: float) -> bool:
        return value > best if self.rule == 'greater' else value < best

    def _reason(self, age: int) -> str:
        return f'{self.monitor} has not improved in the last {age} validations'
