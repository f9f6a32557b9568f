from . import samplers, transforms
from .base_joint_dataset import BaseJointDataset
from .cache import ArrayCache
from .chest_xray_pneumonia import ChestXrayPneumoniaDataset
from .fundus_tasks import FundusTasksDataset
from .isic2016 import ISIC2016Dataset
from .ispy1 import ISPY1Dataset
from .jsrt import JSRTDataset
from .la import LADataset
from .mmwhs import MMWHSDataset
from .mnms import MnMsDataset
from .montgomery import MontgomeryDataset
from .multi_source import MultiSourceDataset
from .multi_task import TaskMapsDataset
from .refuge import REFUGEJointDataset
from .synapse import SynapseVolumeDataset

__all__ = [
    'ArrayCache',
    'BaseJointDataset',
    'ChestXrayPneumoniaDataset',
    'FundusTasksDataset',
    'ISIC2016Dataset',
    'ISPY1Dataset',
    'JSRTDataset',
    'LADataset',
    'MMWHSDataset',
    'MnMsDataset',
    'MontgomeryDataset',
    'MultiSourceDataset',
    'REFUGEJointDataset',
    'SynapseVolumeDataset',
    'TaskMapsDataset',
    'samplers',
    'transforms',
]
