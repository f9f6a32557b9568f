import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from fnmatch import fnmatchcase
from functools import partial
from typing import Any

import torch
from mmengine.logging import print_log
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from mmjoint.registry import UNCERTAINTY
from mmjoint.structures import JointDataSample
from mmjoint.utils.dropout import dropout_is_off
from mmjoint.utils.errors import UserError
from mmjoint.utils.random import derive_seed

from ..joint import BatchPrediction, InferringModel
from .base import UncertaintyEstimator
from .replay import NotRepeatable, Recording

MaskSource = Callable[[str, int, tuple[int, ...], float], Tensor]
MaskShape = Callable[[Sequence[int]], tuple[int, ...]]

_CHANNEL_LAYERS = (nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)
_OTHER_LAYERS = (nn.AlphaDropout, nn.FeatureAlphaDropout)
_FUNCTIONAL = {'dropout': False, 'dropout1d': True, 'dropout2d': True, 'dropout3d': True}


@UNCERTAINTY.register_module(name=['MCDropout', 'mc_dropout'])
class MCDropout(UncertaintyEstimator):
    r"""Monte Carlo dropout: the mean of passes that each drop other units.

    The whole network stays in evaluation mode, so norms use their running statistics; dropout
    layers alone are on: ``nn.Dropout``, its channel forms of 1-D to 3-D, what derives from them,
    and layers that tell the shape of their masks (a method ``mask_shape``), as ``TaskDropout``.
    Pass t multiplies the output of a layer by ``mask / (1 - p)``, the mask drawn from a generator
    that is seeded by ``seed``, t and the layer's name: results depend neither on the global random
    state nor on how images are batched or spread over processes.

    Dropout that a module calls as a function (``F.dropout``) is not switched on by itself: such
    modules are named in the log, and those that match ``functional`` take part. What attention and
    recurrent layers drop within a function of torch stays off, and is named as well.

    What no draw changes is computed once, several passes run as one batch, and a convolution over
    joined maps is split where some of them do not change; see :mod:`.replay`. On the first image of
    a size this is compared with a pass in full. Where a network does not allow it, a line in the
    log says so and the passes run one by one.

    A model that predicts by windows runs its passes one by one in full, too: what is computed once
    would have to be kept of all windows. A pass is one network, so its masks are the same for every
    window, and the windows go through it one at a time, whatever ``window_batch`` is.

    Args:
        model: A built model with at least one active dropout layer.
        num_samples: Number of passes T.
        seed: Seed of the masks.
        functional: Patterns of names of modules whose functional dropout takes part,
            ``backbone.stages.*.attn``.
        memory_budget_mib: Passes run together as long as the maps of a batch stay below this
            (MiB). None is 1024 on a CUDA device and 128 on a CPU.
        fused: False runs the passes one by one in full; the yardstick of the speed.
        keep_std: See :class:`UncertaintyEstimator`.
        spread: See :class:`UncertaintyEstimator`.
        seg_temperature: See :class:`UncertaintyEstimator`.
        cls_temperature: See :class:`UncertaintyEstimator`.

    Raises:
        ValueError: If the model has no active dropout, or a number is impossible.
        UserError: In predicting, if no module that ``functional`` matches calls F.dropout.

    Reference:
        Gal and Ghahramani, "Dropout as a Bayesian approximation", ICML 2016.
    """

    def __init__(
        self,
        model: InferringModel,
        *,
        num_samples: int = 20,
        seed: int = 0,
        functional: Sequence[str] = (),
        memory_budget_mib: float | None = None,
        fused: bool = True,
        keep_std: bool = False,
        spread: bool = True,
        seg_temperature: float = 1.0,
        cls_temperature: float = 1.0,
    ) -> None:
        super().__init__(
            model,
            keep_std=keep_std,
            spread=spread,
            seg_temperature=seg_temperature,
            cls_temperature=cls_temperature,
        )
        if isinstance(num_samples, bool) or not isinstance(num_samples, int) or num_samples < 1:
            raise ValueError(f'num_samples must be an integer >= 1, got {num_samples!r}')
        if memory_budget_mib is not None and not memory_budget_mib > 0:
            raise ValueError(f'memory_budget_mib must be > 0, got {memory_budget_mib!r}')
        self.num_samples = num_samples
        self.seed = seed
        self.functional = tuple(functional)
        self.memory_budget_mib = memory_budget_mib
        self.fused = fused
        self.mask_source: MaskSource = self._draw
        """Gives the mask of a layer: called with its name, the number of the pass, the shape and
        the share p that is dropped; gives 0 or 1 / (1 - p)."""
        self._layers = {
            name: module
            for name, module in model.named_modules()
            if _is_dropout(module) and module.p > 0
        }
        self._check_active()
        self._names = {module: name for name, module in model.named_modules()}
        self._told = False
        self._passes = range(0)
        self._plan = _Plan()
        self._plans: dict[tuple, _Plan] = {}

    def _check_active(self) -> None:
        alien = [n for n, m in self.model.named_modules() if isinstance(m, _OTHER_LAYERS) and m.p]
        if alien:
            raise ValueError(
                f'alpha dropout has no masks that could be drawn ({alien[0]}); use nn.Dropout'
            )
        matched = [
            name
            for name, _ in self.model.named_modules()
            if any(fnmatchcase(name, pattern) for pattern in self.functional)
        ]
        if self.functional and not matched:
            raise ValueError(f'functional={list(self.functional)} matches no module of the model')
        if not self._layers and not matched:
            raise ValueError(
                f'the model ({type(self.model).__name__}) has no active dropout: no nn.Dropout, '
                'Dropout1d, Dropout2d or Dropout3d with p > 0, so all passes would be the same; '
                'set a dropout ratio in its config and train it so, name modules that call '
                'F.dropout by functional=[...], or use another estimator'
            )

    def _draw(self, name: str, number: int, shape: tuple[int, ...], p: float) -> Tensor:
        generator = torch.Generator().manual_seed(
            derive_seed(self.seed, number, zlib.crc32(name.encode()))
        )
        keep = torch.rand(shape, generator=generator) >= p
        return keep.float() / (1 - p) if p < 1 else torch.zeros(shape)

    # Passes ---------------------------------------------------------------------------------

    def passes(self, inputs: Tensor, sample: JointDataSample) -> Iterator[BatchPrediction]:
        """Predict ``num_samples`` times with other masks.

        Raises:
            ValueError: In training mode, where the layers would drop twice.
        """
        if self.model.training:
            raise ValueError('MCDropout predicts in evaluation mode; call .eval() first')
        key = tuple(inputs.shape), inputs.dtype, inputs.device
        plan = self._plan = self._plans.setdefault(key, _Plan(self.model.windows is None))
        done = 0
        if self.fused and plan.repeatable:
            recording = Recording(
                partial(self._infer, inputs, plan),
                inputs,
                (*self.model.parameters(), *self.model.buffers()),
                plan.volatile,
            )
            try:
                first = self._with_masks(recording.record, 0, 1)
                yield first
                done = 1
                if not plan.batch and self.num_samples > 1:
                    second = self._with_masks(partial(self._infer, inputs, plan), 1, 1)
                    self._choose_batch(plan, recording, first, second)
                while done < self.num_samples:
                    number = min(plan.batch, self.num_samples - done)
                    yield self._with_masks(partial(recording.repeat, number), done, number)
                    done += number
            except NotRepeatable as reason:
                plan.repeatable = False
                print_log(
                    f'MCDropout: {type(self.model).__name__} runs its passes one by one in full: '
                    f'{reason}',
                    logger='current',
                )
        for number in range(done, self.num_samples):
            yield self._with_masks(partial(self._infer, inputs, plan), number, 1)

    def _infer(self, inputs: Tensor, plan: '_Plan') -> BatchPrediction:
        plan.calls.clear()
        if self._told and not self.functional:
            return self._infer_once(inputs, plan)
        with _FunctionalDropout(self.functional, self._names, self._drop) as mode:
            result = self._infer_once(inputs, plan)
        if not self._told:
            self._tell(mode)
        return result

    def _infer_once(self, inputs: Tensor, plan: '_Plan') -> BatchPrediction:
        if self.model.windows is None:
            return self.model.infer(inputs)

        def network(window: Tensor) -> BatchPrediction:
            plan.calls.clear()  # every window meets the same masks
            return self.model.infer_window(self.model.arrange(window))

        return replace(self.model.windows, window_batch=1).infer(inputs, network)

    def _with_masks(
        self, function: Callable[[], BatchPrediction], start: int, number: int
    ) -> BatchPrediction:
        """Run with the dropout of the passes ``start`` to ``start + number`` switched on."""
        self._passes = range(start, start + number)
        with ExitStack() as stack:
            for name, layer in self._layers.items():
                hook = partial(self._hook, name)
                stack.callback(layer.register_forward_hook(hook).remove)
            return function()

    def _hook(self, name: str, layer: nn.Module, args: tuple, output: Tensor) -> Tensor:
        if dropout_is_off():  # a saliency within the network, which belongs to no pass
            return output
        return self._drop(name, _mask_shape_of(layer), layer.p, output)

    def _drop(self, name: str, mask_shape: MaskShape, p: float, maps: Tensor) -> Tensor:
        """Multiply maps by their masks, those of several passes one after the other on axis 0."""
        plan = self._plan
        call = plan.calls[name] = plan.calls.get(name, -1) + 1
        name = f'{name}#{call}' if call else name
        # Nobody records how masks are drawn: it takes as many calls as there are passes.
        with torch._C.DisableTorchFunction():
            if len(self._passes) == 1:
                plan.lengths[name] = maps.shape[0]
            shape = mask_shape((plan.lengths[name], *maps.shape[1:]))
            masks = [self.mask_source(name, number, shape, p) for number in self._passes]
            mask = torch.cat(masks).to(maps)
        return maps * mask

    def _choose_batch(
        self, plan: '_Plan', recording: Recording, first: BatchPrediction, second: BatchPrediction
    ) -> None:
        """Decide, once per size of image, how many passes run as one batch.

        Neither a record nor a batch is trusted blindly: not every function lets itself be recorded
        (a scripted one does not), and that axis 0 holds the images everywhere is a convention, not
        a law. Both have to give passes 0 and 1 as they came out in full.

        Raises:
            NotRepeatable: If not even a single pass does.
        """
        on_cpu = recording.image.device.type == 'cpu'
        budget = self.memory_budget_mib or (128 if on_cpu else 1024)
        affordable = int(budget * 2**20 // max(1, recording.bytes_per_pass))
        affordable = max(1, min(affordable, self.num_samples - 1))
        tolerance = _rounding(recording.image)
        both = zip(first, second, strict=True)
        pair = BatchPrediction(
            *(None if one is None else torch.cat([one, two]) for one, two in both)
        )
        if affordable > 1 and self._gives(recording, range(2), pair, tolerance):
            plan.batch = affordable
        elif self._gives(recording, range(1, 2), second, tolerance):
            plan.batch = 1
        else:
            raise NotRepeatable('a pass from the record differs from the same pass in full')

    def _gives(
        self,
        recording: Recording,
        passes: range,
        expected: Sequence[Tensor | None],
        tolerance: float,
    ) -> bool:
        try:
            repeated = partial(recording.repeat, len(passes))
            actual = self._with_masks(repeated, passes.start, len(passes))
        except Exception:  # in full the same code went through, whatever stops it here
            return False
        for one, other in zip(actual, expected, strict=True):
            if other is None:
                continue
            if one.shape != other.shape:
                return False
            if not (one - other).abs().max() <= tolerance * other.abs().max():
                return False
        return True

    def _tell(self, mode: '_FunctionalDropout') -> None:
        if self.functional and not mode.taking_part:
            raise UserError(
                f'functional={list(self.functional)}: expected modules that call F.dropout, found '
                'none among those it matches; leave it out, or name others'
                + (f': {", ".join(sorted(mode.silent))}' if mode.silent else '')
            )
        self._told = True
        names = [*self._layers, *sorted(mode.taking_part)]
        shown = ', '.join(names[:12]) + (f' and {len(names) - 12} more' if names[12:] else '')
        print_log(f'MCDropout: dropout is on in {shown}', logger='current')
        if mode.silent:
            print_log(
                'MCDropout: these call dropout as a function and stay off, name them by '
                f'functional=[...] to switch it on: {", ".join(sorted(mode.silent))}',
                logger='current',
            )
        inner = [name for name, module in self.model.named_modules() if _has_inner_dropout(module)]
        if inner:
            print_log(
                'MCDropout: these drop out within a function of torch and stay off: '
                + ', '.join(inner),
                logger='current',
            )


def _is_dropout(module: nn.Module) -> bool:
    """Tell dropout layers: those of torch, and ours, which tell the shape of their masks."""
    return isinstance(module, (nn.Dropout, *_CHANNEL_LAYERS)) or hasattr(module, 'mask_shape')


def _mask_shape_of(layer: nn.Module) -> MaskShape:
    own = getattr(layer, 'mask_shape', None)
    return own or (_of_channels if isinstance(layer, _CHANNEL_LAYERS) else tuple)


def _of_channels(shape: Sequence[int]) -> tuple[int, ...]:
    return (*shape[:2], *[1] * (len(shape) - 2))


def _has_inner_dropout(module: nn.Module) -> bool:
    """Tell whether a module hands a rate of its own to torch: attention and recurrent layers."""
    rates = [getattr(module, name, None) for name in ('dropout', 'attn_drop')]
    return any(isinstance(rate, float) and rate > 0 for rate in rates)


def _rounding(image: Tensor) -> float:
    """Error that another order of sums may have, relative to the largest value."""
    device = image.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else image.dtype
    eps = torch.finfo(dtype).eps
    if device == 'cuda' and dtype == torch.float32:  # convolutions round to 10 bits (TF32)
        eps = 2**-10
    return max(8 * eps, 1e-4)


class _Plan:
    """What is known about repeating passes over images of one size."""

    def __init__(self, repeatable: bool = True) -> None:
        self.repeatable = repeatable
        self.volatile: set[int] = set()
        self.batch = 0  # passes that run together, 0: not yet chosen
        self.lengths: dict[str, int] = {}  # of axis 0 at each layer, in one pass
        self.calls: dict[str, int] = {}  # of each layer, in the pass that runs


class _FunctionalDropout(TorchFunctionMode):
    """Switches on the dropout that named modules call as a function, and notes the others."""

    def __init__(
        self,
        patterns: Sequence[str],
        names: dict[nn.Module, str],
        drop: Callable[[str, MaskShape, float, Tensor], Tensor],
    ) -> None:
        super().__init__()
        self.patterns, self.names, self.drop = patterns, names, drop
        self.taking_part: set[str] = set()
        self.silent: set[str] = set()

    def __torch_function__(
        self, func: Callable, types: Sequence[type], args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        by_channel = _FUNCTIONAL.get(getattr(func, '__name__', ''))
        if by_channel is None:
            return result
        given = dict(zip(('input', 'p', 'training'), args, strict=False)) | (kwargs or {})
        p = given.get('p', 0.5)
        name = self._caller()
        if name is None or p == 0 or given.get('training', True):
            return result
        if not any(fnmatchcase(name, pattern) for pattern in self.patterns):
            self.silent.add(name)
            return result
        self.taking_part.add(name)
        return self.drop(f'{name}()', _of_channels if by_channel else tuple, p, result)

    def _caller(self) -> str | None:
        """Name the module whose code called, None for a dropout layer."""
        frame = sys._getframe(2)
        while frame is not None:
            module = frame.f_locals.get('self')
            if isinstance(module, nn.Module):
                is_layer = _is_dropout(module) or isinstance(module, _OTHER_LAYERS)
                return None if is_layer else self.names.get(module, type(module).__name__)
            frame = frame.f_back
        return 'a function'
