import contextlib
import os.path as osp
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mmengine.dataset import BaseDataset

from mmjoint.registry import DATASETS, TRANSFORMS
from mmjoint.utils.errors import UserError
from mmjoint.utils.random import local_seed

from .cache import ArrayCache, leading_deterministic
from .records import check_records, read_records


@DATASETS.register_module()
class BaseJointDataset(BaseDataset):
    """Images with an image-level class and a mask, either of which may be missing.

    Reads ``annotations/<split>.json`` as ``prepare_dataset/*.py`` write it: a list of records with
    paths relative to the set's root. A record without ``gt_label`` or ``seg_map_path`` is
    unlabelled for that task. What an option takes away is dropped here, so nothing downstream can
    see it.

    A record becomes the ``results`` of the pipeline, with the keys ``img_path``,
    ``seg_map_path`` and ``gt_label`` (where labelled), ``annotated_classes`` (where the mask is
    complete for some classes only), ``sample_idx``, ``classes``, ``raw_shape``
    (``ori_shape`` of the record: the size before preparation) and all other keys of the record.

    Args:
        data_root: Folder of the prepared set.
        split: Name of the split; short for ``ann_file='annotations/<split>.json'``.
        ann_file: Annotation file, relative to ``data_root`` or absolute. Exactly one of ``split``
            and ``ann_file`` is given.
        pipeline: Transforms, as configs or built.
        labelled: False drops all labels.
        with_cls: False drops the image-level labels.
        with_seg: False drops the masks.
        annotated_classes: The only mask classes that are annotated; pixels of the others become
            background. All by default. A record's own ``annotated_classes`` are cut with it.
        cache: Keep in memory what the deterministic transforms at the start of the pipeline make
            (loading, resizing; see :class:`ArrayCache`). Changes no result.
        metainfo: Entries in place of those of ``METAINFO``.
        indices: The first so many samples, or the samples with these numbers.
        test_mode: Whether a pipeline that gives ``None`` is an error.
        lazy_init: Whether to read the annotations at the first access.
        serialize_data: Whether to keep the records as one block that worker processes share.

    Raises:
        UserError: If the annotation file is missing or damaged, a record is malformed, a label is
            out of range or a file that a record names is missing.
    """

    METAINFO: dict[str, Any] = dict(classes=(), cls_classes=(), palette=[])
    PREPARE_COMMAND: str = 'the script of this set in prepare_dataset/'
    """What makes the annotation file; told to the user when it is missing."""

    def __init__(
        self,
        data_root: str = '',
        *,
        split: str | None = None,
        ann_file: str | None = None,
        pipeline: Sequence[dict | Callable] = (),
        labelled: bool = True,
        with_cls: bool = True,
        with_seg: bool = True,
        annotated_classes: Sequence[int] | None = None,
        cache: bool = False,
        metainfo: Mapping | None = None,
        indices: int | Sequence[int] | None = None,
        test_mode: bool = False,
        lazy_init: bool = False,
        serialize_data: bool = True,
    ) -> None:
        if (split is None) == (ann_file is None):
            raise UserError(
                f'{type(self).__name__}: give exactly one of split and ann_file, '
                f'got split={split!r}, ann_file={ann_file!r}'
            )
        self.labelled = labelled
        self.with_cls = with_cls
        self.with_seg = with_seg
        self.annotated_classes = None if annotated_classes is None else tuple(annotated_classes)
        self.cache = ArrayCache() if cache else None
        super().__init__(
            ann_file=ann_file or f'annotations/{split}.json',
            metainfo=metainfo,
            data_root=data_root,
            data_prefix={},
            indices=indices,
            serialize_data=serialize_data,
            # mmengine would look types up by the default scope, which may not be set or not ours.
            pipeline=[TRANSFORMS.build(t) if isinstance(t, Mapping) else t for t in pipeline],
            test_mode=test_mode,
            lazy_init=lazy_init,
        )

    def load_data_list(self) -> list[dict]:
        """Read and check the records and drop what is not to be seen.

        Returns:
            One dict per sample, with absolute or working-directory-relative paths.
        """
        num_classes = len(self._metainfo['classes'])
        self._check_annotated_classes(num_classes)
        records = read_records(self.ann_file, self.PREPARE_COMMAND)
        check_records(
            records,
            self.ann_file,
            num_classes=num_classes,
            num_cls_classes=len(self._metainfo['cls_classes']),
            tasks=self._metainfo.get('tasks'),
        )
        data_list = [self.parse_data_info(record) for record in records]
        self._check_files(data_list)
        return data_list

    def parse_data_info(self, raw_data_info: dict) -> dict:
        """Turn a record into what the pipeline gets."""
        info = dict(raw_data_info)
        info['img_path'] = osp.join(self.data_root, info['img_path'])
        if 'ori_shape' in info:
            info['raw_shape'] = tuple(info.pop('ori_shape'))
        if info.get('spacing') is not None:
            info['spacing'] = tuple(float(length) for length in info['spacing'])
        if not (self.labelled and self.with_cls):
            info.pop('gt_label', None)
        annotated = self._annotated(info.pop('annotated_classes', None))
        if not (self.labelled and self.with_seg) or annotated == ():
            info.pop('seg_map_path', None)
        if 'seg_map_path' in info:
            info['seg_map_path'] = osp.join(self.data_root, info['seg_map_path'])
            if annotated is not None:
                info['annotated_classes'] = annotated
        return info

    def get_data_info(self, idx: int) -> dict:
        """Give the sample's record, with what transforms need to know about the set."""
        info = super().get_data_info(int(idx))
        info['classes'] = tuple(self._metainfo['classes'])
        info['seg_fields'] = []
        return info

    def prepare_data(self, idx: int) -> Any:
        """Run the pipeline on a sample; its leading part comes from the cache, if any."""
        if self.cache is None:
            return super().prepare_data(idx)
        transforms = self.pipeline.transforms
        leading = leading_deterministic(transforms)
        results = self.cache.get(self.get_data_info(idx), leading)
        for transform in transforms[len(leading) :]:
            if results is None:
                break
            results = transform(results)
        return results

    def __getitem__(self, idx: int) -> dict:
        """Run the pipeline on one sample.

        Where ``idx`` carries a seed (:class:`mmjoint.utils.random.SeededIndex`), all random draws
        of the pipeline follow from it, whatever the worker, the rank or the history of the run.
        """
        seed = getattr(idx, 'seed', None)
        with contextlib.nullcontext() if seed is None else local_seed(seed):
            return super().__getitem__(int(idx))

    def get_cat_ids(self, idx: int) -> list[int]:
        """Give the image-level class of a sample as a list, empty where it is unlabelled."""
        info = self.get_data_info(idx)
        return [info['gt_label']] if 'gt_label' in info else []

    def _annotated(self, of_record: Sequence[int] | None) -> tuple[int, ...] | None:
        if of_record is None or self.annotated_classes is None:
            chosen = self.annotated_classes if of_record is None else of_record
            return None if chosen is None else tuple(sorted(chosen))
        return tuple(sorted(set(of_record) & set(self.annotated_classes)))

    def _check_annotated_classes(self, num_classes: int) -> None:
        for number in self.annotated_classes or ():
            if not 0 <= number < num_classes:
                raise UserError(
                    f'{type(self).__name__}: annotated_classes={self.annotated_classes} has '
                    f'{number}, expected numbers of the {num_classes} classes '
                    f'{tuple(self._metainfo["classes"])}'
                )

    def _check_files(self, data_list: list[dict]) -> None:
        for key, what in (('img_path', 'images'), ('seg_map_path', 'masks')):
            self._check_there([info[key] for info in data_list if key in info], what)

    def _check_there(self, paths: Sequence[str], what: str) -> None:
        missing = [path for path in paths if not osp.isfile(path)]
        if missing:
            raise UserError(
                f'{missing[0]}: not found; {len(missing)} of {len(paths)} {what} that '
                f'{self.ann_file} names are missing; make them by `{self.PREPARE_COMMAND}`'
            )
