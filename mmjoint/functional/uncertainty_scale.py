"""Names and ranges of the uncertainty measures; maps and histograms share one fixed scale.

A measure of one of several tasks is called ``<measure>_<task>``: ``predictive_entropy_odoc``.
"""

import math
from collections.abc import Mapping

# In nats; ln(number of classes) is reached where every class is equally likely.
_ENTROPIES = ('predictive_entropy', 'expected_entropy', 'mutual_information')
_BOUNDS = {'vacuity': 1.0, 'dissonance': 1.0, 'variance': 0.25}

# In this order: the first measure that a sample carries is the one that cases are ranked by.
UNCERTAINTY_PREFERENCE = ('vacuity', *_ENTROPIES, 'variance', 'dissonance')


def task_measure(measure: str, task: str) -> str:
    """Give the name of a measure of one of several tasks."""
    return f'{measure}_{task}'


def split_measure(name: str) -> tuple[str, str | None]:
    """Take the name of a measure of a task apart.

    Args:
        name: Any name of a measure.

    Returns:
        The measure and the task; a name that does not begin with a known measure, or belongs to no
        task, and None.

    Example:
        >>> split_measure('predictive_entropy_odoc'), split_measure('predictive_entropy')
        (('predictive_entropy', 'odoc'), ('predictive_entropy', None))
    """
    for measure in UNCERTAINTY_PREFERENCE:
        if name.startswith(f'{measure}_'):
            return measure, name[len(measure) + 1 :]
    return name, None


def uncertainty_upper_bound(measure: str, num_classes: int) -> float:
    """Give the largest value that an uncertainty measure can take; the smallest is 0 for all.

    Args:
        measure: ``vacuity``, ``dissonance`` (both at most 1), ``variance`` of a probability (at
            most 0.25), ``predictive_entropy``, ``expected_entropy`` or ``mutual_information``
            (nats, at most the logarithm of the number of classes); or one of these of a task.
        num_classes: Number of classes that the opinion is about, at least 2. The channels of tasks
            are questions of two classes, whatever is given here.

    Returns:
        The upper bound.

    Raises:
        ValueError: If the measure is unknown or there are fewer than two classes.
    """
    if num_classes < 2:
        raise ValueError(f'num_classes must be >= 2, got {num_classes}')
    measure, task = split_measure(measure)
    num_classes = num_classes if task is None else 2
    if measure in _ENTROPIES:
        return math.log(num_classes)
    if measure not in _BOUNDS:
        known = ', '.join(sorted((*_ENTROPIES, *_BOUNDS)))
        raise ValueError(
            f'unknown uncertainty measure {measure!r}; its range is needed to draw it: add it to '
            f'mmjoint/functional/uncertainty_scale.py (known: {known})'
        )
    return _BOUNDS[measure]


def primary_measure(measures: list[str] | tuple[str, ...]) -> str | None:
    """Give the measure that cases are ranked by, ``None`` if there is none.

    Args:
        measures: Names of the measures at hand.

    Returns:
        The first of ``UNCERTAINTY_PREFERENCE`` that is at hand, else the first of these of the
        first task, else the first in the alphabet.
    """
    for measure in UNCERTAINTY_PREFERENCE:
        if measure in measures:
            return measure
    for measure in UNCERTAINTY_PREFERENCE:
        for name in measures:
            if split_measure(name)[0] == measure:
                return name
    return min(measures, default=None)


def leading_score(
    scores: Mapping[str, Mapping[str, float | None]],
) -> tuple[str, float] | None:
    """Give the map by which a case is ranked, and its score.

    Args:
        scores: Of each map of a case, as :func:`mmjoint.functional.aggregation.aggregate_maps`
            gives them, None for what is not defined.

    Returns:
        The map of :func:`primary_measure`, of several tasks that of the most uncertain one, and its
        mean over the predicted foreground, or over all where there is none; ``None`` without any.
    """
    first = primary_measure(list(scores))
    if first is None:
        return None
    found = []
    for name, means in scores.items():
        if split_measure(name)[0] == split_measure(first)[0]:
            value = means['mean'] if means['mean_foreground'] is None else means['mean_foreground']
            if value is not None:
                found.append((name, value))
    return max(found, key=lambda entry: entry[1], default=None)
