from .adversarial_model import AdversarialModel
from .branches import branch_logits
from .multi_task_generator import MultiTaskGenerator
from .multi_task_model import (
    MultiTaskModel,
    add_task_predictions,
    check_weights,
    enlarge,
    task_loss,
)
from .outputs import TaskLogits
from .pssnet import PSSNet
from .task_critics import TaskCritics

__all__ = [
    'AdversarialModel',
    'MultiTaskGenerator',
    'MultiTaskModel',
    'PSSNet',
    'TaskCritics',
    'TaskLogits',
    'add_task_predictions',
    'branch_logits',
    'check_weights',
    'enlarge',
    'task_loss',
]
