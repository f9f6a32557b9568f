"""Time and memory of sliding-window inference, ours beside MONAI's."""

import multiprocessing
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

import mmjoint
from mmjoint.functional.sliding_window import labels_and_entropy, sliding_window_inference
from mmjoint.utils.errors import UserError

from .measuring import PeakMemory, Stopwatch, device_name

FORMS = ('monai', 'whole', 'bounded')


@dataclass(kw_only=True)
class WindowBenchmarkOptions:
    """What to measure.

    Args:
        shape: Space axes of the volume.
        num_classes: Number of classes C.
        roi_size: Size of a window.
        overlap: Fraction by which windows overlap.
        weights: ``uniform`` or ``gaussian``.
        average: ``raw``: logits, as MONAI does. ``probs``: their softmax.
        window_batch: Windows per call of the network.
        kernel: Size of the convolution that stands for a network.
        iters: Measured runs, after one on a small volume that is not measured.
        threads: Threads of torch on the CPU; by default as torch chooses.
        device: ``cpu`` or ``cuda``.
        seed: Of volume and weights.
        forms: Which of ``monai``, ``whole`` (ours, averages of the whole volume), ``bounded``
            (ours, in bounded memory).
    """

    shape: Sequence[int] = (128, 256, 256)
    num_classes: int = 14
    roi_size: Sequence[int] = (64, 128, 128)
    overlap: float = 0.5
    weights: Literal['uniform', 'gaussian'] = 'gaussian'
    average: Literal['raw', 'probs'] = 'raw'
    window_batch: int = 1
    kernel: int = 1
    iters: int = 3
    threads: int | None = None
    device: str = 'cpu'
    seed: int = 0
    forms: Sequence[str] = FORMS


def run_window_benchmark(options: WindowBenchmarkOptions) -> dict[str, Any]:
    """Measure each form in a process of its own; they take turns, so that all see the same load.

    Every form ends on the same: the class of each voxel and the entropy of its probabilities.

    Args:
        options: What to measure.

    Returns:
        Plain values: per form ``seconds`` (median, smallest, largest), ``cpu_seconds`` (median, of
        the process: other programs disturb it less), ``memory_mib`` (with ``extra``: the peak less
        what the process held before), ``equal_labels`` (share of voxels with the first form's
        class) and ``entropy_difference`` (the largest, nats); and what was measured on what.

    Raises:
        UserError: If the options do not fit each other or a process ran out of memory.
    """
    _check(options)
    results: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        context = multiprocessing.get_context('spawn')
        pools = {
            form: stack.enter_context(ProcessPoolExecutor(1, mp_context=context))
            for form in options.forms
        }

        def in_process(form: str, function: Callable[..., Any], *args: Any) -> Any:
            try:
                return pools[form].submit(function, form, *args).result()
            except BrokenProcessPool as error:
                raise UserError(
                    f'{form}: expected a process to measure in, found that it was ended, most '
                    'likely for want of memory; use a smaller --shape'
                ) from error

        for form in options.forms:
            in_process(form, _prepare, options)
        for _ in range(options.iters):
            for form in options.forms:
                in_process(form, _run)
        for form in options.forms:
            results[form] = in_process(form, _figures, f'{folder}/{form}.npz')
        for form in options.forms:
            first, own = (f'{folder}/{name}.npz' for name in (options.forms[0], form))
            results[form].update(_difference(first, own))
    settings = {key: value for key, value in asdict(options).items() if key != 'forms'}
    return dict(forms=results, **settings, machine=_machine(options))


def _check(options: WindowBenchmarkOptions) -> None:
    if unknown := set(options.forms) - set(FORMS):
        raise UserError(f'--forms: expected some of {", ".join(FORMS)}, found {sorted(unknown)}')
    if len(options.shape) not in (2, 3) or len(options.roi_size) != len(options.shape):
        raise UserError(
            f'--shape, --roi: expected 2 or 3 numbers each, as many in both, found '
            f'{list(options.shape)}, {list(options.roi_size)}'
        )
    if options.device.startswith('cuda') and not torch.cuda.is_available():
        raise UserError('--device: expected a CUDA device, found none; use --device cpu')


def _machine(options: WindowBenchmarkOptions) -> dict[str, Any]:
    return dict(
        device=device_name(torch.device(options.device)),
        python=platform.python_version(),
        torch=torch.__version__,
        monai=version('monai'),
        mmjoint=mmjoint.__version__,
    )


@dataclass
class _Prepared:
    """What a process keeps from call to call."""

    infer: Callable[[], dict[str, Tensor]]
    watch: Stopwatch
    memory: PeakMemory
    cpu_seconds: list[float] = field(default_factory=list)
    result: dict[str, Tensor] = field(default_factory=dict)


_PREPARED: dict[str, _Prepared] = {}


def _prepare(form: str, options: WindowBenchmarkOptions) -> None:
    """Make volume and network, and run once on a small part."""
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    torch.manual_seed(options.seed)
    kind = nn.Conv3d if len(options.shape) == 3 else nn.Conv2d
    network = kind(1, options.num_classes, options.kernel, padding=options.kernel // 2)
    network = network.to(device).requires_grad_(False)
    volume = torch.randn((1, 1, *options.shape), device=device)
    infer = _form(form, options)
    infer(volume[(..., *(slice(0, n // 4) for n in options.shape))], network)
    _PREPARED[form] = _Prepared(
        lambda: infer(volume, network), Stopwatch(device), PeakMemory(device)
    )


def _run(form: str) -> None:
    own = _PREPARED[form]
    own.result = {}  # so that no run counts the result of the one before
    start = time.process_time()
    with own.watch.phase('run'):
        own.result = own.infer()
    own.cpu_seconds.append(time.process_time() - start)


def _figures(form: str, file: str) -> dict[str, Any]:
    """Sum up, and save the result of the last run."""
    own = _PREPARED.pop(form)
    memory = own.memory.read()
    if 'rss_before' in memory:
        memory['extra'] = memory['peak_rss'] - memory['rss_before']
    seconds = own.watch.seconds['run']
    np.savez(file, **{name: values.cpu().numpy() for name, values in own.result.items()})
    return dict(
        seconds=statistics.median(seconds),
        seconds_min=min(seconds),
        seconds_max=max(seconds),
        cpu_seconds=statistics.median(own.cpu_seconds),
        memory_mib=memory,
        threads=torch.get_num_threads(),
    )


def _form(
    form: str, options: WindowBenchmarkOptions
) -> Callable[[Tensor, nn.Module], dict[str, Tensor]]:
    """A function of volume and network that gives labels and entropy."""
    raw = options.average == 'raw'

    def reduce(averages: Tensor) -> dict[str, Tensor]:
        return labels_and_entropy(averages.softmax(1) if raw else averages)

    def reduce_whole(averages: Tensor) -> dict[str, Tensor]:
        """The same, a plane at a time, which is fastest and adds least to the peak."""
        whole: dict[str, Tensor] = {}
        for plane in range(averages.shape[2]):
            for name, values in reduce(averages[:, :, plane : plane + 1]).items():
                if name not in whole:
                    whole[name] = values.new_empty((*values.shape[:2], *averages.shape[2:]))
                whole[name][:, :, plane : plane + 1] = values
        return whole

    if form == 'monai':
        # Here: it takes seconds to import and is part of no other form.
        from monai.inferers import sliding_window_inference as monai_inference

        def infer(volume: Tensor, network: nn.Module) -> dict[str, Tensor]:
            averages = monai_inference(
                volume,
                options.roi_size,
                options.window_batch,
                network if raw else lambda windows: network(windows).softmax(1),
                overlap=options.overlap,
                mode='constant' if options.weights == 'uniform' else 'gaussian',
            )
            return reduce_whole(averages)

        return infer

    def infer_ours(volume: Tensor, network: nn.Module) -> dict[str, Tensor]:
        result = sliding_window_inference(
            volume,
            network,
            options.roi_size,
            overlap=options.overlap,
            weights=options.weights,
            average=options.average,
            window_batch=options.window_batch,
            reduction=reduce if form == 'bounded' else None,
        )
        return result if form == 'bounded' else reduce_whole(result)

    return infer_ours


def _difference(first: str, second: str) -> dict[str, float]:
    with np.load(first) as a, np.load(second) as b:
        return dict(
            equal_labels=float((a['labels'] == b['labels']).mean()),
            entropy_difference=float(
                np.abs(a['predictive_entropy'] - b['predictive_entropy']).max()
            ),
        )
