from .adversarial_model import AdversarialModel
from .branches import branch_logits
from .multi_task_generator import MultiTaskGenerator
from .multi_task_model import (
    MultiTaskModel,
    check_weights,
    task_loss,
)
from .outputs import TaskLogits
from .pssnet import PSSNet
from .task_critics import TaskCritics
from .task_predictor import TaskPredictor, enlarge, join_tasks

__all__ = [
    'AdversarialModel',
    'MultiTaskGenerator',
    'MultiTaskModel',
    'PSSNet',
    'TaskCritics',
    'TaskLogits',
    'TaskPredictor',
    'branch_logits',
    'check_weights',
    'enlarge',
    'join_tasks',
    'task_loss',
]
