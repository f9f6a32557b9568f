"""What ``--eval NAME ...`` means: which metrics run and which of their results are shown."""

from collections.abc import Sequence

from mmengine.evaluator import BaseMetric, Evaluator

from mmjoint.utils.errors import UserError


def available_names(metrics: Sequence[BaseMetric]) -> list[str]:
    """All names that these metrics accept, in the order of the metrics, each once."""
    names = [name for metric in metrics for name in getattr(metric, 'eval_names', ())]
    return list(dict.fromkeys(names))


def resolve_names(metrics: Sequence[BaseMetric], names: Sequence[str]) -> list[str]:
    """Spell names as the metrics do; upper and lower case do not matter.

    Raises:
        UserError: If no metric knows a name.
    """
    available = available_names(metrics)
    spelling = {name.casefold(): name for name in available}
    unknown = [name for name in names if name.casefold() not in spelling]
    if unknown:
        raise UserError(
            f'--eval: expected names that the evaluators of this config give, found '
            f'{", ".join(unknown)}; use some of {", ".join(available) or "(none)"}'
        )
    return list(dict.fromkeys(spelling[name.casefold()] for name in names))


def restrict_evaluator(evaluator: Evaluator, names: Sequence[str]) -> None:
    """Let an evaluator compute and print only what is asked for; to be called before a test run.

    Metrics that know none of the names are taken out; those that have no ``eval_names`` at all
    (records for a report) stay. No selection score is computed.

    Args:
        evaluator: Is changed.
        names: What ``--eval`` gave.

    Raises:
        UserError: If no metric knows a name.
    """
    wanted = resolve_names(evaluator.metrics, names)
    kept = []
    for metric in evaluator.metrics:
        known = getattr(metric, 'eval_names', None)
        if known is None:
            kept.append(metric)
        elif own := [name for name in wanted if name in known]:
            if hasattr(metric, 'restrict'):
                metric.restrict(own)
            kept.append(metric)
    evaluator.metrics = kept
    if hasattr(evaluator, 'selection_score'):
        evaluator.selection_score = ()


def select_metrics(
    results: dict[str, float], metrics: Sequence[BaseMetric], names: Sequence[str]
) -> dict[str, float]:
    """Choose the results that names stand for.

    Args:
        results: What the evaluator gave, keys with their prefix.
        metrics: The metrics of the evaluator.
        names: What ``--eval`` gave, in any case: ``mIoU``, ``auc``.

    Returns:
        The chosen results, in the order of the names, then of ``results``.

    Raises:
        UserError: If no metric knows a name.
    """
    chosen: dict[str, float] = {}
    for name in resolve_names(metrics, names):
        for metric in metrics:
            if name not in getattr(metric, 'eval_names', ()):
                continue
            start = f'{metric.prefix}/' if metric.prefix else ''
            for key, value in results.items():
                if key.startswith(start) and metric.matches(key[len(start) :], name):
                    chosen[key] = value
    return chosen
