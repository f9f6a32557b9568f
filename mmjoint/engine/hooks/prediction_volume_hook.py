from collections.abc import Callable
from typing import Any

from mmengine.hooks import Hook

from mmjoint.registry import HOOKS
from mmjoint.structures import JointDataSample

from .sample_names import check_names_differ, sample_name


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
        check_names_differ(runner.test_dataloader.dataset)

    def after_test_iter(
        self,
        runner: Any,
        batch_idx: int,
        data_batch: Any = None,
        outputs: Any = None,
    ) -> None:
        """Write the samples of a batch."""
        for sample in outputs:
            self.write(sample, sample_name(sample.metainfo['img_path']))
