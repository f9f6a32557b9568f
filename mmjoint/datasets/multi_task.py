import os.path as osp
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mmjoint.functional.multilabel import NO_LABEL
from mmjoint.registry import DATASETS
from mmjoint.utils.errors import UserError

from .base_joint_dataset import BaseJointDataset


@DATASETS.register_module()
class TaskMapsDataset(BaseJointDataset):
    """Images with one label map per task, of which any may be missing.

    The entry ``tasks`` of ``METAINFO`` (or of ``metainfo``) is the table of all tasks, the same for
    all data sets of a training, whatever each of them labels: name of the task -> name of the
    channel -> values of the label map that belong to the channel. Channels may overlap::

        dict(vessel=dict(vessel=(1,)), odoc=dict(disc=(1, 2), cup=(2,)))

    A record of ``annotations/<split>.json`` names its maps under ``task_map_paths``, by task;
    what is not there is not annotated. Labels that were made later, as by another model, lie in
    folders of their own (``extra_maps``) under the names of the images.

    Beside those of :class:`BaseJointDataset` the results have the keys ``tasks`` (the table),
    ``task_map_paths`` (of what may be seen) and, where the record names one, ``fov_path``, the mask
    of the field of view. :class:`mmjoint.datasets.transforms.LoadTaskMaps` reads the maps.

    Args:
        data_root: Folder of the prepared set.
        annotated_tasks: The only tasks whose label maps of the records are seen; () sees none. By
            default all.
        extra_maps: Task -> folder with a map ``<name of the image without suffix>.png`` for each
            image, relative to ``data_root`` or absolute. Not touched by ``labelled=False``, which
            drops the maps of the records.
        split: As in the base class; so are all others.

    Raises:
        UserError: There is no such task, the table is empty or wrong, no record has a task of
            ``annotated_tasks``, a task has maps in the records and in ``extra_maps``, or a file is
            missing.
    """

    METAINFO: dict[str, Any] = dict(classes=(), cls_classes=(), palette=[], tasks={})

    def __init__(
        self,
        data_root: str = '',
        *,
        annotated_tasks: Sequence[str] | None = None,
        extra_maps: Mapping[str, str] | None = None,
        split: str | None = None,
        ann_file: str | None = None,
        pipeline: Sequence[dict | Callable] = (),
        labelled: bool = True,
        cache: bool = False,
        metainfo: Mapping | None = None,
        indices: int | Sequence[int] | None = None,
        test_mode: bool = False,
        lazy_init: bool = False,
        serialize_data: bool = True,
    ) -> None:
        self.annotated_tasks = None if annotated_tasks is None else tuple(annotated_tasks)
        self.extra_maps = dict(extra_maps or {})
        tasks = _plain({**self.METAINFO, **(metainfo or {})}['tasks'])
        self._check_names('annotated_tasks', self.annotated_tasks or (), tasks)
        self._check_names('extra_maps', self.extra_maps, tasks)
        super().__init__(
            data_root,
            split=split,
            ann_file=ann_file,
            pipeline=pipeline,
            labelled=labelled,
            cache=cache,
            metainfo={**(metainfo or {}), 'tasks': tasks},
            indices=indices,
            test_mode=test_mode,
            lazy_init=lazy_init,
            serialize_data=serialize_data,
        )

    def load_data_list(self) -> list[dict]:
        """Read and check the records and drop what is not to be seen."""
        data_list = super().load_data_list()
        wanted = self.annotated_tasks if self.labelled else None
        for task in wanted or ():
            if not any(task in info['task_map_paths'] for info in data_list):
                raise UserError(
                    f'{self.ann_file}: expected records with label maps of the task {task!r} of '
                    'annotated_tasks, found none; leave it out or choose another split'
                )
        return data_list

    def parse_data_info(self, raw_data_info: dict) -> dict:
        """Turn a record into what the pipeline gets."""
        info = super().parse_data_info(raw_data_info)
        info.pop('seg_map_path', None)  # of one task alone, without its name
        given = info.pop('task_map_paths', {}) if self.labelled else {}
        paths = {
            task: osp.join(self.data_root, path)
            for task, path in given.items()
            if self.annotated_tasks is None or task in self.annotated_tasks
        }
        stem = osp.splitext(osp.basename(info['img_path']))[0]
        for task, folder in self.extra_maps.items():
            if task in paths:
                raise UserError(
                    f'{self.ann_file}: expected no label map of the task {task!r} of extra_maps, '
                    f'found {paths[task]}; set annotated_tasks to the others'
                )
            paths[task] = osp.join(self.data_root, folder, f'{stem}.png')
        info['task_map_paths'] = {
            task: paths[task] for task in self._metainfo['tasks'] if task in paths
        }
        if 'fov_path' in info:
            info['fov_path'] = osp.join(self.data_root, info['fov_path'])
        return info

    def get_data_info(self, idx: int) -> dict:
        """Give the sample's record, with what transforms need to know about the set."""
        info = super().get_data_info(idx)
        info['tasks'] = self._metainfo['tasks']
        return info

    def _check_files(self, data_list: list[dict]) -> None:
        super()._check_files(data_list)
        fields = [info['fov_path'] for info in data_list if 'fov_path' in info]
        self._check_there(fields, 'masks of the field of view')
        for task in self._metainfo['tasks']:
            paths = [info['task_map_paths'].get(task) for info in data_list]
            paths = [path for path in paths if path is not None]
            if task not in self.extra_maps:
                self._check_there(paths, f'label maps of the task {task}')
                continue
            missing = [path for path in paths if not osp.isfile(path)]
            if missing:
                raise UserError(
                    f'{missing[0]}: not found; {len(missing)} of {len(paths)} label maps in the '
                    f'folder {self.extra_maps[task]!r} that extra_maps names for the task {task} '
                    f'are missing; write one for each image of {self.ann_file}'
                )

    def _check_names(
        self, option: str, names: Sequence[str] | Mapping[str, str], tasks: Mapping
    ) -> None:
        unknown = [name for name in names if name not in tasks]
        if unknown:
            raise UserError(
                f'{type(self).__name__}: expected {option} to name tasks out of {tuple(tasks)}, '
                f'found {unknown[0]!r}'
            )


def _plain(tasks: Any) -> dict[str, dict[str, tuple[int, ...]]]:
    """Check a table of tasks and free it of the types of configs.

    Raises:
        UserError: It is empty or no such table.
    """
    try:
        plain = {
            task: {channel: tuple(values) for channel, values in channels.items()}
            for task, channels in tasks.items()
        }
    except (AttributeError, TypeError):
        plain = {}
    numbers = [
        value for channels in plain.values() for values in channels.values() for value in values
    ]
    if not (
        plain
        and all(channels and all(channels.values()) for channels in plain.values())
        and all(isinstance(value, int) and 0 < value < NO_LABEL for value in numbers)
    ):
        raise UserError(
            'metainfo: expected tasks to be task -> channel -> values of 1 to '
            f'{NO_LABEL - 1}, as dict(odoc=dict(disc=(1, 2), cup=(2,))), found {tasks!r}'
        )
    return plain
