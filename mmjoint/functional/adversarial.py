"""Losses of a generator and its critics, from the critics' scores of several sources.

A source is a batch of predictions of one kind, as of one data set. Scores are the raw outputs of a
critic, of any shape; higher means more like the real ones.
"""

from collections.abc import Hashable, Mapping
from typing import TypeVar

import torch.nn.functional as F
from torch import Tensor

Source = TypeVar('Source', bound=Hashable)


def score_loss(scores: Tensor, *, real: bool) -> Tensor:
    """Mean binary cross-entropy of scores against one constant.

    Args:
        scores: Logits of any shape. Half precision is widened first.
        real: Whether the constant is 1, else 0.

    Returns:
        Scalar: the mean of ``-log sigmoid(scores)``, or of ``-log sigmoid(-scores)``.

    Example:
        >>> float(score_loss(torch.zeros(1, 1, 2, 3), real=True))  # ln 2
        0.6931471824645996
    """
    scores = scores if scores.dtype.itemsize > 2 else scores.float()
    return F.softplus(-scores if real else scores).mean()


def fooling_losses(scores: Mapping[Source, Tensor], *, weight: float = 1.0) -> dict[Source, Tensor]:
    """What a generator pays for predictions that its critic tells from the real ones.

    Args:
        scores: Scores of the predictions that are to be taken for real, by source.
        weight: Factor of each term.

    Returns:
        One scalar per source; they are meant to be added, not averaged.
    """
    return {source: weight * score_loss(value, real=True) for source, value in scores.items()}


def critic_losses(
    real: Mapping[Source, Tensor], fake: Mapping[Source, Tensor]
) -> dict[Source, Tensor]:
    """What a critic pays for taking real predictions for others, and the other way round.

    Half of the weight is divided among the real sources, half among the others.

    Args:
        real: Scores of real predictions, by source.
        fake: Scores of others, by sources of other names.

    Returns:
        One scalar per source, to be added.

    Raises:
        ValueError: One side has no source, or a source is on both.
    """
    if not real or not fake or real.keys() & fake.keys():
        raise ValueError(
            'a critic needs real sources and others, and none on both sides, got '
            f'{list(real)} and {list(fake)}'
        )
    return {
        source: 0.5 / len(side) * score_loss(value, real=side is real)
        for side in (real, fake)
        for source, value in side.items()
    }
