import torch
from mmengine.dist import all_reduce
from torch import Tensor, nn

from mmjoint.functional.class_counts import class_counts, hard_dice
from mmjoint.functional.difficulty import (
    DifficultyState,
    advance_difficulty,
    difficulty_weights,
    initial_difficulty,
)
from mmjoint.registry import MODELS


@MODELS.register_module()
class DifficultyTracker(nn.Module):
    """Follow how hard each class is, and weigh the classes by it.

    It has no gradient and no parameters; its running values are buffers, so they are in the
    checkpoint. As a batch norm it updates them when called in training mode, and leaves them as
    they are in evaluation mode. With several processes the Dice is that of all their batches.

    Args:
        num_classes: C, background included.
        num_iters: Iterations n over which it averages: the momentum is ``(n - 1) / n``.

    Shape:
        - pred: class ids ``(B, *space)``.
        - target: int64 ``(B, *space)`` in [0, C) or ``ignore_index``.
        - Output: weights ``(C,)``, float32, > 0. A class that is never hit keeps about C.

    Raises:
        ValueError: If a number is too small.
    """

    def __init__(self, num_classes: int, *, num_iters: int = 50) -> None:
        super().__init__()
        if num_classes < 2 or num_iters < 1:
            raise ValueError(
                f'expected num_classes >= 2 and num_iters >= 1, got {num_classes}, {num_iters}'
            )
        self.num_classes = num_classes
        self.momentum = (num_iters - 1) / num_iters
        start = initial_difficulty(torch.zeros(num_classes))
        for name, value in start._asdict().items():
            self.register_buffer(name, value.clone())

    @property
    def state(self) -> DifficultyState:
        """The running values."""
        return DifficultyState(*(getattr(self, name) for name in DifficultyState._fields))

    @torch.no_grad()
    def forward(self, pred: Tensor, target: Tensor, *, ignore_index: int | None = 255) -> Tensor:
        """Take in a prediction in training mode, and give the weights."""
        if self.training:
            counts = class_counts(pred, target, self.num_classes, ignore_index=ignore_index)
            all_reduce(counts)
            dice = hard_dice(counts).to(self.state.dice)
            new = advance_difficulty(self.state, dice, self.momentum)
            for name, value in new._asdict().items():
                getattr(self, name).copy_(value)
        return difficulty_weights(self.state)
