"""Hooks: each does one job at some moments of a run."""

from .broadcast_buffers_hook import BroadcastBuffersHook
from .early_stopping_hook import JointEarlyStoppingHook
from .environment_hook import EnvironmentHook, collect_environment
from .iter_seed_hook import IterSeedHook
from .joint_checkpoint_hook import JointCheckpointHook
from .mean_teacher_hook import DecoderAveragingHook, MeanTeacherHook
from .prediction_image_hook import PredictionImageHook
from .prediction_volume_hook import PredictionVolumeHook
from .pseudo_label_health_hook import PseudoLabelHealthHook
from .task_label_hook import TaskLabelHook
from .train_progress_hook import TrainProgressHook

__all__ = [
    'BroadcastBuffersHook',
    'DecoderAveragingHook',
    'EnvironmentHook',
    'IterSeedHook',
    'JointCheckpointHook',
    'JointEarlyStoppingHook',
    'MeanTeacherHook',
    'PredictionImageHook',
    'PredictionVolumeHook',
    'PseudoLabelHealthHook',
    'TaskLabelHook',
    'TrainProgressHook',
    'collect_environment',
]
