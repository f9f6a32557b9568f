"""Views of an image for predictions to be averaged over: flipped, turned, shrunk, and back."""

import itertools
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple, TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

ArrayOrTensor = TypeVar('ArrayOrTensor', np.ndarray, Tensor)
ViewSet = Literal['dihedral', 'flips']


class View(NamedTuple):
    """A permutation of pixels or voxels that keeps the grid.

    Attributes:
        transposed: Whether the last two space axes are swapped first.
        flips: Space axes that are then reversed, counted from 0.
    """

    transposed: bool = False
    flips: tuple[int, ...] = ()

    def apply(self, maps: ArrayOrTensor, axes: Sequence[int]) -> ArrayOrTensor:
        """Give the view of maps whose space axes are ``axes``."""
        if self.transposed:
            maps = maps.swapaxes(axes[-2], axes[-1])
        return _flip(maps, [axes[i] for i in self.flips])

    def invert(self, maps: ArrayOrTensor, axes: Sequence[int]) -> ArrayOrTensor:
        """Bring maps of the view back; exact."""
        maps = _flip(maps, [axes[i] for i in self.flips])
        return maps.swapaxes(axes[-2], axes[-1]) if self.transposed else maps

    def flipped_axes(self) -> tuple[bool, bool]:
        """Tell which of the two axes of the image itself, not of its view, are reversed."""
        flipped = 0 in self.flips, 1 in self.flips
        return flipped[::-1] if self.transposed else flipped


def _flip(maps: ArrayOrTensor, axes: Sequence[int]) -> ArrayOrTensor:
    if not axes:
        return maps
    return torch.flip(maps, tuple(axes)) if isinstance(maps, Tensor) else np.flip(maps, tuple(axes))


def dihedral_views() -> list[View]:
    """The 8 views of an image: turned by 0, 90, 180, 270 degrees, then the same of its mirror.

    Turns are counter-clockwise; the mirror image exchanges left and right before the turn.
    """
    return [
        View(False, ()),
        View(True, (0,)),
        View(False, (0, 1)),
        View(True, (1,)),
        View(False, (1,)),
        View(True, ()),
        View(False, (0,)),
        View(True, (0, 1)),
    ]


def flip_views(num_axes: int) -> list[View]:
    """The ``2 ** num_axes`` views that reverse any of the space axes."""
    axes = range(num_axes)
    return [
        View(False, flips)
        for count in range(num_axes + 1)
        for flips in itertools.combinations(axes, count)
    ]


def views_of(kind: ViewSet | None, num_axes: int) -> list[View]:
    """Give a set of views by its name.

    Args:
        kind: ``dihedral`` (2 axes only), ``flips``, or None: the larger one that there is.
        num_axes: Number of space axes, 2 or 3.

    Raises:
        ValueError: If volumes are to be turned; their voxels are rarely cubes.
    """
    if kind == 'dihedral' and num_axes != 2:
        raise ValueError("views='dihedral' turns images; use views='flips' for volumes")
    return dihedral_views() if num_axes == 2 and kind != 'flips' else flip_views(num_axes)


class Shrink:
    """Shrink an image onto a black canvas of its own size, and undo it for maps.

    Shrinking is Pillow's bilinear resizing of 8-bit images (antialiased), undoing it is linear
    interpolation of float maps.

    Args:
        factor: Ratio of the lengths, in (0, 1].
        centre: ``floor`` takes lengths and offsets as whole numbers, rounded as the published
            test-time augmentation does it: views may be off by up to a pixel, and enlarging is not
            quite the inverse. ``exact`` shrinks by an even number of pixels and enlarges the
            shrunk part alone, so nothing moves.

    Raises:
        ValueError: If ``factor`` or ``centre`` is impossible.
    """

    def __init__(self, factor: float, centre: Literal['floor', 'exact'] = 'floor') -> None:
        if not 0 < factor <= 1:
            raise ValueError(f'shrink must be in (0, 1], got {factor}')
        if centre not in ('floor', 'exact'):
            raise ValueError(f"centre must be 'floor' or 'exact', got {centre!r}")
        self.factor = factor
        self.centre = centre

    def length(self, whole: int) -> int:
        """Length of the shrunk part; halves are rounded to even numbers, the least is 1."""
        if self.centre == 'exact':
            return whole - 2 * min(round(whole * (1 - self.factor) / 2), (whole - 1) // 2)
        return max(1, round(self.factor * whole))

    def offset(self, whole: int, *, flipped: bool = False) -> int:
        """Where the shrunk part of a view begins, in the frame before the view's flip."""
        return _centred(whole - self.length(whole), flipped)

    def content(self, image: np.ndarray) -> np.ndarray:
        """Shrink a uint8 image ``(H, W, 3)`` or ``(H, W)``, without its canvas."""
        height, width = (self.length(whole) for whole in image.shape[:2])
        return _resized(image, (width, height))

    def canvas(self, content: np.ndarray, size: tuple[int, int], top: int, left: int) -> np.ndarray:
        """Put a shrunk image onto a black canvas of ``size`` ``(H, W)``."""
        canvas = np.zeros((*size, *content.shape[2:]), content.dtype)
        canvas[top : top + content.shape[0], left : left + content.shape[1]] = content
        return canvas

    def undo(self, maps: Tensor, flipped: tuple[bool, bool] = (False, False)) -> Tensor:
        """Enlarge maps that were predicted for a shrunk image.

        Args:
            maps: ``(..., H, W)``, in the frame of the image.
            flipped: Which axes the view has reversed: rounding goes the other way there.

        Returns:
            Maps of the same shape.
        """
        crop = self.crop(maps.shape[-2:], flipped)
        for axis in (1, 0):  # the order of Pillow's passes
            whole = maps.shape[axis - 2]
            zoomed = whole
            if self.centre == 'exact':
                maps = maps.narrow(axis - 2, self.offset(whole), self.length(whole))
            else:
                zoomed = self._zoomed(whole)
            maps = _zoom(maps, axis - 2, zoomed, crop[axis], whole)
        return maps

    def crop(self, size: Sequence[int], flipped: tuple[bool, bool]) -> tuple[int, int]:
        """Where the enlarged maps of a view are cut, in the frame of the image."""
        if self.centre == 'exact':
            return 0, 0
        return tuple(
            _centred(self._zoomed(whole) - whole, back)
            for whole, back in zip(size, flipped, strict=True)
        )

    def _zoomed(self, whole: int) -> int:
        return max(1, round(whole / self.factor))

    def undo_plain(self, maps: np.ndarray) -> np.ndarray:
        """Do the same as :meth:`undo` by Pillow, for an unflipped float32 map ``(H, W)``."""
        height, width = maps.shape
        if self.centre == 'exact':
            top, left = self.offset(height), self.offset(width)
            content = maps[top : top + self.length(height), left : left + self.length(width)]
            return _resized(content, (width, height))
        zoomed = self._zoomed(width), self._zoomed(height)
        top, left = self.crop(maps.shape, (False, False))
        return _resized(maps, zoomed)[top : top + height, left : left + width]


def _centred(excess: int, flipped: bool) -> int:
    return excess - excess // 2 if flipped else excess // 2


def _resized(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    image = Image.fromarray(np.ascontiguousarray(image))
    return np.array(image.resize(size, Image.Resampling.BILINEAR))


def _zoom(maps: Tensor, axis: int, zoomed: int, start: int, length: int) -> Tensor:
    """Cut ``length`` pixels out of maps that are enlarged to ``zoomed`` along an axis."""
    whole = maps.shape[axis]
    # Positions in float64: in float32 they would be off by 1e-4 pixels on large images.
    place = (np.arange(start, start + length) + 0.5) * (whole / zoomed) - 0.5
    below = np.floor(place)
    weight = torch.from_numpy(place - below).to(maps)
    index = [
        torch.from_numpy(np.clip(below + step, 0, whole - 1).astype(np.int64)).to(maps.device)
        for step in (0, 1)
    ]
    weight = weight if axis == -1 else weight[:, None]
    return torch.lerp(*(maps.index_select(axis, i) for i in index), weight)


class ImageView(NamedTuple):
    """A view of an image, as it is or shrunk.

    Attributes:
        view: The permutation.
        base: Number of the picture of which it is a permutation, see :class:`ImageViews`.
        shrunk: Whether that picture is a shrunk one.
    """

    view: View
    base: int
    shrunk: bool


class ImageViews:
    """Views of an image at its own size, before it is resized for the network.

    First the views as they are, then, with ``shrink``, all of them shrunk. Resizing goes with
    flips, but neither with an exchange of rows and columns (8-bit values are rounded between the
    two passes) nor with offsets that are rounded. So all views are flips of a few *bases*: the
    image and its transpose, and each of the two on canvases with up to four offsets.

    Args:
        views: Views in the order of the passes, the first is the image itself.
        size: ``(H, W)`` of the image.
        shrink: How the second half is shrunk; None: there is none.
    """

    def __init__(self, views: Sequence[View], size: tuple[int, int], shrink: Shrink | None) -> None:
        self.size = tuple(size)
        self.shrink = shrink
        self._keys: list[tuple[bool, tuple[int, int] | None]] = []
        self.members = [self._member(view, False) for view in views]
        if shrink is not None:
            self.members += [self._member(view, True) for view in views]

    def _member(self, view: View, shrunk: bool) -> ImageView:
        offsets = None
        if shrunk:
            lengths = self._frame(view.transposed)
            offsets = tuple(
                self.shrink.offset(length, flipped=axis in view.flips)
                for axis, length in enumerate(lengths)
            )
        key = view.transposed, offsets
        if key not in self._keys:
            self._keys.append(key)
        return ImageView(view, self._keys.index(key), shrunk)

    def _frame(self, transposed: bool) -> tuple[int, int]:
        return self.size[::-1] if transposed else self.size

    def __len__(self) -> int:
        """Number of views."""
        return len(self.members)

    def bases(self, image: np.ndarray) -> Iterator[np.ndarray]:
        """Make the bases of an image ``(H, W, C)``; the first is the image itself."""
        contents: dict[bool, np.ndarray] = {}
        for transposed, offsets in self._keys:
            turned = image.swapaxes(0, 1) if transposed else image
            if offsets is None:
                yield np.ascontiguousarray(turned)
                continue
            if transposed not in contents:
                contents[transposed] = self.shrink.content(turned)
            yield self.shrink.canvas(contents[transposed], self._frame(transposed), *offsets)

    def plain(self, image: np.ndarray) -> Iterator[np.ndarray]:
        """Make each view of an image ``(H, W, C)`` by its definition."""
        for view, _, shrunk in self.members:
            seen = np.ascontiguousarray(view.apply(image, (0, 1)))
            if shrunk:
                top, left = (self.shrink.offset(length) for length in seen.shape[:2])
                seen = self.shrink.canvas(self.shrink.content(seen), seen.shape[:2], top, left)
            yield seen

    def shape_of(self, member: ImageView) -> tuple[int, int]:
        """``(H, W)`` of a view before it is resized."""
        return self._frame(member.view.transposed)
