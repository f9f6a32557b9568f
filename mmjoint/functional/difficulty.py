"""How hard a class is, from the course of its Dice over training."""

from typing import NamedTuple

from torch import Tensor

_TINY = 1e-8


class DifficultyState(NamedTuple):
    """Running values per class, each ``(C,)``.

    Attributes:
        dice: The Dice of the step before, > 0.
        learned: Running mean of how much it rose, >= 0.
        unlearned: Running mean of how much it fell, >= 0.
        undice: Running mean of 1 - Dice, in [0, 1].
    """

    dice: Tensor
    learned: Tensor
    unlearned: Tensor
    undice: Tensor


def initial_difficulty(like: Tensor) -> DifficultyState:
    """State before the first step, where nothing is segmented.

    Args:
        like: ``(C,)``, whose shape, type and device are taken.
    """
    zeros = like.new_zeros(like.shape)
    return DifficultyState(zeros + _TINY, zeros, zeros, zeros + 1)


def advance_difficulty(state: DifficultyState, dice: Tensor, momentum: float) -> DifficultyState:
    r"""Take in the Dice of one step.

    With :math:`r = \Delta d \ln(d / d_{prev}) \ge 0`, the rise or the fall of a class is
    :math:`m \cdot old + (1 - m) r`, the other one :math:`m \cdot old`.

    Args:
        state: The state before.
        dice: ``(C,)`` in (0, 1], of the hard prediction.
        momentum: m, the weight of the old value.

    Returns:
        The state after.

    Reference:
        Wang and Li, "Towards generic semi-supervised framework for volumetric medical image
        segmentation", NeurIPS 2023, difficulty-aware re-weighting.
    """
    change = dice - state.dice
    speed = change * (dice / state.dice).log()
    rises = change > 0
    return DifficultyState(
        dice,
        momentum * state.learned + (1 - momentum) * speed.masked_fill(~rises, 0.0),
        momentum * state.unlearned + (1 - momentum) * speed.masked_fill(rises, 0.0),
        momentum * state.undice + (1 - momentum) * (1 - dice),
    )


def difficulty_weights(state: DifficultyState) -> Tensor:
    r"""Weights of the classes: hard ones are learned slowly and segmented badly.

    Args:
        state: The state.

    Returns:
        ``(C,)``: :math:`C \, (unlearned / learned)^{1/5} \, undice`, ratio of values raised by
        :math:`10^{-8}`.
    """
    ratio = (state.unlearned + _TINY) / (state.learned + _TINY)
    return len(ratio) * ratio.pow(1 / 5) * state.undice
