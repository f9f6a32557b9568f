from .joint_model import BaseJointModel
from .uml import UML, UMLOutput, UMLPaper

__all__ = ['UML', 'BaseJointModel', 'UMLOutput', 'UMLPaper']
