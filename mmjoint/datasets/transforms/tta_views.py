from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from mmcv.transforms import BaseTransform

from mmjoint.functional.views import ImageViews, Shrink, ViewSet, views_of
from mmjoint.registry import TRANSFORMS
from mmjoint.utils.errors import UserError

_LABELS = ('gt_label', 'gt_seg_map', 'seg_map_path')


@TRANSFORMS.register_module()
class TTAViews(BaseTransform):
    """Run a test pipeline, and run it again for views of the image at its own size.

    The estimator ``tta`` with ``source='image'`` puts it around the whole test pipeline. The image
    is read once, and cropped once where the pipeline crops to the field of view. What follows
    (resizing, packing) is done for the image as ever, and
    for each further base of its views (see :class:`mmjoint.functional.views.ImageViews`), without
    labels. Transforms that draw are drawn for each base anew.

    Required Keys: those of the transforms. An image that is already there as ``img`` is not read.

    The result is that of the pipeline, in which ``data_samples`` has one more field:

    - view_images (list[np.ndarray]): the network inputs ``(C, h, w)`` of the bases, the image
      itself first; with ``fused=False`` of all views

    Args:
        transforms: The test pipeline, from reading to packing.
        views: See :func:`mmjoint.functional.views.views_of`.
        shrink: Factor of the shrunk half of the views; None leaves it out.
        centre: See :class:`mmjoint.functional.views.Shrink`.
        fused: False makes each view by its definition; the yardstick of the savings.

    Raises:
        UserError: If the image is no 2-D image or, to be shrunk, has not 8 bits.
    """

    def __init__(
        self,
        transforms: Sequence[Mapping[str, Any] | Callable],
        views: ViewSet | None = None,
        shrink: float | None = None,
        centre: Literal['floor', 'exact'] = 'floor',
        fused: bool = True,
    ) -> None:
        self.transforms = [
            TRANSFORMS.build(dict(t)) if isinstance(t, Mapping) else t for t in transforms
        ]
        self.views = views
        self.shrink = None if shrink is None else Shrink(shrink, centre)
        self.fused = fused

    def transform(self, results: dict) -> dict | None:
        """Give what the pipeline gives, with ``view_images`` in the sample."""
        rest = list(self.transforms)
        if 'img' in results:
            rest = [t for t in rest if not _reads_image(t)]
        while 'img' not in results:
            if not rest:
                raise UserError("TTAViews: expected a transform that adds 'img', found none")
            results = rest.pop(0)(results)
            if results is None:
                return None
        while rest and getattr(rest[0], 'frames_image', False):
            results = rest.pop(0)(results)  # the views are of what is predicted
        image = results['img']
        name = results.get('img_path', 'an image')
        self._check(image, name)
        plan = ImageViews(views_of(self.views, 2), image.shape[:2], self.shrink)
        pictures = list(plan.bases(image))[1:] if self.fused else list(plan.plain(image))
        seen = [self._packed(picture, results, rest) for picture in pictures]
        for transform in rest:
            results = transform(results)
            if results is None:
                return None
        size = tuple(results['data_samples'].metainfo.get('ori_shape', image.shape))[:2]
        if size != image.shape[:2]:
            raise UserError(
                f'{name}: expected predictions at the size of the image, {image.shape[:2]}, found '
                f'ori_shape {size}; resize in front of LoadJointAnnotations, as in a test pipeline'
            )
        if self.fused:  # the image itself has just been packed
            seen.insert(0, results['inputs'].numpy())
        results['data_samples'].set_field(seen, 'view_images')
        return results

    def _check(self, image: np.ndarray, name: str) -> None:
        if image.ndim != 3:
            raise UserError(
                f"{name}: expected a 2-D image for views of source='image', found an array of the "
                f"shape {image.shape}; use source='inputs'"
            )
        if self.shrink is not None and image.dtype != np.uint8:
            raise UserError(
                f'{name}: expected an image of 8 bits to be shrunk, found {image.dtype}; use '
                "shrink=None or source='inputs'"
            )

    @staticmethod
    def _packed(image: np.ndarray, results: dict, transforms: Sequence[Callable]) -> np.ndarray:
        """Run what follows the reading on another picture."""
        shape = image.shape[:2]
        own = {key: value for key, value in results.items() if key not in _LABELS}
        own.update(img=image, img_shape=shape, ori_shape=shape, seg_fields=[])
        for transform in transforms:
            if not type(transform).__name__.startswith('Load'):
                own = transform(own)
        # Arrays, not tensors: each tensor that a worker sends costs a file descriptor.
        return own['inputs'].numpy()

    def __repr__(self) -> str:
        """Show the options."""
        shrink = None if self.shrink is None else (self.shrink.factor, self.shrink.centre)
        return (
            f'{type(self).__name__}(transforms={self.transforms}, views={self.views!r}, '
            f'shrink={shrink}, fused={self.fused})'
        )


def _reads_image(transform: Callable) -> bool:
    name = type(transform).__name__
    return name.startswith('Load') and 'Image' in name
