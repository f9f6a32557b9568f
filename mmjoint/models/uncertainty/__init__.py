from .base import UncertaintyEstimator
from .single_pass import Softmax

__all__ = ['Softmax', 'UncertaintyEstimator']
