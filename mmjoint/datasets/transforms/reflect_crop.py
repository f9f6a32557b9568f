import numpy as np
from mmcv.transforms import BaseTransform
from mmcv.transforms.utils import cache_randomness

from mmjoint.registry import TRANSFORMS


@TRANSFORMS.register_module()
class RandomReflectCrop(BaseTransform):
    """Shift an image by up to ``padding`` pixels; what comes in is its mirror image.

    The image is padded by reflection, its border pixels not repeated, and a part of its old size is
    cut out, each place as likely. Maps move with it.

    Required Keys:

    - img (np.ndarray): ``(H, W, C)``
    - seg_fields (list[str], optional): names of maps, ``(H, W)``

    Modified Keys:

    - img, and the maps that ``seg_fields`` names

    Args:
        padding: Pixels on each side.

    Raises:
        ValueError: ``padding`` is negative.
    """

    def __init__(self, padding: int) -> None:
        if padding < 0:
            raise ValueError(f'RandomReflectCrop: padding must be >= 0, got {padding}')
        self.padding = padding

    @cache_randomness
    def draw(self) -> tuple[int, int]:
        """Draw top and left of the part in the padded image, each in ``[0, 2 * padding]``."""
        top, left = np.random.randint(0, 2 * self.padding + 1, 2)
        return int(top), int(left)

    def transform(self, results: dict) -> dict:
        """Shift by a place that is drawn."""
        return self.apply(results, *self.draw())

    def apply(self, results: dict, top: int, left: int) -> dict:
        """Cut out the part of the padded image that begins at ``top`` and ``left``."""
        for field in ('img', *results.get('seg_fields', ())):
            results[field] = self._shifted(results[field], top, left)
        return results

    def _shifted(self, array: np.ndarray, top: int, left: int) -> np.ndarray:
        height, width = array.shape[:2]
        around = [(self.padding, self.padding)] * 2 + [(0, 0)] * (array.ndim - 2)
        padded = np.pad(array, around, mode='reflect')
        return np.ascontiguousarray(padded[top : top + height, left : left + width])

    def __repr__(self) -> str:
        """Show the options."""
        return f'{type(self).__name__}(padding={self.padding})'
