from typing import Any

from mmengine.dist import broadcast, get_world_size
from mmengine.hooks import Hook

from mmjoint.registry import HOOKS


@HOOKS.register_module()
class BroadcastBuffersHook(Hook):
    """Give all ranks rank 0's buffers before a validation or a test.

    In training DDP does so before every forward pass, but the last pass leaves each rank with
    running statistics of its own batch; predictions must not depend on who makes them.
    """

    priority = 'VERY_HIGH'

    def before_val_epoch(self, runner: Any) -> None:
        """Broadcast before a validation."""
        self._broadcast(runner)

    def before_test_epoch(self, runner: Any) -> None:
        """Broadcast before a test."""
        self._broadcast(runner)

    def _broadcast(self, runner: Any) -> None:
        if get_world_size() > 1:
            for buffer in runner.model.buffers():
                broadcast(buffer, src=0)
