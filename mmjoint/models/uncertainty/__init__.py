from .base import UncertaintyEstimator
from .ensemble import Ensemble
from .mc_dropout import MCDropout
from .single_pass import Evidential, Softmax
from .tta import TestTimeAugmentation

__all__ = [
    'Ensemble',
    'Evidential',
    'MCDropout',
    'Softmax',
    'TestTimeAugmentation',
    'UncertaintyEstimator',
]
