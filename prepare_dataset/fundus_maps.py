"""Field of view and label maps of fundus photographs: arrays in, arrays out."""

from collections.abc import Mapping

import cv2
import numpy as np

LESIONS = ('EX', 'HE', 'SE', 'MA')
TASKS = {
    'vessel': {'vessel': [1]},
    'lesion': {kind: [number] for number, kind in enumerate(LESIONS, 1)},
    'odoc': {'disc': [1, 2], 'cup': [2]},
}
REFUGE_VALUES = (0, 128, 255)


_ELLIPSE = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))


def _grown_contour(image: np.ndarray, threshold: int, border: int = 0) -> np.ndarray | None:
    """Outer contour of the largest bright region after growing it; ``None`` if all is dark.

    ``border`` dark pixels are added on all sides before, and counted by the contour.
    """
    bright = (cv2.cvtColor(image, cv2.COLOR_BGR2GRAY) > threshold).astype(np.uint8)
    grown = cv2.dilate(np.pad(bright, border), _ELLIPSE)
    contours, _ = cv2.findContours(grown, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    return max(contours, key=cv2.contourArea) if contours else None


def fov_box(
    image: np.ndarray, threshold: int = 20, *, keep_square: bool = False
) -> tuple[int, int, int, int]:
    """Find the box around the field of view, about 2 pixels larger than what is bright.

    Args:
        image: uint8 array (H, W, 3), blue first.
        threshold: Grey values above it are bright.
        keep_square: Leave an image whole whose height and width differ by less than a tenth.

    Returns:
        Left, top, width and height; the whole image where nothing is bright.

    Reference:
        Liu et al., Pattern Recognition 155 (2024), published code. That takes the last contour that
        is wider or taller than those before, which may be a streak; this the one of largest area.
    """
    height, width = image.shape[:2]
    contour = _grown_contour(image, threshold)
    if contour is None or (keep_square and abs(height / width - 1) < 0.1):
        return 0, 0, width, height
    return tuple(int(value) for value in cv2.boundingRect(contour))


def fov_mask(image: np.ndarray, threshold: int = 20) -> np.ndarray:
    """Find the field of view: the largest bright region without holes.

    Args:
        image: uint8 array (H, W, 3), blue first.
        threshold: Grey values above it are bright.

    Returns:
        uint8 array (H, W) of 0 and 1; all 1 where nothing is bright.
    """
    # With room around, growing and shrinking adds nothing where the image cuts the field off.
    room = 4
    contour = _grown_contour(image, threshold, room)
    if contour is None:
        return np.ones(image.shape[:2], np.uint8)
    mask = np.zeros((image.shape[0] + 2 * room, image.shape[1] + 2 * room), np.uint8)
    cv2.drawContours(mask, [contour], 0, 1, cv2.FILLED)
    return cv2.erode(mask, _ELLIPSE)[room:-room, room:-room].copy()


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
