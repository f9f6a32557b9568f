"""Repeat a forward pass of which only some parts differ, and compute the rest once.

The first pass records every call of a torch function. A call is *fixed* if all its tensors are
parameters, buffers, the input, or results of fixed calls, and it draws no random numbers; every
other call *varies*. Later passes run the same Python code, but a fixed call gives back its recorded
result, of which only those are kept that a varying call looks at: the border between both parts.
So the fixed prefix of a network costs memory for its border and time for one pass, whatever the
network and wherever its first varying call stands.

Two further savings follow from the record:

* several passes run as one batch: behind the border everything is computed for ``M`` passes at
  once, stacked along axis 0, as many as a memory budget allows;
* a convolution over joined maps of which some are fixed is the sum of two convolutions; the one
  over the fixed maps is computed once.

Where Python code would have to be undone (a varying call writes into a fixed tensor), the calls
that made that tensor are repeated in every pass. Where the record cannot be trusted at all (code
that branches on varying values, another sequence of calls) the passes are run one by one in full.
Some things escape the record unnoticed: scripted modules, extensions outside torch, writing through
``.data``, state of Python objects. Whoever repeats compares a pass with one in full first.
"""

import weakref
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakIdKeyDictionary

_CONVOLUTIONS = (torch.conv1d, torch.conv2d, torch.conv3d)
_CONV_ARGUMENTS = ('input', 'weight', 'bias', 'stride', 'padding', 'dilation', 'groups')
# Their result leaves torch, so what Python does next may depend on it.
_ESCAPES = {'item', 'tolist', 'numpy', '__bool__', '__int__', '__float__', '__index__', '__array__'}
_RANDOM = {'bernoulli', 'multinomial', 'normal', 'poisson', 'uniform_', 'exponential_', 'random_'}
_RANDOM |= {'bernoulli_', 'normal_', 'geometric_', 'cauchy_', 'log_normal_', 'randperm', 'gumbel'}
_RANDOM |= {'gumbel_softmax'}


class NotRepeatable(Exception):
    """The passes cannot be recorded and repeated; the message says why."""


class _Rerecord(Exception):
    """Some fixed calls have to be repeated in every pass: record again with that known."""


class _Origin(NamedTuple):
    """Where a fixed tensor comes from.

    Attributes:
        calls: Numbers of the calls that gave it, several where it was changed in place.
        from_input: Whether it depends on the input, so that axis 0 holds the image.
    """

    calls: tuple[int, ...]
    from_input: bool


_CONSTANT = _Origin((), False)


class _Leaf:
    """A tensor in the recorded result of a fixed call."""

    def __init__(self, value: Tensor, from_input: bool) -> None:
        self.shape, self.dtype, self.device = value.shape, value.dtype, value.device
        self.from_input = from_input
        self.weak = weakref.ref(value)
        self.kept: Tensor | None = None
        self.version = 0

    def keep(self, value: Tensor) -> None:
        if self.kept is None:
            self.kept, self.version = value, value._version

    def give(self) -> Tensor:
        if self.kept is not None:
            return self.kept
        # Only fixed calls see it, and they do not look at it. Should anything else do so, it shows.
        content = float('nan') if self.dtype.is_floating_point or self.dtype.is_complex else 0
        return torch.full((), content, dtype=self.dtype, device=self.device).expand(self.shape)


class _Split(NamedTuple):
    """A convolution over joined maps, taken apart: see the module's text."""

    varying: Tensor  # weight of the varying channels
    fixed_result: Tensor
    parts: tuple[int, ...]  # which of the joined maps vary


class _Call:
    """One recorded call."""

    def __init__(self, function: Callable) -> None:
        self.function = function
        self.is_fixed = False
        self.result: Any = None
        self.leaves: list[_Leaf] = []
        self.split: _Split | None = None
        self.is_join = False  # joins maps along the channels
        self.is_seen = True  # whether anything but split convolutions looks at the joined maps


class Recording:
    """The record of one function; see the module.

    Args:
        function: Called without arguments, gives tensors or a structure of them.
        image: The input, ``(1, C, *space)``.
        constants: Further tensors that never vary: parameters and buffers.
        volatile: Numbers of fixed calls that have to be repeated in every pass, as an earlier
            record found them; it is filled.
    """

    def __init__(
        self,
        function: Callable[[], Any],
        image: Tensor,
        constants: Iterable[Tensor],
        volatile: set[int],
    ) -> None:
        self.function = function
        self.image = image
        self.constants = {id(tensor): tensor for tensor in constants}
        self.calls: list[_Call] = []
        self.volatile = volatile
        self.bytes_per_pass = 0
        """Largest size of the varying maps of one pass that were alive together."""

    def record(self) -> Any:
        """Run the first pass.

        Raises:
            NotRepeatable: If it cannot be repeated from a record.
        """
        for _ in range(100):
            self.calls = []
            mode = _Record(self)
            try:
                with mode:
                    result = self.function()
                    mode.finish(result)
            except _Rerecord as changed:
                (more,) = changed.args
                if more <= self.volatile:
                    break
                self.volatile.update(more)
                continue
            self.bytes_per_pass = mode.peak
            return result
        raise NotRepeatable('tensors are changed in place over and over')

    def repeat(self, num_passes: int) -> Any:
        """Run further passes as one batch.

        Args:
            num_passes: M; varying results have M times the length along axis 0.

        Raises:
            NotRepeatable: If the calls are not those of the record.
        """
        mode = _Repeat(self, num_passes)
        with mode:
            result = self.function()
        return _map(result, Tensor, mode.stack)


class _Mode(TorchFunctionMode):
    def __init__(self, recording: Recording) -> None:
        super().__init__()
        self.recording = recording
        self.number = -1
        self.known = WeakIdKeyDictionary()
        self.joined = WeakIdKeyDictionary()
        self.known[recording.image] = _Origin((), True)

    def origin(self, tensor: Tensor) -> _Origin | None:
        """Give where a fixed tensor comes from, None for a varying one."""
        if id(tensor) in self.recording.constants:
            return _CONSTANT
        return self.known.get(tensor)

    def __torch_function__(
        self, func: Callable, types: Sequence[type], args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        self.number += 1
        return self.call(func, args, kwargs or {})

    def call(self, function: Callable, args: tuple, kwargs: dict) -> Any:
        raise NotImplementedError


class _Record(_Mode):
    def __init__(self, recording: Recording) -> None:
        super().__init__(recording)
        self.peak = self.alive = 0

    def call(self, function: Callable, args: tuple, kwargs: dict) -> Any:
        tensors = _tensors((args, kwargs))
        origins = [self.origin(tensor) for tensor in tensors]
        entry = _Call(function)
        self.recording.calls.append(entry)
        fixed = None not in origins and not _is_random(function, args, kwargs)
        if fixed and self.number not in self.recording.volatile:
            entry.is_fixed = True
            result = function(*args, **kwargs)
            from_input = any(origin.from_input for origin in origins)
            entry.result = _map(
                result, Tensor, lambda tensor: self._leaf(entry, tensor, from_input)
            )
            return result
        return self._vary(entry, tensors, origins, args, kwargs)

    def _leaf(self, entry: _Call, tensor: Tensor, from_input: bool) -> _Leaf:
        before = self.origin(tensor)
        calls = (self.number,) if before is None else (*before.calls, self.number)
        self.known[tensor] = _Origin(calls, from_input)
        entry.leaves.append(_Leaf(tensor, from_input))
        return entry.leaves[-1]

    def _vary(self, entry: _Call, tensors: list, origins: list, args: tuple, kwargs: dict) -> Any:
        if getattr(entry.function, '__name__', '') in _ESCAPES and None in origins:
            raise NotRepeatable(f'the code looks at a varying value ({entry.function.__name__})')
        versions = []
        for tensor, origin in zip(tensors, origins, strict=True):
            if origin is not None:
                self._keep(tensor, origin)
                versions.append((tensor, origin, tensor._version))
        result = self._split(entry, args, kwargs)
        if result is None:
            self._see(tensors)
            result = entry.function(*args, **kwargs)
            self._join(entry, args, kwargs, result)
        for tensor, origin, version in versions:
            if tensor._version != version:
                self._written(origin)
        for tensor in _tensors(result):
            self._count(tensor)
        return result

    def _join(self, entry: _Call, args: tuple, kwargs: dict, result: Any) -> None:
        """Remember which maps a varying result joins along the channels."""
        if entry.function is torch.cat and (args[1:] or (kwargs.get('dim', 0),))[0] == 1:
            entry.is_join, entry.is_seen = True, False
            maps = _joined_maps(args, kwargs)
            self.joined[result] = maps, [each._version for each in maps], entry

    def _see(self, tensors: Iterable[Tensor]) -> None:
        for tensor in tensors:
            if tensor in self.joined:
                self.joined[tensor][2].is_seen = True

    def _written(self, origin: _Origin) -> None:
        if not origin.calls:
            raise NotRepeatable('a varying call writes into the input, a parameter or a buffer')
        raise _Rerecord(set(origin.calls))

    def _keep(self, tensor: Tensor, origin: _Origin) -> None:
        for number in origin.calls:
            for leaf in self.recording.calls[number].leaves:
                if leaf.weak() is tensor:
                    leaf.keep(tensor)

    def _count(self, tensor: Tensor) -> None:
        if tensor._is_view() or self.origin(tensor) is not None:
            return
        size = tensor.numel() * tensor.element_size()
        self.alive += size
        self.peak = max(self.peak, self.alive)
        weakref.finalize(tensor, self._free, size)

    def _free(self, size: int) -> None:
        self.alive -= size

    def _split(self, entry: _Call, args: tuple, kwargs: dict) -> Tensor | None:
        if entry.function not in _CONVOLUTIONS:
            return None
        joined, weight, own = _convolution(args, kwargs)
        if joined not in self.joined or own.get('groups', 1) != 1:
            return None
        maps, versions, _ = self.joined[joined]
        if versions != [each._version for each in maps]:
            return None
        varying = tuple(i for i, each in enumerate(maps) if self.origin(each) is None)
        if len(varying) == len(maps):
            return None
        weights = weight.split([each.shape[1] for each in maps], 1)
        rest = [i for i in range(len(maps)) if i not in varying]
        fixed_result = entry.function(
            torch.cat([maps[i] for i in rest], 1),
            torch.cat([weights[i] for i in rest], 1),
            **{**own, 'bias': None},
        )
        entry.split = _Split(torch.cat([weights[i] for i in varying], 1), fixed_result, varying)
        return _joined_result(entry, maps, own)

    def finish(self, result: Any) -> None:
        """Keep fixed results of the whole, and check that nothing kept was changed later."""
        self._see(_tensors(result))
        for tensor in _tensors(result):
            origin = self.origin(tensor)
            if origin is not None:
                self._keep(tensor, origin)
        for number, entry in enumerate(self.recording.calls):
            for leaf in entry.leaves:
                if leaf.kept is not None and leaf.kept._version != leaf.version:
                    raise _Rerecord({number})


class _Repeat(_Mode):
    def __init__(self, recording: Recording, num_passes: int) -> None:
        super().__init__(recording)
        self.num_passes = num_passes

    def call(self, function: Callable, args: tuple, kwargs: dict) -> Any:
        calls = self.recording.calls
        if self.number >= len(calls) or calls[self.number].function != function:
            raise NotRepeatable('the sequence of calls differs from pass to pass')
        entry = calls[self.number]
        if entry.is_fixed:
            return _map(entry.result, _Leaf, self._give)
        if entry.split is not None:
            joined, _, own = _convolution(args, kwargs)
            return _joined_result(entry, self.joined[joined], own)
        if self.num_passes > 1:
            args, kwargs = _map((args, kwargs), Tensor, self.stack)
        if not entry.is_join:
            return function(*args, **kwargs)
        maps = _joined_maps(args, kwargs)
        if entry.is_seen:
            result = function(*args, **kwargs)
        else:  # only convolutions that are taken apart follow
            channels = sum(each.shape[1] for each in maps)
            shape = (maps[0].shape[0], channels, *maps[0].shape[2:])
            result = maps[0].new_empty(()).expand(shape)
        self.joined[result] = maps
        return result

    def _give(self, leaf: _Leaf) -> Tensor:
        tensor = leaf.give()
        self.known[tensor] = _Origin((), leaf.from_input)
        return tensor

    def stack(self, tensor: Tensor) -> Tensor:
        """Repeat a fixed map of the image along axis 0, once for each pass of the batch."""
        origin = self.origin(tensor)
        if self.num_passes == 1 or origin is None or not origin.from_input or not tensor.dim():
            return tensor
        if tensor.shape[0] == 1:
            return tensor.expand(self.num_passes, *tensor.shape[1:])
        return tensor.repeat(self.num_passes, *[1] * (tensor.dim() - 1))


def _joined_maps(args: tuple, kwargs: dict) -> tuple[Tensor, ...]:
    return tuple(args[0] if args else kwargs['tensors'])


def _convolution(args: tuple, kwargs: dict) -> tuple[Tensor, Tensor, dict]:
    """Give input, weight and all other arguments of a convolution."""
    arguments = dict(zip(_CONV_ARGUMENTS, args, strict=False)) | kwargs
    return arguments.pop('input'), arguments.pop('weight'), arguments


def _joined_result(entry: _Call, maps: Sequence[Tensor], own: dict) -> Tensor:
    split = entry.split
    varying = [maps[i] for i in split.parts]
    varying = varying[0] if len(varying) == 1 else torch.cat(varying, 1)
    return entry.function(varying, split.varying, **own).add_(split.fixed_result)


def _is_random(function: Callable, args: tuple, kwargs: dict) -> bool:
    name = getattr(function, '__name__', '')
    if name.endswith(('dropout', 'dropout1d', 'dropout2d', 'dropout3d')):
        return bool(kwargs.get('training', args[2] if len(args) > 2 else True))
    if name == 'scaled_dot_product_attention':
        return (args[4] if len(args) > 4 else kwargs.get('dropout_p', 0.0)) > 0
    if name == 'multi_head_attention_forward':
        return bool(kwargs.get('training', True))
    return name in _RANDOM or name.startswith('rand')


def _map(value: Any, kind: type, function: Callable[[Any], Any]) -> Any:
    """Apply a function to each instance of a type in a structure of lists, tuples and dicts."""
    if isinstance(value, kind):
        return function(value)
    if isinstance(value, dict):
        return {key: _map(item, kind, function) for key, item in value.items()}
    if isinstance(value, (list, tuple)) and not isinstance(value, torch.Size):
        items = [_map(item, kind, function) for item in value]
        if hasattr(value, '_fields'):  # a NamedTuple; torch.return_types take a sequence
            return type(value)(*items)
        return type(value)(items)
    return value


def _tensors(value: Any) -> list[Tensor]:
    found: list[Tensor] = []
    _map(value, Tensor, found.append)
    return found
