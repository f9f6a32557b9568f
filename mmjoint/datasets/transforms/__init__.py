from .formatting import PackJointInputs
from .loading import LoadJointAnnotations, LoadJointImage
from .noise import GaussianNoise, SaltAndPepper

__all__ = [
    'GaussianNoise',
    'LoadJointAnnotations',
    'LoadJointImage',
    'PackJointInputs',
    'SaltAndPepper',
]
