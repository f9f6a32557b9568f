"""The gallery of the report: pictures and evidence of single cases, the most uncertain first."""

import base64
import html
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmjoint.functional.explanation_scale import EXPLANATION_PERCENTILE, EXPLANATIONS
from mmjoint.functional.multilabel import Channels
from mmjoint.functional.uncertainty_scale import split_measure
from mmjoint.utils.case_archive import CaseArchive

from .drawing import (
    EXPLANATION_COLOURS,
    HEAT_COLOURS,
    class_palette,
    decode_image,
    draw_contours,
    encode_image,
    heat_map,
    overlay_heat,
    overlay_labels,
    resize_to_fit,
)
from .report_statistics import (
    case_errors,
    class_uncertainty,
    domains,
    is_wrong,
    mask_uncertainty,
    mean_dice,
    names_up_to,
    review_priority,
)
from .task_panels import (
    outline_channels,
    overlay_channels,
    overlay_tasks,
    task_colours,
)

_SORTS = (
    ('priority', 'review order (most uncertain of class and mask)'),
    ('cls', 'uncertainty of the class'),
    ('mask', 'uncertainty of the mask'),
    ('dice', 'lowest Dice'),
    ('error', 'largest error (wrong class, then low Dice)'),
)
_CONTOUR = (255, 255, 255)
_HEAT_CONTOUR = (120, 255, 255)


def choose_cases(priority: np.ndarray, errors: np.ndarray, number: int) -> list[int]:
    """Choose the cases to show: the most uncertain, and the worst that these leave out.

    Args:
        priority: ``(N,)`` review priority.
        errors: ``(N,)`` errors, 0 for a perfect case.
        number: At most so many; a third of the places is for errors.

    Returns:
        Indices of the cases, the highest priority first.
    """
    by_priority = [int(i) for i in np.argsort(-priority, kind='stable')]
    if len(by_priority) <= number:
        return by_priority
    chosen = by_priority[: number - number // 3]
    for index in np.argsort(-errors, kind='stable'):
        if len(chosen) == number:
            break
        if int(index) not in chosen:
            chosen.append(int(index))
    return [index for index in by_priority if index in set(chosen)]


def gallery_cases(archive: CaseArchive, max_cases: int) -> list[int]:
    """Give the indices of the cases to show, the most uncertain first; see ``choose_cases``."""
    return choose_cases(review_priority(archive), case_errors(archive), max_cases)


def gallery(archive: CaseArchive, chosen: Sequence[int]) -> str:
    """Give the section's content: a legend, a choice of order, one article per case.

    Args:
        archive: The case records.
        chosen: Indices of the cases to show; their articles are called ``case-<index>``.

    Returns:
        HTML. Without scripts the cases stand in the order of review.
    """
    if not archive.cases:
        return '<p class="missing">There are no cases.</p>'
    priority, errors = review_priority(archive), case_errors(archive)
    options = ''.join(f'<option value="{key}">{label}</option>' for key, label in _SORTS)
    articles = ''.join(
        _article(archive, index, place + 1, float(priority[index]), float(errors[index]))
        for place, index in enumerate(chosen)
    )
    return (
        f'{_introduction(archive, len(chosen))}{_legend(archive)}'
        '<p class="sorting" hidden><label for="order">Order by </label>'
        f'<select id="order">{options}</select>{_domain_choice(archive, chosen)}</p>'
        f'<div id="cases">{articles}</div>'
    )


def _domain_choice(archive: CaseArchive, chosen: Sequence[int]) -> str:
    """Give the choice of one of several domains, empty where there is one."""
    names = domains(archive)
    if len(names) < 2:
        return ''
    shown = [archive.cases[index].get('domain') for index in chosen]
    options = ''.join(
        f'<option value="{html.escape(name)}">{html.escape(name)} ({shown.count(name)})</option>'
        for name in names
    )
    return (
        ' <label for="domain">Domain </label><select id="domain">'
        f'<option value="">all ({len(chosen)})</option>{options}</select>'
    )


def _introduction(archive: CaseArchive, shown: int) -> str:
    total = len(archive.cases)
    which = (
        f'All {total} cases'
        if shown == total
        else f'{shown} of {total} cases: the most uncertain ones and, in a third of the places, '
        'the ones with the largest errors that are not among them'
    )
    return (
        f'<p>{which}. A case stands the higher, the more uncertain the model is about its class '
        'or about its mask, compared with the other cases.</p>'
    )


def _legend(archive: CaseArchive) -> str:
    info = archive.info
    names = names_up_to(info['classes'], info['num_classes'])
    palette = class_palette(info['num_classes'], info['palette'])
    coloured = list(zip(names, palette, strict=True))[1:]
    if info.get('tasks'):
        colours = task_colours(info['tasks'])
        coloured = [entry for channels in colours.values() for entry in channels.items()]
    entries = [
        f'<li><span class="swatch" style="background:rgb{colour}"></span>{html.escape(name)}</li>'
        for name, colour in coloured
    ]
    kinds = {kind.partition('/')[0] for own in archive.pictures.values() for kind in own}
    has_masks = 'pred' in kinds
    measure = info['picture_measure']
    parts = entries if has_masks else []
    if has_masks:
        parts.append(
            '<li><span class="swatch outline"></span>line in the prediction: ground truth</li>'
        )
    if measure is not None:
        bound = info['uncertainty_bounds'][measure]
        measure = split_measure(measure)[0]
        parts.append(
            f'<li>{html.escape(_words(measure))}: 0 {_ramp(HEAT_COLOURS)} {bound:.3g}</li>'
        )
        if has_masks:
            parts.append(
                f'<li><span class="swatch outline" style="border-color:rgb{_HEAT_CONTOUR}"></span>'
                f'line in the {html.escape(_words(measure))} map: prediction</li>'
            )
    explained = explained_by(archive)
    if explained:
        parts.append(
            f'<li>{html.escape(" and ".join(map(_words, explained)))} of the predicted class, over '
            f'the image: 0 {_ramp(EXPLANATION_COLOURS)} the {EXPLANATION_PERCENTILE}th percentile '
            'of each map</li>'
        )
    return f'<ul class="legend">{"".join(parts)}</ul>' if parts else ''


def explained_by(archive: CaseArchive) -> list[str]:
    """Give the names of the maps that explain the class of any case."""
    kinds = {kind for pictures in archive.pictures.values() for kind in pictures}
    return [name for name in EXPLANATIONS if name in kinds]


def _ramp(colours: str) -> str:
    stops = heat_map(np.linspace(0, 1, 9)[None], colours=colours)[0]
    ramp = ', '.join(f'rgb({r} {g} {b})' for r, g, b in stops)
    return f'<span class="ramp" style="background:linear-gradient(to right, {ramp})"></span>'


def _article(archive: CaseArchive, index: int, place: int, priority: float, error: float) -> str:
    case = archive.cases[index]
    dice = mean_dice(case)
    of_class, of_mask = class_uncertainty(case), mask_uncertainty(case)
    order = {
        'priority': priority,
        'cls': -1 if of_class is None else of_class[1],
        'mask': -1 if of_mask is None else of_mask[1],
        'dice': -1 if math.isnan(dice) else 1 - dice,
        'error': error,
    }
    data = ''.join(f' data-{key}="{value:.6g}"' for key, value in order.items())
    domain = case.get('domain')
    if domain is not None:
        data += f' data-domain="{html.escape(domain)}"'
    title = case_name(case, index)
    patient = case['patient_id']
    who = (
        f' <span class="patient">patient {html.escape(patient)}</span>'
        if patient is not None and patient != title
        else ''
    )
    where = '' if domain is None else f' <span class="patient">{html.escape(domain)}</span>'
    return (
        f'<article class="case" id="case-{index}"{data}><h3><span class="place">{place}</span> '
        f'{html.escape(title)}{who}{where} {_badges(case)}</h3>'
        f'{_pictures(archive, index, title)}'
        f'<div class="facts">{_class_facts(archive, case)}{_mask_facts(case)}</div></article>'
    )


def case_name(case: dict[str, Any], index: int) -> str:
    """Give the name of a case: its file's, else its number."""
    return Path(case['img_path']).stem or f'case {index}'


def _badges(case: dict[str, Any]) -> str:
    badges = []
    if is_wrong(case):
        badges.append('<span class="badge bad">wrong class</span>')
    if case.get('has_foreground') is False:
        badges.append('<span class="badge">nothing segmented</span>')
    if case['gt_label'] is None and case['dice'] is None:
        badges.append('<span class="badge">unlabelled</span>')
    return ' '.join(badges)


def _pictures(archive: CaseArchive, index: int, title: str) -> str:
    pictures = {kind: decode_image(data) for kind, data in archive.pictures.get(index, {}).items()}
    if not pictures:
        return '<p class="missing">No pictures were kept for this case.</p>'
    info = archive.info
    palette = class_palette(info['num_classes'], info['palette'])
    shape = next(
        (pictures[kind].shape[:2] for kind in pictures if kind != 'image'),
        None,
    )
    image = pictures.get('image')
    if image is None:
        image = np.zeros((*shape, 3), np.uint8)
    if image.ndim == 2:
        image = np.repeat(image[:, :, None], 3, axis=2)
    if shape is not None and image.shape[:2] != shape:
        image = resize_to_fit(image, max(shape))[: shape[0], : shape[1]]
        missing = [(0, shape[axis] - image.shape[axis]) for axis in (0, 1)]
        image = np.pad(image, (*missing, (0, 0)))
    drawn = [('image', image)]
    ignore = info['ignore_index']
    if info.get('tasks'):
        rows = _rows_of_tasks(pictures, image, info)
        return ''.join(_figures(row, title, 'pictures many') for row in rows)
    if 'gt' in pictures:
        drawn.append(
            ('ground truth', overlay_labels(image, pictures['gt'], palette, ignore_index=ignore))
        )
    if 'pred' in pictures:
        overlay = overlay_labels(image, pictures['pred'], palette, ignore_index=ignore)
        if 'gt' in pictures:
            white = [_CONTOUR] * len(palette)
            overlay = draw_contours(overlay, pictures['gt'], white, ignore_index=ignore)
        drawn.append(('prediction', overlay))
    if 'uncertainty' in pictures:
        heat = heat_map(pictures['uncertainty'] / 255)
        if 'pred' in pictures:
            heat = draw_contours(heat, pictures['pred'], [_HEAT_CONTOUR] * len(palette))
        drawn.append((_words(info['picture_measure'] or 'uncertainty'), heat))
    for name in EXPLANATIONS:
        if name in pictures:
            drawn.append((_words(name), overlay_heat(image, pictures[name] / 255, 1.0)))
    # Two rows of three are easier to look at than a row of four with a rest below it.
    return _figures(drawn, title, 'pictures many' if len(drawn) > 4 else 'pictures')


def _figures(drawn: Sequence[tuple[str, np.ndarray]], title: str, kind: str) -> str:
    figures = ''.join(
        f'<figure><img src="{_data_url(picture)}" width="{picture.shape[1]}" '
        f'height="{picture.shape[0]}" alt="{html.escape(f"{name} of {title}")}">'
        f'<figcaption>{html.escape(name)}</figcaption></figure>'
        for name, picture in drawn
    )
    return f'<div class="{kind}">{figures}</div>'


def _rows_of_tasks(
    pictures: dict[str, np.ndarray], image: np.ndarray, info: dict[str, Any]
) -> list[list[tuple[str, np.ndarray]]]:
    """Give a row with the image and all tasks over it, then a row for each task."""
    tasks = info['tasks']
    first = [('image', image)]
    for kind, name in (('gt', 'ground truth'), ('pred', 'prediction')):
        maps = {task: pictures[f'{kind}/{task}'] for task in tasks if f'{kind}/{task}' in pictures}
        if len(maps) > 1:
            ignore = info['ignore_index']
            maps = {task: np.where(each == ignore, 0, each) for task, each in maps.items()}
            first.append((f'{name}, all tasks', overlay_tasks(image, maps, tasks)))
    rows = [_task_pictures(pictures, image, info, *entry) for entry in tasks.items()]
    return [first, *(row for row in rows if row)]


def _task_pictures(
    pictures: dict[str, np.ndarray],
    image: np.ndarray,
    info: dict[str, Any],
    task: str,
    channels: Channels,
) -> list[tuple[str, np.ndarray]]:
    """Give the pictures of one of several tasks with their captions."""
    gt, pred, heat = (pictures.get(f'{kind}/{task}') for kind in ('gt', 'pred', 'uncertainty'))
    colours = task_colours(info['tasks'])[task]
    drawn = []
    if gt is not None:
        drawn.append((f'{task}: ground truth', overlay_channels(image, gt, channels, colours)))
    if pred is not None:
        overlay = overlay_channels(image, pred, channels, colours)
        if gt is not None:
            overlay = outline_channels(overlay, gt, channels)
        drawn.append((f'{task}: prediction', overlay))
    if heat is not None:
        measure = split_measure(info['picture_measure'] or 'uncertainty')[0]
        coloured = heat_map(heat / 255)
        if pred is not None:
            mask = (pred != 0).astype(np.uint8)
            coloured = draw_contours(coloured, mask, [_HEAT_CONTOUR] * 2)
        drawn.append((f'{task}: {_words(measure)}', coloured))
    return drawn


def _data_url(picture: np.ndarray) -> str:
    data = base64.b64encode(encode_image(picture, '.jpg', quality=85)).decode('ascii')
    return f'data:image/jpeg;base64,{data}'


def _class_facts(archive: CaseArchive, case: dict[str, Any]) -> str:
    """Give truth, prediction and one bar per class of belief (evidential) or probability."""
    count = len(case['pred_score'] or ()) or max(
        [label + 1 for label in (case['gt_label'], case['pred_label']) if label is not None],
        default=0,
    )
    if count == 0:
        return ''
    names = names_up_to(archive.info['cls_classes'], count)
    lines = []
    if case['gt_label'] is not None:
        lines.append(f'<p>truth <b>{html.escape(names[case["gt_label"]])}</b></p>')
    if case['pred_label'] is not None:
        words = f'predicted <b>{html.escape(names[case["pred_label"]])}</b>'
        score = (case['pred_score'] or [None] * count)[case['pred_label']]
        if score is not None:
            words += f', probability {score:.2f}'
        lines.append(f'<p>{words}</p>')
    found = class_uncertainty(case)
    if found is not None:
        lines.append(f'<p>{html.escape(_words(found[0]))} of the class {found[1]:.3f}</p>')
    return ''.join(lines) + _bars(case, names)


def _bars(case: dict[str, Any], names: list[str]) -> str:
    alpha, score = case['cls_alpha'], case['pred_score']
    if alpha is not None and None not in alpha:
        strength = sum(alpha)
        rows = [
            (name, (value - 1) / strength, f'evidence {value - 1:.3g}', f'b{index % 6}')
            for index, (name, value) in enumerate(zip(names, alpha, strict=True))
        ]
        rows.append(('no evidence (vacuity)', len(alpha) / strength, '', 'unknown'))
        caption = 'share of belief'
    elif score is not None and None not in score:
        rows = [
            (name, value, '', f'b{index % 6}')
            for index, (name, value) in enumerate(zip(names, score, strict=True))
        ]
        caption = 'probability'
    else:
        return ''
    cells = ''.join(
        f'<tr><th scope="row">{html.escape(name)}</th>'
        f'<td class="track"><span class="bar {kind}" '
        f'style="width:{100 * min(max(share, 0), 1):.1f}%"></span></td>'
        f'<td>{share:.2f}</td><td>{extra}</td></tr>'
        for name, share, extra, kind in rows
    )
    return f'<table class="bars"><caption>{caption}</caption>{cells}</table>'


def _mask_facts(case: dict[str, Any]) -> str:
    parts = []
    for name, value in (case['dice'] or {}).items():
        shown = 'absent in both' if value is None else f'{value:.3f}'
        distance = (case['assd'] or {}).get(name)
        beside = '' if distance is None else f', ASSD {distance:.1f} px'
        parts.append(f'<p>Dice {html.escape(name)} <b>{shown}</b>{beside}</p>')
    found = mask_uncertainty(case)
    if found is not None:
        where = 'foreground' if case.get('has_foreground') else 'image'
        parts.append(f'<p>mean {html.escape(_words(found[0]))} of the {where} {found[1]:.3f}</p>')
    return f'<div class="mask-facts">{"".join(parts)}</div>' if parts else ''


def _words(measure: str) -> str:
    return measure.replace('_', ' ')
