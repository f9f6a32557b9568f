from .guided_cls_head import GuidedClsHead

__all__ = ['GuidedClsHead']
