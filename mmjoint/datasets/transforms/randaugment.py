from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from mmcv.transforms import BaseTransform
from mmcv.transforms.utils import cache_randomness

from mmjoint.functional.pillow_images import OPERATIONS, TOP_LEVEL, apply_operation
from mmjoint.registry import TRANSFORMS
from mmjoint.utils.errors import UserError


class DrawnOperation(NamedTuple):
    """An operation that is to act: its name, its level and whether its parameter is negative."""

    name: str
    level: int
    negative: bool = False


@TRANSFORMS.register_module()
class PillowRandAugment(BaseTransform):
    """Change an image by operations of Pillow that are drawn, each acting every second time.

    The operations are drawn with replacement out of thirteen (see
    :data:`mmjoint.functional.pillow_images.OPERATIONS`), the level of each anew. Maps do not move
    with the image: this is for images of which only the class is learnt.

    Required Keys:

    - img (np.ndarray): uint8 ``(H, W, 1)`` or ``(H, W, 3)``

    Modified Keys:

    - img

    Args:
        num: How many operations are drawn.
        magnitude: Levels are drawn from 1 to ``magnitude - 1``; 2 to 11.

    Raises:
        ValueError: An argument is out of range.

    Reference:
        See :func:`mmjoint.functional.pillow_images.apply_operation`. Draws come from numpy's global
        state alone, where the original takes some from Python's: same distribution, other numbers.
    """

    def __init__(self, num: int = 2, magnitude: int = 10) -> None:
        if num < 0:
            raise ValueError(f'PillowRandAugment: num must be >= 0, got {num}')
        if not 2 <= magnitude <= TOP_LEVEL + 1:
            raise ValueError(
                f'PillowRandAugment: magnitude must be in 2..{TOP_LEVEL + 1}, got {magnitude}'
            )
        self.num = num
        self.magnitude = magnitude

    @cache_randomness
    def draw(self) -> list[DrawnOperation]:
        """Draw the operations that act, in their order."""
        names = list(OPERATIONS)
        drawn = []
        for number in np.random.randint(len(names), size=self.num):
            name = names[number]
            level = int(np.random.randint(1, self.magnitude))
            acts, negative = (bool(value < 0.5) for value in np.random.uniform(size=2))
            if acts:
                drawn.append(DrawnOperation(name, level, negative and OPERATIONS[name].signed))
        return drawn

    def transform(self, results: dict) -> dict:
        """Apply operations that are drawn.

        Raises:
            UserError: The sample has a map.
        """
        if results.get('seg_fields'):
            raise UserError(
                'PillowRandAugment: expected samples without masks, which would not move with the '
                f'image, found {results["seg_fields"]} in {results.get("img_path", "a sample")}; '
                'set with_seg=False in the data set'
            )
        return self.apply(results, self.draw())

    def apply(self, results: dict, drawn: Sequence[DrawnOperation]) -> dict:
        """Apply these operations one after the other."""
        for name, level, negative in drawn:
            results['img'] = apply_operation(results['img'], name, level, negative=negative)
        return results

    def __repr__(self) -> str:
        """Show the options."""
        return f'{type(self).__name__}(num={self.num}, magnitude={self.magnitude})'
