"""A stopwatch and a memory gauge for CPUs and CUDA devices."""

import platform
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import torch

MiB = 2**20


@dataclass
class Stopwatch:
    """Seconds by phase, with the device's queue emptied at each stop.

    Args:
        device: The device that computes.
    """

    device: torch.device
    seconds: dict[str, list[float]] = field(default_factory=dict)

    @contextmanager
    def phase(self, name: str, *, more: bool = False) -> Iterator[None]:
        """Measure the block under ``name``.

        Args:
            name: Of the phase.
            more: Whether the block belongs to the last one of this name and adds to its seconds.
        """
        self._wait()
        start = time.perf_counter()
        yield
        self._wait()
        seconds = time.perf_counter() - start
        if more:
            self.seconds[name][-1] += seconds
        else:
            self.seconds.setdefault(name, []).append(seconds)

    def _wait(self) -> None:
        if self.device.type == 'cuda':
            torch.cuda.synchronize(self.device)


class PeakMemory:
    """Peak memory from now on.

    On CUDA ``peak_allocated`` (by torch). On CPUs ``peak_rss`` of this process and ``rss_before``,
    what it held before (interpreter, libraries, weights), both in MiB; the peak since the start of
    the process, where the kernel does not allow it to be reset.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        if device.type == 'cuda':
            torch.cuda.reset_peak_memory_stats(device)
            return
        self.before = _status('VmRSS')
        with suppress(OSError):
            Path('/proc/self/clear_refs').write_text('5')

    def read(self) -> dict[str, float]:
        """Give the figures in MiB."""
        if self.device.type == 'cuda':
            return dict(peak_allocated=torch.cuda.max_memory_allocated(self.device) / MiB)
        peak = _status('VmHWM')
        if peak is None:  # no /proc: macOS counts bytes, other systems kB
            unit = 1 if platform.system() == 'Darwin' else 1024
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / MiB
        figures = dict(peak_rss=peak)
        if self.before is not None:
            figures['rss_before'] = self.before
            # The kernel counts pages in steps: its peak may lag behind what was held before.
            figures['peak_rss'] = max(peak, self.before)
        return figures


def _status(name: str) -> float | None:
    try:
        lines = Path('/proc/self/status').read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        if line.startswith(f'{name}:'):
            return int(line.split()[1]) * 1024 / MiB
    return None


def device_name(device: torch.device) -> str:
    """Give the name of the hardware behind a device."""
    if device.type == 'cuda':
        return torch.cuda.get_device_name(device)
    try:
        lines = Path('/proc/cpuinfo').read_text().splitlines()
    except OSError:
        lines = []
    model = next((line.split(':', 1)[1].strip() for line in lines if 'model name' in line), '')
    return model or platform.processor() or platform.machine()
