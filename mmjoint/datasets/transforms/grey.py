import numpy as np
from mmcv.transforms import BaseTransform

from mmjoint.functional.pillow_images import to_grey
from mmjoint.registry import TRANSFORMS


@TRANSFORMS.register_module()
class PillowGrey(BaseTransform):
    """Turn an RGB image into one channel of grey as Pillow's mode L does.

    Images that were grey before they were read as RGB get their values back exactly.

    Required Keys:

    - img (np.ndarray): uint8 ``(H, W, 3)``, RGB, or ``(H, W, 1)``, which stays as it is

    Modified Keys:

    - img: uint8 ``(H, W, 1)``
    """

    deterministic = True

    def transform(self, results: dict) -> dict:
        """Replace ``results['img']``.

        Raises:
            TypeError: If the image is not uint8; put the transform right behind the loading ones.
        """
        results['img'] = to_grey(results['img'])
        return results

    def __repr__(self) -> str:
        """Show the options."""
        return f'{type(self).__name__}()'


@TRANSFORMS.register_module()
class ToUnitRange(BaseTransform):
    """Bring an image to [0, 1], or to [-1, 1].

    Integers of 8 bits are divided by 255, as float32. Floating-point images are taken to be in
    [0, 1] already and keep their type.

    Required Keys:

    - img (np.ndarray): uint8 or floating-point, ``(H, W, C)``

    Modified Keys:

    - img: floating-point

    Args:
        signed: Whether [0, 1] then becomes [-1, 1].
    """

    def __init__(self, signed: bool = False) -> None:
        self.signed = signed

    def transform(self, results: dict) -> dict:
        """Replace ``results['img']``.

        Raises:
            TypeError: If the image has integers of another size.
        """
        image = results['img']
        if image.dtype == np.uint8:
            image = image.astype(np.float32) / np.float32(255)
        elif not np.issubdtype(image.dtype, np.floating):
            raise TypeError(f'ToUnitRange takes uint8 or floating-point images, got {image.dtype}')
        results['img'] = (image - 0.5) / 0.5 if self.signed else image
        return results

    def __repr__(self) -> str:
        """Show the options."""
        return f'{type(self).__name__}(signed={self.signed})'
