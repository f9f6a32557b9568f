"""Samplers whose indices carry seeds and which can start in the middle."""

from .resumable import InfiniteResumableSampler, ResumableSampler

__all__ = ['InfiniteResumableSampler', 'ResumableSampler']
