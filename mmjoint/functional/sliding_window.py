"""Prediction of large images and volumes by overlapping windows, in any number of space axes."""

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .dirichlet import predictive_entropy

# A tensor, a mapping of tensors or a named tuple of tensors and None.
WindowOutput = Any
Average = Literal['probs', 'log_probs', 'raw']
AVERAGES = ('probs', 'log_probs', 'raw')
# Voxels of an image that are reduced at once: what a reduction needs on the way stays small, and
# in the processor's cache.
_PIECE = 2**16


def window_stride(roi_size: Sequence[int], overlap: float | Sequence[float]) -> tuple[int, ...]:
    """Stride of windows that overlap by a fraction of their size, rounded down, at least 1.

    Args:
        roi_size: Size of a window along each axis.
        overlap: Fraction in [0, 1), one for all axes or one for each.

    Raises:
        ValueError: The overlap is out of range or does not fit the axes.
    """
    if isinstance(overlap, Sequence) and len(overlap) != len(roi_size):
        raise ValueError(f'overlap must have {len(roi_size)} axes, got {tuple(overlap)}')
    each = tuple(overlap) if isinstance(overlap, Sequence) else (overlap,) * len(roi_size)
    if not all(0 <= value < 1 for value in each):
        raise ValueError(f'overlap must lie in [0, 1), got {overlap}')
    return tuple(max(int(n * (1 - value)), 1) for n, value in zip(roi_size, each, strict=True))


def window_starts(size: int, roi_size: int, stride: int) -> list[int]:
    """First positions of the windows along one axis; the last window ends at the axis' end.

    Position k is min(k * stride, size - roi_size), for k = 0 .. ceil((size - roi_size) / stride).

    Args:
        size: Length of the axis, at least ``roi_size``.
        roi_size: Length of a window.
        stride: Step from window to window. It may exceed ``roi_size`` as long as the windows
            leave no gap.

    Raises:
        ValueError: The axis is shorter than a window, the stride is not positive, or there are
            gaps.
    """
    if size < roi_size:
        raise ValueError(f'an axis must be at least as long as a window of {roi_size}, got {size}')
    if stride < 1:
        raise ValueError(f'stride must be at least 1, got {stride}')
    room = size - roi_size
    starts = [min(k * stride, room) for k in range(math.ceil(room / stride) + 1)]
    if any(b - a > roi_size for a, b in itertools.pairwise(starts)):
        raise ValueError(
            f'windows of {roi_size} at a stride of {stride} leave gaps on an axis of {size}; use a '
            f'stride of at most {roi_size}'
        )
    return starts


def window_weights(
    roi_size: Sequence[int],
    kind: Literal['uniform', 'gaussian'] = 'uniform',
    *,
    sigma_scale: float = 0.125,
    device: torch.device | str | None = None,
) -> Tensor:
    """Weight of each element of a window in the average over windows.

    Args:
        roi_size: Size of a window.
        kind: ``uniform``: 1 everywhere. ``gaussian``: a product of normal densities around the
            centre, 1 at its peak and 0.001 or the smallest weight, whichever is larger, far from
            it, so that no element is left without weight.
        sigma_scale: Standard deviation in units of the window's size.
        device: Where the weights lie.

    Returns:
        float32 of shape ``roi_size``, > 0.

    Raises:
        ValueError: ``kind`` is neither of the two.
    """
    if kind not in ('uniform', 'gaussian'):
        raise ValueError(f"weights must be 'uniform' or 'gaussian', got {kind!r}")
    weights = torch.ones((1,) * len(roi_size), device=device)
    if kind == 'uniform':
        return weights.expand(tuple(roi_size))
    for axis, size in enumerate(roi_size):
        offset = torch.arange(size, device=device) - (size - 1) / 2
        density = torch.exp(-(offset**2) / (2 * (sigma_scale * size) ** 2))
        weights = weights * density.view([-1 if a == axis else 1 for a in range(len(roi_size))])
    return weights.clamp_min(max(float(weights.min()), 1e-3))


def labels_and_entropy(
    probs: Tensor, *, entropy_dtype: torch.dtype = torch.float32
) -> dict[str, Tensor]:
    """Class and uncertainty of each voxel: a reduction for :func:`sliding_window_inference`.

    Args:
        probs: ``(B, C, *space)``, sums over axis 1 are 1; at most 256 classes.
        entropy_dtype: ``torch.float16`` halves the memory, at three digits.

    Returns:
        ``labels``: uint8 ``(B, 1, *space)``, the most probable class.
        ``predictive_entropy``: ``(B, 1, *space)`` in [0, ln C], nats.

    Raises:
        ValueError: There are more than 256 classes.
    """
    if probs.shape[1] > 256:
        raise ValueError(f'uint8 labels hold at most 256 classes, got {probs.shape[1]}')
    return {
        # Of several largest values both give the first, but this is five times faster on CPUs.
        'labels': probs.max(1, keepdim=True).indices.to(torch.uint8),
        'predictive_entropy': predictive_entropy(probs).to(entropy_dtype),
    }


@torch.no_grad()
def sliding_window_inference(
    inputs: Tensor,
    predictor: Callable[[Tensor], WindowOutput],
    roi_size: int | Sequence[int],
    *,
    stride: int | Sequence[int] | None = None,
    overlap: float | Sequence[float] | None = None,
    weights: Literal['uniform', 'gaussian'] = 'uniform',
    sigma_scale: float = 0.125,
    average: Average | Mapping[str, Average] = 'probs',
    window_batch: int = 1,
    reduction: Callable[[WindowOutput], WindowOutput] | None = None,
    device: torch.device | str | None = None,
    padding_value: float = 0.0,
) -> WindowOutput:
    """Predict overlapping windows and average them.

    An axis shorter than the window is padded evenly on both sides and the prediction cut back.
    Windows are taken in the order of their position along axis 0, then image by image, then along
    the other axes.

    **Bounded memory.** Without ``reduction`` the averages of all classes are kept for the whole
    volume. With it, only for the planes of axis 0 that windows still reach (``roi_size[0]`` of
    them, or a few strides more where a batch of windows spans several positions): planes that no
    further window touches are averaged, handed to ``reduction`` and dropped. Both ways add the
    same numbers in the same order. Take as axis 0 the one along which the window is short.

    Args:
        inputs: ``(B, C, *space)``, any number of space axes.
        predictor: Called with ``(n, C, *roi_size)``, n up to ``window_batch``. Gives a tensor, or
            a mapping or named tuple of tensors (None is passed on), each ``(n, channels,
            *roi_size)``.
        roi_size: Size of a window, one number for all axes or one for each.
        stride: Step between windows, likewise. Give either ``stride`` or ``overlap``.
        overlap: In its place, the fraction of a window that the next one covers; see
            :func:`window_stride`.
        weights: Weights of a window's elements; see :func:`window_weights`.
        sigma_scale: See :func:`window_weights`.
        average: What is averaged over windows. ``probs``: the softmax of the output over axis 1;
            the result holds mean probabilities. ``log_probs``: the same, and the result holds
            their logarithm, so that its softmax gives the mean probabilities. ``raw``: the output
            itself. Of several outputs, a mapping says it for each; those not named are ``raw``.
        window_batch: Number of windows that the predictor gets at once.
        reduction: Works voxel by voxel. Gets the averages of some planes, in the form that the
            predictor gives, each ``(B, channels, planes, *rest)``; what it gives back, in any of
            the forms, of the same space, is put together and returned.
            :func:`labels_and_entropy` is one.
        device: Where averages are formed; by default where ``inputs`` lie. What ``reduction``
            gives stays on its device.
        padding_value: Value of the padding.

    Returns:
        What the predictor (or ``reduction``) gives, for the space of ``inputs``. Averages are
        float64 where the predictor gives this, else float32.

    Raises:
        ValueError: The arguments or the predictor's output do not fit; the message says how.
        TypeError: The predictor gives neither tensor, mapping nor named tuple.
    """
    space = tuple(inputs.shape[2:])
    roi = _per_axis(roi_size, len(space), 'roi_size')
    if (stride is None) == (overlap is None):
        raise ValueError(f'give either stride or overlap, got {stride} and {overlap}')
    if window_batch < 1:
        raise ValueError(f'window_batch must be at least 1, got {window_batch}')
    steps = window_stride(roi, overlap) if stride is None else stride
    grid = _Grid.of(space, roi, _per_axis(steps, len(space), 'stride'))
    if grid.size != space:
        ends = [
            (before, whole - length - before)
            for before, whole, length in zip(grid.before, grid.size, space, strict=True)
        ]
        flat = [length for pair in reversed(ends) for length in pair]
        inputs = F.pad(inputs, flat, value=padding_value)
    places = list(grid.places(len(inputs)))
    batches = [places[i : i + window_batch] for i in range(0, len(places), window_batch)]
    device = inputs.device if device is None else torch.device(device)
    stitcher = _Stitcher(
        grid,
        len(inputs),
        depth=grid.size[0] if reduction is None else grid.depth(batches),
        weights=window_weights(roi, weights, sigma_scale=sigma_scale, device=device),
        uniform=weights == 'uniform',
        average=average,
        reduction=reduction,
        device=device,
    )
    for batch in batches:
        if reduction is not None:
            stitcher.finish(batch[0].corner[0])
        windows = [inputs[(slice(i, i + 1), slice(None), *grid.window(at))] for i, at in batch]
        stitcher.add(batch, predictor(windows[0] if len(windows) == 1 else torch.cat(windows)))
    return stitcher.result()


def _per_axis(value: int | Sequence[int], num_axes: int, name: str) -> tuple[int, ...]:
    each = tuple(value) if isinstance(value, Sequence) else (value,) * num_axes
    if len(each) != num_axes or min(each) < 1:
        raise ValueError(f'{name} must be {num_axes} numbers of at least 1, got {value}')
    return each


class _Place(NamedTuple):
    """A window: number of its image, and its first element along each axis."""

    image: int
    corner: tuple[int, ...]


class _Grid(NamedTuple):
    """Where windows lie.

    Attributes:
        space: Size of the image.
        size: Size with padding.
        before: Padding in front of each axis.
        roi: Size of a window.
        starts: First positions of the windows along each axis.
    """

    space: tuple[int, ...]
    size: tuple[int, ...]
    before: tuple[int, ...]
    roi: tuple[int, ...]
    starts: list[list[int]]

    @classmethod
    def of(cls, space: tuple[int, ...], roi: tuple[int, ...], stride: tuple[int, ...]) -> '_Grid':
        size = tuple(max(pair) for pair in zip(space, roi, strict=True))
        before = tuple((whole - n) // 2 for whole, n in zip(size, space, strict=True))
        starts = [window_starts(*axis) for axis in zip(size, roi, stride, strict=True)]
        return cls(space, size, before, roi, starts)

    def places(self, num_images: int) -> Iterator[_Place]:
        for first in self.starts[0]:
            for image in range(num_images):
                for rest in itertools.product(*self.starts[1:]):
                    yield _Place(image, (first, *rest))

    def window(self, corner: Sequence[int]) -> tuple[slice, ...]:
        return tuple(slice(at, at + n) for at, n in zip(corner, self.roi, strict=True))

    def depth(self, batches: Sequence[Sequence[_Place]]) -> int:
        """Planes of axis 0 that are unfinished while a batch is added, at most."""
        return self.roi[0] + max(b[-1].corner[0] - b[0].corner[0] for b in batches)

    def total_weight(self, weights: Tensor) -> Tensor:
        """Sum of the weights over all windows of one position along axis 0, ``(roi, *rest)``."""
        if all(len(starts) == 1 for starts in self.starts[1:]):
            return weights
        total = weights.new_zeros((self.roi[0], *self.size[1:]))
        for rest in itertools.product(*self.starts[1:]):
            total[self.window((0, *rest))] += weights
        return total


class _Stitcher:
    """Adds windows up in a ring of planes of axis 0, and averages finished planes.

    Plane z lies at z modulo ``depth``; with as many planes as the volume has, the ring is the
    volume.
    """

    def __init__(
        self,
        grid: _Grid,
        num_images: int,
        *,
        depth: int,
        weights: Tensor,
        uniform: bool,
        average: Average | Mapping[str, Average],
        reduction: Callable[[WindowOutput], WindowOutput] | None,
        device: torch.device,
    ) -> None:
        self.grid = grid
        self.num_images = num_images
        self.depth = depth
        self.weights = None if uniform else weights
        # The weights of a plane are uniform too: one plane stands for all.
        first = grid._replace(roi=(1, *grid.roi[1:]))
        self.total = first.total_weight(weights[:1]) if uniform else grid.total_weight(weights)
        self.total = self.total.expand(grid.roi[0], *self.total.shape[1:])
        self.average = average
        self.reduction = reduction
        self.device = device
        self.averages: dict[str, str] | None = None
        self.sums: dict[str, Tensor] = {}
        self.reduced: dict[str, Tensor] = {}
        self.finished = 0

    def add(self, places: Sequence[_Place], output: WindowOutput) -> None:
        """Add a batch of windows; their planes must not reach further back than the ring."""
        fields, self.build = _unpack(output)
        if self.averages is None:
            self.averages = _averages(self.average, output, fields)
        for name, values in fields.items():
            values = self._prepared(name, values, len(places))
            if name not in self.sums:
                shape = (self.num_images, values.shape[1], self.depth, *self.grid.size[1:])
                self.sums[name] = values.new_zeros(shape)
            for place, value in zip(places, values, strict=True):
                self._add(self.sums[name][place.image], place.corner, value)

    def finish(self, stop: int) -> None:
        """Average the planes before ``stop``; reduce and drop them where that is asked for."""
        if stop == self.finished:
            return
        start, self.finished = self.finished, stop
        step = max(1, _PIECE // math.prod(self.grid.size[1:]))
        for of_all, in_ring in _ring(start, stop, self.depth):
            for offset in range(of_all.start, of_all.stop, step):
                first = start + offset
                last = min(first + step, start + of_all.stop)
                at = in_ring.start + offset - of_all.start
                self._finish_piece(first, last, slice(at, at + last - first))

    def result(self) -> WindowOutput:
        """Give what was asked for; call it once, at the end."""
        self.finish(self.grid.size[0])
        if self.reduction is not None:
            return self.build_reduced(self.reduced)
        inside = (slice(None), slice(None), *self._inside())
        return self.build({name: sums[inside] for name, sums in self.sums.items()})

    def _prepared(self, name: str, values: Tensor, count: int) -> Tensor:
        expected = (count, '*', *self.grid.roi)
        if (values.shape[0], *values.shape[2:]) != (count, *self.grid.roi):
            raise ValueError(
                f'the predictor must give {expected} for {name}, got {tuple(values.shape)}'
            )
        values = values if values.dtype == torch.float64 else values.float()
        if self.averages[name] != 'raw':
            if values.shape[1] < 2:
                raise ValueError(
                    f'probabilities of {name} need at least 2 classes, got 1; use average="raw"'
                )
            values = values.softmax(1)
        return values.to(self.device)

    def _add(self, sums: Tensor, corner: tuple[int, ...], value: Tensor) -> None:
        rest = self.grid.window(corner)[1:]
        for of_window, in_ring in _ring(corner[0], corner[0] + self.grid.roi[0], self.depth):
            target, part = sums[(slice(None), in_ring, *rest)], value[:, of_window]
            if self.weights is None:
                target.add_(part)
            else:
                target.addcmul_(part, self.weights[of_window].to(part.dtype))

    def _total_weight(self, start: int, stop: int) -> Tensor:
        """Sum of the weights over all windows, for planes ``start`` to ``stop``."""
        total = self.total.new_zeros((stop - start, *self.total.shape[1:]))
        for at in self.grid.starts[0]:
            low, high = max(start, at), min(stop, at + self.grid.roi[0])
            if low < high:
                total[low - start : high - start] += self.total[low - at : high - at]
        return total

    def _inside(self) -> tuple[slice, ...]:
        return tuple(
            slice(at, at + n) for at, n in zip(self.grid.before, self.grid.space, strict=True)
        )

    def _finish_piece(self, start: int, stop: int, in_ring: slice) -> None:
        """Average planes ``start`` to ``stop``, which lie at ``in_ring``."""
        total = self._total_weight(start, stop)
        means = {}
        for name, sums in self.sums.items():
            means[name] = sums[:, :, in_ring].div_(total)
            if self.averages[name] == 'log_probs':
                tiny = torch.finfo(sums.dtype).tiny
                means[name].clamp_min_(tiny).log_()
        if self.reduction is None:
            return
        planes, *rest = self._inside()
        low, high = max(start, planes.start), min(stop, planes.stop)
        if low < high:
            window = (slice(None), slice(None), slice(low - start, high - start), *rest)
            cut = {name: mean[window] for name, mean in means.items()}
            self._keep(self.reduction(self.build(cut)), low - planes.start, high - planes.start)
        for mean in means.values():
            mean.zero_()

    def _keep(self, reduced: WindowOutput, start: int, stop: int) -> None:
        fields, self.build_reduced = _unpack(reduced)
        space = self.grid.space
        for name, values in fields.items():
            if tuple(values.shape[2:]) != (stop - start, *space[1:]):
                raise ValueError(
                    f'the reduction must keep the space {(stop - start, *space[1:])}, got '
                    f'{tuple(values.shape)} for {name}'
                )
            if name not in self.reduced:
                self.reduced[name] = values.new_empty((*values.shape[:2], *space))
            self.reduced[name][:, :, start:stop] = values


def _ring(start: int, stop: int, depth: int) -> Iterator[tuple[slice, slice]]:
    """Pieces of the planes ``start`` to ``stop``: counted from ``start``, and in a ring."""
    offset = start % depth
    head = min(stop - start, depth - offset)
    yield slice(0, head), slice(offset, offset + head)
    if head < stop - start:
        yield slice(head, stop - start), slice(0, stop - start - head)


def _unpack(
    output: WindowOutput,
) -> tuple[dict[str, Tensor], Callable[[dict[str, Tensor]], WindowOutput]]:
    """The tensors of an output by name, and what makes such an output of others."""
    if isinstance(output, Tensor):
        return {'output': output}, lambda fields: fields['output']
    if isinstance(output, Mapping):
        everything, build = dict(output), dict
    elif hasattr(output, '_asdict'):
        kind = type(output)
        everything, build = output._asdict(), lambda fields: kind(**fields)
    else:
        raise TypeError(
            f'expected a tensor, a mapping or a named tuple of tensors, got {type(output).__name__}'
        )
    names = dict.fromkeys(everything)
    given = {name: value for name, value in everything.items() if value is not None}
    return given, lambda fields: build({**names, **fields})


def _averages(
    average: Average | Mapping[str, Average], output: WindowOutput, fields: Mapping[str, Tensor]
) -> dict[str, str]:
    """How each output is averaged."""
    several = not isinstance(output, Tensor)
    if isinstance(average, str):
        if several and average != 'raw':
            raise ValueError(
                f'the predictor gives {", ".join(fields)}; say what is averaged for each, '
                f'average={{name: {average!r}}}, or average="raw"'
            )
        chosen = dict.fromkeys(fields, average)
    else:
        unknown = set(average) - set(fields)
        if unknown or not several:
            raise ValueError(
                f'average names {sorted(average)}, the predictor gives '
                f'{sorted(fields) if several else "one tensor"}'
            )
        chosen = {**dict.fromkeys(fields, 'raw'), **average}
    if wrong := set(chosen.values()) - set(AVERAGES):
        raise ValueError(f'average must be among {AVERAGES}, got {sorted(map(str, wrong))}')
    return chosen
