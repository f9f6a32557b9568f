from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.dataset import BaseDataset, ConcatDataset

from mmjoint.registry import DATASETS
from mmjoint.utils.errors import UserError
from mmjoint.utils.random import SeededIndex

_Source = dict | BaseDataset
_Sources = Mapping[str, _Source | None] | Sequence[_Source]


@DATASETS.register_module()
class MultiSourceDataset(ConcatDataset):
    """Several data sets one after the other, from which batches of fixed composition are drawn.

    The sources of semi-supervised training are a labelled and an unlabelled part of a set
    (``labelled=False``), whose pipelines end with the same branches
    (:class:`mmjoint.datasets.transforms.MultiBranch`). Sources may also be of different tasks, one
    with masks and one with classes of whole images; each then lacks the classes of the other.
    :class:`mmjoint.datasets.samplers.MultiSourceSampler` draws the batches.

    Args:
        datasets: The sources, as configs or built, in the order of the sampler's ``counts``; by
            name, so that a config can change one of them (or leave it out with None), or as a
            sequence. Of those that have mask classes these must agree, and so the image classes and
            the tasks.

    Raises:
        UserError: There is none, their classes differ, or their pipelines end with other branches,
            of which collating would drop some without a word.
    """

    def __init__(self, datasets: _Sources) -> None:
        if isinstance(datasets, Mapping):
            datasets = [dataset for dataset in datasets.values() if dataset is not None]
        if not datasets:
            raise UserError('MultiSourceDataset: expected at least one source, found none')
        built = [DATASETS.build(d) if isinstance(d, Mapping) else d for d in datasets]
        metas = [dataset.metainfo for dataset in built]
        for name in ('classes', 'cls_classes'):
            _check_same(name, [tuple(meta.get(name, ())) or None for meta in metas])
        _check_same('tasks', [tuple(meta.get('tasks', {}).items()) or None for meta in metas])
        _check_same('branches', [_branches(dataset) for dataset in built], all_have=True)
        # Sources may differ in how they were made; their classes were compared above.
        names = sorted({key for meta in metas for key in meta})
        super().__init__(built, ignore_keys=names)
        # What the first source lacks is told by the first that has it.
        for meta in metas[1:]:
            for key, value in meta.items():
                if _is_empty(self._metainfo.get(key)) and not _is_empty(value):
                    self._metainfo[key] = value

    @property
    def source_sizes(self) -> tuple[int, ...]:
        """Number of samples of each source."""
        return tuple(len(dataset) for dataset in self.datasets)

    def __getitem__(self, idx: int) -> Any:
        """Run the pipeline of the source; the seed of a visit reaches it."""
        number, index = self._get_ori_dataset_idx(int(idx))
        seed = getattr(idx, 'seed', None)
        return self.datasets[number][index if seed is None else SeededIndex(index, seed)]


def _check_same(name: str, values: Sequence[tuple | None], *, all_have: bool = False) -> None:
    """Compare what sources have under a name; ``None`` goes with anything unless all must have it.

    Raises:
        UserError: They differ.
    """
    first = values[0] if all_have else next((v for v in values if v is not None), None)
    for number, value in enumerate(values):
        if value != first and (all_have or value is not None):
            where = 'the first source' if values[0] == first else f'source {values.index(first)}'
            raise UserError(
                f'MultiSourceDataset: expected the {name} {first} of {where} in all of them, '
                f'found {value} in source {number}'
            )


def _is_empty(value: Any) -> bool:
    return value is None or (hasattr(value, '__len__') and len(value) == 0)


def _branches(dataset: BaseDataset) -> tuple[str, ...] | None:
    transforms = dataset.pipeline.transforms
    return getattr(transforms[-1], 'branches', None) if transforms else None
