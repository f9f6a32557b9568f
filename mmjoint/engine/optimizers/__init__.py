"""Building of optimizers."""

from .multi_optim_wrapper_constructor import MultiOptimWrapperConstructor, PartOptimWrappers

__all__ = ['MultiOptimWrapperConstructor', 'PartOptimWrappers']
