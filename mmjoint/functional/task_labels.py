"""Label maps from the probabilities of a task's channels, as pseudo labels are made.

See :mod:`mmjoint.functional.multilabel` for tasks, channels and the values of label maps.
"""

import torch
from torch import Tensor

from .multilabel import NO_LABEL, Channels, channel_masks


def labels_from_probs(probs: Tensor, channels: Channels, *, threshold: float = 0.5) -> Tensor:
    """Turn the probabilities of a task into one label map.

    Channels without a common value exclude each other: where any of them is above the threshold,
    the most probable one gives the label. A channel whose values are among those of another one
    lies inside it and is written over it, wherever it is above the threshold: also outside, as a
    cup is that reaches out of its disc. All else is 0.

    Args:
        probs: ``(C, *space)``, in the order of ``channels``.
        channels: Values by channel.
        threshold: A channel is there where its probability is greater.

    Returns:
        uint8 ``(*space)``. The first of equally probable channels counts.

    Raises:
        ValueError: The number of channels is wrong, or the values of a channel do not tell which
            one to write: apart from those of the channels inside it, it has none or several.

    Example:
        >>> probs = torch.tensor([[0.9, 0.9, 0.4, 0.2], [0.2, 0.8, 0.7, 0.1]])
        >>> labels_from_probs(probs, dict(disc=(1, 2), cup=(2,)))
        tensor([1, 2, 2, 0], dtype=torch.uint8)
        >>> labels_from_probs(probs, dict(EX=(1,), HE=(2,)))
        tensor([1, 1, 2, 0], dtype=torch.uint8)
    """
    _check_channels(probs, channels)
    values, depths = _own_values(channels)
    labels = torch.zeros(probs.shape[1:], dtype=torch.uint8, device=probs.device)
    for depth in range(max(depths) + 1):
        members = [index for index, own in enumerate(depths) if own == depth]
        best, which = probs[members].max(0)
        written = labels.new_tensor([values[index] for index in members])[which]
        labels = torch.where(best > threshold, written, labels)
    return labels


def label_confidence(probs: Tensor, labels: Tensor, channels: Channels) -> Tensor:
    """Probability of what a label map says, of the channel for which that is least probable.

    Of a channel the map says that it is there (probability p) or is not there (1 - p). So two
    channels that exclude each other and both are probable make a label doubtful, as does a cup
    where no disc is.

    Args:
        probs: ``(C, *space)``, in the order of ``channels``.
        labels: Integers ``(*space)``; 255 is taken as background.
        channels: Values by channel.

    Returns:
        Floats ``(*space)`` in [0, 1].
    """
    _check_channels(probs, channels)
    masks = channel_masks(labels[None], channels)[0]
    return torch.where(masks, probs, 1 - probs).amin(0)


def ignore_unsure(
    labels: Tensor,
    probs: Tensor,
    channels: Channels,
    *,
    min_confidence: float | None = None,
    uncertainty: Tensor | None = None,
    max_uncertainty: float | None = None,
) -> Tensor:
    """Set labels to 255 (which tells nothing) where they are not to be relied on.

    Args:
        labels: uint8 ``(*space)``, as of :func:`labels_from_probs`.
        probs: ``(C, *space)``.
        channels: Values by channel.
        min_confidence: Labels whose :func:`label_confidence` is smaller go; ``None`` keeps them.
        uncertainty: ``(*space)``, any measure; goes with ``max_uncertainty``.
        max_uncertainty: Labels of greater uncertainty, or of NaN, go.

    Returns:
        A new uint8 ``(*space)``.

    Raises:
        ValueError: ``uncertainty`` has another shape, or one of the two comes without the other.
    """
    if (uncertainty is None) != (max_uncertainty is None):
        raise ValueError('uncertainty and max_uncertainty belong together, got only one of them')
    unsure = torch.zeros_like(labels, dtype=torch.bool)
    if min_confidence is not None:
        unsure |= ~(label_confidence(probs, labels, channels) >= min_confidence)
    if uncertainty is not None:
        if uncertainty.shape != labels.shape:
            raise ValueError(
                f'uncertainty must have the shape of the labels, {tuple(labels.shape)}, got '
                f'{tuple(uncertainty.shape)}'
            )
        unsure |= ~(uncertainty <= max_uncertainty)
    return labels.masked_fill(unsure, NO_LABEL)


def _check_channels(probs: Tensor, channels: Channels) -> None:
    if len(probs) != len(channels):
        raise ValueError(
            f'probs must have {len(channels)} channels ({", ".join(channels)}), got {len(probs)}'
        )


def _own_values(channels: Channels) -> tuple[list[int], list[int]]:
    """For each channel: the value that no channel inside it has, and how many it lies inside."""
    sets = {name: frozenset(values) for name, values in channels.items()}
    own_values, depths = [], []
    for name, values in sets.items():
        others = [other for key, other in sets.items() if key != name]
        own = values.difference(*(other for other in others if other < values))
        clash = any(other & values and not (other < values or values < other) for other in others)
        if clash or len(own) != 1:
            raise ValueError(
                f'channels: expected each to have one value apart from those of the channels '
                f'inside it, and to lie inside or apart from any other, found {name}='
                f'{tuple(sorted(values))} in '
                f'{ {key: tuple(each) for key, each in channels.items()} }'
            )
        own_values.append(next(iter(own)))
        depths.append(sum(values < other for other in others))
    return own_values, depths
