"""The frame of the report: one HTML file without any outside request, for screen and paper."""

import html

_STYLE = """
:root { color-scheme: light dark; --paper: #ffffff; --panel: #f4f6f8; --ink: #1a2530;
  --quiet: #55626f; --rule: #d5dbe1; --good: #d9efe4; --bad: #f9ddd2; --bad-ink: #9a2b00;
  --c0: #0b5fa5; --c1: #b24a00; --c2: #00735a; --c3: #7a3e9d; --c4: #8a6500; --c5: #a3195b;
  --c6: #3d4b59; --c7: #0d7d8c; }
@media (prefers-color-scheme: dark) { :root { --paper: #12181e; --panel: #1c252e; --ink: #e6ebf0;
  --quiet: #a3b0bc; --rule: #35424f; --good: #14402f; --bad: #55271a; --bad-ink: #ffb598;
  --c0: #6cb6f5; --c1: #f59b5c; --c2: #4fcfa9; --c3: #c99be8; --c4: #e0bd5a; --c5: #f287b4;
  --c6: #b4c0cb; --c7: #62cddb; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }
main, header, footer { max-width: 1180px; margin: 0 auto; padding: 0 20px; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: 1.4rem 0 .4rem; }
h2 { font-size: 1.25rem; margin: 2.4rem 0 .6rem; padding-top: .8rem;
  border-top: 1px solid var(--rule); }
h3 { font-size: 1rem; margin: 0 0 .5rem; overflow-wrap: anywhere; }
p { margin: .5rem 0; max-width: 75ch; }
a { color: var(--c0); }
nav ul { display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; list-style: none; padding: 0; }
dl.info { display: grid; grid-template-columns: max-content 1fr; gap: .1rem 1rem; margin: .8rem 0;
  font-size: .9rem; }
dl.info dt { color: var(--quiet); }
dl.info dd { margin: 0; overflow-wrap: anywhere; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 12px;
  margin: 1rem 0; padding: 0; list-style: none; }
.tiles li { background: var(--panel); border-radius: 8px; padding: .7rem .9rem; }
.tiles .name { color: var(--quiet); font-size: .85rem; }
.tiles .value { font-size: 1.6rem; font-weight: 650; line-height: 1.2; }
.interval, .note, .missing { color: var(--quiet); font-size: .85rem; }
.interval { white-space: nowrap; font-weight: 400; }
.warning { background: var(--bad); color: var(--ink); border-radius: 6px; padding: .6rem .9rem; }
.scroll { overflow-x: auto; margin: .6rem 0 1.2rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .92rem; }
caption { text-align: left; color: var(--quiet); font-size: .88rem; padding-bottom: .3rem; }
th, td { text-align: left; padding: .28rem .9rem .28rem 0; border-bottom: 1px solid var(--rule);
  vertical-align: baseline; }
thead th { color: var(--quiet); font-weight: 600; }
tbody th { font-weight: 600; }
.columns { display: flex; flex-wrap: wrap; gap: 0 3rem; align-items: flex-start; }
.columns > .warning { flex-basis: 100%; max-width: none; }
.confusion td { padding: .5rem .9rem; min-width: 6rem; border: 2px solid var(--paper); }
.confusion th { padding-right: .9rem; }
.confusion .interval { color: var(--ink); }
.confusion .hit { background: color-mix(in srgb, var(--c2) calc(var(--share) * 45%),
  var(--panel)); }
.confusion .miss { background: color-mix(in srgb, var(--c1) calc(var(--share) * 60%),
  var(--panel)); }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 350px), 1fr));
  gap: 20px; }
figure { margin: 0; }
.chart { background: var(--panel); border-radius: 8px; padding: .8rem; break-inside: avoid; }
.chart > figcaption { font-weight: 600; font-size: .95rem; margin-bottom: .3rem; }
.chart > svg { width: 100%; height: auto; display: block; }
svg text { fill: var(--quiet); font-size: 12px; font-family: inherit; }
svg .label { fill: var(--ink); font-size: 13px; }
svg .grid { stroke: var(--rule); stroke-width: 1; }
svg .axis { stroke: var(--quiet); stroke-width: 1; }
svg .diagonal { stroke: var(--quiet); stroke-width: 1.2; stroke-dasharray: 5 4; }
svg .chosen { stroke: var(--ink); stroke-width: 1.2; stroke-dasharray: 1 3; }
svg .line { fill: none; stroke-width: 2; stroke-linejoin: round; }
svg .mark, svg .area { stroke: none; }
svg .area { opacity: .16; }
.s0 { stroke: var(--c0); } .s1 { stroke: var(--c1); } .s2 { stroke: var(--c2); }
.s3 { stroke: var(--c3); } .s4 { stroke: var(--c4); } .s5 { stroke: var(--c5); }
.s6 { stroke: var(--c6); } .s7 { stroke: var(--c7); }
.mark.s0, .area.s0 { fill: var(--c0); } .mark.s1, .area.s1 { fill: var(--c1); }
.mark.s2, .area.s2 { fill: var(--c2); } .mark.s3, .area.s3 { fill: var(--c3); }
.mark.s4, .area.s4 { fill: var(--c4); } .mark.s5, .area.s5 { fill: var(--c5); }
.mark.s6, .area.s6 { fill: var(--c6); } .mark.s7, .area.s7 { fill: var(--c7); }
.legend { display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; list-style: none; padding: 0;
  margin: .4rem 0; font-size: .88rem; }
.key { width: 26px; height: 10px; margin-right: .4rem; }
.swatch { display: inline-block; width: 14px; height: 14px; border-radius: 3px; margin-right: .4rem;
  vertical-align: -2px; }
.swatch.outline { background: #1a2530; border: 2px solid #fff; outline: 1px solid var(--quiet); }
.ramp { display: inline-block; width: 120px; height: 12px; vertical-align: -1px;
  border-radius: 2px; }
select { font: inherit; padding: .25rem .5rem; max-width: 100%; }
.controls { background: var(--panel); border-radius: 8px; padding: .4rem .9rem; margin: .8rem 0; }
.controls input { width: min(24rem, 100%); vertical-align: middle; accent-color: var(--c0); }
.controls output { display: inline-block; min-width: 3.5rem; font-weight: 650; }
.list { max-height: 27rem; overflow: auto; background: var(--panel); border-radius: 8px;
  padding: .5rem .9rem; }
.list th, .list td { padding-right: .6rem; white-space: nowrap; font-size: .88rem; }
.list caption { white-space: normal; }
@media (min-width: 820px) { .charts > :has(> .list) { grid-column: span 2; } }
.list thead th { position: sticky; top: -.5rem; background: var(--panel); }
#cases { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 560px), 1fr));
  gap: 16px; }
.case[hidden] { display: none; }
.case { background: var(--panel); border-radius: 8px; padding: .8rem; break-inside: avoid; }
.place { color: var(--quiet); font-weight: 400; margin-right: .2rem; }
.patient { color: var(--quiet); font-weight: 400; font-size: .85rem; }
.badge { display: inline-block; border: 1px solid var(--quiet); border-radius: 999px;
  padding: 0 .6rem; font-size: .78rem; font-weight: 500; }
.badge.bad { background: var(--bad); border-color: var(--bad-ink); color: var(--bad-ink); }
.pictures { display: grid; grid-template-columns: repeat(auto-fit, minmax(110px, 1fr)); gap: 8px; }
.pictures.many { grid-template-columns: repeat(3, 1fr); }
.pictures + .pictures { margin-top: 8px; }
.pictures img { width: 100%; height: auto; display: block; border-radius: 4px; background: #000; }
.pictures figcaption { font-size: .8rem; color: var(--quiet); }
.facts { font-size: .88rem; margin-top: .5rem; }
.facts p { margin: .1rem 0; display: inline-block; margin-right: 1.4rem; }
.bars { width: 100%; margin: .3rem 0; font-size: .85rem; }
.bars caption { font-size: .8rem; padding: 0; }
.bars th { font-weight: 400; width: 10rem; }
.bars th, .bars td { border: 0; padding: .05rem .5rem 0 0; }
.bars td:not(.track) { white-space: nowrap; width: 1%; }
.track { min-width: 5rem; }
.bar { display: block; height: .75rem; border-radius: 2px; min-width: 1px; }
.b0 { background: var(--c0); } .b1 { background: var(--c1); } .b2 { background: var(--c2); }
.b3 { background: var(--c3); } .b4 { background: var(--c4); } .b5 { background: var(--c5); }
.bar.unknown { background: repeating-linear-gradient(45deg, var(--quiet) 0 3px,
  transparent 3px 6px); border: 1px solid var(--quiet); }
summary { cursor: pointer; font-weight: 600; margin: .6rem 0; }
footer { color: var(--quiet); font-size: .85rem; margin: 3rem auto 2rem; }
@media (max-width: 560px) { .bars th { width: 6.5rem; }
  .pictures, .pictures.many { grid-template-columns: 1fr 1fr; }
  h1 { font-size: 1.35rem; } dl.info { grid-template-columns: 1fr; }
  dl.info dd { margin-bottom: .3rem; } }
@media print { :root { color-scheme: light; --paper: #fff; --panel: #fff; --ink: #000;
  --quiet: #444; --rule: #bbb; --good: #d9efe4; --bad: #f9ddd2; --bad-ink: #9a2b00;
  --c0: #0b5fa5; --c1: #b24a00; --c2: #00735a; --c3: #7a3e9d; --c4: #8a6500; --c5: #a3195b;
  --c6: #3d4b59; --c7: #0d7d8c; }
  body { font-size: 10.5pt; } nav, .sorting, .controls { display: none; }
  .list { max-height: none; overflow: visible; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  .case, .chart, .tiles li { border: 1px solid var(--rule); }
  .charts { grid-template-columns: 1fr 1fr; } #cases { grid-template-columns: 1fr; } }
"""

_SCRIPT = """
(function () {
  var select = document.getElementById('order');
  var list = document.getElementById('cases');
  if (!select || !list) { return; }
  var original = Array.prototype.slice.call(list.children);
  select.parentNode.hidden = false;
  select.addEventListener('change', function () {
    var key = select.value;
    original.slice().sort(function (a, b) {
      return parseFloat(b.dataset[key]) - parseFloat(a.dataset[key]);
    }).forEach(function (node) { list.appendChild(node); });
  });
  var domain = document.getElementById('domain');
  if (!domain) { return; }
  domain.addEventListener('change', function () {
    original.forEach(function (node) {
      node.hidden = domain.value !== '' && node.dataset.domain !== domain.value;
    });
  });
})();
(function () {
  var source = document.getElementById('referral-data');
  if (!source) { return; }
  var data = JSON.parse(source.textContent);
  var select = document.getElementById('referral-order');
  var slider = document.getElementById('referral-coverage');
  var rows = document.getElementById('referral-rows');
  var link = document.getElementById('referral-csv');
  function say(id, words) { document.getElementById('referral-' + id).textContent = words; }
  function number(value) { return isFinite(value) ? value.toFixed(3) : 'n/a'; }
  function mean(cases, values) {
    var known = cases.filter(function (index) { return values[index] !== null; });
    return known.reduce(function (sum, index) { return sum + values[index]; }, 0) / known.length;
  }
  function count(cases, values) {
    return cases.filter(function (index) { return values[index] === 1; }).length;
  }
  function cell(row, kind, words) {
    var node = document.createElement(kind);
    node.textContent = words;
    row.appendChild(node);
    return node;
  }
  function fill(table) {
    rows.textContent = '';
    table.slice(0, data.maxRows).forEach(function (entry) {
      var row = document.createElement('tr');
      var head = cell(row, 'th', data.names[entry.index]);
      head.scope = 'row';
      if (data.linked.indexOf(entry.index) >= 0) {
        var anchor = document.createElement('a');
        anchor.href = '#case-' + entry.index;
        anchor.textContent = head.textContent;
        head.textContent = '';
        head.appendChild(anchor);
      }
      cell(row, 'td', data.patients[entry.index]);
      cell(row, 'td', entry.score);
      cell(row, 'td', entry.quality);
      rows.appendChild(row);
    });
  }
  function csv(table, column) {
    var lines = [['case', 'patient', 'score', column]].concat(table.map(function (entry) {
      return [data.names[entry.index], data.patients[entry.index], entry.score, entry.quality];
    }));
    return lines.map(function (line) {
      return line.map(function (words) { return '"' + words.replace(/"/g, '""') + '"'; }).join(',');
    }).join('\\n') + '\\n';
  }
  function draw(order, kind, percent) {
    var figure = document.getElementById(kind.chart);
    if (!figure || !order.path) { return; }
    var x = (data.left + percent / 100 * data.width).toFixed(1);
    figure.querySelector('path.line.s0').setAttribute('d', order.path);
    figure.querySelector('.legend li').lastChild.textContent = order.name;
    figure.querySelector('.note').textContent = order.note;
    var line = figure.querySelector('.chosen');
    line.setAttribute('x1', x);
    line.setAttribute('x2', x);
  }
  function update() {
    var order = data.orders[select.value], kind = data.kinds[order.kind];
    var percent = Number(slider.value), total = order.scores.length;
    var keys = order.scores.map(function (score) { return score === null ? Infinity : score; });
    var places = keys.map(function (_, place) { return place; }).sort(function (a, b) {
      return keys[a] === keys[b] ? a - b : keys[b] > keys[a] ? 1 : -1;
    });
    var cases = places.map(function (place) { return order.cases ? order.cases[place] : place; });
    var sent = total - Math.floor(percent * total / 100);
    var table = cases.slice(0, sent).map(function (index, position) {
      var score = order.scores[places[position]];
      return { index: index, quality: kind.quality[index],
        score: score === null ? 'not defined' : String(Number(score.toPrecision(4))) };
    });
    say('percent', percent + ' %');
    say('kept', total - sent);
    say('kept-note', 'of ' + total + ' cases');
    say('sent', sent);
    say('sent-note', 'of ' + total + ' cases');
    say('risk', number(mean(cases.slice(sent), kind.risk)));
    say('risk-note', kind.riskWords + '; of all cases ' + number(mean(cases, kind.risk)));
    say('caught', count(cases.slice(0, sent), kind.failed) + ' of ' + count(cases, kind.failed));
    say('caught-note', kind.failedWords);
    say('column', kind.column);
    say('caption', 'Cases to send to a human at a coverage of ' + percent + ' %, the most ' +
      'uncertain first; score: ' + order.kind + ' ' + order.name);
    fill(table);
    link.href = 'data:text/csv;charset=utf-8,' + encodeURIComponent(csv(table, kind.column));
    draw(order, kind, percent);
  }
  document.getElementById('referral-controls').hidden = false;
  link.parentNode.hidden = false;
  select.addEventListener('change', update);
  slider.addEventListener('input', update);
  update();
})();
"""


def page(title: str, header: str, sections: list[tuple[str, str, str]], footer: str) -> str:
    """Give the whole file.

    Args:
        title: Of the page, plain text.
        header: HTML below the title.
        sections: (identifier, heading as plain text, content as HTML); those without content are
            left out.
        footer: HTML.

    Returns:
        HTML 5. A content policy forbids every outside request.
    """
    shown = [section for section in sections if section[2]]
    links = ''.join(f'<li><a href="#{key}">{html.escape(name)}</a></li>' for key, name, _ in shown)
    body = ''.join(
        f'<section id="{key}"><h2>{html.escape(name)}</h2>{content}</section>'
        for key, name, content in shown
    )
    policy = (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
    )
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<title>{html.escape(title)}</title><style>{_STYLE}</style></head><body>'
        f'<header><h1>{html.escape(title)}</h1>{header}'
        f'<nav aria-label="Sections"><ul>{links}</ul></nav></header>'
        f'<main>{body}</main><footer>{footer}</footer>'
        f'<script>{_SCRIPT}</script></body></html>\n'
    )
