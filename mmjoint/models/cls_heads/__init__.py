from .guided_cls_head import GuidedClsHead
from .linear_head import JointLinearClsHead
from .pooled_linear_head import PooledLinearClsHead

__all__ = ['GuidedClsHead', 'JointLinearClsHead', 'PooledLinearClsHead']
