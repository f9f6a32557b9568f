from .fcn_head import JointFCNHead
from .guided_heads import BaseGuidedHead, GuidedOutput, NavigatedHead, ReliableMaskHead
from .mutual_evidence_head import (
    BaseMutualEvidenceHead,
    MutualEvidenceHead,
    MutualOutput,
    SingleMutualEvidenceHead,
)
from .uper_head import JointUPerHead

__all__ = [
    'BaseGuidedHead',
    'BaseMutualEvidenceHead',
    'GuidedOutput',
    'JointFCNHead',
    'JointUPerHead',
    'MutualEvidenceHead',
    'MutualOutput',
    'NavigatedHead',
    'ReliableMaskHead',
    'SingleMutualEvidenceHead',
]
