from .fcn_head import JointFCNHead
from .guided_heads import BaseGuidedHead, GuidedOutput, NavigatedHead, ReliableMaskHead
from .instance_unet_head import InstanceUNetHead
from .mutual_evidence_head import (
    BaseMutualEvidenceHead,
    MutualEvidenceHead,
    MutualOutput,
    SingleMutualEvidenceHead,
)
from .nd_head import BaseDecodeHeadND
from .task_decode_head import TaskDecodeHead
from .uper_head import JointUPerHead
from .vnet_head import VNetHead

__all__ = [
    'BaseDecodeHeadND',
    'BaseGuidedHead',
    'BaseMutualEvidenceHead',
    'GuidedOutput',
    'InstanceUNetHead',
    'JointFCNHead',
    'JointUPerHead',
    'MutualEvidenceHead',
    'MutualOutput',
    'NavigatedHead',
    'ReliableMaskHead',
    'SingleMutualEvidenceHead',
    'TaskDecodeHead',
    'VNetHead',
]
