from .joint_data_preprocessor import JointDataPreprocessor
from .multi_branch import MultiBranchDataPreprocessor
from .volume import VolumeDataPreprocessor

__all__ = ['JointDataPreprocessor', 'MultiBranchDataPreprocessor', 'VolumeDataPreprocessor']
