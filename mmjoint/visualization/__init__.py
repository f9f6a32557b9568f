from .joint_visualizer import JointVisualizer

__all__ = ['JointVisualizer']
