from .encoder_heads import JointModel, JointOutput
from .joint_model import BaseJointModel
from .predictions import BatchPrediction, pixel_data, to_original_size
from .uml import UML, UMLOutput, UMLPaper

__all__ = [
    'UML',
    'BaseJointModel',
    'BatchPrediction',
    'JointModel',
    'JointOutput',
    'UMLOutput',
    'UMLPaper',
    'pixel_data',
    'to_original_size',
]
