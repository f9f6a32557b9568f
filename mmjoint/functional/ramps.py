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
