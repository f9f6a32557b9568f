"""Made-up batches, for measuring without data."""

from collections.abc import Sequence

import torch
from mmengine.config import Config
from mmengine.structures import PixelData

from mmjoint.registry import DATASETS
from mmjoint.structures import JointDataSample, VolumeData
from mmjoint.utils.errors import UserError


def synthetic_batch(
    cfg: Config, shape: Sequence[int], batch_size: int, seed: int = 0
) -> dict[str, list]:
    """Make a batch of noise images with random labels of the set's tasks, as a loader gives it.

    Args:
        cfg: Config, whose data set tells the numbers of classes.
        shape: ``(H, W)`` or ``(D, H, W)``.
        batch_size: Number of samples.
        seed: Seed of the values.

    Returns:
        ``inputs``: list of uint8 ``(3, H, W)`` or float32 ``(1, D, H, W)``; ``data_samples``.
    """
    generator = torch.Generator().manual_seed(seed)
    num_classes, num_cls_classes = _num_classes(cfg)
    shape = tuple(shape)
    inputs, samples = [], []
    for number in range(batch_size):
        if len(shape) == 2:
            image = torch.randint(0, 256, (3, *shape), dtype=torch.uint8, generator=generator)
        else:
            image = torch.randn(1, *shape, generator=generator)
        metainfo = dict(
            img_path=f'synthetic {number}', sample_idx=number, ori_shape=shape, img_shape=shape
        )
        sample = JointDataSample(metainfo=metainfo)
        if num_classes:
            seg_map = torch.randint(0, num_classes, (1, *shape), generator=generator)
            sample.gt_sem_seg = (PixelData if len(shape) == 2 else VolumeData)(data=seg_map)
        if num_cls_classes:
            sample.set_gt_label(number % num_cls_classes)
        inputs.append(image)
        samples.append(sample)
    return dict(inputs=inputs, data_samples=samples)


def _num_classes(cfg: Config) -> tuple[int, int]:
    for key in ('train_dataloader', 'test_dataloader', 'val_dataloader'):
        dataset = (cfg.get(key) or {}).get('dataset', {})
        while isinstance(dataset.get('dataset'), dict):  # wrappers
            dataset = dataset['dataset']
        kind = DATASETS.get(dataset['type']) if isinstance(dataset.get('type'), str) else None
        meta = {**getattr(kind, 'METAINFO', {}), **(dataset.get('metainfo') or {})}
        if meta.get('classes') or meta.get('cls_classes'):
            return len(meta.get('classes') or ()), len(meta.get('cls_classes') or ())
    raise UserError(
        f'{cfg.filename}: expected a dataset whose METAINFO has classes or cls_classes, which '
        'tell what labels to make up, found none'
    )
