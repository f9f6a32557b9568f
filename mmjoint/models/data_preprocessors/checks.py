"""Checks of batches that name the image at fault."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from mmjoint.structures import SampleList
from mmjoint.utils.errors import UserError


def check_same_shape(
    inputs: Sequence[Tensor] | Tensor,
    samples: SampleList | None,
    training: bool,
    *,
    num_axes: tuple[int, ...] = (3, 4),
) -> None:
    """Refuse images that cannot be stacked.

    Args:
        inputs: The batch, each ``(C, *space)``.
        samples: Where the names stand.
        training: Whether images may differ in size, because they are padded.
        num_axes: Numbers of axes that an image may have.

    Raises:
        UserError: An image has another number of channels or axes than the first one, or outside
            training another size.
    """
    shape = tuple(inputs[0].shape)
    for index, image in enumerate(inputs):
        same = image.ndim == len(shape) and image.ndim in num_axes and image.shape[0] == shape[0]
        if not same or (not training and tuple(image.shape) != shape):
            raise UserError(
                f'{name_of(samples, index)}: expected the shape {shape} of the first image of '
                f'the batch ({name_of(samples, 0)}), found {tuple(image.shape)}; put a resizing '
                'transform into the pipeline or set batch_size=1'
            )


def check_finite_values(inputs: Iterable[Tensor], samples: SampleList | None) -> None:
    """Refuse NaN and infinity in images of floating-point numbers.

    Args:
        inputs: The batch.
        samples: Where the names stand.

    Raises:
        UserError: There are some.
    """
    for index, image in enumerate(inputs):
        # A sum of finite float32 values may overflow, but then the long way tells.
        if image.is_floating_point() and not torch.isfinite(image.sum()):
            count = int((~torch.isfinite(image)).sum())
            if count:
                raise UserError(
                    f'{name_of(samples, index)}: expected finite values, found {count} that are '
                    'NaN or infinite; repair the image or the transform before'
                )


def name_of(samples: SampleList | None, index: int) -> str:
    """Name of an image of the batch."""
    path = samples[index].metainfo.get('img_path') if samples else None
    return path or f'image {index} of the batch'
