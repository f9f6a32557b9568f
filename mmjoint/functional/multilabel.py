"""Tasks of several channels each, one label map per task: who belongs to which channel.

A task is a mapping from the names of its channels to the values of the label map that belong to
the channel. Channels may overlap: of the optic nerve head, ``dict(disc=(1, 2), cup=(2,))``.
Value 0 is background; 255 tells nothing.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

Channels = Mapping[str, Sequence[int]]

NO_LABEL = 255


def channel_masks(labels: Tensor, channels: Channels) -> Tensor:
    """Turn label maps into one mask per channel.

    Args:
        labels: Integers ``(B, *space)``; 255 belongs to no channel.
        channels: Values by channel.

    Returns:
        bool ``(B, C, *space)``, in the order of ``channels``.

    Raises:
        ValueError: A value of ``labels``, on the CPU, is neither 0 nor 255 nor of any channel.

    Example:
        >>> channel_masks(torch.tensor([[0, 1, 2, 255]]), dict(disc=(1, 2), cup=(2,))).int()
        tensor([[[0, 1, 1, 0],
                 [0, 0, 1, 0]]], dtype=torch.int32)
    """
    known = {0, NO_LABEL, *(value for values in channels.values() for value in values)}
    # On a GPU one would have to wait for the answer; loading has checked the values of maps.
    unknown = set() if labels.is_cuda else set(torch.unique(labels).tolist()) - known
    if unknown:
        raise ValueError(
            f'labels: expected 0, {NO_LABEL} or the values of the channels '
            f'{ {name: tuple(values) for name, values in channels.items()} }, found '
            f'{sorted(unknown)}'
        )
    masks = [torch.isin(labels, labels.new_tensor(list(values))) for values in channels.values()]
    return torch.stack(masks, 1)
