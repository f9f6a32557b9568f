from . import samplers, transforms
from .base_joint_dataset import BaseJointDataset
from .cache import ArrayCache
from .ispy1 import ISPY1Dataset
from .refuge import REFUGEJointDataset

__all__ = [
    'ArrayCache',
    'BaseJointDataset',
    'ISPY1Dataset',
    'REFUGEJointDataset',
    'samplers',
    'transforms',
]
