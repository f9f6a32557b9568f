"""Charts of the report as inline SVG, drawn with plain strings.

Colours come from the page's style sheet (classes ``s0``, ``s1``, ...), so that the charts follow
its light, dark and print forms. Series differ in dash pattern too, not in colour alone.
"""

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

WIDTH, HEIGHT = 420, 300
LEFT, RIGHT, TOP, BOTTOM = 58, 14, 12, 44
_DASHES = ('', '7 4', '2 3', '9 3 2 3', '4 2', '1 2')


@dataclass
class Series:
    """One line of a chart.

    Attributes:
        name: For the legend; empty for none.
        x: Positions.
        y: Values, the same length; NaN leaves a gap.
        marks: Radius of a dot at each point, in pixels; ``None`` for no dots.
        steps: Draw a histogram: ``y[i]`` holds from ``x[i]`` to ``x[i + 1]`` (one more x than y).
    """

    name: str
    x: Sequence[float] | np.ndarray
    y: Sequence[float] | np.ndarray
    marks: Sequence[float] | np.ndarray | None = None
    steps: bool = False


def nice_ticks(low: float, high: float, number: int = 5) -> list[float]:
    """Give round numbers that cover most of a range.

    Args:
        low: Lower end.
        high: Upper end, above ``low``.
        number: About so many.

    Returns:
        Multiples of 1, 2, 2.5 or 5 times a power of ten, inside the range.
    """
    raw = (high - low) / max(1, number)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    ticks = [round(index * step, 12) for index in range(first, first + 4 * number)]
    return [tick + 0.0 for tick in ticks if tick <= high + step * 1e-6]


def log_ticks(low: float, high: float) -> list[float]:
    """Give the powers of ten inside a range of positive numbers."""
    first, last = math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9)
    return [10.0**power for power in range(first, last + 1)]


def format_tick(value: float) -> str:
    """Write an axis number shortly: 0.25, 20k."""
    if value != 0 and (abs(value) >= 1e5 or abs(value) < 1e-3):
        return f'{value:.0e}'.replace('e+0', 'e').replace('e-0', 'e-')
    if abs(value) >= 1e4:
        return f'{value / 1000:g}k'
    return f'{value:g}'


class _Axes:
    """Where a value lies in the picture."""

    def __init__(
        self, x_range: tuple[float, float], y_range: tuple[float, float], y_log: bool = False
    ) -> None:
        self.x_range, self.y_range, self.y_log = x_range, y_range, y_log

    def x(self, value: float) -> float:
        low, high = self.x_range
        return LEFT + (value - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        low, high = self.y_range
        if self.y_log:
            low, high, value = (math.log10(v) for v in (low, high, max(value, low)))
        return HEIGHT - BOTTOM - (value - low) / (high - low) * (HEIGHT - TOP - BOTTOM)

    def frame(self, x_label: str, y_label: str) -> str:
        parts = []
        for tick in log_ticks(*self.y_range) if self.y_log else nice_ticks(*self.y_range):
            y = self.y(tick)
            parts.append(
                f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
                f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{format_tick(tick)}</text>'
            )
        bottom = HEIGHT - BOTTOM
        for tick in nice_ticks(*self.x_range):
            x = self.x(tick)
            parts.append(
                f'<line class="axis" x1="{x:.1f}" x2="{x:.1f}" y1="{bottom}" y2="{bottom + 4}"/>'
                f'<text x="{x:.1f}" y="{bottom + 17}" text-anchor="middle">{format_tick(tick)}'
                '</text>'
            )
        middle = (TOP + bottom) / 2
        parts.append(
            f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{bottom}" y2="{bottom}"/>'
            f'<text class="label" x="{(LEFT + WIDTH - RIGHT) / 2:.0f}" y="{HEIGHT - 7}" '
            f'text-anchor="middle">{html.escape(x_label)}</text>'
            f'<text class="label" transform="translate(11 {middle:.0f}) rotate(-90)" '
            f'text-anchor="middle">{html.escape(y_label)}</text>'
        )
        return ''.join(parts)


def chart(
    series: Sequence[Series],
    *,
    title: str,
    x_label: str,
    y_label: str,
    x_range: tuple[float, float] | None = None,
    y_range: tuple[float, float] | None = None,
    y_log: bool = False,
    diagonal: bool = False,
    chosen: float | None = None,
    key: str = '',
    note: str = '',
) -> str:
    """Draw lines as a figure with title, legend and note.

    Args:
        series: At most 8; points that are not finite leave gaps.
        title: Above the picture, and its name for screen readers.
        x_label: Of the axis.
        y_label: Of the axis.
        x_range: Ends of the axis; those of the data by default.
        y_range: Ends of the axis; those of the data, with a margin, by default.
        y_log: Logarithmic axis; ``y_range`` must be given, smaller values lie on its floor.
        diagonal: Draw the line y = x.
        chosen: Draw an upright line at this x.
        key: Identifier of the figure, for scripts.
        note: Below the picture.

    Returns:
        A ``<figure>`` element; without any finite point it says so in place of the picture.
    """
    x_range = x_range or _range([entry.x for entry in series], 0.0)
    y_range = y_range or _range([entry.y for entry in series], 0.05)
    if x_range is None or y_range is None:
        return empty_chart(title, 'There are no numbers to draw.')
    axes = _Axes(x_range, y_range, y_log)
    parts = [axes.frame(x_label, y_label)]
    if diagonal:
        ends = max(x_range[0], y_range[0]), min(x_range[1], y_range[1])
        (x1, x2), (y1, y2) = map(axes.x, ends), map(axes.y, ends)
        parts.append(
            f'<line class="diagonal" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'
        )
    if chosen is not None:
        x = axes.x(chosen)
        parts.append(
            f'<line class="chosen" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>'
        )
    for index, entry in enumerate(series):
        parts.append(_line(axes, entry, index))
    described = f'{title}: {y_label} over {x_label}'
    identity = f' id="{html.escape(key)}"' if key else ''
    legend = ''.join(
        '<li><svg class="key" viewBox="0 0 26 10" aria-hidden="true">'
        f'<line class="line s{index % 8}"{_dash(index)} x1="0" x2="26" y1="5" y2="5"/></svg>'
        f'{html.escape(entry.name)}</li>'
        for index, entry in enumerate(series)
        if entry.name
    )
    return (
        f'<figure class="chart"{identity}><figcaption>{html.escape(title)}</figcaption>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{html.escape(described)}">'
        f'{"".join(parts)}</svg>'
        + (f'<ul class="legend">{legend}</ul>' if legend else '')
        + (f'<p class="note">{html.escape(note)}</p>' if note else '')
        + '</figure>'
    )


def line_path(
    x: Sequence[float] | np.ndarray,
    y: Sequence[float] | np.ndarray,
    x_range: tuple[float, float],
    y_range: tuple[float, float],
) -> str:
    """Give what a chart with these ranges draws for a line, as the ``d`` of an SVG path."""
    return _path(_Axes(x_range, y_range), x, y)


def empty_chart(title: str, reason: str) -> str:
    """Give a figure that tells why there is no picture."""
    return (
        f'<figure class="chart"><figcaption>{html.escape(title)}</figcaption>'
        f'<p class="missing">{html.escape(reason)}</p></figure>'
    )


def _dash(index: int) -> str:
    pattern = _DASHES[index % len(_DASHES)]
    return f' stroke-dasharray="{pattern}"' if pattern else ''


def _path(axes: _Axes, x: Sequence[float], y: Sequence[float]) -> str:
    path, pen_down = [], False
    for px, py in zip(x, y, strict=True):
        if not (math.isfinite(px) and math.isfinite(py)):
            pen_down = False
            continue
        py = min(max(py, axes.y_range[0]), axes.y_range[1])
        path.append(f'{"L" if pen_down else "M"}{axes.x(px):.1f} {axes.y(py):.1f}')
        pen_down = True
    return ' '.join(path)


def _line(axes: _Axes, entry: Series, index: int) -> str:
    x, y = np.asarray(entry.x, float), np.asarray(entry.y, float)
    colour = f's{index % 8}'
    if entry.steps:
        x, y = np.repeat(x, 2)[1:-1], np.repeat(y, 2)
    path = _path(axes, x, y)
    if not path:
        return ''
    parts = []
    if entry.steps:
        floor = axes.y(axes.y_range[0])
        closed = f'{path} L{axes.x(x[-1]):.1f} {floor:.1f} L{axes.x(x[0]):.1f} {floor:.1f}'
        parts.append(f'<path class="area {colour}" d="{closed} Z"/>')
    parts.append(f'<path class="line {colour}"{_dash(index)} d="{path}"/>')
    if entry.marks is not None:
        for px, py, radius in zip(x, y, entry.marks, strict=True):
            if math.isfinite(px) and math.isfinite(py):
                parts.append(
                    f'<circle class="mark {colour}" cx="{axes.x(px):.1f}" cy="{axes.y(py):.1f}" '
                    f'r="{radius:.1f}"/>'
                )
    return ''.join(parts)


def _range(columns: Sequence, margin: float) -> tuple[float, float] | None:
    values = np.concatenate([np.asarray(column, float) for column in columns] or [np.zeros(0)])
    values = values[np.isfinite(values)]
    if values.size == 0:
        return None
    low, high = float(values.min()), float(values.max())
    if low == high:
        pad = abs(low) * 0.05 or 0.5
        return low - pad, high + pad
    return low - margin * (high - low), high + margin * (high - low)
