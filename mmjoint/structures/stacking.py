"""The only readers of labels: lists of samples become batches with masks.

A missing label is masked, never skipped, so that the graph does not depend on the data.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from mmjoint.utils.errors import UserError

from .joint_data_sample import JointDataSample

IGNORED = 255
"""The value of ignored pixels in ``gt_sem_seg``."""


def stack_labels(
    samples: Sequence[JointDataSample], *, device: torch.device | str | None = None
) -> tuple[Tensor, Tensor]:
    """Stack the image-level classes of a batch.

    Args:
        samples: The batch.
        device: Where the result goes; by default, where the first label is (CPU without labels).

    Returns:
        ``labels`` (B,) int64, 0 where a sample has no label, and ``mask`` (B,) bool, False there.

    Raises:
        ValueError: If a sample has more than one label.
    """
    found = [sample.gt_label if 'gt_label' in sample else None for sample in samples]
    for label in found:
        if label is not None and label.numel() != 1:
            raise ValueError(f'gt_label must hold one class, got the shape {tuple(label.shape)}')
    device = _device(found, device)
    empty = torch.zeros((), dtype=torch.int64, device=device)
    flat = [empty if label is None else label.reshape(()).to(empty) for label in found]
    labels = torch.stack(flat) if flat else empty.new_zeros(0)
    mask = torch.tensor([label is not None for label in found], dtype=torch.bool, device=device)
    return labels, mask


def stack_seg_maps(
    samples: Sequence[JointDataSample],
    ignore_index: int = IGNORED,
    shape: Sequence[int] | None = None,
    *,
    device: torch.device | str | None = None,
) -> Tensor:
    """Stack the masks of a batch.

    Args:
        samples: The batch.
        ignore_index: The value of ignored pixels in the result; the samples' 255 becomes it.
        shape: ``(H, W)`` or ``(D, H, W)``. By default that of the first mask; a batch that may
            have no mask at all needs it.
        device: Where the result goes; by default, where the first mask is (CPU without masks).

    Returns:
        ``(B, *space)`` int64; all ``ignore_index`` where a sample has no mask.

    Raises:
        ValueError: If masks have another shape than ``shape`` or than each other, or if there is
            neither a mask nor ``shape``.
    """
    found = [sample.gt_sem_seg.data if 'gt_sem_seg' in sample else None for sample in samples]
    if shape is None:
        first = next((seg_map for seg_map in found if seg_map is not None), None)
        if first is None:
            raise ValueError('no sample of the batch has a mask: pass shape')
        shape = first.shape[1:]
    shape = tuple(int(length) for length in shape)
    maps = torch.full(
        (len(found), *shape), ignore_index, dtype=torch.int64, device=_device(found, device)
    )
    for index, seg_map in enumerate(found):
        if seg_map is None:
            continue
        if tuple(seg_map.shape) != (1, *shape):
            path = samples[index].metainfo.get('img_path', f'sample {index} of the batch')
            raise ValueError(
                f'{path}: the mask has the shape {tuple(seg_map.shape)}, expected {(1, *shape)}'
            )
        maps[index].copy_(seg_map[0])
    if ignore_index != IGNORED:
        maps.masked_fill_(maps == IGNORED, ignore_index)
    return maps


def stack_annotated(
    samples: Sequence[JointDataSample],
    num_classes: int,
    *,
    device: torch.device | str | None = None,
) -> Tensor:
    """Say which mask classes each sample was annotated for.

    Read from the metainfo ``annotated_classes``; where it is absent, the mask is complete.

    Args:
        samples: The batch.
        num_classes: Number C of mask classes.
        device: Where the result goes; CPU by default.

    Returns:
        (B, C) bool.

    Raises:
        ValueError: If a class lies outside ``[0, num_classes)``.
    """
    annotated = torch.ones(len(samples), num_classes, dtype=torch.bool)
    for row, sample in zip(annotated, samples, strict=True):
        classes = sample.metainfo.get('annotated_classes')
        if classes is None:
            continue
        wrong = [number for number in classes if not 0 <= number < num_classes]
        if wrong:
            path = sample.metainfo.get('img_path', 'a sample')
            raise ValueError(
                f'{path}: annotated_classes {tuple(classes)} has {wrong[0]}, '
                f'expected classes in [0, {num_classes})'
            )
        row[:] = False
        row[list(classes)] = True
    return annotated if device is None else annotated.to(device)


def _device(
    tensors: Sequence[Tensor | None], device: torch.device | str | None
) -> torch.device | str:
    if device is not None:
        return device
    return next((tensor.device for tensor in tensors if tensor is not None), torch.device('cpu'))


def stack_task_maps(
    samples: Sequence[JointDataSample], task: str, *, device: torch.device | str | None = None
) -> Tensor:
    """Stack the label maps of one task.

    Args:
        samples: The batch, all annotated for the task.
        task: Its name.
        device: Where the result goes; by default, where the first map is.

    Returns:
        ``(B, *space)`` int64; 255 tells nothing.

    Raises:
        UserError: A sample is not annotated for the task.
        ValueError: The maps have different shapes.
    """
    found = []
    for index, sample in enumerate(samples):
        tasks = list(sample.gt_tasks.keys()) if 'gt_tasks' in sample else []
        path = sample.metainfo.get('img_path', f'sample {index} of the batch')
        if task not in tasks:
            raise UserError(
                f'{path}: expected a label map of the task {task!r}, found maps of {tasks}; '
                'correct the annotated tasks of its data set, or the weights in the model'
            )
        found.append(sample.gt_tasks.get(task))
        if found[-1].shape != found[0].shape:
            raise ValueError(
                f'{path}: the map of the task {task!r} has the shape {tuple(found[-1].shape)}, '
                f'the first of the batch {tuple(found[0].shape)}'
            )
    maps = torch.stack([seg_map[0] for seg_map in found]).long()
    return maps if device is None else maps.to(device)
