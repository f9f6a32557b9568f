from . import metrics
from .eval_names import available_names, resolve_names, restrict_evaluator, select_metrics
from .evaluator import JointEvaluator

__all__ = [
    'JointEvaluator',
    'available_names',
    'metrics',
    'resolve_names',
    'restrict_evaluator',
    'select_metrics',
]
