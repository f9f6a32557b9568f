from .formatting import PackJointInputs
from .loading import LoadJointAnnotations, LoadJointImage
from .noise import GaussianNoise, SaltAndPepper
from .resizing import PillowResize
from .tta_views import TTAViews

__all__ = [
    'GaussianNoise',
    'LoadJointAnnotations',
    'LoadJointImage',
    'PackJointInputs',
    'PillowResize',
    'SaltAndPepper',
    'TTAViews',
]
