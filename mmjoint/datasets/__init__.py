from . import samplers, transforms
from .base_joint_dataset import BaseJointDataset
from .cache import ArrayCache
from .isic2016 import ISIC2016Dataset
from .ispy1 import ISPY1Dataset
from .la import LADataset
from .mmwhs import MMWHSDataset
from .mnms import MnMsDataset
from .multi_source import MultiSourceDataset
from .refuge import REFUGEJointDataset
from .synapse import SynapseVolumeDataset

__all__ = [
    'ArrayCache',
    'BaseJointDataset',
    'ISIC2016Dataset',
    'ISPY1Dataset',
    'LADataset',
    'MMWHSDataset',
    'MnMsDataset',
    'MultiSourceDataset',
    'REFUGEJointDataset',
    'SynapseVolumeDataset',
    'samplers',
    'transforms',
]
