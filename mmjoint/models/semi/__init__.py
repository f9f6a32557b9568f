from .aggregate_decouple import AggregateDecouple
from .difficulty_tracker import DifficultyTracker
from .mean_teacher import MeanTeacher
from .multimix import MultiMix
from .semi_base import SemiBaseModel

__all__ = ['AggregateDecouple', 'DifficultyTracker', 'MeanTeacher', 'MultiMix', 'SemiBaseModel']
