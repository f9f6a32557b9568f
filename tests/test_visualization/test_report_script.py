"""The page's script must choose the cases that Python chooses."""

import csv
import html
import io
import json
import re
import shutil
import subprocess

import numpy as np
import pytest

from mmjoint.utils.case_archive import write_case_archive
from mmjoint.visualization import write_report
from mmjoint.visualization.report_orders import case_orders, refer

from .records import make_archive

BROWSER = shutil.which('chromium') or shutil.which('chromium-browser')
PERCENTS = (0, 33, 80, 97, 100)
# Go through all orders and coverages and leave what the page then says in the document.
PROBE = """
<script>
var found = [];
var select = document.getElementById('referral-order');
var slider = document.getElementById('referral-coverage');
function words(id) { return document.getElementById('referral-' + id).textContent; }
Array.prototype.forEach.call(select.options, function (option) {
  PERCENTS.forEach(function (percent) {
    select.value = option.value;
    select.dispatchEvent(new Event('change'));
    slider.value = percent;
    slider.dispatchEvent(new Event('input'));
    var names = document.querySelectorAll('#referral-rows th');
    found.push([Number(option.value), percent, words('kept'), words('risk'), words('caught'),
      Array.prototype.map.call(names, function (node) { return node.textContent; }),
      decodeURIComponent(document.getElementById('referral-csv').href.split(',')[1])]);
  });
});
document.body.setAttribute('data-found', JSON.stringify(found));
</script>
"""


def look(page, tmp_path):
    """Open a page and give what a probe has left in it."""
    options = ['--headless', '--no-sandbox', '--disable-gpu', '--no-first-run']
    options += ['--disable-background-networking', '--disable-component-update', '--disable-sync']
    profile = f'--user-data-dir={tmp_path / "profile"}'
    shown = subprocess.run(
        [BROWSER, *options, profile, '--dump-dom', page.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    ).stdout
    return json.loads(html.unescape(re.search(r'data-found="([^"]*)"', shown)[1]))


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason='needs the chromium browser')
def test_script_and_python_agree(tmp_path):
    archive = make_archive(23, with_pictures=False)
    rng = np.random.default_rng(3)
    for index, case in enumerate(archive.cases):
        # Ties, undefined scores, cases without a reference or without a measure.
        score = None if index % 7 == 3 else round(float(rng.random()), 1)
        case['seg_uncertainty']['vacuity'] |= {'patch_max': score, 'mean_foreground': score}
        if index % 5 == 0:
            case['dice'] = None
        if index % 6 == 1:
            case['seg_uncertainty']['variance'] = {'mean': 0.1 * index}
    write_case_archive(tmp_path / 'cases', archive)
    page = write_report(tmp_path / 'report.html', tmp_path / 'cases', {}, title='T')
    probe = PROBE.replace('PERCENTS', str(list(PERCENTS)))
    page.write_text(page.read_text().replace('</body>', f'{probe}</body>'))
    found = look(page, tmp_path)
    orders = case_orders(archive)
    assert len(found) == len(orders) * len(PERCENTS) > 15
    for number, percent, kept, risk, caught, names, text in found:
        order = orders[number]
        expected = refer(order, percent)
        assert names == [f'c{order.members[place]:02d}' for place in expected.sent]
        rows = list(csv.DictReader(io.StringIO(text)))
        assert [row['case'] for row in rows] == names
        assert int(kept) == len(order.members) - len(expected.sent)
        assert caught == f'{expected.num_caught} of {expected.num_failed}'
        if np.isnan(expected.risk_kept):
            assert risk == 'n/a'
        else:
            assert float(risk) == pytest.approx(expected.risk_kept, abs=5.1e-4)


# Choose each domain, the last one in another order as well, and note which cases are seen.
DOMAINS = """
<script>
var found = {};
var select = document.getElementById('domain');
function seen() {
  return Array.prototype.filter.call(document.querySelectorAll('.case'), function (node) {
    return node.offsetParent !== null;
  }).map(function (node) { return node.id; });
}
Array.prototype.forEach.call(select.options, function (option) {
  select.value = option.value;
  select.dispatchEvent(new Event('change'));
  found[option.value] = seen();
});
var order = document.getElementById('order');
order.value = 'dice';
order.dispatchEvent(new Event('change'));
found.reordered = seen();
document.body.setAttribute('data-found', JSON.stringify(found));
</script>
"""


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason='needs the chromium browser')
def test_cases_of_one_domain(tmp_path):
    archive = make_archive(7)
    for index, case in enumerate(archive.cases):
        case['domain'] = ('a', 'b "c"')[index % 2]
    write_case_archive(tmp_path / 'cases', archive)
    page = write_report(tmp_path / 'report.html', tmp_path / 'cases', {}, title='T')
    page.write_text(page.read_text().replace('</body>', f'{DOMAINS}</body>'))
    found = look(page, tmp_path)
    names = [f'case-{index}' for index in range(7)]
    assert sorted(found['']) == names
    assert sorted(found['a']) == names[::2] and sorted(found['b "c"']) == names[1::2]
    # The later, the worse.
    assert found['reordered'] == names[5::-2]
