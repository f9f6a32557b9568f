"""How a prepared photograph lies in its raw one, cropped and padded, and the way back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class ImageFrame:
    """A box that was cut out of an image and the border that was added to it.

    Each record of a prepared set holds these two as ``frame``. Nothing is resized.

    Args:
        crop: Left, top, width and height of the box in the raw image, in pixels.
        pad: Pixels added at the top, bottom, left and right of the box.
    """

    crop: tuple[int, int, int, int]
    pad: tuple[int, int, int, int] = (0, 0, 0, 0)

    def __post_init__(self) -> None:
        """Refuse numbers that describe no frame.

        Raises:
            ValueError: See the message.
        """
        if len(self.crop) != 4 or min(self.crop[:2]) < 0 or min(self.crop[2:]) < 1:
            raise ValueError(f'crop must be left, top >= 0 and width, height >= 1, got {self.crop}')
        if len(self.pad) != 4 or min(self.pad) < 0:
            raise ValueError(f'pad must be top, bottom, left, right >= 0, got {self.pad}')

    @classmethod
    def square(cls, crop: Sequence[int]) -> 'ImageFrame':
        """Pad a box to a square; an odd pixel goes to the bottom or to the right.

        Args:
            crop: Left, top, width and height of the box.

        Returns:
            The frame, whose side is the longer one of the box.
        """
        _, _, width, height = crop
        down, across = max(width - height, 0), max(height - width, 0)
        pad = (down // 2, down - down // 2, across // 2, across - across // 2)
        return cls(tuple(int(value) for value in crop), pad)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> 'ImageFrame':
        """Make a frame from what :meth:`to_dict` gave, or from the same read from JSON.

        Raises:
            ValueError: An entry is missing, unknown or out of range.
        """
        if set(values) != {'crop', 'pad'}:
            raise ValueError(
                f"frame must have the entries 'crop' and 'pad', got {sorted(values)}; "
                'prepare the data set again'
            )
        return cls(*(tuple(int(number) for number in values[name]) for name in ('crop', 'pad')))

    def to_dict(self) -> dict[str, list[int]]:
        """Give the two entries as plain values for JSON."""
        return {'crop': list(self.crop), 'pad': list(self.pad)}

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the prepared image."""
        top, bottom, left, right = self.pad
        return self.crop[3] + top + bottom, self.crop[2] + left + right

    def apply(self, image: np.ndarray, *, fill: float = 0) -> np.ndarray:
        """Crop and pad a raw image or label map.

        Args:
            image: Array (H, W) or (H, W, C) of the raw size.
            fill: Value of the border.

        Returns:
            New array of :attr:`shape` (and C) and of the dtype of ``image``.

        Raises:
            ValueError: The box does not lie in the image.
        """
        rows, columns = self._place(image.shape[:2])
        top, _, left, _ = self.pad
        framed = np.full((*self.shape, *image.shape[2:]), fill, image.dtype)
        _, _, width, height = self.crop
        framed[top : top + height, left : left + width] = image[rows, columns]
        return framed

    def restore(
        self, values: np.ndarray, raw_shape: Sequence[int], *, fill: float = 0
    ) -> np.ndarray:
        """Bring maps of the prepared size back to the raw one: what :meth:`apply` did, undone.

        Args:
            values: Array (..., H, W) of :attr:`shape`, e.g. labels or the channels of a task.
            raw_shape: Height and width of the raw image.
            fill: Value outside of the box, about which nothing is known.

        Returns:
            New array (..., raw H, raw W) of the dtype of ``values``.

        Raises:
            ValueError: ``values`` has another size, or the box does not lie in the raw image.
        """
        if tuple(values.shape[-2:]) != self.shape:
            raise ValueError(
                f'expected maps of {self.shape[0]}x{self.shape[1]} (height x width), got the '
                f'shape {tuple(values.shape)}'
            )
        rows, columns = self._place(raw_shape)
        top, _, left, _ = self.pad
        _, _, width, height = self.crop
        raw = np.full((*values.shape[:-2], *raw_shape), fill, values.dtype)
        raw[..., rows, columns] = values[..., top : top + height, left : left + width]
        return raw

    def _place(self, raw_shape: Sequence[int]) -> tuple[slice, slice]:
        """The box as slices of the raw image's rows and columns."""
        left, top, width, height = self.crop
        if top + height > raw_shape[0] or left + width > raw_shape[1]:
            raise ValueError(
                f'crop {self.crop} does not lie in an image of {raw_shape[0]}x{raw_shape[1]} '
                '(height x width); is it the frame of another image?'
            )
        return slice(top, top + height), slice(left, left + width)
