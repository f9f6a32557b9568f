from pathlib import Path
from typing import Any

from mmengine.hooks import Hook
from mmengine.logging import print_log

from mmjoint.functional.multilabel import NO_LABEL, Channels
from mmjoint.functional.task_labels import ignore_unsure, labels_from_probs
from mmjoint.registry import HOOKS
from mmjoint.structures import JointDataSample
from mmjoint.utils.errors import UserError
from mmjoint.utils.index_png import write_index_png

from .sample_names import check_names_differ, sample_name


@HOOKS.register_module()
class TaskLabelHook(Hook):
    """Write a label map of one task for every test image, as pseudo labels of a next training.

    The map of ``a/b.jpg`` is ``<out_dir>/b.png``, 8-bit numbers with the palette of PASCAL VOC, at
    the size of the prediction: what ``extra_maps`` of
    :class:`~mmjoint.datasets.TaskMapsDataset` reads. See
    :func:`~mmjoint.functional.task_labels.labels_from_probs` for the rule. Each process writes the
    images that it has predicted. Each file is whole or absent.

    Args:
        task: Its name in the table ``tasks`` of the test set and among ``pred_tasks``.
        out_dir: Folder of the maps; is made.
        threshold: A channel is there where its probability is greater.
        min_confidence: Pixels whose label is less probable become 255, which tells nothing; see
            :func:`~mmjoint.functional.task_labels.label_confidence`. ``None`` keeps all.
        uncertainty: Name of a map of ``seg_uncertainty``; pixels where it is greater than
            ``max_uncertainty`` become 255. ``None`` keeps all.
        max_uncertainty: See ``uncertainty``.

    Raises:
        ValueError: Only one of ``uncertainty`` and ``max_uncertainty`` is given.
    """

    priority = 'NORMAL'

    def __init__(
        self,
        task: str,
        out_dir: str,
        threshold: float = 0.5,
        min_confidence: float | None = None,
        uncertainty: str | None = None,
        max_uncertainty: float | None = None,
    ) -> None:
        if (uncertainty is None) != (max_uncertainty is None):
            raise ValueError(
                'uncertainty and max_uncertainty belong together, got '
                f'uncertainty={uncertainty!r} and max_uncertainty={max_uncertainty}'
            )
        self.task = task
        self.out_dir = out_dir
        self.threshold = threshold
        self.min_confidence = min_confidence
        self.uncertainty = uncertainty
        self.max_uncertainty = max_uncertainty
        self._num_files = self._num_pixels = self._num_ignored = 0

    def before_test_epoch(self, runner: Any) -> None:
        """Refuse, before anything is predicted, a task or names of images that cannot be written.

        Raises:
            UserError: The task is not in the table, or two images have one name.
        """
        dataset = runner.test_dataloader.dataset
        tasks = dataset.metainfo.get('tasks') or {}
        if self.task not in tasks:
            raise UserError(
                f'TaskLabelHook: expected task to be one of the test set, '
                f'{", ".join(tasks) or "which has none"}, found {self.task!r}'
            )
        self._channels: Channels = tasks[self.task]
        check_names_differ(dataset)
        self._num_files = self._num_pixels = self._num_ignored = 0

    def after_test_iter(
        self,
        runner: Any,
        batch_idx: int,
        data_batch: Any = None,
        outputs: Any = None,
    ) -> None:
        """Write the maps of a batch.

        Raises:
            UserError: A sample has no probabilities of the task, or not the map of uncertainty.
        """
        for sample in outputs:
            labels = self._labels(sample).cpu().numpy()
            path = Path(self.out_dir) / f'{sample_name(sample.img_path)}.png'
            write_index_png(path, labels)
            self._num_files += 1
            self._num_pixels += labels.size
            self._num_ignored += int((labels == NO_LABEL).sum())

    def after_test_epoch(self, runner: Any, metrics: Any = None) -> None:
        """Tell how much was written."""
        share = self._num_ignored / max(self._num_pixels, 1)
        print_log(
            f'{self._num_files} label maps of the task {self.task} in {self.out_dir}, '
            f'{share:.1%} of their pixels left without a label',
            logger='current',
        )

    def _labels(self, sample: JointDataSample) -> Any:
        probs = self._map(sample, 'pred_tasks', self.task)
        if len(probs) != len(self._channels):
            raise UserError(
                f'TaskLabelHook: expected {len(self._channels)} channels of the task {self.task} '
                f'({", ".join(self._channels)}), found {len(probs)} from the model; mend the table '
                'tasks of the model or of the test set'
            )
        labels = labels_from_probs(probs, self._channels, threshold=self.threshold)
        uncertainty = None
        if self.uncertainty is not None:
            uncertainty = self._map(sample, 'seg_uncertainty', self.uncertainty)[0]
        return ignore_unsure(
            labels,
            probs,
            self._channels,
            min_confidence=self.min_confidence,
            uncertainty=uncertainty,
            max_uncertainty=self.max_uncertainty,
        )

    @staticmethod
    def _map(sample: JointDataSample, field: str, name: str) -> Any:
        maps = sample.get(field)
        if maps is None or name not in maps:
            found = 'none' if maps is None else ', '.join(maps.keys())
            raise UserError(
                f'TaskLabelHook: {sample.img_path}: expected {field}.{name} in the prediction, '
                f'found {found}; use a model (or an estimator of uncertainty) that gives it'
            )
        return maps.get(name)
