"""What drives training: runner, loops, hooks, schedulers, checkpoints."""

from . import hooks, optimizers
from .checkpoint import read_checkpoint, write_checkpoint
from .loops import JointEpochBasedTrainLoop, JointIterBasedTrainLoop
from .runner import JointRunner
from .schedulers import PlateauLR, PolyAfterLR

__all__ = [
    'JointEpochBasedTrainLoop',
    'JointIterBasedTrainLoop',
    'JointRunner',
    'PlateauLR',
    'PolyAfterLR',
    'hooks',
    'optimizers',
    'read_checkpoint',
    'write_checkpoint',
]
