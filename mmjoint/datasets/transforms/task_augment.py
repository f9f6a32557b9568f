"""Changes of an image with which all its label maps move; the draws are numpy's."""

from collections.abc import Sequence
from typing import NamedTuple

import mmcv
import numpy as np
from mmcv.transforms import BaseTransform
from mmcv.transforms.utils import cache_randomness

from mmjoint.registry import TRANSFORMS

from .loading import IGNORED

_MAX_DRAWS = 1000


class Box(NamedTuple):
    """A part of an image, in pixels."""

    top: int
    left: int
    height: int
    width: int


@TRANSFORMS.register_module()
class RandomRotateChoice(BaseTransform):
    """Rotate an image about its centre by one of some angles, each as likely.

    The image is interpolated linearly, maps by nearest neighbour; both keep their size.

    Required Keys:

    - img (np.ndarray): uint8 or float ``(H, W, C)``
    - seg_fields (list[str], optional): names of maps, uint8 ``(H, W)``

    Modified Keys:

    - img, and the maps that ``seg_fields`` names

    Args:
        degrees: The angles, clockwise.
        pad_val: What comes into the image from outside.
        seg_pad_val: What comes into the maps from outside; 255 tells nothing.

    Raises:
        ValueError: There is no angle.
    """

    def __init__(
        self, degrees: Sequence[float], pad_val: float = 0, seg_pad_val: int = IGNORED
    ) -> None:
        if len(degrees) == 0:
            raise ValueError('RandomRotateChoice: degrees must hold at least one angle, got none')
        self.degrees = tuple(float(angle) for angle in degrees)
        self.pad_val = pad_val
        self.seg_pad_val = seg_pad_val

    @cache_randomness
    def draw(self) -> float:
        """Draw an angle."""
        return self.degrees[np.random.randint(len(self.degrees))]

    def transform(self, results: dict) -> dict:
        """Rotate by an angle that is drawn."""
        return self.apply(results, self.draw())

    def apply(self, results: dict, degree: float) -> dict:
        """Rotate the image and the maps of ``seg_fields`` by ``degree``."""
        image = results['img']
        # OpenCV takes a single value for that of the first channel, and drops an axis of one.
        border = (self.pad_val,) * image.shape[2]
        rotated = mmcv.imrotate(image, degree, border_value=border)
        results['img'] = rotated.reshape(image.shape)
        for field in results.get('seg_fields', ()):
            results[field] = mmcv.imrotate(
                results[field], degree, border_value=self.seg_pad_val, interpolation='nearest'
            )
        return results

    def __repr__(self) -> str:
        """Show the options."""
        return (
            f'{type(self).__name__}(degrees={self.degrees}, pad_val={self.pad_val}, '
            f'seg_pad_val={self.seg_pad_val})'
        )


@TRANSFORMS.register_module()
class RandomNoiseCutOut(BaseTransform):
    """Fill a rectangle of an image with noise, and that of its maps with one value.

    Area, ratio of the sides and place are drawn together, again and again until the rectangle lies
    in the image. The noise is independent for each pixel and channel, 0 to 255 each as likely.

    Required Keys:

    - img (np.ndarray): uint8 ``(H, W, C)``
    - seg_fields (list[str], optional): names of maps, uint8 ``(H, W)``

    Modified Keys:

    - img, and the maps that ``seg_fields`` names

    Args:
        prob: How often there is a rectangle, in [0, 1].
        area: Lowest and highest area as a share of the image's, uniform.
        ratio: Lowest and highest height / width, uniform.
        seg_fill: What the maps get in the rectangle; 255 tells nothing.

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(
        self,
        prob: float = 0.5,
        area: tuple[float, float] = (0.02, 0.4),
        ratio: tuple[float, float] = (0.3, 1 / 0.3),
        seg_fill: int = IGNORED,
    ) -> None:
        if not 0 <= prob <= 1:
            raise ValueError(f'RandomNoiseCutOut: prob must be in [0, 1], got {prob}')
        if not 0 < area[0] <= area[1] <= 1:
            raise ValueError(f'RandomNoiseCutOut: area must be two shares in (0, 1], got {area}')
        if not 0 < ratio[0] <= ratio[1]:
            raise ValueError(f'RandomNoiseCutOut: ratio must be two numbers > 0, got {ratio}')
        self.prob = prob
        self.area = tuple(area)
        self.ratio = tuple(ratio)
        self.seg_fill = seg_fill

    @cache_randomness
    def draw(self, height: int, width: int) -> Box | None:
        """Draw a rectangle in an image of this size, or none."""
        if np.random.uniform() >= self.prob:
            return None
        for _ in range(_MAX_DRAWS):
            area = np.random.uniform(*self.area) * height * width
            ratio = np.random.uniform(*self.ratio)
            tall, wide = int(np.sqrt(area * ratio)), int(np.sqrt(area / ratio))
            box = Box(np.random.randint(height), np.random.randint(width), tall, wide)
            if box.top + tall <= height and box.left + wide <= width:
                return box
        raise ValueError(
            f'RandomNoiseCutOut: area={self.area} and ratio={self.ratio} must allow a rectangle '
            f'that fits into an image of {height} x {width}, got none in {_MAX_DRAWS} draws'
        )

    @cache_randomness
    def draw_noise(self, shape: tuple[int, int, int]) -> np.ndarray:
        """Draw what the image gets in the rectangle."""
        return np.random.randint(0, 256, shape, np.uint8)

    def transform(self, results: dict) -> dict:
        """Fill a rectangle that is drawn, if one is."""
        height, width, channels = results['img'].shape
        box = self.draw(height, width)
        if box is None:
            return results
        return self.apply(results, box, self.draw_noise((box.height, box.width, channels)))

    def apply(self, results: dict, box: Box, noise: np.ndarray) -> dict:
        """Fill a rectangle.

        Args:
            results: The sample.
            box: The rectangle.
            noise: uint8 ``(height, width, C)`` of the rectangle.
        """
        part = np.s_[box.top : box.top + box.height, box.left : box.left + box.width]
        values = dict.fromkeys(results.get('seg_fields', ()), self.seg_fill)
        for field, value in {'img': noise, **values}.items():
            # The array may be a view of one that is used elsewhere.
            results[field] = results[field].copy()
            results[field][part] = value
        return results

    def __repr__(self) -> str:
        """Show the options."""
        return (
            f'{type(self).__name__}(prob={self.prob}, area={self.area}, ratio={self.ratio}, '
            f'seg_fill={self.seg_fill})'
        )
