from .joint_visualizer import JointVisualizer
from .report import write_report

__all__ = ['JointVisualizer', 'write_report']
