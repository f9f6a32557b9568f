"""Schedules of scalars over training, as pure functions of the step."""


def poly_after(
    step: float,
    *,
    base: float,
    total_steps: float,
    change_step: float | None = None,
    power: float = 0.9,
    floor: float = 0.0,
) -> float:
    """Polynomial decay that may start late, and never falls below a floor.

    ``base`` while ``step < change_step``, then ``base * (1 - t) ** power`` with ``t`` the share of
    the steps between the start of the decay and ``total_steps`` that is done. The decay is counted
    from ``change_step - 1``, the last step at ``base``, so that its first value already differs.
    Without ``change_step`` it starts at step 0.

    Args:
        step: Position in training, at least 0; need not be whole.
        base: Value before the decay.
        total_steps: Step at which the decay reaches 0.
        change_step: First step that decays (beyond the end: none does); ``None`` decays from 0.
        power: Exponent of the decay.
        floor: Lower bound of the result, also before the decay.

    Returns:
        The value at ``step``.

    Raises:
        ValueError: If a decay is due that has no steps to go over.

    Example:
        >>> poly_after(50, base=1.0, total_steps=100, power=1.0)
        0.5
    """
    if change_step is not None and step < change_step:
        return max(base, floor)
    start = 0.0 if change_step is None else change_step - 1
    if total_steps <= start:
        raise ValueError(
            f'the decay must start before it ends, got start {start:g}, end {total_steps:g}'
        )
    # Without max(): a step beyond the end would give a complex number.
    return max(base * max(0.0, 1 - (step - start) / (total_steps - start)) ** power, floor)


def lagging_epoch(epoch: int, lag: int = 1) -> int:
    """Epoch whose value a schedule gives that is only updated at the end of each epoch.

    Args:
        epoch: The epoch, from 0.
        lag: Epochs by which the schedule is late.

    Returns:
        ``max(epoch - lag, 0)``.
    """
    return max(epoch - lag, 0)


def epoch_at(progress: float, num_epochs: int) -> int:
    """Epoch in which a share of the training lies.

    Args:
        progress: Share of the training that is done, in [0, 1], from any counter.
        num_epochs: Number of epochs of the whole training.

    Returns:
        The epoch, from 0 to ``num_epochs``; ``progress = e / num_epochs`` gives exactly e.
    """
    # A quotient times its divisor may lie just below the whole number.
    return int(progress * num_epochs + 1e-6)
