"""Finds where a fundus photograph is not black: its field of view."""

import cv2
import numpy as np

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
