"""The range of every uncertainty measure, so that maps and histograms share one fixed scale."""

import math

# In nats; ln(number of classes) is reached where every class is equally likely.
_ENTROPIES = ('predictive_entropy', 'expected_entropy', 'mutual_information')
_BOUNDS = {'vacuity': 1.0, 'dissonance': 1.0, 'variance': 0.25}

# In this order: the first measure that a sample carries is the one that cases are ranked by.
UNCERTAINTY_PREFERENCE = ('vacuity', *_ENTROPIES, 'variance', 'dissonance')


def uncertainty_upper_bound(measure: str, num_classes: int) -> float:
    """Give the largest value that an uncertainty measure can take; the smallest is 0 for all.

    Args:
        measure: ``vacuity``, ``dissonance`` (both at most 1), ``variance`` of a probability (at
            most 0.25), ``predictive_entropy``, ``expected_entropy`` or ``mutual_information``
            (nats, at most the logarithm of the number of classes).
        num_classes: Number of classes that the opinion is about, at least 2.

    Returns:
        The upper bound.

    Raises:
        ValueError: If the measure is unknown or there are fewer than two classes.
    """
    if num_classes < 2:
        raise ValueError(f'num_classes must be >= 2, got {num_classes}')
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
        The first of ``UNCERTAINTY_PREFERENCE`` that is at hand, else the first in the alphabet.
    """
    for measure in UNCERTAINTY_PREFERENCE:
        if measure in measures:
            return measure
    return min(measures, default=None)
