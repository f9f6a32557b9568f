from .joint_data_sample import JointDataSample
from .stacking import stack_annotated, stack_labels, stack_seg_maps, stack_task_maps
from .typing import ConfigType, MultiConfig, OptConfigType, OptSampleList, SampleList
from .volume_data import VolumeData

__all__ = [
    'ConfigType',
    'JointDataSample',
    'MultiConfig',
    'OptConfigType',
    'OptSampleList',
    'SampleList',
    'VolumeData',
    'stack_annotated',
    'stack_labels',
    'stack_seg_maps',
    'stack_task_maps',
]
