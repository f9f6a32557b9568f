from .fcn_head import JointFCNHead
from .guided_heads import BaseGuidedHead, GuidedOutput, NavigatedHead, ReliableMaskHead
from .mutual_evidence_head import (
    BaseMutualEvidenceHead,
    MutualEvidenceHead,
    MutualOutput,
    SingleMutualEvidenceHead,
)

__all__ = [
    'BaseGuidedHead',
    'BaseMutualEvidenceHead',
    'GuidedOutput',
    'JointFCNHead',
    'MutualEvidenceHead',
    'MutualOutput',
    'NavigatedHead',
    'ReliableMaskHead',
    'SingleMutualEvidenceHead',
]
