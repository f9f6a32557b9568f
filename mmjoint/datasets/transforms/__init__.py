from .augmenting import (
    RandomBlurPatch,
    RandomBrightnessPatch,
    RandomContrastPatch,
    RandomGammaPatch,
    RandomRotatePatch,
    RandomScalePatch,
    RandomSubset,
)
from .cropping import CenterCropPatch, RandomCropPatch
from .formatting import PackJointInputs
from .loading import LoadJointAnnotations, LoadJointImage
from .noise import GaussianNoise, SaltAndPepper
from .resizing import PillowResize
from .tta_views import TTAViews

__all__ = [
    'CenterCropPatch',
    'GaussianNoise',
    'LoadJointAnnotations',
    'LoadJointImage',
    'PackJointInputs',
    'PillowResize',
    'RandomBlurPatch',
    'RandomBrightnessPatch',
    'RandomContrastPatch',
    'RandomCropPatch',
    'RandomGammaPatch',
    'RandomRotatePatch',
    'RandomScalePatch',
    'RandomSubset',
    'SaltAndPepper',
    'TTAViews',
]
