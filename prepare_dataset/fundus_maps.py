"""Field of view and label maps of fundus photographs: arrays in, arrays out."""

from collections.abc import Mapping

import numpy as np

from mmjoint.utils.field_of_view import fov_box as fov_box
from mmjoint.utils.field_of_view import fov_mask as fov_mask

LESIONS = ('EX', 'HE', 'SE', 'MA')
TASKS = {
    'vessel': {'vessel': [1]},
    'lesion': {kind: [number] for number, kind in enumerate(LESIONS, 1)},
    'odoc': {'disc': [1, 2], 'cup': [2]},
}
REFUGE_VALUES = (0, 128, 255)


def vessel_ids(mask: np.ndarray) -> np.ndarray:
    """Give 1 where ``mask`` (H, W) is above 0, as uint8."""
    return (mask > 0).astype(np.uint8)


def lesion_ids(masks: Mapping[str, np.ndarray], shape: tuple[int, int]) -> np.ndarray:
    """Unite the masks of the lesions to one label map.

    Args:
        masks: Kind -> array (H, W), above 0 where the lesion is; kinds that are not there have no
            lesion.
        shape: Height and width.

    Returns:
        uint8 array (H, W): numbers of :data:`LESIONS`; where kinds overlap, the later one.
    """
    ids = np.zeros(shape, np.uint8)
    for number, kind in enumerate(LESIONS, 1):
        if kind in masks:
            ids[masks[kind] > 0] = number
    return ids


def optic_ids(mask: np.ndarray) -> np.ndarray:
    """Turn a raw mask of REFUGE into a label map.

    Args:
        mask: uint8 array (H, W): 0 cup, 128 rim, 255 background.

    Returns:
        uint8 array (H, W): 2 cup, 1 rim, 0 background.
    """
    return np.where(mask == 0, 2, np.where(mask == 128, 1, 0)).astype(np.uint8)
