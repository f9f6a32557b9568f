from .guided_cls_head import GuidedClsHead
from .linear_head import JointLinearClsHead

__all__ = ['GuidedClsHead', 'JointLinearClsHead']
