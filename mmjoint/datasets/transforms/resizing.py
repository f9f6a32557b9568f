import numpy as np
from mmcv.transforms import BaseTransform

from mmjoint.functional.pillow_images import INTERPOLATIONS, Interpolation, resize
from mmjoint.registry import TRANSFORMS
from mmjoint.utils.errors import UserError


@TRANSFORMS.register_module()
class PillowResize(BaseTransform):
    """Resize image and mask to a fixed size, the aspect not kept, as Pillow does it.

    The image by Pillow's bicubic or bilinear filter, which is antialiased when it shrinks and
    rounds to 8 bits after its horizontal and again after its vertical pass; OpenCV's results
    differ. The mask by Pillow's nearest neighbour. Behind ``LoadJointAnnotations`` both are
    resized; in front of it, as in a test pipeline, the mask keeps the size of its file.

    Required Keys:

    - img (np.ndarray): uint8 ``(H, W, 3)`` or ``(H, W, 1)``
    - seg_fields (list[str], optional): names of maps, uint8 ``(H, W)``

    Modified Keys:

    - img, and the maps that ``seg_fields`` names: of the new size
    - img_shape (tuple[int, int]): the new ``(H, W)``
    - ori_shape (tuple[int, int]): the new ``(H, W)`` if maps were resized, since predictions are
      brought to that size and compared with them; else it stays

    Args:
        size: New ``(width, height)`` in pixels, in the order of Pillow and of ``mmcv.Resize``.
        interpolation: Filter of the image: ``bicubic``, ``bilinear`` or ``nearest``.

    Raises:
        UserError: If ``size`` is not two whole numbers >= 1, or there is no such filter.
    """

    deterministic = True

    def __init__(self, size: tuple[int, int], interpolation: Interpolation = 'bicubic') -> None:
        if len(size) != 2 or not all(isinstance(length, int) and length >= 1 for length in size):
            raise UserError(
                f'PillowResize: expected size to be (width, height), two whole numbers >= 1, '
                f'found {size!r}'
            )
        if interpolation not in INTERPOLATIONS:
            raise UserError(
                f'PillowResize: expected interpolation to be one of {", ".join(INTERPOLATIONS)}, '
                f'found {interpolation!r}'
            )
        self.size = tuple(size)
        self.interpolation = interpolation

    def transform(self, results: dict) -> dict:
        """Resize ``img`` and the maps of ``seg_fields``.

        Raises:
            TypeError: If an array is not uint8; put the transform right behind the loading ones.
        """
        results['img'] = self._resized(results['img'], self.interpolation)
        results['img_shape'] = results['img'].shape[:2]
        for field in results.get('seg_fields', ()):
            results[field] = self._resized(results[field], 'nearest')
            results['ori_shape'] = results['img_shape']
        return results

    def _resized(self, array: np.ndarray, interpolation: Interpolation) -> np.ndarray:
        if array.dtype != np.uint8:
            raise TypeError(
                f'PillowResize takes uint8 arrays, got {array.dtype}; '
                'put it right behind the loading transforms'
            )
        return resize(array, self.size, interpolation)

    def __repr__(self) -> str:
        """Show the options."""
        return f'{type(self).__name__}(size={self.size}, interpolation={self.interpolation!r})'
