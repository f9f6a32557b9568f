from collections.abc import Sequence

import numpy as np
from mmcv.transforms import BaseTransform
from mmcv.transforms.utils import cache_randomness

from mmjoint.functional.cropping import (
    centre_offset,
    cut_patch,
    patch_padding,
    random_offset_bounds,
)
from mmjoint.registry import TRANSFORMS


class _CropPatch(BaseTransform):
    """Shared part: cut the image and its maps at an offset."""

    def __init__(self, size: Sequence[int]) -> None:
        if len(size) not in (2, 3) or min(size) < 1:
            raise ValueError(
                f'{type(self).__name__}: size must be 2 or 3 lengths >= 1, got {size!r}'
            )
        self.size = tuple(int(length) for length in size)

    def padding(self, shape: Sequence[int]) -> tuple[int, ...]:
        """Zeros added on both sides of each axis of an image of this shape."""
        return patch_padding(shape, self.size)

    def apply(self, results: dict, offset: Sequence[int]) -> dict:
        """Cut the patch whose first voxel is ``offset`` of the padded image.

        Raises:
            ValueError: The image has another number of space axes than the patch.
        """
        shape = results['img'].shape[:-1]
        if len(shape) != len(self.size):
            raise ValueError(
                f'{type(self).__name__}: size {self.size} must have as many axes as the image, '
                f'which has the shape {shape}'
            )
        padding = self.padding(shape)
        for field in ('img', *results.get('seg_fields', ())):
            results[field] = cut_patch(results[field], offset, self.size, padding)
        results['img_shape'] = results['ori_shape'] = self.size
        # It tells where the whole volume lies.
        results.pop('geometry', None)
        return results

    def __repr__(self) -> str:
        """Show the options."""
        return f'{type(self).__name__}(size={self.size})'


@TRANSFORMS.register_module()
class RandomCropPatch(_CropPatch):
    """Cut a patch out of an image or a volume at a random place.

    Where an axis is not longer than the patch, all axes are padded with zeros, image and label map
    alike, by ``max((size - length) // 2 + 1, 0)`` on both sides (2 instead of 1 in images). The
    last offset that would fit is never drawn.

    Required Keys:

    - img (np.ndarray): ``(H, W, C)`` or ``(D, H, W, C)``
    - seg_fields (list[str], optional): names of maps, ``(H, W)`` or ``(D, H, W)``

    Modified Keys:

    - img, and the maps that ``seg_fields`` names: of the space axes ``size``
    - img_shape, ori_shape (tuple[int, ...]): ``size``
    - geometry: is removed

    Args:
        size: Lengths of the patch along the 2 or 3 space axes.

    Reference:
        Wang & Li, NeurIPS 2023, published code.
    """

    def padding(self, shape: Sequence[int]) -> tuple[int, ...]:
        """Zeros added on both sides of each axis of an image of this shape."""
        return patch_padding(shape, self.size, margin=2 if len(self.size) == 2 else 1)

    def bounds(self, shape: Sequence[int]) -> tuple[int, ...]:
        """Number of offsets that may be drawn along each axis of an image of this shape."""
        return random_offset_bounds(shape, self.size, self.padding(shape))

    @cache_randomness
    def draw(self, shape: Sequence[int]) -> tuple[int, ...]:
        """Draw an offset for an image of this shape."""
        return tuple(int(np.random.randint(0, bound)) for bound in self.bounds(shape))

    def transform(self, results: dict) -> dict:
        """Cut a patch at a place that is drawn."""
        shape = results['img'].shape[:-1]
        offset = self.draw(shape) if len(shape) == len(self.size) else ()
        return self.apply(results, offset)


@TRANSFORMS.register_module()
class CenterCropPatch(_CropPatch):
    """Cut the central patch out of an image or a volume.

    Padded as by :class:`RandomCropPatch`, with 1 in images, too; the offset is half of what is
    left, rounded, halves to the even number.

    Required Keys:

    - img (np.ndarray): ``(H, W, C)`` or ``(D, H, W, C)``
    - seg_fields (list[str], optional): names of maps, ``(H, W)`` or ``(D, H, W)``

    Modified Keys:

    - img, and the maps that ``seg_fields`` names: of the space axes ``size``
    - img_shape, ori_shape (tuple[int, ...]): ``size``
    - geometry: is removed

    Args:
        size: Lengths of the patch along the 2 or 3 space axes.
    """

    deterministic = True

    def transform(self, results: dict) -> dict:
        """Cut the patch."""
        shape = results['img'].shape[:-1]
        same = len(shape) == len(self.size)
        return self.apply(
            results, centre_offset(shape, self.size, self.padding(shape)) if same else ()
        )
