from typing import Any

from mmengine.hooks import Hook

from mmjoint.registry import HOOKS
from mmjoint.utils.random import derive_seed, seed_all

_TRAIN_STREAM = 21
_VAL_STREAM = 22
_TEST_STREAM = 23


@HOOKS.register_module()
class IterSeedHook(Hook):
    """Seed the global generators before every iteration, from seed, rank and iteration.

    So dropout and whatever else draws in the model gives the same numbers in a resumed run,
    without storing generator states, and in validation whatever was trained before. Ranks draw
    differently.
    """

    priority = 'VERY_HIGH'

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Seed by the number of finished training iterations."""
        seed_all(derive_seed(runner.seed, _TRAIN_STREAM, runner.rank, runner.iter))

    def before_val_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Seed by the validation batch, the same in every validation."""
        seed_all(derive_seed(runner.seed, _VAL_STREAM, runner.rank, batch_idx))

    def before_test_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Seed by the test batch."""
        seed_all(derive_seed(runner.seed, _TEST_STREAM, runner.rank, batch_idx))
