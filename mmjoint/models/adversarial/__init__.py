from .outputs import TaskLogits

__all__ = ['TaskLogits']
