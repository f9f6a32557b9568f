from . import samplers, transforms
from .base_joint_dataset import BaseJointDataset
from .cache import ArrayCache
from .ispy1 import ISPY1Dataset
from .refuge import REFUGEDataset

__all__ = [
    'ArrayCache',
    'BaseJointDataset',
    'ISPY1Dataset',
    'REFUGEDataset',
    'samplers',
    'transforms',
]
