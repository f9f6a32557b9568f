from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import IterBasedTrainLoop

from mmjoint.registry import HOOKS


@HOOKS.register_module()
class TrainProgressHook(Hook):
    """Tell the model's parts how far training is, so that schedules need no other source.

    Calls ``set_train_progress(p)`` on every submodule that has it. Training by epochs gives
    ``p = finished epochs / max_epochs``, constant within an epoch; training by iterations
    ``p = finished iterations / max_iters``. ``p`` lies in [0, 1).
    """

    priority = 'VERY_HIGH'

    def __init__(self) -> None:
        self._receivers: list[Any] = []
        self._told: float | None = None

    def before_train(self, runner: Any) -> None:
        """Find the submodules that want to know."""
        self._receivers = [
            module for module in runner.model.modules() if hasattr(module, 'set_train_progress')
        ]
        self._told = None

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Tell them, where it has changed."""
        if isinstance(runner.train_loop, IterBasedTrainLoop):
            progress = runner.iter / runner.max_iters
        else:
            progress = runner.epoch / runner.max_epochs
        if progress == self._told:
            return
        for module in self._receivers:
            module.set_train_progress(progress)
        self._told = progress
