"""Several batches through one network at once, each asking for some of its tasks."""

from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Tensor, nn

from .outputs import TaskLogits


def of_one_size(batches: Mapping[str, Tensor]) -> list[dict[str, Tensor]]:
    """Sort batches into groups whose samples have one shape.

    Args:
        batches: ``(B, ...)`` by name; B may differ.
    """
    groups: dict[torch.Size, dict[str, Tensor]] = {}
    for name, batch in batches.items():
        groups.setdefault(batch.shape[1:], {})[name] = batch
    return list(groups.values())


def branch_logits(
    generator: nn.Module,
    inputs: Mapping[str, Tensor],
    wanted: Mapping[str, Collection[str]],
    *,
    auxiliary: bool,
) -> dict[str, TaskLogits]:
    """Outputs of a generator for several branches; images of one size go through it together.

    As no sample depends on another this changes nothing but rounding, and which random numbers
    dropout draws.

    Args:
        generator: Called as ``generator(inputs, rows by task, auxiliary)``.
        inputs: ``(B, C, H, W)`` by branch.
        wanted: The tasks that are needed, by branch; branches that it lacks are left out.
        auxiliary: Whether auxiliary outputs are needed, too.

    Returns:
        By branch, logits of the wanted tasks alone.
    """
    found: dict[str, TaskLogits] = {}
    for group in of_one_size({branch: inputs[branch] for branch in wanted}):
        rows: dict[str, list[int]] = {}
        places: dict[str, dict[str, slice]] = {}
        start = 0
        for branch, images in group.items():
            stop = start + len(images)
            places[branch] = {}
            for task in wanted[branch]:
                known = rows.setdefault(task, [])
                places[branch][task] = slice(len(known), len(known) + len(images))
                known += range(start, stop)
            start = stop
        output = generator(
            torch.cat(list(group.values())),
            {task: _as_slice(known) for task, known in rows.items()},
            auxiliary,
        )
        for branch, own in places.items():
            found[branch] = TaskLogits(*(_cut(logits, own) for logits in output))
    return {branch: found[branch] for branch in wanted}


def _cut(logits: Mapping[str, Tensor] | None, places: Mapping[str, slice]) -> dict | None:
    if logits is None:
        return None
    return {task: logits[task][place] for task, place in places.items()}


def _as_slice(rows: Sequence[int]) -> list[int] | slice:
    """A slice where rows follow each other: it needs no copy of them."""
    together = list(rows) == list(range(rows[0], rows[0] + len(rows)))
    return slice(rows[0], rows[0] + len(rows)) if together else list(rows)
