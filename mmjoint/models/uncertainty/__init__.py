from .base import UncertaintyEstimator
from .mc_dropout import MCDropout
from .single_pass import Softmax

__all__ = ['MCDropout', 'Softmax', 'UncertaintyEstimator']
