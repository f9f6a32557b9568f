"""Names under which what is predicted of test images is written."""

from pathlib import Path
from typing import Any

from mmjoint.utils.errors import UserError
from mmjoint.utils.volume_files import without_suffix


def sample_name(path: str) -> str:
    """Name of an image or a volume without its folder and its (double) suffix."""
    name = without_suffix(path)
    return Path(name).stem if name == Path(path).name else name


def check_names_differ(dataset: Any) -> None:
    """Refuse two images that would be written under one name.

    Args:
        dataset: Of test samples; ``get_data_info(index)['img_path']`` names the images. One image
            may come several times.

    Raises:
        UserError: There are such images.
    """
    seen: dict[str, str] = {}
    for index in range(len(dataset)):
        path = dataset.get_data_info(index)['img_path']
        other = seen.setdefault(sample_name(path), path)
        if other != path:
            raise UserError(
                f'{path}: expected a name of its own among the test images, found {other} too, '
                'their predictions would have one name; rename one'
            )
