"""The report of a test run: one self-contained HTML file."""

import base64
import csv
import html
import io
import math
import os
from pathlib import Path

import numpy as np

from mmjoint.utils.case_archive import CaseArchive, read_case_archive
from mmjoint.utils.io import atomic_write_text

from .report_gallery import case_name, gallery, gallery_cases
from .report_orders import FAILURE_DICE
from .report_page import page
from .report_referral import referral_advice, referral_section
from .report_sections import (
    agrees,
    class_section,
    domain_section,
    number,
    pixel_risk_charts,
    region_section,
    reliability_charts,
    roc_chart,
    table,
    training_charts,
    uncertainty_charts,
)
from .report_statistics import (
    NUM_RESAMPLES,
    Estimate,
    class_estimates,
    class_task,
    class_uncertainty,
    domains,
    is_wrong,
    mask_uncertainty,
    per_class_estimates,
    region_estimates,
    review_priority,
)

_MAX_TABLE_ROWS = 1000


def write_report(
    path: str | os.PathLike[str],
    records_dir: str | os.PathLike[str],
    metrics: dict[str, float],
    *,
    title: str,
    train_log: str | os.PathLike[str] | None = None,
    info: dict[str, str] | None = None,
    max_cases: int = 60,
    failure_dice: float = FAILURE_DICE,
    seed: int = 0,
) -> Path:
    """Write the report of a test run.

    What cannot be worked out (no labels, one class only, no uncertainty) is said in its place. The
    same records give the same file.

    Args:
        path: The HTML file, written whole or not at all.
        records_dir: Folder that the ``CaseRecords`` metric wrote.
        metrics: What the test run measured, by key (``seg/Dice.cup``).
        title: Heading of the page.
        train_log: mmengine's ``scalars.json``, or a work directory; draws the training curves.
        info: Lines of the header: checkpoint, config, data, date, ...
        max_cases: Cases in the gallery.
        failure_dice: A case with a smaller mean Dice counts as failed.
        seed: Of the confidence intervals.

    Returns:
        ``path``.

    Raises:
        UserError: If the records are missing or damaged.
    """
    archive = read_case_archive(records_dir)
    metrics = {str(key): float(value) for key, value in metrics.items()}
    task = class_task(archive)
    overall = [] if task is None else class_estimates(task, seed)
    per_class = {} if task is None else per_class_estimates(task, seed)
    regions = region_estimates(archive, seed)
    curves = ''.join([roc_chart(task), reliability_charts(archive, task, overall)])
    doubt = ''.join([uncertainty_charts(archive), pixel_risk_charts(archive, metrics)])
    shown = gallery_cases(archive, max_cases)
    referral = referral_section(archive, metrics, failure_dice, shown)
    training = training_charts(None if train_log is None else Path(train_log))
    sections = [
        ('summary', 'Summary', _summary(archive, overall, regions, metrics, failure_dice)),
        ('domains', 'Domains', domain_section(archive, seed)),
        ('classes', 'Image class', class_section(task, overall, per_class, metrics)),
        ('masks', 'Masks', region_section(regions, archive, metrics)),
        ('curves', 'Can the probabilities be trusted?', f'<div class="charts">{curves}</div>'),
        ('uncertainty', 'Does uncertainty find errors?', f'<div class="charts">{doubt}</div>'),
        ('referral', 'Which cases should a human see?', referral),
        ('gallery', 'Cases, the most uncertain first', gallery(archive, shown)),
        ('table', 'All cases', _case_table(archive)),
        ('training', 'Training', f'<div class="charts">{training}</div>' if training else ''),
        ('numbers', 'All numbers of the test run', _all_numbers(metrics)),
    ]
    footer = (
        '<p>Intervals: 95 %, percentile bootstrap over patients (over images where no patient is '
        f'known), {NUM_RESAMPLES} draws, seed {seed}. A research tool; not for clinical '
        'decisions.</p>'
    )
    atomic_write_text(path, page(title, _header(archive, info or {}), sections, footer))
    return Path(path)


def _header(archive: CaseArchive, info: dict[str, str]) -> str:
    patients = {c['patient_id'] for c in archive.cases if c['patient_id'] is not None}
    lines = {str(key): str(value) for key, value in info.items()}
    lines['cases'] = f'{len(archive.cases)}' + (
        f' of {len(patients)} patients' if patients and len(patients) < len(archive.cases) else ''
    )
    rows = ''.join(
        f'<dt>{html.escape(key)}</dt><dd>{html.escape(value)}</dd>' for key, value in lines.items()
    )
    return f'<dl class="info">{rows}</dl>'


def _summary(
    archive: CaseArchive,
    overall: list[Estimate],
    regions: dict[str, list[Estimate]],
    metrics: dict[str, float],
    failure_dice: float,
) -> str:
    tiles = [
        (f'Dice {name}', entry)
        for name, entries in reversed(list(regions.items()))
        for entry in entries
        if entry.name == 'Dice'
    ][:3]
    wanted = ('AUC', 'sensitivity', 'specificity')
    by_name = {entry.name: entry for entry in overall}
    tiles += [(name, by_name[name]) for name in wanted if name in by_name]
    items = ''.join(
        f'<li><div class="name">{html.escape(name)}</div>{_tile(entry, metrics)}</li>'
        for name, entry in tiles
    )
    return (
        (f'<ul class="tiles">{items}</ul>' if items else '')
        + referral_advice(archive, failure_dice)
        + '<p class="note">Small print beside a number is its 95 % confidence interval.</p>'
    )


def _tile(entry: Estimate, metrics: dict[str, float]) -> str:
    if not agrees(entry, metrics):
        return f'<div class="value">{number(metrics[entry.key])}</div>'
    interval = ''
    if math.isfinite(entry.low):
        bounds = f'{number(entry.low)} to {number(entry.high)}'
        interval = f'<div class="interval">{bounds}</div>'
    return f'<div class="value">{number(entry.value)}</div>{interval}'


def _case_rows(archive: CaseArchive) -> tuple[list[str], list[list[str]]]:
    names = archive.info['cls_classes']

    def class_name(label: int | None) -> str:
        if label is None:
            return ''
        return names[label] if label < len(names) else f'class {label}'

    regions = list(dict.fromkeys(name for c in archive.cases for name in c['dice'] or {}))
    of_several = len(domains(archive)) > 1
    header = ['case', *(['domain'] if of_several else []), 'patient']
    header += ['truth', 'predicted', 'probability', 'class uncertainty']
    header += ['mask uncertainty', *(f'Dice {name}' for name in regions), 'wrong class']
    rows = []
    for index in np.argsort(-review_priority(archive), kind='stable'):
        case = archive.cases[index]
        score = (case['pred_score'] or [None] * ((case['pred_label'] or 0) + 1))[
            case['pred_label'] or 0
        ]
        numbers = [score]
        numbers += [None if v is None else v[1] for v in (class_uncertainty(case),)]
        numbers += [None if v is None else v[1] for v in (mask_uncertainty(case),)]
        numbers += [(case['dice'] or {}).get(name) for name in regions]
        rows.append(
            [
                case_name(case, int(index)),
                *([case.get('domain') or ''] if of_several else []),
                case['patient_id'] or '',
                class_name(case['gt_label']),
                class_name(case['pred_label']),
                *('' if value is None else f'{value:.3f}' for value in numbers),
                'wrong' if is_wrong(case) else '',
            ]
        )
    return header, rows


def _case_table(archive: CaseArchive) -> str:
    """Give a folded table of the cases in the order of review, and the same as a CSV file."""
    if not archive.cases:
        return ''
    header, rows = _case_rows(archive)
    text = io.StringIO()
    csv.writer(text, lineterminator='\n').writerows([header, *rows])
    data = base64.b64encode(text.getvalue().encode('utf-8')).decode('ascii')
    shown = [[html.escape(cell) for cell in row] for row in rows[:_MAX_TABLE_ROWS]]
    caption = f'{len(shown)} of {len(rows)} cases, the most uncertain first'
    return (
        f'<p><a download="cases.csv" href="data:text/csv;base64,{data}">Table as CSV file</a></p>'
        f'<details><summary>Show the table</summary>{table(header, shown, caption)}</details>'
    )


def _all_numbers(metrics: dict[str, float]) -> str:
    if not metrics:
        return ''
    rows = [[html.escape(key), number(value, 5)] for key, value in sorted(metrics.items())]
    return (
        '<details><summary>Show the numbers</summary>'
        f'{table(["key", "value"], rows, "As printed by the test run")}</details>'
    )
