"""Samplers whose indices carry seeds and which can start in the middle."""

from .multi_source import MultiSourceSampler
from .resumable import InfiniteResumableSampler, ResumableSampler

__all__ = ['InfiniteResumableSampler', 'MultiSourceSampler', 'ResumableSampler']
