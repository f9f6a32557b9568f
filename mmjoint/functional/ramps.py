import math


def linear_ramp_up(current: float, length: float) -> float:
    """Grow linearly from 0 to 1 over ``length`` and stay there.

    Args:
        current: Time that has passed, >= 0, in any unit (epochs, iterations, a share of training).
        length: Time at which 1 is reached, in the same unit; 0 gives 1 from the start.

    Returns:
        ``min(1, current / length)``, in [0, 1].

    Raises:
        ValueError: A time is negative.
    """
    if current < 0 or length < 0:
        raise ValueError(f'times must be >= 0, got current={current} and length={length}')
    return 1.0 if length == 0 else min(1.0, current / length)


def sigmoid_ramp_up(current: float, length: float) -> float:
    """Grow from exp(-5) to 1 over ``length`` along half a bell and stay there.

    Args:
        current: Time that has passed, >= 0, in any unit.
        length: Time at which 1 is reached, in the same unit; 0 gives 1 from the start.

    Returns:
        ``exp(-5 * (1 - min(1, current / length)) ** 2)``, in [exp(-5), 1].

    Raises:
        ValueError: A time is negative.

    Reference:
        Laine and Aila, "Temporal ensembling for semi-supervised learning", ICLR 2017, section 2.1.
    """
    return math.exp(-5.0 * (1.0 - linear_ramp_up(current, length)) ** 2)
