from . import samplers, transforms
from .base_joint_dataset import BaseJointDataset
from .cache import ArrayCache
from .isic2016 import ISIC2016Dataset
from .ispy1 import ISPY1Dataset
from .refuge import REFUGEJointDataset

__all__ = [
    'ArrayCache',
    'BaseJointDataset',
    'ISIC2016Dataset',
    'ISPY1Dataset',
    'REFUGEJointDataset',
    'samplers',
    'transforms',
]
