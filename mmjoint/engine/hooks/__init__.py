"""Hooks: each does one job at some moments of a run."""

from .broadcast_buffers_hook import BroadcastBuffersHook
from .environment_hook import EnvironmentHook, collect_environment
from .iter_seed_hook import IterSeedHook
from .joint_checkpoint_hook import JointCheckpointHook
from .mean_teacher_hook import DecoderAveragingHook, MeanTeacherHook
from .prediction_image_hook import PredictionImageHook
from .train_progress_hook import TrainProgressHook

__all__ = [
    'BroadcastBuffersHook',
    'DecoderAveragingHook',
    'EnvironmentHook',
    'IterSeedHook',
    'JointCheckpointHook',
    'MeanTeacherHook',
    'PredictionImageHook',
    'TrainProgressHook',
    'collect_environment',
]
