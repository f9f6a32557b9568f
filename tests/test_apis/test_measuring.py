import numpy as np
import pytest
import torch

from mmjoint.apis.measuring import PeakMemory, Stopwatch, device_name


def test_phases_are_kept_apart_and_summed_by_iteration():
    watch = Stopwatch(torch.device('cpu'))
    for name in ('a', 'b', 'a'):
        with watch.phase(name):
            pass
    assert {name: len(values) for name, values in watch.seconds.items()} == dict(a=2, b=1)


def test_cuda_queue_is_emptied_at_both_ends(monkeypatch):
    events = []
    monkeypatch.setattr(torch.cuda, 'synchronize', lambda device: events.append(str(device)))
    with Stopwatch(torch.device('cuda:1')).phase('a'):
        events.append('work')
    assert events == ['cuda:1', 'work', 'cuda:1']


def test_cuda_memory_is_that_of_torch(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'reset_peak_memory_stats', lambda device: None)
    monkeypatch.setattr(torch.cuda, 'max_memory_allocated', lambda device: 3 * 2**20)
    assert PeakMemory(torch.device('cuda')).read() == dict(peak_allocated=3.0)


def test_memory_that_was_freed_is_seen():
    gauge = PeakMemory(torch.device('cpu'))
    block = np.ones(64 * 2**20 // 8)
    assert block.sum() == 8 * 2**20
    del block
    figures = gauge.read()
    assert figures['peak_rss'] - figures['rss_before'] == pytest.approx(64, abs=16)


def test_the_processor_has_a_name():
    assert device_name(torch.device('cpu')).strip()
