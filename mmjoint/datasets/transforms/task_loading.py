"""Label maps of several tasks, one file for each."""

from collections.abc import Mapping, Sequence
from io import BytesIO

import numpy as np
from mmcv.transforms import BaseTransform
from PIL import Image

from mmjoint.registry import TRANSFORMS
from mmjoint.utils.errors import UserError

from .loading import IGNORED, PNG_START, check_size_of_image, read_whole_file, undecodable

TASK_PREFIX = 'gt_task_'
"""What stands before the name of a task in the key of its label map."""


@TRANSFORMS.register_module()
class LoadTaskMaps(BaseTransform):
    """Read the label maps of a sample, one for each task that it is annotated for.

    Put this transform behind a resizing one in a test pipeline, so that the maps keep the file's
    size, to which predictions are brought back.

    Required Keys:

    - task_map_paths (dict[str, str]): the files by task; a task that is not there has no labels
    - tasks (dict): the values that each channel of each task has
    - ori_shape (tuple[int, int]): that of the image's file

    Modified Keys:

    - seg_fields (list[str]): gets the keys of the maps

    Added Keys:

    - gt_task_<name> (np.ndarray): uint8 ``(H, W)``; 0, a value of the task's channels, or 255,
      which tells nothing
    """

    deterministic = True

    def transform(self, results: dict) -> dict:
        """Read the files that ``results['task_map_paths']`` names.

        Raises:
            UserError: A file is missing or truncated, no index map of 8 bits, of another size
                than the image, or holds a value that is of no channel.
        """
        for task, path in results['task_map_paths'].items():
            labels = read_label_map(path)
            check_size_of_image(path, labels, results)
            _check_values(path, labels, task, results['tasks'][task])
            results[TASK_PREFIX + task] = labels
            results.setdefault('seg_fields', []).append(TASK_PREFIX + task)
        return results

    def __repr__(self) -> str:
        """Show the options."""
        return f'{type(self).__name__}()'


def read_label_map(path: str) -> np.ndarray:
    """Read an index map, a PNG of 8 bits with or without a palette, as uint8 ``(H, W)``.

    OpenCV would look the palette's colours up in place of the indices.

    Raises:
        UserError: The file is missing, truncated or no such PNG.
    """
    data = read_whole_file(path)
    if not data.startswith(PNG_START):
        raise UserError(
            f'{path}: expected a label map as PNG, found a file of another format; prepare the set '
            'again'
        )
    depth, kind = data[24], data[25]
    if depth != 8 or kind not in (0, 3):
        name = {0: 'grey', 2: 'RGB', 3: 'palette', 4: 'grey with alpha', 6: 'RGBA'}.get(kind)
        raise UserError(
            f'{path}: expected a label map with one channel of 8 bits (grey or palette), found '
            f'{name} of {depth} bits; prepare the set again'
        )
    try:
        with Image.open(BytesIO(data)) as image:
            return np.array(image)
    except (OSError, ValueError, SyntaxError) as error:
        raise undecodable(path, data) from error


def _check_values(
    path: str, labels: np.ndarray, task: str, channels: Mapping[str, Sequence[int]]
) -> None:
    found = np.flatnonzero(np.bincount(labels.ravel(), minlength=256))
    known = {0, IGNORED, *(value for values in channels.values() for value in values)}
    wrong = [str(value) for value in found if value not in known]
    if wrong:
        values = ', '.join(f'{name} {tuple(values)}' for name, values in channels.items())
        more = ', ...' if len(wrong) > 5 else ''
        raise UserError(
            f'{path}: expected 0, {IGNORED} or the values of the task {task} ({values}), found '
            f'{", ".join(wrong[:5])}{more}'
        )
