from .augmenting import (
    RandomBlurPatch,
    RandomBrightnessPatch,
    RandomContrastPatch,
    RandomGammaPatch,
    RandomRotatePatch,
    RandomScalePatch,
    RandomSubset,
)
from .branching import MultiBranch
from .cropping import CenterCropPatch, RandomCropPatch
from .field_of_view import CropFieldOfView
from .formatting import PackJointInputs
from .grey import PillowGrey, ToUnitRange
from .loading import LoadJointAnnotations, LoadJointImage
from .monai_transform import MonaiTransform
from .noise import GaussianNoise, SaltAndPepper
from .randaugment import PillowRandAugment
from .reflect_crop import RandomReflectCrop
from .resizing import PillowResize
from .task_augment import RandomNoiseCutOut, RandomRotateChoice
from .task_loading import LoadTaskMaps
from .tta_views import TTAViews
from .volume_loading import LoadVolume, LoadVolumeAnnotations

__all__ = [
    'CenterCropPatch',
    'CropFieldOfView',
    'GaussianNoise',
    'LoadJointAnnotations',
    'LoadJointImage',
    'LoadTaskMaps',
    'LoadVolume',
    'LoadVolumeAnnotations',
    'MonaiTransform',
    'MultiBranch',
    'PackJointInputs',
    'PillowGrey',
    'PillowRandAugment',
    'PillowResize',
    'RandomBlurPatch',
    'RandomBrightnessPatch',
    'RandomContrastPatch',
    'RandomCropPatch',
    'RandomGammaPatch',
    'RandomNoiseCutOut',
    'RandomReflectCrop',
    'RandomRotateChoice',
    'RandomRotatePatch',
    'RandomScalePatch',
    'RandomSubset',
    'SaltAndPepper',
    'TTAViews',
    'ToUnitRange',
]
