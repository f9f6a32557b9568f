from collections.abc import Callable
from pathlib import Path
from typing import Any

from mmengine.hooks import Hook

from mmjoint.registry import HOOKS
from mmjoint.structures import JointDataSample
from mmjoint.utils.errors import UserError
from mmjoint.utils.volume_files import without_suffix


@HOOKS.register_module()
class PredictionVolumeHook(Hook):
    """Hand every predicted test sample to what writes its files.

    Each process writes the samples that it has predicted.

    Args:
        write: Called with a sample and its name, which is that of its image without suffix.
    """

    priority = 'NORMAL'

    def __init__(self, write: Callable[[JointDataSample, str], Any]) -> None:
        self.write = write

    def before_test_epoch(self, runner: Any) -> None:
        """Refuse, before anything is predicted, two images that would be written under one name.

        Raises:
            UserError: There are such images.
        """
        seen: dict[str, str] = {}
        dataset = runner.test_dataloader.dataset
        for index in range(len(dataset)):
            path = dataset.get_data_info(index)['img_path']
            other = seen.setdefault(_name(path), path)
            if other != path:
                raise UserError(
                    f'{path}: expected a name of its own among the test images, found {other} too, '
                    'their predictions would have one name; rename one'
                )

    def after_test_iter(
        self,
        runner: Any,
        batch_idx: int,
        data_batch: Any = None,
        outputs: Any = None,
    ) -> None:
        """Write the samples of a batch."""
        for sample in outputs:
            self.write(sample, _name(sample.metainfo['img_path']))


def _name(path: str) -> str:
    """Name of an image or a volume without its folder and its (double) suffix."""
    name = without_suffix(path)
    return Path(name).stem if name == Path(path).name else name
