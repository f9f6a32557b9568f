"""Panels in a row: titles above, colour bars beside, a legend below."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from .drawing import HEAT_COLOURS

_DPI = 100
_PAD, _TOP, _BOTTOM, _BAR, _UNIT, _LEGEND_ROW = 14, 54, 34, 58, 14, 18
# What a title of two lines and the numbers of a colour bar need at least.
_LEAST_WIDTH, _LEAST_HEIGHT = 150, 90
_LETTER = 6.4  # about the width of a letter


@dataclass
class Panel:
    """One picture of a row.

    Attributes:
        image: ``(H, W, 3)`` uint8 RGB, drawn pixel by pixel.
        title: Broken into two lines at most.
        upper: Upper bound of its colour bar, the lower one is 0; ``None`` for no bar.
        unit: Of the numbers beside the bar.
        colours: Palette of the bar, by matplotlib's name.
    """

    image: np.ndarray
    title: str
    upper: float | None = None
    unit: str = ''
    colours: str = HEAT_COLOURS

    @property
    def bar_width(self) -> int:
        """Room for the bar, in pixels."""
        return 0 if self.upper is None else _BAR + (_UNIT if self.unit else 0)


def compose(
    panels: Sequence[Panel],
    legend: Sequence[tuple[str, tuple[int, int, int]]],
    caption: str,
    panel_size: int,
) -> np.ndarray:
    """Set panels in a row.

    Args:
        panels: At least one; the sizes may differ.
        legend: Names with their RGB colours, 0 to 255.
        caption: At the lower right.
        panel_size: Length of a panel's longer side, in pixels: narrow pictures get more room than
            they fill, up to this, so that their words fit.

    Returns:
        ``(H, W, 3)`` uint8 RGB.
    """
    shapes = [panel.image.shape[:2] for panel in panels]
    rooms = [max(width, min(_LEAST_WIDTH, panel_size)) for _, width in shapes]
    height = max(max(height for height, _ in shapes), min(_LEAST_HEIGHT, panel_size))
    width = _PAD + sum(
        room + panel.bar_width + _PAD for room, panel in zip(rooms, panels, strict=True)
    )
    columns = _legend_columns([name for name, _ in legend], width - 2 * _PAD, caption)
    rows = -(-len(legend) // columns)
    total = height + _TOP + _BOTTOM + _LEGEND_ROW * max(0, rows - 1)
    # Some matplotlib versions cut a product such as 401.9999 to 401 pixels.
    figsize = ((width + 0.01) / _DPI, (total + 0.01) / _DPI)
    figure = Figure(figsize=figsize, dpi=_DPI, facecolor='white')
    canvas = FigureCanvasAgg(figure)
    left = _PAD
    for panel, (high, wide), room in zip(panels, shapes, rooms, strict=True):
        size = wide / width, high / total
        axes = figure.add_axes((left / width, 1 - (_TOP + high) / total, *size))
        axes.imshow(panel.image, interpolation='none', aspect='auto')
        axes.set_axis_off()
        title = wrap(panel.title, room + panel.bar_width)
        # A title that is wider than its picture goes on above the bar, not over its neighbour.
        centred = max(map(len, title.split('\n'))) * _LETTER <= wide + _PAD
        place = (left + wide / 2 if centred else left) / width, 1 - (_TOP - 6) / total
        align = 'center' if centred else 'left'
        figure.text(*place, title, ha=align, va='bottom', fontsize=9)
        if panel.upper is not None:
            long = max(high, min(_LEAST_HEIGHT, height))
            box = (left + wide + 8) / width, 1 - (_TOP + long) / total, 12 / width, long / total
            _draw_bar(figure, box, panel)
        left += room + panel.bar_width + _PAD
    if legend:
        _draw_legend(figure, legend, columns, _PAD / width)
    if caption:
        figure.text(1 - _PAD / width, 9 / total, caption, ha='right', fontsize=8, color='0.35')
    canvas.draw()
    return np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[:, :, :3])


def _legend_columns(names: Sequence[str], width: int, caption: str) -> int:
    """Give how many names fit beside each other, left of the caption."""
    longest = max((len(name) for name in names), default=0)
    room = width - _LETTER * len(caption)
    return int(min(max(1, room // (_LETTER * longest + 46)), max(1, len(names))))


def _draw_legend(
    figure: Figure, legend: Sequence[tuple[str, tuple[int, int, int]]], columns: int, left: float
) -> None:
    handles = [
        Patch(facecolor=np.asarray(colour) / 255, edgecolor='black', linewidth=0.4, label=name)
        for name, colour in legend
    ]
    figure.legend(
        handles=handles,
        loc='lower left',
        bbox_to_anchor=(left, 0.0),
        ncols=columns,
        fontsize=8,
        frameon=False,
        borderaxespad=0.2,
        borderpad=0.2,
    )


def _draw_bar(figure: Figure, box: tuple[float, float, float, float], panel: Panel) -> None:
    axes = figure.add_axes(box)
    ramp = np.linspace(0, 1, 256)[:, None]
    extent = (0, 1, 0, panel.upper)
    axes.imshow(ramp, cmap=panel.colours, origin='lower', aspect='auto', extent=extent)
    axes.set_xticks([])
    axes.yaxis.tick_right()
    axes.set_yticks(np.linspace(0, panel.upper, 3))
    axes.set_yticklabels([f'{tick:.3g}' for tick in np.linspace(0, panel.upper, 3)])
    axes.tick_params(labelsize=7, length=2, pad=2)
    if panel.unit:
        axes.yaxis.set_label_position('right')
        axes.set_ylabel(panel.unit, fontsize=7, labelpad=3)


def wrap(title: str, width: int) -> str:
    """Break a title into at most two lines of what fits above ``width`` pixels."""
    room = max(8, math.floor(width / _LETTER))
    if len(title) <= room:
        return title
    cut = title.rfind(' ', 0, room + 1)
    cut = cut if cut > 0 else room
    second = title[cut:].strip()
    return title[:cut] + '\n' + (second if len(second) <= room else second[: room - 1] + '…')
