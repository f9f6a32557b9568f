import re
from xml.etree import ElementTree

import numpy as np
import pytest

from mmjoint.visualization.report_charts import (
    Series,
    chart,
    format_tick,
    line_path,
    log_ticks,
    nice_ticks,
)


def draw(*series, **options):
    return chart(series, **({'title': 'T', 'x_label': 'x', 'y_label': 'y'} | options))


@pytest.mark.parametrize(
    'low, high, expected',
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (0, 100, [0, 20, 40, 60, 80, 100]),
        (0.31, 0.92, [0.4, 0.6, 0.8]),
        (-1, 1, [-1, -0.5, 0, 0.5, 1]),
        (0, 3e-4, [0, 1e-4, 2e-4, 3e-4]),
    ],
)
def test_ticks_are_round(low, high, expected):
    assert nice_ticks(low, high) == pytest.approx(expected)


@pytest.mark.parametrize(
    'value, text', [(0.25, '0.25'), (0, '0'), (20000, '20k'), (1e-4, '1e-4'), (3e6, '3e6')]
)
def test_tick_text(value, text):
    assert format_tick(value) == text


def test_points_lie_where_they_should():
    text = draw(Series('a', [0, 1], [0, 1]), x_range=(0, 1), y_range=(0, 1))
    (path,) = re.findall(r'class="line s0" d="([^"]+)"', text)
    assert path == 'M58.0 256.0 L406.0 12.0'


def test_gaps_are_not_bridged_and_values_stay_inside():
    text = draw(Series('a', [0, 1, 2, 3], [0, np.nan, 9, 1]), x_range=(0, 3), y_range=(0, 1))
    (path,) = re.findall(r'class="line s0" d="([^"]+)"', text)
    assert path == 'M58.0 256.0 M290.0 12.0 L406.0 12.0'


def test_histogram_steps():
    text = draw(Series('a', [0, 1, 2], [1, 2], steps=True), x_range=(0, 2), y_range=(0, 2))
    (path,) = re.findall(r'class="line s0" d="([^"]+)"', text)
    assert path == 'M58.0 134.0 L232.0 134.0 L232.0 12.0 L406.0 12.0'
    assert 'class="area s0"' in text


def test_series_differ_in_more_than_colour():
    text = draw(Series('a', [0, 1], [0, 1]), Series('b', [0, 1], [1, 0]))
    assert 'class="line s1" stroke-dasharray="7 4" d=' in text


def test_it_is_well_formed_and_escaped():
    text = draw(
        Series('<s> & "q"', [0, 1], [0, 1], marks=[1, 2]), title='<T>', diagonal=True, note='a < b'
    )
    root = ElementTree.fromstring(text)
    assert root.find('figcaption').text == '<T>'
    assert root.find('svg').get('role') == 'img'
    assert root.find('svg').get('aria-label') == '<T>: y over x'
    assert len(root.findall('svg/circle')) == 2


@pytest.mark.parametrize('values', [[], [np.nan, np.nan]])
def test_nothing_to_draw_is_said(values):
    text = draw(Series('a', values, values))
    assert 'There are no numbers to draw.' in text and '<svg' not in text


def test_one_point_has_a_range():
    assert 'NaN' not in draw(Series('a', [3], [7], marks=[2]))


def test_logarithmic_axis():
    entry = Series('a', [0, 1, 2, 3], [1.0, 0.1, 0.01, 0.0])
    text = draw(entry, x_range=(0, 3), y_range=(0.01, 1.0), y_log=True)
    (path,) = re.findall(r'class="line s0" d="([^"]+)"', text)
    # Each power of ten takes half the height; 0 lies on the floor.
    assert path == 'M58.0 12.0 L174.0 134.0 L290.0 256.0 L406.0 256.0'
    assert re.findall(r'text-anchor="end">([^<]+)<', text) == ['0.01', '0.1', '1']
    assert log_ticks(1e-4, 1.0) == pytest.approx([1e-4, 1e-3, 1e-2, 1e-1, 1])
    assert log_ticks(0.02, 50) == pytest.approx([0.1, 1, 10])


def test_a_script_finds_figure_marker_and_line():
    x, y = [0, 0.5, 1], [0.1, 0.3, 0.2]
    text = draw(
        Series('a', x, y), x_range=(0, 1), y_range=(0, 0.4), chosen=0.5, key='risk', note='n'
    )
    root = ElementTree.fromstring(text)
    assert root.get('id') == 'risk' and root.find('p').get('class') == 'note'
    (line,) = [entry for entry in root.iter('line') if entry.get('class') == 'chosen']
    assert line.get('x1') == line.get('x2') == '232.0'
    (path,) = [entry for entry in root.iter('path') if entry.get('class') == 'line s0']
    assert path.get('d') == line_path(x, y, (0, 1), (0, 0.4))
    assert 'class="chosen"' not in draw(Series('a', x, y))
