import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
from mmcv.transforms import BaseTransform

from mmjoint.registry import TRANSFORMS
from mmjoint.utils.errors import UserError

IGNORED = 255
PNG_START = b'\x89PNG\r\n\x1a\n'


@TRANSFORMS.register_module()
class LoadJointImage(BaseTransform):
    """Read an image file as RGB.

    Grey images get three equal channels, images of 16 bits are brought to 8, an orientation tag is
    not applied (the mask has none).

    Required Keys:

    - img_path (str)

    Added Keys:

    - img (np.ndarray): uint8 ``(H, W, 3)``, RGB
    - img_shape, ori_shape (tuple[int, int]): ``(H, W)`` of the file
    """

    deterministic = True

    def transform(self, results: dict) -> dict:
        """Read ``results['img_path']``.

        Raises:
            UserError: If the file is missing, truncated or no image.
        """
        image = read_image(results['img_path'])
        results['img'] = image
        results['img_shape'] = results['ori_shape'] = image.shape[:2]
        return results

    def __repr__(self) -> str:
        """Show the options."""
        return f'{type(self).__name__}()'


@TRANSFORMS.register_module()
class LoadJointAnnotations(BaseTransform):
    """Read the mask of a sample, where it has one.

    The image-level class needs no reading: it stands in the record. Put this transform behind a
    resizing one in a test pipeline, so that the mask keeps the file's size, to which predictions
    are brought back.

    Where ``annotated_classes`` is among the keys, pixels of all other classes become background
    (0), so that nothing downstream sees what was not annotated; ignored pixels (255) stay.

    Required Keys:

    - seg_map_path (str, optional): absent where the sample has no mask
    - classes (tuple[str, ...])
    - ori_shape (tuple[int, int])
    - annotated_classes (tuple[int, ...], optional)

    Modified Keys:

    - seg_fields (list[str]): gets ``gt_seg_map``

    Added Keys:

    - gt_seg_map (np.ndarray): uint8 ``(H, W)``, classes in ``[0, C)`` or 255; only with a mask
    """

    deterministic = True

    def transform(self, results: dict) -> dict:
        """Read ``results['seg_map_path']``.

        Raises:
            UserError: If the file is missing, truncated, not of one channel of 8 bits, of another
                size than the image or holds a value that is no class.
        """
        if 'seg_map_path' not in results:
            return results
        path = results['seg_map_path']
        seg_map = read_seg_map(path, results['classes'])
        check_size_of_image(path, seg_map, results)
        if 'annotated_classes' in results:
            seg_map = keep_classes(seg_map, results['annotated_classes'])
        results['gt_seg_map'] = seg_map
        results.setdefault('seg_fields', []).append('gt_seg_map')
        return results

    def __repr__(self) -> str:
        """Show the options."""
        return f'{type(self).__name__}()'


def read_image(path: str) -> np.ndarray:
    """Read an image file as uint8 ``(H, W, 3)``, RGB."""
    image = _decode(path, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def read_seg_map(path: str, classes: Sequence[str]) -> np.ndarray:
    """Read a map of class numbers as uint8 ``(H, W)`` and check the numbers."""
    seg_map = _decode(path, cv2.IMREAD_UNCHANGED, check=_check_mask_header)
    if seg_map.ndim != 2 or seg_map.dtype != np.uint8:
        channels = 1 if seg_map.ndim == 2 else seg_map.shape[2]
        raise UserError(
            f'{path}: expected a mask with one channel of 8 bits that holds class numbers, '
            f'found {channels} of {8 * seg_map.itemsize}; prepare the set again'
        )
    check_class_numbers(path, seg_map, classes)
    return seg_map


def check_class_numbers(path: str, seg_map: np.ndarray, classes: Sequence[str]) -> None:
    """Refuse numbers that are no class.

    Args:
        path: The file, for the message.
        seg_map: uint8 array of any shape.
        classes: Names of the classes.

    Raises:
        UserError: There are others than those of the classes and 255.
    """
    if seg_map.max() < len(classes):  # the usual case costs little
        return
    found = np.flatnonzero(np.bincount(seg_map.ravel(), minlength=256))
    wrong = found[(found >= len(classes)) & (found != IGNORED)]
    if wrong.size:
        values = ', '.join(str(value) for value in wrong[:5]) + (', ...' if wrong.size > 5 else '')
        raise UserError(
            f'{path}: expected the class numbers 0 to {len(classes) - 1} '
            f'({", ".join(classes)}) or {IGNORED} (ignored), found {values}'
        )


def read_whole_file(path: str) -> bytes:
    """Read a file and refuse a JPEG or PNG that is truncated or damaged.

    Raises:
        UserError: The file cannot be read or is not whole.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise UserError(f'{path}: cannot read the file ({error.strerror})') from error
    _check_whole(path, data)
    return data


def _decode(path: str, flags: int, check: Callable[[str, bytes], None] | None = None) -> np.ndarray:
    data = read_whole_file(path)
    if check is not None:
        check(path, data)
    try:
        array = cv2.imdecode(np.frombuffer(data, np.uint8), flags) if data else None
    except cv2.error:
        array = None
    if array is None:
        raise undecodable(path, data)
    return array


def undecodable(path: str, data: bytes) -> UserError:
    """Make the error of a file that is no readable image."""
    return UserError(
        f'{path}: expected a readable image, found {len(data)} bytes that cannot be decoded; '
        'replace the file'
    )


def _check_whole(path: str, data: bytes) -> None:
    # OpenCV fills up a truncated file and only mutters about it on stderr.
    if data.startswith(b'\xff\xd8') and b'\xff\xd9' not in data[-1024:]:
        whole = False
    elif data.startswith(PNG_START):
        whole = _is_whole_png(data)
    else:
        return
    if not whole:
        raise UserError(
            f'{path}: expected a whole image file, found one of {len(data)} bytes that is '
            'truncated or damaged; replace the file'
        )


def _is_whole_png(data: bytes) -> bool:
    """Walk through the chunks of a PNG (length, type, data, checksum) up to its end mark."""
    start = len(PNG_START)
    while start + 12 <= len(data):
        stop = start + 8 + int.from_bytes(data[start : start + 4], 'big')
        checksum = int.from_bytes(data[stop : stop + 4], 'big')
        if stop + 4 > len(data) or zlib.crc32(data[start + 4 : stop]) != checksum:
            return False
        if data[start + 4 : start + 8] == b'IEND':
            return True
        start = stop + 4
    return False


def _check_mask_header(path: str, data: bytes) -> None:
    # OpenCV spreads masks of 1, 2 and 4 bits over 0..255 and looks up palettes, which would
    # change the class numbers without a word.
    if data.startswith(PNG_START):
        depth, kind = data[24], data[25]
        if depth != 8 or kind != 0:
            name = {0: 'grey', 2: 'RGB', 3: 'palette', 4: 'grey with alpha', 6: 'RGBA'}.get(kind)
            raise UserError(
                f'{path}: expected a mask with one channel of 8 bits that holds class numbers, '
                f'found {name} of {depth} bits; prepare the set again'
            )


def keep_classes(seg_map: np.ndarray, classes: Sequence[int]) -> np.ndarray:
    """Turn all classes but the given ones into background; ignored pixels stay.

    Args:
        seg_map: uint8 array of any shape.
        classes: The classes to keep.

    Returns:
        A new array.
    """
    table = np.zeros(256, np.uint8)
    table[list(classes)] = list(classes)
    table[IGNORED] = IGNORED
    return table[seg_map]


def check_size_of_image(path: str, seg_map: np.ndarray, results: dict) -> None:
    """Refuse a map of another size than the file of the image.

    Args:
        path: The map's file, for the message.
        seg_map: ``(H, W)``.
        results: Of the pipeline, with ``ori_shape`` and ``img_path``.

    Raises:
        UserError: The sizes differ.
    """
    if seg_map.shape != tuple(results['ori_shape'][:2]):
        raise UserError(
            f'{path}: expected the size of the image {results["img_path"]}, '
            f'{_size(results["ori_shape"])}, found {_size(seg_map.shape)}; '
            'prepare the set again'
        )


def _size(shape: Sequence[int]) -> str:
    return f'{shape[0]} x {shape[1]} (height x width)'
