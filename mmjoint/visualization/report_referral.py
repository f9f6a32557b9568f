"""The cases to send to a human: a list at a chosen coverage, and what choosing brings."""

import html
import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from mmjoint.utils.case_archive import CaseArchive

from .report_charts import LEFT, RIGHT, WIDTH, Series, chart, empty_chart, line_path
from .report_gallery import case_name
from .report_orders import (
    AGGREGATION_WORDS,
    CaseOrder,
    CaseRisk,
    Referral,
    case_orders,
    case_risk,
    refer,
)
from .report_sections import estimate_cell, number, table
from .report_statistics import Estimate, mean_dice

COVERAGE = 80  # percent, shown before the reader chooses, and without scripts
_MAX_ROWS = 1000
_MAX_POINTS = 200


def referral_section(
    archive: CaseArchive,
    metrics: dict[str, float],
    failure_dice: float,
    linked: Sequence[int] = (),
) -> str:
    """Give the section's content.

    Args:
        archive: The case records.
        metrics: What the test run measured, by key (``seg/case_AURC.vacuity.mean``).
        failure_dice: A case with a smaller mean Dice has failed.
        linked: Cases with an article ``case-<index>`` in the gallery.

    Returns:
        HTML. Without scripts it shows the first order at a coverage of 80 %; scripts let the
        reader choose both.
    """
    orders = case_orders(archive, failure_dice)
    if not orders:
        return '<p class="missing">No uncertainty of cases was recorded.</p>'
    risks = [case_risk(order) for order in orders]
    kinds = {order.kind: _Kind(archive, order.kind, failure_dice) for order in orders}
    ranges = {kind: _risk_range(orders, risks, kind) for kind in kinds}
    first, referral = orders[0], refer(orders[0], COVERAGE)
    charts = ''.join(
        _risk_chart(order, risk, ranges[order.kind], kinds[order.kind])
        for order, risk in _first_of_each(orders, risks)
    )
    data = _data(archive, orders, risks, ranges, kinds, linked)
    return (
        '<p>The model keeps the cases that it is most certain about and sends the rest to a '
        'human. The share that it keeps is the coverage. A case whose score is not defined '
        '(nothing was segmented) counts as the most uncertain.</p>'
        f'{_controls(orders)}{_tiles(first, referral, kinds[first.kind])}'
        f'<div class="charts">{_list(archive, first, referral, kinds[first.kind], linked)}'
        f'{charts}</div>{_comparison(orders, risks, metrics, failure_dice)}'
        f'<script type="application/json" id="referral-data">{data}</script>'
    )


def referral_advice(archive: CaseArchive, failure_dice: float) -> str:
    """Say in words what sending the most uncertain tenth of the cases would bring."""
    lines = []
    orders = case_orders(archive, failure_dice)
    for order, risk in _first_of_each(orders, [case_risk(order) for order in orders]):
        referral = refer(order, 90)
        if risk is None or len(order.members) < 10 or math.isnan(referral.risk_kept):
            continue
        what = 'mean Dice' if order.kind == 'mask' else 'accuracy'
        lines.append(
            f'<li>{what} of the other 90 %: <b>{number(1 - referral.risk_kept)}</b>, over all '
            f'cases {number(1 - referral.risk_all)} (ordered by uncertainty of the {order.kind}: '
            f'{html.escape(order.name)})</li>'
        )
    if not lines:
        return ''
    return (
        f'<p>If the most uncertain tenth of the cases goes to a human:</p><ul>{"".join(lines)}</ul>'
    )


class _Kind:
    """Words and values of the orders by uncertainty of the mask, or of the class."""

    def __init__(self, archive: CaseArchive, kind: str, failure_dice: float) -> None:
        self.kind = kind
        self.chart = f'risk-{kind}'
        self.failure_dice = failure_dice
        names = archive.info['cls_classes']
        if kind == 'mask':
            self.column, self.risk = 'mean Dice', '1 - mean Dice'
            self.failed = f'mean Dice below {failure_dice:g}'
            self.quality = [self._dice_words(mean_dice(case)) for case in archive.cases]
        else:
            self.column, self.risk = 'image class', 'share of wrong classes'
            self.failed = 'wrong class'
            self.quality = [self._class_words(case, names) for case in archive.cases]

    def _dice_words(self, dice: float) -> str:
        if math.isnan(dice):
            return ''
        return f'{dice:.3f}{" (failed)" if dice < self.failure_dice else ""}'

    @staticmethod
    def _class_words(case: dict[str, Any], names: list[str]) -> str:
        def name(label: int) -> str:
            return names[label] if label < len(names) else f'class {label}'

        if case['pred_label'] is None:
            return ''
        words = name(case['pred_label'])
        if case['gt_label'] is None or case['gt_label'] == case['pred_label']:
            return words
        return f'{words} (wrong: {name(case["gt_label"])})'


def _first_of_each(
    orders: list[CaseOrder], risks: list[CaseRisk | None]
) -> list[tuple[CaseOrder, CaseRisk | None]]:
    found: dict[str, tuple[CaseOrder, CaseRisk | None]] = {}
    for order, risk in zip(orders, risks, strict=True):
        found.setdefault(order.kind, (order, risk))
    return list(found.values())


def _controls(orders: list[CaseOrder]) -> str:
    groups = []
    for kind, words in (('mask', 'Uncertainty of the mask'), ('class', 'Uncertainty of the class')):
        options = ''.join(
            f'<option value="{index}">{html.escape(order.name)}</option>'
            for index, order in enumerate(orders)
            if order.kind == kind
        )
        groups.append(f'<optgroup label="{words}">{options}</optgroup>' if options else '')
    return (
        '<div class="controls" id="referral-controls" hidden>'
        '<p><label for="referral-order">Order by </label>'
        f'<select id="referral-order">{"".join(groups)}</select></p>'
        '<p><label for="referral-coverage">Coverage: the model keeps </label>'
        '<input type="range" id="referral-coverage" min="0" max="100" step="1" '
        f'value="{COVERAGE}"> <output id="referral-percent" for="referral-coverage">{COVERAGE} %'
        '</output></p></div>'
    )


def _tiles(order: CaseOrder, referral: Referral, kind: _Kind) -> str:
    total, sent = len(order.members), len(referral.sent)
    tiles = [
        ('kept', 'The model keeps', f'{total - sent}', f'of {total} cases'),
        ('sent', 'To a human', f'{sent}', f'of {total} cases'),
        (
            'risk',
            'Risk of what it keeps',
            number(referral.risk_kept),
            f'{kind.risk}; of all cases {number(referral.risk_all)}',
        ),
        (
            'caught',
            'Failed cases sent to the human',
            f'{referral.num_caught} of {referral.num_failed}',
            kind.failed,
        ),
    ]
    items = ''.join(
        f'<li><div class="name">{name}</div><div class="value" id="referral-{key}">{value}</div>'
        f'<div class="note" id="referral-{key}-note">{html.escape(note)}</div></li>'
        for key, name, value, note in tiles
    )
    return f'<ul class="tiles" aria-live="polite">{items}</ul>'


def _list(
    archive: CaseArchive,
    order: CaseOrder,
    referral: Referral,
    kind: _Kind,
    linked: Sequence[int],
) -> str:
    rows = []
    for place in referral.sent[:_MAX_ROWS]:
        index = int(order.members[place])
        name = html.escape(case_name(archive.cases[index], index))
        if index in linked:
            name = f'<a href="#case-{index}">{name}</a>'
        patient = archive.cases[index]['patient_id']
        score = order.scores[place]
        rows.append(
            f'<tr><th scope="row">{name}</th><td>{html.escape(patient or "")}</td>'
            f'<td>{"not defined" if math.isnan(score) else f"{score:.4g}"}</td>'
            f'<td>{html.escape(kind.quality[index])}</td></tr>'
        )
    caption = (
        f'Cases to send to a human at a coverage of {COVERAGE} %, the most uncertain first; '
        f'score: {order.kind} {order.name}'
    )
    return (
        '<div><div class="list" role="region" tabindex="0" aria-label="Cases to send to a human">'
        f'<table><caption id="referral-caption">{html.escape(caption)}</caption><thead><tr>'
        '<th scope="col">case</th><th scope="col">patient</th><th scope="col">score</th>'
        f'<th scope="col" id="referral-column">{kind.column}</th></tr></thead>'
        f'<tbody id="referral-rows">{"".join(rows)}</tbody></table></div>'
        '<p hidden><a id="referral-csv" download="cases_to_refer.csv" href="#">This list as CSV '
        'file</a></p></div>'
    )


def _risk_range(
    orders: list[CaseOrder], risks: list[CaseRisk | None], kind: str
) -> tuple[float, float]:
    """Give one range for all orders of a kind, so that curves can be compared."""
    largest = [
        max(float(risk.risk.max()), risk.random)
        for order, risk in zip(orders, risks, strict=True)
        if order.kind == kind and risk is not None
    ]
    return 0.0, 1.05 * max(largest, default=0.0) or 1.0


def _thin(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Drop points of a long curve; its ends stay."""
    places = np.unique(np.rint(np.linspace(0, len(x) - 1, min(len(x), _MAX_POINTS))).astype(int))
    return x[places], y[places]


def _risk_chart(
    order: CaseOrder, risk: CaseRisk | None, y_range: tuple[float, float], kind: _Kind
) -> str:
    title = f'Risk and coverage of the cases: {order.kind}'
    if risk is None:
        return empty_chart(title, 'It needs cases with a reference.')
    return chart(
        [
            Series(order.name, *_thin(risk.coverage, risk.risk)),
            Series('best order', *_thin(risk.best_coverage, risk.best_risk)),
            Series('random order', [0, 1], [risk.random] * 2),
        ],
        title=title,
        x_label='share of the cases that the model keeps',
        y_label=f'risk of these: {kind.risk}',
        x_range=(0, 1),
        y_range=y_range,
        chosen=COVERAGE / 100,
        key=kind.chart,
        note=_risk_words(risk),
    )


def _risk_words(risk: CaseRisk) -> str:
    best, random = risk.area - risk.excess, risk.random
    words = (
        f'Area under the curve (AURC) {number(risk.area)}: the mean risk over all coverages. The '
        f'best order has {number(best)}, so {number(risk.excess)} is too much (E-AURC); a random '
        f'one has {number(random)}.'
    )
    if random > best + 1e-9:
        share = 100 * (random - risk.area) / (random - best)
        words += (
            f' Of what the best order saves, this one saves {share:.0f} %.'
            if share >= 0
            else ' This one is worse than random.'
        )
    return words


def _comparison(
    orders: list[CaseOrder],
    risks: list[CaseRisk | None],
    metrics: dict[str, float],
    failure_dice: float,
) -> str:
    """Give the table that tells which score finds poor masks."""
    rows = [
        (order, risk)
        for order, risk in zip(orders, risks, strict=True)
        if order.kind == 'mask' and risk is not None
    ]
    if not rows:
        return ''
    rows.sort(key=lambda row: (-np.nan_to_num(row[1].failure_auroc), row[1].area))
    cells, star = [], False
    for order, risk in rows:
        name = f'{order.measure}.{order.aggregation}'
        entries = [
            Estimate('', risk.failure_auroc, key=f'seg/failure_AUROC.{name}'),
            Estimate('', risk.area, key=f'seg/case_AURC.{name}'),
            Estimate('', risk.excess, key=f'seg/case_E-AURC.{name}'),
        ]
        values = [estimate_cell(entry, metrics) for entry in entries]
        star |= any(value.endswith('*</span>') for value in values)
        words = (order.measure.replace('_', ' '), AGGREGATION_WORDS[order.aggregation])
        cells.append([*map(html.escape, words), *values])
    failed = int(np.nansum(rows[0][0].failed))
    caption = (
        f'Which score finds poor masks: {failed} of {int((~np.isnan(rows[0][0].risk)).sum())} '
        f'cases failed (mean Dice below {failure_dice:g}). The best at telling them from the '
        'others stands first; chosen on these cases, it may do worse on new ones'
    )
    header = ['measure', 'reduced to one score by', 'AUROC of failure', 'AURC', 'E-AURC']
    note = (
        '<p class="note">* as the test run measured it, with other settings than the case records '
        'were made with.</p>'
    )
    return table(header, cells, caption) + (note if star else '')


def _data(
    archive: CaseArchive,
    orders: list[CaseOrder],
    risks: list[CaseRisk | None],
    ranges: dict[str, tuple[float, float]],
    kinds: dict[str, _Kind],
    linked: Sequence[int],
) -> str:
    """Give what the script needs, as JSON that no HTML parser can mistake for a tag."""

    def plain(values: np.ndarray) -> list[float | None]:
        return [None if math.isnan(value) else value for value in values.tolist()]

    entries = []
    for order, risk in zip(orders, risks, strict=True):
        everyone = len(order.members) == len(archive.cases)
        entry: dict[str, Any] = {
            'name': order.name,
            'kind': order.kind,
            'cases': None if everyone else order.members.tolist(),
            'scores': plain(order.scores),
        }
        if risk is not None:
            curve = _thin(risk.coverage, risk.risk)
            entry['path'] = line_path(*curve, (0.0, 1.0), ranges[order.kind])
            entry['note'] = _risk_words(risk)
        entries.append(entry)
    described = {}
    for name, kind in kinds.items():
        order = next(order for order in orders if order.kind == name)
        whole = np.full((2, len(archive.cases)), np.nan)
        for other in orders:
            if other.kind == name:
                whole[:, other.members] = other.risk, other.failed
        described[name] = {
            'chart': kind.chart,
            'column': kind.column,
            'riskWords': kind.risk,
            'failedWords': kind.failed,
            'quality': kind.quality,
            'risk': plain(whole[0]),
            'failed': plain(whole[1]),
        }
    data = {
        'names': [case_name(case, index) for index, case in enumerate(archive.cases)],
        'patients': [case['patient_id'] or '' for case in archive.cases],
        'linked': sorted(int(index) for index in linked),
        'orders': entries,
        'kinds': described,
        'left': LEFT,
        'width': WIDTH - LEFT - RIGHT,
        'maxRows': _MAX_ROWS,
    }
    return json.dumps(data, ensure_ascii=False, separators=(',', ':')).replace('<', '\\u003c')
