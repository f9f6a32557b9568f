from .multi_task_generator import MultiTaskGenerator
from .multi_task_model import (
    MultiTaskModel,
    add_task_predictions,
    check_weights,
    enlarge,
    task_loss,
)
from .outputs import TaskLogits

__all__ = [
    'MultiTaskGenerator',
    'MultiTaskModel',
    'TaskLogits',
    'add_task_predictions',
    'check_weights',
    'enlarge',
    'task_loss',
]
