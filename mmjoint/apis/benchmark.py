"""Where the time and the memory of an iteration go."""

import platform
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import mmengine
import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.model import BaseModel
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from torch import nn

import mmjoint
from mmjoint.registry import MODELS
from mmjoint.utils.errors import UserError

from .checks import quiet_logging
from .config import building
from .measuring import PeakMemory, Stopwatch, device_name
from .synthetic import synthetic_batch
from .uncertainty import build_estimator, choose_uq


@dataclass(kw_only=True)
class BenchmarkOptions:
    """What to measure.

    Args:
        mode: ``train`` for loss, gradients and optimizer step, ``infer`` for predictions.
        synthetic: Space axes of made-up input (``(H, W)`` or ``(D, H, W)``); ``None`` takes the
            config's data.
        batch_size: By default, that of the config's loader.
        iters: Number of measured iterations.
        warmup: Number of iterations before them, which are not measured.
        threads: Threads of torch on the CPU; by default as torch chooses.
        device: ``cpu``, ``cuda``, or ``auto`` for CUDA where there is one.
        amp: Whether to run with automatic mixed precision (bfloat16 on CPUs).
        progress: Share of the training that schedules take as finished.
        seed: Seed of weights and made-up input.
        uq: Name of an estimator of the uncertainty, put around the model in mode ``infer``.
        uq_options: Its settings, ``dict(num_samples=20, fused=False)``.
        ori_shape: Size that the predictions for made-up input are brought to; its own by default.
    """

    mode: Literal['train', 'infer'] = 'train'
    synthetic: Sequence[int] | None = None
    batch_size: int | None = None
    iters: int = 10
    warmup: int = 2
    threads: int | None = None
    device: str = 'auto'
    amp: bool = False
    progress: float = 0.5
    seed: int = 0
    uq: str | None = None
    uq_options: dict[str, Any] | None = None
    ori_shape: Sequence[int] | None = None


def run_benchmark(cfg: Config, options: BenchmarkOptions) -> dict[str, Any]:
    """Measure a config's model.

    Args:
        cfg: Whole config.
        options: What to measure.

    Returns:
        Plain values: ``seconds`` (median per phase and iteration: ``data`` with preprocessing and
        transfer, ``forward``, and in training ``backward`` and ``optimizer``; a model with a
        ``train_step`` of its own has ``step`` in place of the three), ``images_per_second``,
        ``memory_mib`` and what was measured on what.

    Raises:
        UserError: If the options do not fit the machine or the config.
    """
    _check(options)
    # mmengine logs to stdout, where the figures go.
    with quiet_logging():
        return _measure(cfg, options)


def _measure(cfg: Config, options: BenchmarkOptions) -> dict[str, Any]:
    device = choose_device(options.device)
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    init_default_scope(cfg.get('default_scope', 'mmjoint'))
    model = build_model(cfg, device)
    set_train_progress(model, options.progress)
    batches = _batches(cfg, options)
    training = options.mode == 'train'
    uq = None if training else choose_uq(cfg, options.uq, options.uq_options)
    if uq is not None:
        # The estimator takes its model as it predicts: in evaluation mode.
        model = build_estimator(uq, model.eval())
    step = _TrainStep(cfg, model, options) if training else _InferStep(model, options)
    watch = Stopwatch(device)
    memory = PeakMemory(device)
    shape: tuple[int, ...] = ()
    for iteration in range(options.warmup + options.iters):
        if iteration == options.warmup:
            watch.seconds.clear()
        start = time.perf_counter()
        with watch.phase('data'):
            data = model.data_preprocessor(next(batches), training)
        shape = tuple(data['inputs'].shape)
        step(data, watch)
        watch.seconds.setdefault('total', []).append(time.perf_counter() - start)
    seconds = {name: statistics.median(values) for name, values in watch.seconds.items()}
    return dict(
        config=str(cfg.filename) if cfg.filename else None,
        mode=options.mode,
        uq=uq,
        input='synthetic' if options.synthetic else 'data',
        input_shape=list(shape),
        iters=options.iters,
        warmup=options.warmup,
        seconds=seconds,
        seconds_min=min(watch.seconds['total']),
        seconds_max=max(watch.seconds['total']),
        images_per_second=shape[0] / seconds['total'],
        memory_mib=memory.read(),
        num_parameters=sum(parameter.numel() for parameter in model.parameters()),
        amp=options.amp,
        progress=options.progress,
        threads=torch.get_num_threads(),
        device=device_name(device),
        versions=dict(
            python=platform.python_version(),
            torch=torch.__version__,
            mmengine=mmengine.__version__,
            mmjoint=mmjoint.__version__,
        ),
    )


def choose_device(name: str) -> torch.device:
    """Turn ``auto``, ``cpu``, ``cuda`` or ``cuda:N`` into a device that is there.

    Raises:
        UserError: If it is not.
    """
    if name == 'auto':
        return torch.device(get_device())
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UserError(f'--device: expected auto, cpu, cuda or cuda:N, found {name}') from error
    if device.type == 'cuda' and (device.index or 0) >= torch.cuda.device_count():
        raise UserError(
            f'--device: expected a CUDA device {name}, found {torch.cuda.device_count()} devices; '
            'pass --device cpu'
        )
    return device


def build_model(cfg: Config, device: torch.device) -> BaseModel:
    """Build and initialise a config's model on a device.

    Raises:
        UserError: If the config has no model.
    """
    if not cfg.get('model'):
        raise UserError(f'{cfg.filename}: expected the key model, found none')
    with building(cfg), quiet_logging():
        model = MODELS.build(cfg.model)
        if hasattr(model, 'init_weights'):
            model.init_weights()
    return model.to(device)


def set_train_progress(model: nn.Module, progress: float) -> None:
    """Tell all schedules inside a model which share of the training is finished."""
    for module in model.modules():
        if hasattr(module, 'set_train_progress'):
            module.set_train_progress(progress)


def _batches(cfg: Config, options: BenchmarkOptions) -> Iterator[dict]:
    key = 'train_dataloader' if options.mode == 'train' else 'test_dataloader'
    loader = cfg.get(key)
    if options.synthetic is not None:
        size = options.batch_size or (loader or {}).get('batch_size', 1)
        batch = synthetic_batch(cfg, options.synthetic, size, options.seed)
        for sample in batch['data_samples'] if options.ori_shape else ():
            sample.set_metainfo(dict(ori_shape=tuple(options.ori_shape)))
        return _repeat(batch)
    if not loader:
        raise UserError(f'{cfg.filename}: expected the key {key}, found none; pass --synthetic H W')
    if options.batch_size is not None:
        loader = {**loader, 'batch_size': options.batch_size}
    return _cycle(Runner.build_dataloader(loader, seed=options.seed))


def _repeat(batch: dict) -> Iterator[dict]:
    while True:
        # Predictions are written into the samples, so each iteration gets fresh ones.
        yield dict(
            inputs=list(batch['inputs']), data_samples=[s.clone() for s in batch['data_samples']]
        )


def _cycle(loader: Any) -> Iterator[dict]:
    while True:
        yield from loader


class _TrainStep:
    """Forward, backward and optimizer of one iteration, as ``BaseModel.train_step`` does them."""

    def __init__(self, cfg: Config, model: BaseModel, options: BenchmarkOptions) -> None:
        if not cfg.get('optim_wrapper'):
            raise UserError(
                f'{cfg.filename}: expected the key optim_wrapper, found none; pass --mode infer'
            )
        wrapper = dict(cfg.optim_wrapper)
        if options.amp:
            wrapper['type'] = 'AmpOptimWrapper'
            if next(model.parameters()).device.type == 'cpu':
                raise UserError(
                    '--amp: expected a CUDA device for training, found the CPU; leave it out'
                )
        self.model = model.train()
        with building(cfg):
            self.optim_wrapper = build_optim_wrapper(model, wrapper)
        self.is_plain = type(model).train_step is BaseModel.train_step

    def __call__(self, data: dict, watch: Stopwatch) -> None:
        model, optim_wrapper = self.model, self.optim_wrapper
        if not self.is_plain:
            with watch.phase('step'):
                model.train_step(data, optim_wrapper)
            return
        with watch.phase('forward'), optim_wrapper.optim_context(model):
            losses = model(**data, mode='loss')
            loss, _ = model.parse_losses(losses)
        with watch.phase('backward'):
            optim_wrapper.backward(loss)
        with watch.phase('optimizer'):
            optim_wrapper.step()
            optim_wrapper.zero_grad()


class _InferStep:
    """Prediction of one batch."""

    def __init__(self, model: BaseModel, options: BenchmarkOptions) -> None:
        self.model = model.eval()
        kind = next(model.parameters()).device.type
        self.context = (
            (lambda: torch.autocast(kind, torch.bfloat16 if kind == 'cpu' else torch.float16))
            if options.amp
            else nullcontext
        )

    @torch.no_grad()
    def __call__(self, data: dict, watch: Stopwatch) -> None:
        with watch.phase('forward'), self.context():
            self.model(**data, mode='predict')


def _check(options: BenchmarkOptions) -> None:
    if options.mode not in ('train', 'infer'):
        raise UserError(f"--mode: expected 'train' or 'infer', found {options.mode!r}")
    for name in ('batch_size', 'iters', 'threads'):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise UserError(f'--{name.replace("_", "-")}: expected a number >= 1, found {value}')
    if options.warmup < 0:
        raise UserError(f'--warmup: expected a number >= 0, found {options.warmup}')
    if not 0 <= options.progress <= 1:
        raise UserError(f'--progress: expected a number in [0, 1], found {options.progress}')
    if options.mode == 'train' and options.uq is not None:
        raise UserError('--uq: measures predictions; pass --mode infer')
    shape = options.ori_shape
    if shape is not None and len(shape) != len(options.synthetic or ()):
        raise UserError(f'--ori-shape: expected as many axes as --synthetic, found {list(shape)}')
    shape = options.synthetic
    if shape is not None and (len(shape) not in (2, 3) or min(shape) < 1):
        raise UserError(f'--synthetic: expected H W or D H W, all >= 1, found {list(shape)}')
