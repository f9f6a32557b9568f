"""The sections of the report: tables and charts from the case records and the training log."""

import html
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mmjoint.functional.calibration import reliability_curve
from mmjoint.functional.overlap import confusion_matrix
from mmjoint.functional.ranking import auroc, auroc_from_histograms, roc_curve
from mmjoint.functional.risk_coverage import (
    area_under_risk_coverage,
    excess_area_under_risk_coverage,
    risk_coverage_curve,
)
from mmjoint.functional.uncertainty_scale import (
    primary_measure,
    split_measure,
    uncertainty_upper_bound,
)
from mmjoint.utils.case_archive import CaseArchive
from mmjoint.utils.errors import UserError

from .drawing import measure_unit
from .report_charts import Series, chart, empty_chart
from .report_statistics import (
    ClassTask,
    Estimate,
    class_bins,
    class_estimates,
    class_task,
    class_uncertainty,
    domains,
    is_wrong,
    of_domain,
    pixel_calibration,
    region_estimates,
)
from .train_log import Curve, read_train_log

_VALIDATION_ORDER = ('mIoU', 'mDice', 'Dice.', 'AUC', 'ACC', 'F1', 'selection_score')


def number(value: float, digits: int = 3) -> str:
    """Write a number; ``n/a`` for what is not defined."""
    return 'n/a' if value is None or not math.isfinite(value) else f'{value:.{digits}f}'


def agrees(entry: Estimate, metrics: dict[str, float]) -> bool:
    """Tell whether the test run has no other value for an estimate than the records give."""
    own = metrics.get(entry.key)
    if own is None or (math.isnan(own) and math.isnan(entry.value)):
        return True
    return math.isclose(own, entry.value, rel_tol=1e-4, abs_tol=1e-6)


def estimate_cell(entry: Estimate, metrics: dict[str, float]) -> str:
    """Write an estimate as a table cell's content: value and 95 % interval.

    Where the test run measured something else under the same name, its value counts, and stands
    without an interval and with a star.
    """
    if not agrees(entry, metrics):
        return f'{number(metrics[entry.key])}<span class="interval">*</span>'
    if not math.isfinite(entry.value):
        return '<span class="missing">n/a</span>'
    cell = f'<b>{number(entry.value)}</b>'
    if math.isfinite(entry.low):
        cell += f' <span class="interval">{number(entry.low)} to {number(entry.high)}</span>'
    return cell


def table(header: Sequence[str], rows: Sequence[Sequence[str]], caption: str) -> str:
    """Give a table that scrolls by itself on a narrow screen; cells are HTML already."""
    head = ''.join(f'<th scope="col">{html.escape(word)}</th>' for word in header)
    body = ''.join(
        f'<tr><th scope="row">{row[0]}</th>'
        + ''.join(f'<td>{cell}</td>' for cell in row[1:])
        + '</tr>'
        for row in rows
    )
    return (
        f'<div class="scroll"><table><caption>{html.escape(caption)}</caption>'
        f'<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    )


def region_section(
    regions: dict[str, list[Estimate]], archive: CaseArchive, metrics: dict[str, float]
) -> str:
    """Give the table of the masks: one row per region."""
    if not regions:
        return '<p class="missing">No case has both an annotated and a predicted mask.</p>'
    measures = [entry.name for entry in next(iter(regions.values()))]
    with_hd95 = any(f'seg/HD95.{name}' in metrics for name in regions)
    header = ['region', 'images', *(_with_unit(name) for name in measures)]
    header += ['HD95, pixels'] if with_hd95 else []
    rows = []
    for name, entries in regions.items():
        images = sum(name in (case['dice'] or {}) for case in archive.cases)
        row = [html.escape(name), str(images), *(estimate_cell(e, metrics) for e in entries)]
        if with_hd95:
            row.append(number(metrics.get(f'seg/HD95.{name}', math.nan)))
        rows.append(row)
    star = '' if all(agrees(e, metrics) for entries in regions.values() for e in entries) else _STAR
    return table(header, rows, 'Masks: means over images') + star


_STAR = (
    '<p class="note">* as the test run measured it; the case records were made with other '
    'settings, so there is no interval.</p>'
)


def _with_unit(measure: str) -> str:
    return {'ASSD': 'ASSD, pixels'}.get(measure, measure)


def class_section(
    task: ClassTask | None,
    overall: list[Estimate],
    per_class: dict[str, list[Estimate]],
    metrics: dict[str, float],
) -> str:
    """Give the tables of the image-level classes and the confusion matrix."""
    if task is None:
        return '<p class="missing">No case has both an image-level label and a prediction.</p>'
    parts = []
    present = np.unique(task.labels)
    if len(present) == 1:
        parts.append(
            f'<p class="warning">All {len(task.labels)} labelled cases are of the class '
            f'<b>{html.escape(task.names[present[0]])}</b>: whatever compares classes (ROC curve, '
            'AUC, kappa) is not defined.</p>'
        )
    rows = [[html.escape(entry.name), estimate_cell(entry, metrics)] for entry in overall]
    parts.append(table(['measure', 'value'], rows, f'Image class, {len(task.labels)} cases'))
    parts.append(confusion_table(task))
    header = ['class', 'cases', *(entry.name for entry in next(iter(per_class.values())))]
    rows = [
        [html.escape(name), str(int((task.labels == index).sum()))]
        + [estimate_cell(entry, {}) for entry in per_class[name]]
        for index, name in enumerate(task.names)
    ]
    parts.append(table(header, rows, 'Each class against all others'))
    star = '' if all(agrees(entry, metrics) for entry in overall) else _STAR
    return f'<div class="columns">{"".join(parts)}</div>{star}'


def domain_section(archive: CaseArchive, seed: int = 0) -> str:
    """Give a table of one row per domain of the cases; empty where there is one domain."""
    names = domains(archive)
    if len(names) < 2:
        return ''
    rows: list[dict[str, str]] = []
    for name in names:
        part = of_domain(archive, name)
        task = class_task(part)
        row = {'domain': html.escape(name), 'cases': str(len(part.cases))}
        for entry in () if task is None else class_estimates(task, seed, ('accuracy', 'AUC')):
            row[entry.name] = estimate_cell(entry, {})
        for region, entries in region_estimates(part, seed).items():
            row[f'Dice {region}'] = estimate_cell(entries[0], {})
        rows.append(row)
    header = list(dict.fromkeys(key for row in rows for key in row))
    nothing = '<span class="missing">not annotated</span>'
    cells = [[row.get(key, nothing) for key in header] for row in rows]
    return table(header, cells, 'Each domain by itself; the other sections take all together')


def confusion_table(task: ClassTask) -> str:
    """Give the confusion matrix as a table, shaded by the share of the row."""
    counts = confusion_matrix(task.preds, task.labels, len(task.names))
    rows = []
    for index, name in enumerate(task.names):
        total = counts[index].sum()
        cells = ''
        for column, count in enumerate(counts[index]):
            share = count / total if total else 0.0
            kind = 'hit' if column == index else 'miss'
            cells += (
                f'<td class="{kind}" style="--share:{share:.3f}"><b>{count}</b> '
                f'<span class="interval">{100 * share:.0f} %</span></td>'
            )
        rows.append(f'<tr><th scope="row">{html.escape(name)}</th>{cells}</tr>')
    head = ''.join(f'<th scope="col">{html.escape(name)}</th>' for name in task.names)
    return (
        '<div class="scroll"><table class="confusion"><caption>Confusion matrix: rows truth, '
        f'columns prediction</caption><thead><tr><td></td>{head}</tr></thead>'
        f'<tbody>{"".join(rows)}</tbody></table></div>'
    )


def roc_chart(task: ClassTask | None) -> str:
    """Draw the ROC curves: of both scores with two classes, else of each class."""
    title = 'ROC curve'
    if task is None:
        return empty_chart(title, 'There are no labelled cases.')
    if len(task.names) == 2:
        scores = {'probability': task.scores[:, 1]}
        if task.softmax_scores is not None:
            scores = {
                'alpha / S': task.scores[:, 1],
                'softmax(alpha)': task.softmax_scores[:, 1],
            }
        entries = {name: (values, task.labels == 1) for name, values in scores.items()}
    else:
        entries = {name: (task.scores[:, k], task.labels == k) for k, name in enumerate(task.names)}
    series = []
    for name, (values, positives) in list(entries.items())[:8]:
        area = auroc(values, positives)
        if math.isnan(area):
            continue
        fpr, tpr, _ = roc_curve(values, positives)
        series.append(Series(f'{name}: AUC {area:.3f}', fpr, tpr))
    if not series:
        return empty_chart(title, 'It needs cases of at least two classes; there is only one.')
    positive = task.names[1] if len(task.names) == 2 else 'each class against the others'
    return chart(
        series,
        title=f'{title}: {positive}',
        x_label='1 - specificity',
        y_label='sensitivity',
        x_range=(0, 1),
        y_range=(0, 1),
        diagonal=True,
    )


def _reliability(title: str, bins: np.ndarray, what: str, ece: Estimate | None) -> str:
    curve = reliability_curve(bins)
    total = max(curve.count.sum(), 1)
    edges = np.linspace(0, 1, len(curve.count) + 1)
    note = ''
    if ece is not None:
        note = f'Expected calibration error (ECE) {number(ece.value)}'
        if math.isfinite(ece.low):
            note += f' ({number(ece.low)} to {number(ece.high)})'
        note += ': the mean distance of the dots from the dashed line, weighted by the bars. '
    note += 'On the dashed line probabilities mean what they say; below it they are too high.'
    right = Series(
        f'share of right {what} in the bin',
        curve.confidence,
        curve.accuracy,
        marks=np.full(len(curve.count), 3.5),
    )
    return chart(
        [right, Series(f'share of all {what} in the bin', edges, curve.count / total, steps=True)],
        title=title,
        x_label='probability of the predicted class',
        y_label='share',
        x_range=(0, 1),
        y_range=(0, 1),
        diagonal=True,
        note=note,
    )


def reliability_charts(
    archive: CaseArchive, task: ClassTask | None, overall: Sequence[Estimate] = ()
) -> str:
    """Draw the reliability diagrams of the image class and of the pixels.

    Args:
        archive: The case records.
        task: The image-level predictions.
        overall: Their estimates; the calibration error among them is told in words.
    """
    charts = []
    if task is not None:
        ece = next((entry for entry in overall if entry.key == 'cls/ECE'), None)
        charts.append(
            _reliability('Reliability of the image class', class_bins(task), 'cases', ece)
        )
    pixels = pixel_calibration(archive)
    if pixels is not None:
        charts.append(_reliability('Reliability of the pixels', pixels[0], 'pixels', pixels[1]))
    return ''.join(charts) or empty_chart(
        'Reliability', 'Neither class probabilities nor mask logits were recorded with labels.'
    )


def uncertainty_charts(archive: CaseArchive) -> str:
    """Draw histograms of the uncertainty of right and of wrong predictions."""
    charts = []
    for measure, (right, wrong) in _pixel_histograms(archive).items():
        upper = archive.info['uncertainty_bounds'][measure]
        area = auroc_from_histograms(wrong, right)
        note = f'{right.sum():,.0f} right and {wrong.sum():,.0f} wrong pixels. '
        note += _auroc_words(area)
        charts.append(
            _histogram_chart(
                f'{_words(measure)} of the pixels', right, wrong, upper, measure, note, y_log=True
            )
        )
    found = [(class_uncertainty(case), is_wrong(case)) for case in archive.cases]
    known = [(*entry, wrong) for entry, wrong in found if entry is not None and wrong is not None]
    if known:
        measure = known[0][0]
        values = np.array([value for name, value, _ in known if name == measure], float)
        wrong = np.array([flag for name, _, flag in known if name == measure], bool)
        num_classes = max(2, *(len(case['pred_score'] or ()) for case in archive.cases))
        upper = uncertainty_upper_bound(measure, num_classes)
        bins = np.linspace(0, upper, 21)
        counts = [
            np.histogram(np.clip(v, 0, upper), bins)[0] for v in (values[~wrong], values[wrong])
        ]
        note = f'{(~wrong).sum()} right and {wrong.sum()} wrong cases. '
        note += _auroc_words(auroc(values, wrong))
        charts.append(
            _histogram_chart(f'{_words(measure)} of the image class', *counts, upper, measure, note)
        )
    return ''.join(charts) or empty_chart('Uncertainty', 'No uncertainty was recorded with labels.')


def pixel_risk_charts(archive: CaseArchive, metrics: dict[str, float]) -> str:
    """Draw risk against coverage of the pixels, from the histograms of right and wrong ones.

    Args:
        archive: The case records. Of several tasks each gets a chart of its own.
        metrics: What the test run measured; its AURC over finer steps counts where it is there.
    """
    title = 'Risk and coverage of the pixels'
    by_task: dict[str | None, dict[str, np.ndarray]] = {}
    for name, parts in _pixel_histograms(archive).items():
        if parts.any():
            by_task.setdefault(split_measure(name)[1], {})[name] = parts
    if not by_task:
        return empty_chart(title, 'It needs pixels with labels and with uncertainty.')
    return ''.join(
        _risk_chart(title if task is None else f'{title}: {task}', found, metrics)
        for task, found in by_task.items()
    )


def _risk_chart(title: str, found: dict[str, np.ndarray], metrics: dict[str, float]) -> str:
    series, areas = [], []
    for measure, (right, wrong) in found.items():
        counts = right + wrong
        curve = risk_coverage_curve(counts, wrong)
        # Inside the first bin the order is not known, so the risk is the same from 0 on.
        coverage = np.concatenate([[0.0], curve.coverage])
        risk = np.concatenate([curve.risk[:1], curve.risk])
        series.append(Series(_words(measure), coverage, risk))
        oracle = [right.sum(), wrong.sum()], [0.0, wrong.sum()]
        area = metrics.get(f'seg/AURC.{measure}', area_under_risk_coverage(counts, wrong))
        excess = metrics.get(
            f'seg/E-AURC.{measure}', excess_area_under_risk_coverage(counts, wrong, *oracle)
        )
        areas.append(f'{_words(measure)} {number(area, 4)} ({number(excess, 4)})')
    right, wrong = (float(part.sum()) for part in next(iter(found.values())))
    rate = wrong / (right + wrong)
    # The best order keeps the right pixels first; behind them the risk rises along a bent line.
    best = np.concatenate([[0.0], np.linspace(1 - rate, 1, 41)])
    best_risk = np.divide(best - (1 - rate), best, out=np.zeros_like(best), where=best > 0)
    series = series[:6]
    series.append(Series('best order', best, np.maximum(best_risk, 0)))
    series.append(Series('random order', [0, 1], [rate, rate]))
    top = max(float(np.max(entry.y)) for entry in series)
    return chart(
        series,
        title=title,
        x_label='share of the pixels that are kept, the most certain first',
        y_label='share of wrong pixels among them',
        x_range=(0, 1),
        y_range=(0, 1.05 * top or 1.0),
        note=f'AURC (E-AURC): {"; ".join(areas)}. A random order has {number(rate, 4)}.',
    )


def _auroc_words(area: float) -> str:
    if math.isnan(area):
        return 'All are right or all wrong, so it cannot be told whether uncertainty finds errors.'
    return f'Uncertainty tells wrong from right with AUROC {area:.3f} (0.5 is chance).'


def _pixel_histograms(archive: CaseArchive) -> dict[str, np.ndarray]:
    """Give (right, wrong) pixels ``(2, bins)`` of each measure, the preferred measure first."""
    found = {
        name.removeprefix('uncertainty/'): histograms.sum(0).astype(float)
        for name, histograms in archive.tables.items()
        if name.startswith('uncertainty/')
    }
    first = primary_measure(list(found))
    return dict(sorted(found.items(), key=lambda entry: entry[0] != first))


def _histogram_chart(
    title: str,
    right: np.ndarray,
    wrong: np.ndarray,
    upper: float,
    measure: str,
    note: str,
    *,
    y_log: bool = False,
) -> str:
    edges = np.linspace(0, upper, len(right) + 1)
    shares = [counts / counts.sum() if counts.sum() else None for counts in (right, wrong)]
    series = [
        Series(name, edges, share, steps=True)
        for name, share in zip(('right', 'wrong'), shares, strict=True)
        if share is not None
    ]
    top = max((float(entry.y.max()) for entry in series), default=1.0)
    unit = measure_unit(measure)
    return chart(
        series,
        title=title[:1].upper() + title[1:],
        x_label=f'uncertainty, {unit}' if unit else 'uncertainty',
        y_label='share of the right / the wrong',
        x_range=(0, upper),
        # Most pixels are certain: only a logarithmic axis shows the others beside them.
        y_range=(1e-4, 1.0) if y_log else (0, 1.05 * top),
        y_log=y_log,
        note=note,
    )


def training_charts(train_log: Path | None) -> str:
    """Draw losses and validation scores; a log that cannot be read is named, not fatal."""
    if train_log is None:
        return ''
    try:
        curves = read_train_log(train_log)
    except UserError as error:
        return empty_chart('Training', f'The training log could not be read: {error}')
    losses = {name: curve for name, curve in curves.items() if 'loss' in name}
    chosen = sorted(losses, key=lambda name: (name != 'loss',))[:6]
    charts = [_curves_chart('Training losses', {name: losses[name] for name in chosen}, 'loss')]
    scores = {name: curve for name, curve in curves.items() if _score_rank(name) is not None}
    chosen = sorted(scores, key=lambda name: (_score_rank(name), name))[:6]
    chosen = [name for name in chosen if scores[name].unit == scores[chosen[0]].unit]
    charts.append(_curves_chart('Validation', {name: scores[name] for name in chosen}, 'score'))
    return ''.join(charts)


def _score_rank(name: str) -> int | None:
    short = name.rpartition('/')[2]
    return next((i for i, start in enumerate(_VALIDATION_ORDER) if short.startswith(start)), None)


def _curves_chart(title: str, curves: dict[str, Curve], y_label: str) -> str:
    if not curves:
        return empty_chart(title, 'The log holds no such numbers.')
    series = []
    for name, curve in curves.items():
        steps, values = _thin(np.array(curve.steps), np.array(curve.values))
        few = len(steps) <= 30
        series.append(Series(name, steps, values, marks=[2.5] * len(steps) if few else None))
    unit = next(iter(curves.values())).unit
    return chart(series, title=title, x_label=unit, y_label=y_label)


def _thin(
    steps: np.ndarray, values: np.ndarray, points: int = 200
) -> tuple[np.ndarray, np.ndarray]:
    """Average a long curve in blocks, so that the page stays small."""
    if len(steps) <= points:
        return steps, values
    blocks = np.array_split(np.arange(len(steps)), points)
    return (
        np.array([steps[block].mean() for block in blocks]),
        np.array([values[block].mean() for block in blocks]),
    )


def _words(measure: str) -> str:
    return measure.replace('_', ' ')
