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

    Keys are read as ``measure`` or ``measure.class``; ``mean_<measure>``, ``m<measure>``,
    ``cw<measure>`` or the measure itself, where there is such a key, is the mean of the classes.

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
        means = [_mean_key(measure, results) for measure in measures]
        told.update(mean for mean in means if mean is not None)
        lines = []
        for measure, mean in zip(measures, means, strict=True):
            cells = [_cell(f'{measure}.{column}', results) for column in columns]
            # Columns that are no classes (measures of uncertainty) have no mean.
            if any(means):
                cells.insert(0, '' if mean is None else _cell(mean, results))
            lines.append([measure, *cells])
        tables.append(_table(['measure', *['mean'] * any(means), *columns], lines))
    single = [[key, _cell(key, results)] for key in results if '.' not in key and key not in told]
    if single:
        tables.append(_table(['measure', 'value'], single))
    return '\n'.join(tables)


def _mean_key(measure: str, results: Results) -> str | None:
    prefix, slash, name = measure.rpartition('/')
    names = (f'mean_{name}', f'm{name.removeprefix("dataset_")}', f'cw{name}', name)
    return next((f'{prefix}{slash}{n}' for n in names if f'{prefix}{slash}{n}' in results), None)


def _cell(key: str, results: Results) -> str:
    value = results[key]
    if isinstance(value, Mapping):
        if value['mean'] is None:
            return 'not defined'
        return f'{value["mean"]:.4f} ± {value["std"]:.4f}'
    if value is None:
        return 'not defined'
    is_count = key.rpartition('/')[2].startswith('num_')
    return f'{value:g}' if is_count else f'{value:.4f}'


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ['---'] * len(header), *rows]
    return ''.join(f'| {" | ".join(c.replace("|", "/") for c in line)} |\n' for line in lines)


def markdown_comparison(columns: Mapping[str, Mapping[str, float | None]]) -> str:
    """Lay the results of several models side by side: one table for each group of measures.

    A group is what stands before the last slash of a key, such as a test set and a task.

    Args:
        columns: Values by key, by the name of the column. A value that a column lacks stays empty.
    """
    groups: dict[str, dict[str, None]] = {}
    for results in columns.values():
        for key in results:
            groups.setdefault(key.rpartition('/')[0], {})[key] = None
    tables = []
    for group, keys in groups.items():
        rows = [
            [
                key.rpartition('/')[2],
                *(_cell(key, results) if key in results else '' for results in columns.values()),
            ]
            for key in keys
        ]
        tables.append(f'### {group}\n\n' if group else '')
        tables[-1] += _table(['measure', *columns], rows)
    return '\n'.join(tables)
