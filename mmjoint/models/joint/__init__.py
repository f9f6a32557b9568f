from .encoder_heads import JointModel, JointOutput
from .joint_model import BaseJointModel
from .uml import UML, UMLOutput, UMLPaper

__all__ = ['UML', 'BaseJointModel', 'JointModel', 'JointOutput', 'UMLOutput', 'UMLPaper']
