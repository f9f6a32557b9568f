"""Made-up batches, for measuring without data."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.structures import PixelData
from torch import Tensor

from mmjoint.functional.multilabel import Channels
from mmjoint.registry import DATASETS
from mmjoint.structures import JointDataSample, VolumeData
from mmjoint.utils.errors import UserError


class _Labels(NamedTuple):
    """What a data set labels: mask classes, image classes, and tasks with their channels."""

    num_classes: int
    num_cls_classes: int
    tasks: Mapping[str, Channels]


def synthetic_batch(
    cfg: Config, shape: Sequence[int], batch_size: int, seed: int = 0, *, training: bool = False
) -> dict[str, Any]:
    """Make a batch of noise images with random labels of the set's tasks, as a loader gives it.

    Args:
        cfg: Config, whose data set tells the numbers of classes and whose model the channels.
        shape: ``(H, W)`` or ``(D, H, W)``.
        batch_size: Number of samples.
        seed: Seed of the values.
        training: Whether it is a batch of ``train_dataloader``: where that has several sources,
            each has its share of the samples, without labels if the source has none (of tasks,
            with those that it has), and in the branches that its pipeline ends with.

    Returns:
        ``inputs``: list of uint8 ``(3, H, W)``, or float32 ``(C, *shape)`` where the model takes
        another number C of channels or volumes; ``data_samples``. With branches: a dict of such
        lists, None where a sample is not in the branch.

    Raises:
        UserError: The config tells no classes, or the sources cannot share ``batch_size``.
    """
    generator = torch.Generator().manual_seed(seed)
    any_labels = _labels(cfg)
    shape = tuple(shape)
    loader = (cfg.get('train_dataloader') if training else None) or {}
    sources: Sequence[Mapping | None] = list(_sources(loader))
    counts = source_counts(loader, batch_size)
    if counts is None:
        sources, counts = [None], (batch_size,)
    packed = []
    for source, count in zip(sources, counts, strict=True):
        # Sources may be of different tasks.
        own = any_labels if source is None else _labels_of(source)
        labels = own if any(own) else any_labels
        if source is not None and not source.get('labelled', True):
            labels = _Labels(0, 0, labels.tasks)
        tasks = labels.tasks if source is None else _tasks_of(source, labels.tasks)
        for _ in range(count):
            image = _noise(_in_channels(cfg, len(shape)), shape, generator)
            sample = _sample(len(packed), shape)
            data_kind = PixelData if len(shape) == 2 else VolumeData
            if labels.num_classes:
                seg_map = torch.randint(0, labels.num_classes, (1, *shape), generator=generator)
                sample.gt_sem_seg = data_kind(data=seg_map)
            if labels.num_cls_classes:
                sample.set_gt_label(len(packed) % labels.num_cls_classes)
            if tasks:
                sample.gt_tasks = data_kind(
                    **{task: _task_map(values, shape, generator) for task, values in tasks.items()}
                )
            packed.append(_in_branches(source, image, sample))
    return pseudo_collate(packed)


def source_counts(loader: Mapping, batch_size: int) -> tuple[int, ...] | None:
    """Divide a batch of another size among a loader's sources as its own batches are.

    Args:
        loader: Config of a data loader.
        batch_size: Number of samples of all sources together.

    Returns:
        The samples of each source; None where the sampler does not count sources.

    Raises:
        UserError: The counts would not be whole numbers.
    """
    counts = (loader.get('sampler') or {}).get('counts')
    if counts is None:
        return None
    if any(count * batch_size % sum(counts) for count in counts):
        raise UserError(
            f'--batch-size: expected a number that divides as the {tuple(counts)} samples of '
            f'train_dataloader.sampler.counts, found {batch_size}'
        )
    return tuple(count * batch_size // sum(counts) for count in counts)


def _sources(loader: Mapping) -> Iterator[Mapping]:
    """Configs of the sources of a data set of several, in their order."""
    sources = (loader.get('dataset') or {}).get('datasets') or ()
    for source in sources.values() if isinstance(sources, Mapping) else sources:
        if source is not None:
            yield source


def _in_channels(cfg: Config, num_axes: int) -> int:
    model = cfg.get('model') or {}
    backbone = model.get('segmentor', model).get('backbone') or {}
    return backbone.get('in_channels', 3 if num_axes == 2 else 1)


def _noise(channels: int, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    if len(shape) == 2 and channels == 3:
        return torch.randint(0, 256, (3, *shape), dtype=torch.uint8, generator=generator)
    return torch.randn(channels, *shape, generator=generator)


def _task_map(channels: Channels, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    values = torch.tensor(sorted({0, *(value for own in channels.values() for value in own)}))
    return values[torch.randint(0, len(values), (1, *shape), generator=generator)]


def _tasks_of(source: Mapping, tasks: Mapping[str, Channels]) -> dict[str, Channels]:
    """The tasks that a source has label maps of, its own or others."""
    wanted = source.get('annotated_tasks')
    own = tasks if wanted is None else wanted
    own = own if source.get('labelled', True) else ()
    extra = source.get('extra_maps') or ()
    return {task: tasks[task] for task in tasks if task in own or task in extra}


def _sample(number: int, shape: tuple[int, ...]) -> JointDataSample:
    metainfo = dict(
        img_path=f'synthetic {number}', sample_idx=number, ori_shape=shape, img_shape=shape
    )
    return JointDataSample(metainfo=metainfo)


def _in_branches(source: Mapping | None, image: Tensor, sample: JointDataSample) -> dict[str, Any]:
    """What the pipeline of a source gives for a sample."""
    packed = dict(inputs=image, data_samples=sample)
    last = (source.get('pipeline') or [{}])[-1] if source else {}
    if last.get('type') != 'MultiBranch':
        return packed
    return {
        key: {branch: value if branch in last['pipelines'] else None for branch in last['branches']}
        for key, value in packed.items()
    }


def _labels(cfg: Config) -> _Labels:
    for key in ('train_dataloader', 'test_dataloader', 'val_dataloader'):
        loader = cfg.get(key) or {}
        dataset = next(_sources(loader), loader.get('dataset', {}))
        if any(found := _labels_of(dataset)):
            return found
    raise UserError(
        f'{cfg.filename}: expected a dataset whose METAINFO has classes, cls_classes or tasks, '
        'which tell what labels to make up, found none'
    )


def _labels_of(dataset: Mapping) -> _Labels:
    """What a data set's config labels."""
    while isinstance(dataset.get('dataset'), dict):  # wrappers
        dataset = dataset['dataset']
    kind = DATASETS.get(dataset['type']) if isinstance(dataset.get('type'), str) else None
    meta = {**getattr(kind, 'METAINFO', {}), **(dataset.get('metainfo') or {})}
    numbers = (len(meta.get(key) or ()) for key in ('classes', 'cls_classes'))
    return _Labels(*numbers, meta.get('tasks') or {})
