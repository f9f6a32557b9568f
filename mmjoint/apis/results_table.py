"""Tables of test results, in Markdown: measures down, classes across."""

from collections.abc import Mapping, Sequence
from statistics import fmean, pstdev

# Of one measure over several trainings; mean and std are None where a training has no value.
Spread = Mapping[str, object]
Results = Mapping[str, float | None | Spread]


def over_seeds(results: Sequence[Mapping[str, float | None]]) -> dict[str, dict[str, object]]:
    """Give mean and population standard deviation of each measure over several trainings.

    Args:
        results: The measures of each training. One that is undefined (None) in any training, or
            missing there, has no mean: those of fewer trainings could not be compared.

    Returns:
        Of each measure ``mean``, ``std`` and ``values``, the last in the order of the trainings.
    """
    spread: dict[str, dict[str, object]] = {}
    for key in dict.fromkeys(key for one in results for key in one):
        values = [one.get(key) for one in results]
        defined = None not in values
        spread[key] = {
            'mean': fmean(values) if defined else None,
            'std': pstdev(values) if defined else None,
            'values': values,
        }
    return spread


def markdown_tables(results: Results) -> str:
    """Lay results out in tables: one for each set of classes, then the single values.

    Keys are read as ``measure`` or ``measure.class``; ``mean_<measure>``, ``m<measure>`` or the
    measure itself, where there is such a key, is the mean of a row of classes.

    Args:
        results: Values, or mean and std over several trainings, by key.
    """
    rows: dict[str, list[str]] = {}
    for key in results:
        measure, dot, column = key.partition('.')
        if dot:
            rows.setdefault(measure, []).append(column)
    by_columns: dict[tuple[str, ...], list[str]] = {}
    for measure, columns in rows.items():
        by_columns.setdefault(tuple(columns), []).append(measure)
    told: set[str] = set()
    tables = []
    for columns, measures in by_columns.items():
        lines = []
        for measure in measures:
            mean = _mean_key(measure, results)
            told.add(mean)
            keys = [mean, *(f'{measure}.{column}' for column in columns)]
            lines.append([measure, *(_cell(results[k]) if k in results else '' for k in keys)])
        tables.append(_table(['measure', 'mean', *columns], lines))
    single = [[key, _cell(results[key])] for key in results if '.' not in key and key not in told]
    if single:
        tables.append(_table(['measure', 'value'], single))
    return '\n'.join(tables)


def _mean_key(measure: str, results: Results) -> str:
    prefix, slash, name = measure.rpartition('/')
    start = prefix + slash
    short = f'm{name.removeprefix("dataset_")}'
    return next((k for k in (f'{start}mean_{name}', start + short) if k in results), measure)


def _cell(value: float | None | Spread) -> str:
    if isinstance(value, Mapping):
        if value['mean'] is None:
            return 'not defined'
        return f'{value["mean"]:.4f} ± {value["std"]:.4f}'
    return 'not defined' if value is None else f'{value:.4f}'


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ['---'] * len(header), *rows]
    return ''.join(f'| {" | ".join(c.replace("|", "/") for c in line)} |\n' for line in lines)
