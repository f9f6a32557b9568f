import resource
import sys

import pytest
import torch

from mmjoint.apis.measuring import PeakMemory
from mmjoint.utils import memory
from mmjoint.utils.memory import keep_freed_memory

MiB = 2**20
linux = pytest.mark.skipif(
    sys.platform != 'linux' or memory._glibc() is None, reason='the allocator is not glibc'
)


def faults(num=3, size=96):
    """Page faults of making and dropping a large tensor, again and again.

    More than the allocator keeps anyway. A page has 4 KiB, or 2 MiB where the kernel finds it so.
    """
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(num):
        torch.ones(size * MiB // 4)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


@linux
def test_freed_memory_is_used_again():
    outside = faults()
    with keep_freed_memory():
        faults(30)  # other blocks may lie between the first ones
        inside = faults()
    assert min(outside, faults()) > max(10 * inside, 50)


@linux
def test_memory_is_returned_at_the_end():
    device = torch.device('cpu')
    before = PeakMemory(device).before
    with keep_freed_memory():
        faults(size=256)
        held = PeakMemory(device).before
    after = PeakMemory(device).before
    assert held - before > 200
    assert held - after > 200


@linux
def test_an_error_ends_it_too():
    with pytest.raises(KeyError), keep_freed_memory():
        raise KeyError
    assert faults() > 50


def test_nothing_happens_elsewhere(monkeypatch):
    monkeypatch.setattr(memory.ctypes, 'CDLL', lambda name: object())
    with keep_freed_memory():
        assert torch.ones(3).sum() == 3
    monkeypatch.setattr(memory, '_glibc', lambda: None)
    with keep_freed_memory():
        pass
