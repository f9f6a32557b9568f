"""Where the time and the memory of an iteration go."""

import platform
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any, Literal

import mmengine
import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmengine.runner import Runner, get_priority
from mmengine.utils import is_method_overridden
from torch import nn

import mmjoint
from mmjoint.registry import HOOKS, MODELS
from mmjoint.utils.errors import UserError
from mmjoint.utils.memory import keep_freed_memory

from .checks import quiet_logging
from .config import building
from .measuring import PeakMemory, Stopwatch, device_name
from .synthetic import source_counts, synthetic_batch
from .uncertainty import build_estimator, choose_uq


@dataclass(kw_only=True)
class BenchmarkOptions:
    """What to measure.

    Args:
        mode: ``train`` for loss, gradients and optimizer step, ``infer`` for predictions.
        synthetic: Space axes of made-up input (``(H, W)`` or ``(D, H, W)``); ``None`` takes the
            config's data.
        batch_size: Samples of a batch, of all sources together, which keep their shares; by
            default, that of the config's loader.
        workers: Processes that load the config's data; by default, those of the config's loader.
        iters: Number of measured iterations.
        warmup: Number of iterations before them, which are not measured.
        keep_memory: Whether the process keeps the memory of freed arrays for the next ones, see
            :func:`~mmjoint.utils.memory.keep_freed_memory`; by default in training.
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
    workers: int | None = None
    iters: int = 10
    warmup: int = 2
    keep_memory: bool | None = None
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

    The config's ``custom_hooks`` that act on the model at an iteration, such as an averaging of
    weights, are part of it. Those that need more of a training than its model, optimizer and
    iteration (they log or watch) are left out.

    Args:
        cfg: Whole config.
        options: What to measure.

    Returns:
        Plain values: ``seconds`` (median per phase and iteration: ``data`` with preprocessing and
        transfer, where workers load it the time waited for them; ``forward``, and in training
        ``backward``, ``optimizer`` and ``hooks``, if there are any; a model with a ``train_step``
        of its own has ``step``, with preprocessing and transfer, in place of the first three),
        ``seconds_mean`` (to be preferred where iterations differ in their work, as with random
        augmentation), ``cpu_seconds`` (mean per iteration, of all threads of this process, without
        workers), ``images_per_second``, ``memory_mib`` and what was measured on what.

    Raises:
        UserError: If the options do not fit the machine or the config.
    """
    _check(options)
    if options.keep_memory is None:
        options = replace(options, keep_memory=options.mode == 'train')
    # mmengine logs to stdout, where the figures go.
    with quiet_logging(), keep_freed_memory() if options.keep_memory else nullcontext():
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
    hooks = _Hooks(cfg, model, step.optim_wrapper) if training else None
    watch = Stopwatch(device)
    memory = PeakMemory(device)
    steps_itself = training and not step.is_plain  # and so it does the preprocessing
    data: dict[str, Any] = {}
    cpu_start = 0.0
    for iteration in range(options.warmup + options.iters):
        if iteration == options.warmup:
            watch.seconds.clear()
            cpu_start = time.process_time()
        with watch.phase('total'):
            with watch.phase('data'):
                batch = next(batches)
                data = batch if steps_itself else model.data_preprocessor(batch, training)
            if hooks:
                hooks.before(iteration, batch, watch)
            step(data, watch)
            if hooks:
                hooks.after(iteration, batch, watch)
    cpu_seconds = (time.process_time() - cpu_start) / options.iters
    seconds = {name: statistics.median(values) for name, values in watch.seconds.items()}
    if steps_itself:
        data = model.data_preprocessor(data, True)
    shapes = _shapes(data['inputs'])
    num_images = sum(shape[0] for shape in shapes.values())
    return dict(
        config=str(cfg.filename) if cfg.filename else None,
        mode=options.mode,
        uq=uq,
        input='synthetic' if options.synthetic else 'data',
        input_shape=shapes if len(shapes) > 1 else next(iter(shapes.values())),
        workers=0 if options.synthetic else _loader_cfg(cfg, options).get('num_workers', 0),
        iters=options.iters,
        warmup=options.warmup,
        seconds=seconds,
        seconds_mean={name: statistics.mean(values) for name, values in watch.seconds.items()},
        seconds_min=min(watch.seconds['total']),
        seconds_max=max(watch.seconds['total']),
        cpu_seconds=cpu_seconds,
        images_per_second=num_images / seconds['total'],
        memory_mib=memory.read(),
        num_parameters=sum(parameter.numel() for parameter in model.parameters()),
        hooks=hooks.names if hooks else [],
        hooks_left_out=hooks.left_out if hooks else [],
        amp=options.amp,
        progress=options.progress,
        keep_memory=options.keep_memory,
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


def _shapes(inputs: torch.Tensor | Mapping[str, torch.Tensor]) -> dict[str, list[int]]:
    """Shape of the inputs of each branch; of a model without branches, under the empty name."""
    batches = inputs if isinstance(inputs, Mapping) else {'': inputs}
    return {name: list(batch.shape) for name, batch in batches.items()}


def _loader_cfg(cfg: Config, options: BenchmarkOptions) -> dict[str, Any]:
    """The loader's config with the options' changes; empty where the config has none."""
    training = options.mode == 'train'
    loader = dict(cfg.get('train_dataloader' if training else 'test_dataloader') or {})
    if options.batch_size is not None and loader:
        counts = source_counts(loader, options.batch_size)
        loader['batch_size'] = options.batch_size
        if counts is not None:
            loader['sampler'] = {**loader['sampler'], 'counts': counts}
    if options.workers is not None and loader:
        loader['num_workers'] = options.workers
        loader['persistent_workers'] = options.workers > 0
        if not options.workers:
            loader.pop('prefetch_factor', None)
    return loader


def _batches(cfg: Config, options: BenchmarkOptions) -> Iterator[dict]:
    training = options.mode == 'train'
    loader = _loader_cfg(cfg, options)
    if options.synthetic is not None:
        size = options.batch_size or loader.get('batch_size', 1)
        batch = synthetic_batch(cfg, options.synthetic, size, options.seed, training=training)
        for sample in batch['data_samples'] if options.ori_shape else ():
            sample.set_metainfo(dict(ori_shape=tuple(options.ori_shape)))
        return _repeat(batch)
    if not loader:
        key = 'train_dataloader' if training else 'test_dataloader'
        raise UserError(f'{cfg.filename}: expected the key {key}, found none; pass --synthetic H W')
    return _cycle(Runner.build_dataloader(loader, seed=options.seed))


def _repeat(batch: dict) -> Iterator[dict]:
    while True:
        # Predictions are written into the samples, so each iteration gets fresh ones.
        yield dict(
            inputs=_fresh(batch['inputs'], lambda image: image),
            data_samples=_fresh(batch['data_samples'], lambda sample: sample.clone()),
        )


def _fresh(items: Any, copy: Callable[[Any], Any]) -> Any:
    if isinstance(items, Mapping):
        return {branch: _fresh(values, copy) for branch, values in items.items()}
    return [None if item is None else copy(item) for item in items]


def _cycle(loader: Any) -> Iterator[dict]:
    while True:
        yield from loader


class _NeedsRunnerError(Exception):
    """A hook asked for a part of the runner that is not here."""


class _RunnerStandIn:
    """What hooks see of a runner: the model, its optimizer and the iteration."""

    def __init__(self, model: BaseModel, optim_wrapper: Any) -> None:
        self.model = model
        self.optim_wrapper = optim_wrapper
        self.iter = 0
        self.epoch = 0

    def __getattr__(self, name: str) -> Any:
        raise _NeedsRunnerError(name)


class _Hooks:
    """The config's own hooks that act at every iteration."""

    def __init__(self, cfg: Config, model: BaseModel, optim_wrapper: Any) -> None:
        self.runner = _RunnerStandIn(model, optim_wrapper)
        self.left_out: list[str] = []
        moments = ('before_train_iter', 'after_train_iter')
        with building(cfg):
            built = [_build_hook(hook) for hook in cfg.get('custom_hooks') or ()]
        hooks = [
            hook for hook in built if any(is_method_overridden(m, Hook, hook) for m in moments)
        ]
        self.hooks = sorted(hooks, key=lambda hook: get_priority(hook.priority))
        self._call('before_train')

    @property
    def names(self) -> list[str]:
        """Those that are measured."""
        return [type(hook).__name__ for hook in self.hooks]

    def before(self, iteration: int, batch: Any, watch: Stopwatch) -> None:
        """Call them before an iteration."""
        self.runner.iter = iteration
        if self.hooks:
            with watch.phase('hooks'):
                self._call('before_train_iter', batch_idx=iteration, data_batch=batch)

    def after(self, iteration: int, batch: Any, watch: Stopwatch) -> None:
        """Call them after an iteration."""
        if self.hooks:
            with watch.phase('hooks', more=True):
                self._call('after_train_iter', batch_idx=iteration, data_batch=batch, outputs=None)

    def _call(self, moment: str, **arguments: Any) -> None:
        for hook in list(self.hooks):
            try:
                getattr(hook, moment)(self.runner, **arguments)
            except _NeedsRunnerError:
                self.hooks.remove(hook)
                self.left_out.append(type(hook).__name__)


def _build_hook(cfg: Hook | dict) -> Hook:
    if isinstance(cfg, Hook):
        return cfg
    cfg = dict(cfg)
    priority = cfg.pop('priority', None)
    hook = HOOKS.build(cfg)
    if priority is not None:
        hook.priority = priority
    return hook


class _TrainStep:
    """Forward, backward and optimizer of one iteration, as ``BaseModel.train_step`` does them."""

    def __init__(self, cfg: Config, model: BaseModel, options: BenchmarkOptions) -> None:
        if not cfg.get('optim_wrapper'):
            raise UserError(
                f'{cfg.filename}: expected the key optim_wrapper, found none; pass --mode infer'
            )
        wrapper = dict(cfg.optim_wrapper)
        if options.amp:
            if next(model.parameters()).device.type == 'cpu':
                raise UserError(
                    '--amp: expected a CUDA device for training, found the CPU; leave it out'
                )
            if 'optimizer' in wrapper:
                wrapper['type'] = 'AmpOptimWrapper'
            else:  # one for each part of the model
                for name, part in wrapper.items():
                    if isinstance(part, Mapping):
                        wrapper[name] = {**part, 'type': 'AmpOptimWrapper'}
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
    if options.workers is not None and options.workers < 0:
        raise UserError(f'--workers: expected a number >= 0, found {options.workers}')
    if options.workers and options.synthetic:
        raise UserError("--workers: load the config's data; leave out --synthetic")
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
