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
    (:class:`mmjoint.datasets.transforms.MultiBranch`).
    :class:`mmjoint.datasets.samplers.MultiSourceSampler` draws the batches.

    Args:
        datasets: The sources, as configs or built, in the order of the sampler's ``counts``; by
            name, so that a config can change one of them (or leave it out with None), or as a
            sequence. Their classes must agree.

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
        for name, of in (('classes', _classes), ('branches', _branches)):
            values = [of(dataset) for dataset in built]
            for number, value in enumerate(values):
                if value != values[0]:
                    raise UserError(
                        f'MultiSourceDataset: expected the {name} {values[0]} of the first source '
                        f'in all of them, found {value} in source {number}'
                    )
        # Sources may differ in how they were made; their classes were compared above.
        names = {key for dataset in built for key in dataset.metainfo}
        super().__init__(built, ignore_keys=sorted(names))

    @property
    def source_sizes(self) -> tuple[int, ...]:
        """Number of samples of each source."""
        return tuple(len(dataset) for dataset in self.datasets)

    def __getitem__(self, idx: int) -> Any:
        """Run the pipeline of the source; the seed of a visit reaches it."""
        number, index = self._get_ori_dataset_idx(int(idx))
        seed = getattr(idx, 'seed', None)
        return self.datasets[number][index if seed is None else SeededIndex(index, seed)]


def _classes(dataset: BaseDataset) -> tuple:
    return tuple(dataset.metainfo.get('classes', ()))


def _branches(dataset: BaseDataset) -> tuple[str, ...] | None:
    transforms = dataset.pipeline.transforms
    return getattr(transforms[-1], 'branches', None) if transforms else None
