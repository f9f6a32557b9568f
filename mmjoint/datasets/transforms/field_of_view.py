import numpy as np
from mmcv.transforms import BaseTransform

from mmjoint.registry import TRANSFORMS
from mmjoint.utils.field_of_view import fov_box
from mmjoint.utils.image_frame import ImageFrame


@TRANSFORMS.register_module()
class CropFieldOfView(BaseTransform):
    """Crop a raw fundus photograph to its field of view and pad it to a square with black.

    It does to photographs that stand in no prepared set what ``prepare_dataset`` does to those of
    one, and notes how, so that predictions are brought back to the frame of the raw file. Put it
    behind the loading in an ``infer_pipeline``.

    Required Keys:

    - img (np.ndarray): uint8 ``(H, W, 3)``, RGB

    Modified Keys:

    - img (np.ndarray): uint8 ``(S, S, 3)``
    - img_shape, ori_shape (tuple[int, int]): ``(S, S)``

    Added Keys:

    - frame (dict): the crop and the padding, see :class:`mmjoint.utils.image_frame.ImageFrame`
    - raw_shape (tuple[int, int]): ``(H, W)``

    Args:
        threshold: Grey values above it belong to the field of view.
        crop: False only pads, for sets that were prepared so.

    Raises:
        ValueError: ``threshold`` is no grey value.
    """

    deterministic = True
    frames_image = True
    """What comes behind sees another image; :class:`TTAViews` goes by it."""

    def __init__(self, threshold: int = 20, crop: bool = True) -> None:
        if not 0 <= threshold <= 254:
            raise ValueError(f'CropFieldOfView: threshold must be in [0, 254], got {threshold}')
        self.threshold = threshold
        self.crop = crop

    def transform(self, results: dict) -> dict:
        """Crop and pad ``results['img']``."""
        image = results['img']
        height, width = image.shape[:2]
        box = (0, 0, width, height)
        if self.crop:
            box = fov_box(np.ascontiguousarray(image[..., ::-1]), self.threshold)
        frame = ImageFrame.square(box)
        results['img'] = frame.apply(image)
        results['img_shape'] = results['ori_shape'] = results['img'].shape[:2]
        results['frame'] = frame.to_dict()
        results['raw_shape'] = (height, width)
        return results

    def __repr__(self) -> str:
        """Show the options."""
        return f'{type(self).__name__}(threshold={self.threshold}, crop={self.crop})'
