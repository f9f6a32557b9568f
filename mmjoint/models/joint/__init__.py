from .encoder_heads import JointModel, JointOutput
from .inferring import InferringModel
from .joint_model import BaseJointModel
from .predictions import (
    BatchPrediction,
    add_task_prediction,
    pixel_data,
    split_tasks,
    task_measures,
    to_original_size,
)
from .uml import UML, UMLOutput, UMLPaper

__all__ = [
    'UML',
    'BaseJointModel',
    'BatchPrediction',
    'InferringModel',
    'JointModel',
    'JointOutput',
    'UMLOutput',
    'UMLPaper',
    'add_task_prediction',
    'pixel_data',
    'split_tasks',
    'task_measures',
    'to_original_size',
]
