import base64
import csv
import io
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from mmjoint.utils.case_archive import CaseArchive, write_case_archive
from mmjoint.utils.errors import UserError
from mmjoint.visualization import report_statistics, write_report
from mmjoint.visualization.drawing import encode_image
from mmjoint.visualization.report_gallery import choose_cases

from .records import INFO, class_fields, make_archive, make_case

VOID = {'meta', 'img', 'br', 'input', 'line', 'circle', 'path'}


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch):
    monkeypatch.setattr(report_statistics, 'NUM_RESAMPLES', 30)


class Page(HTMLParser):
    """Checks that tags are closed in order; collects texts, identifiers and addresses."""

    def __init__(self, text):
        super().__init__()
        self.open, self.words, self.ids, self.addresses, self.tags = [], [], [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags.append((tag, attributes))
        self.ids += [attributes['id']] if 'id' in attributes else []
        self.addresses += [attributes[key] for key in ('src', 'href') if key in attributes]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        pass

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return ' '.join(' '.join(self.words).split())

    def with_class(self, name):
        return [a for _, a in self.tags if name in (a.get('class') or '').split()]


def report(tmp_path, archive, metrics=None, **options):
    write_case_archive(tmp_path / 'cases', archive)
    path = write_report(
        tmp_path / 'report.html', tmp_path / 'cases', metrics or {}, title='Title', **options
    )
    assert path == tmp_path / 'report.html'
    return Page(path.read_text(encoding='utf-8'))


def test_full_report(tmp_path):
    log = tmp_path / 'scalars.json'
    log.write_text('{"loss": 2.0, "step": 1, "iter": 1}\n{"loss": 1.0, "step": 2, "iter": 2}\n')
    page = report(
        tmp_path,
        make_archive(12),
        {'seg/HD95.cup': 4.5, 'seg/mIoU': float('nan')},
        train_log=log,
        info={'checkpoint': 'a/<b>.pth'},
    )
    sections = 'summary classes masks curves uncertainty referral gallery training'
    assert set(sections.split()) <= set(page.ids)
    assert 'checkpoint a/<b>.pth' in page.text
    assert '4.500' in page.text and 'seg/mIoU n/a' in page.text
    assert len(page.with_class('case')) == 12
    assert len(page.with_class('chart')) == 3 + 3 + 2 + 2
    # Four pictures for each case, one image element each, with a description.
    images = [attributes for tag, attributes in page.tags if tag == 'img']
    assert len(images) == 48 and all(image['alt'] for image in images)


def test_it_asks_nothing_of_the_outside(tmp_path):
    report(tmp_path, make_archive(4))
    text = (tmp_path / 'report.html').read_text()
    page = Page(text)
    assert all(address.startswith(('data:', '#')) for address in page.addresses)
    assert re.findall(r'https?://|url\(|@import', text) == []
    (policy,) = [a['content'] for _, a in page.tags if 'http-equiv' in a]
    assert policy.startswith("default-src 'none'")


def test_the_same_records_give_the_same_file(tmp_path):
    report(tmp_path, make_archive(6))
    first = (tmp_path / 'report.html').read_bytes()
    report(tmp_path, make_archive(6))
    assert (tmp_path / 'report.html').read_bytes() == first


def test_the_most_uncertain_case_stands_first(tmp_path):
    page = report(tmp_path, make_archive(12))
    order = [float(attributes['data-priority']) for attributes in page.with_class('case')]
    assert order == sorted(order, reverse=True)
    names = re.findall(r'<h3>.*?</span> (c\d\d)', (tmp_path / 'report.html').read_text())
    assert names[0] == 'c11'


def with_domains(archive):
    """Cases of two domains in turn; of one masks are annotated, of the other classes."""
    for index, case in enumerate(archive.cases):
        case['domain'] = ('lungs', '<b>chest')[index % 2]
        if index % 2:
            case |= dict(dice=None, assd=None)
        else:
            case |= dict(gt_label=None)
    return archive


def test_domains(tmp_path):
    page = report(tmp_path, with_domains(make_archive(8)), max_cases=5)
    text = (tmp_path / 'report.html').read_text()
    assert 'domains' in page.ids and text.count('<b>chest') == 0
    (section,) = re.findall(r'<section id="domains">(.*?)</section>', text)
    cells = [re.findall(r'<t[hd][^>]*>(.*?)</t[hd]>', row) for row in section.split('</tr>')[:-1]]
    header, *rows = [[re.sub('<.*?>', '', cell) for cell in row] for row in cells]
    assert header[:2] == ['domain', 'cases']
    assert set(header[2:]) == {'accuracy', 'AUC', 'Dice rim', 'Dice cup', 'Dice disc'}
    found = {row[0]: dict(zip(header, row, strict=True)) for row in rows}
    assert found['lungs']['accuracy'] == found['&lt;b&gt;chest']['Dice cup'] == 'not annotated'
    assert found['lungs']['cases'] == '4'
    # Dice 1 - i / 16 of the cases 0, 2, 4, 6.
    assert found['lungs']['Dice cup'].startswith('0.812')
    # Each case says its domain, and the choice says how many are shown.
    shown = [attributes['data-domain'] for attributes in page.with_class('case')]
    for name in ('lungs', '<b>chest'):
        escaped = name.replace('<', '&lt;').replace('>', '&gt;')
        assert f'>{escaped} ({shown.count(name)})</option>' in text
    assert len(shown) == 5
    # The table of all cases has a column more.
    assert text.count('<th scope="col">domain</th>') == 2


def test_one_domain_needs_no_choice(tmp_path):
    archive = make_archive(4)
    for case in archive.cases:
        case['domain'] = 'refuge'
    page = report(tmp_path, archive)
    assert 'domains' not in page.ids and 'domain' not in page.ids
    assert page.text.count('refuge') == 4


@pytest.mark.parametrize('with_mask', [True, False])
def test_maps_that_explain_the_class(tmp_path, with_mask):
    archive = make_archive(4, with_mask=with_mask)
    for pictures in archive.pictures.values():
        pictures['saliency'] = encode_image(np.full((4, 4), 200, np.uint8))
    page = report(tmp_path, archive)
    images = [attributes for tag, attributes in page.tags if tag == 'img']
    assert len(images) == 4 * (5 if with_mask else 2)
    assert sum(image['alt'].startswith('saliency of') for image in images) == 4
    assert 'saliency of the predicted class, over the image: 0' in page.text
    assert len(page.with_class('many')) == (4 if with_mask else 0)
    assert 'vacuity of the class 0.' in page.text


def test_names_are_escaped(tmp_path):
    archive = make_archive(4)
    archive.cases[0]['img_path'] = '<script>alert(1)</script>.png'
    archive.cases[1]['patient_id'] = '"><img>'
    archive.info = INFO | {'classes': ['background', '<i>rim', 'cup']}
    report(tmp_path, archive)
    text = (tmp_path / 'report.html').read_text()
    assert text.count('<script>') == 1
    assert 'ill &lt;b&gt;' in text and 'ill <b>' not in text
    assert '&quot;&gt;&lt;img&gt;' in text


def test_only_classification(tmp_path):
    page = report(tmp_path, make_archive(8, with_mask=False))
    assert 'No case has both an annotated and a predicted mask.' in page.text
    assert 'ROC curve: ill <b>' in page.text
    assert 'Reliability of the pixels' not in page.text
    assert 'vacuity' in page.text


def test_only_segmentation(tmp_path):
    page = report(tmp_path, make_archive(8, with_class=False))
    assert 'No case has both an image-level label and a prediction.' in page.text
    assert 'There are no labelled cases.' in page.text
    assert 'Reliability of the pixels' in page.text
    assert 'Dice disc' in page.text


def test_one_class_only(tmp_path):
    cases = [make_case(i, **class_fields(0, [3, 1 + i])) for i in range(4)]
    page = report(tmp_path, CaseArchive(INFO, cases))
    assert 'All 4 labelled cases are of the class healthy' in page.text
    assert 'It needs cases of at least two classes' in page.text
    assert 'nan' not in page.text


def test_no_cases(tmp_path):
    page = report(tmp_path, CaseArchive(INFO, []))
    assert 'There are no cases.' in page.text


def test_unlabelled_cases_with_nan(tmp_path):
    case = make_case(
        pred_label=0,
        pred_score=[None, None],
        cls_alpha=[None, 2.0],
        cls_uncertainty={'vacuity': None},
        seg_uncertainty={'vacuity': {'mean': None, 'mean_foreground': None}},
    )
    page = report(tmp_path, CaseArchive(INFO, [case, make_case(1)]))
    assert page.text.count('unlabelled') == 2
    assert 'No pictures were kept for this case.' in page.text


def test_three_classes_have_a_curve_each(tmp_path):
    rows = [[5, 1, 1], [1, 5, 1], [1, 1, 5], [2, 5, 1], [5, 1, 2], [1, 2, 4]]
    cases = [make_case(i, **class_fields(i % 3, alpha)) for i, alpha in enumerate(rows)]
    page = report(tmp_path, CaseArchive(INFO | {'cls_classes': ['a', 'b', 'c']}, cases))
    found = re.findall(r'([abc]): AUC (\d\.\d{3})', page.text)
    assert [name for name, _ in found] == ['a', 'b', 'c']


def test_a_value_of_other_settings_is_not_given_an_interval(tmp_path):
    archive = make_archive(12)
    own = float(np.mean([case['dice']['cup'] for case in archive.cases]))
    text = {}
    for name, value in (('same', own), ('other', 0.123)):
        report(tmp_path, archive, {'seg/Dice.cup': value})
        text[name] = (tmp_path / 'report.html').read_text()
    assert f'<b>{own:.3f}</b> <span class="interval">' in text['same']
    assert '0.123<span class="interval">*</span>' in text['other']
    assert 'as the test run measured it' in text['other']
    assert 'as the test run measured it' not in text['same']


def test_gallery_is_limited_and_holds_the_worst(tmp_path):
    archive = make_archive(30, with_pictures=False)
    archive.cases[0] |= class_fields(1, [50, 1])  # sure, and wrong
    page = report(tmp_path, archive, max_cases=6)
    assert '6 of 30 cases' in page.text
    errors = [float(attributes['data-error']) for attributes in page.with_class('case')]
    assert len(errors) == 6 and max(errors) >= 1
    assert page.with_class('case')[-1]['data-error'] == '1'  # the surest stands last


def figure(tmp_path, title):
    """The figure of the last report with this title."""
    text = (tmp_path / 'report.html').read_text()
    (found,) = re.findall(
        rf'<figure class="chart"[^>]*><figcaption>{title}</figcaption>.*?</figure>', text
    )
    return found


def test_reliability_diagram(tmp_path):
    archive = make_archive(4)
    bins = np.zeros((3, 15))
    bins[:, 10], bins[:, 14] = (30, 21.0, 15), (10, 9.7, 9)
    archive.tables['calibration'] = np.stack([bins] + [np.zeros_like(bins)] * 3)
    report(tmp_path, archive)
    drawn = figure(tmp_path, 'Reliability of the pixels')
    # Dots at (0.7, 0.5) and (0.97, 0.9), the axes reach from 58 to 406 and from 256 to 12.
    dots = re.findall(r'cx="([\d.]+)" cy="([\d.]+)"', drawn)
    assert [(float(x), float(y)) for x, y in dots] == [
        (pytest.approx(58 + 348 * 0.7, abs=0.1), pytest.approx(134)),
        (pytest.approx(58 + 348 * 0.97, abs=0.1), pytest.approx(256 - 244 * 0.9, abs=0.1)),
    ]
    (bars,) = re.findall(r'class="line s1"[^>]* d="([^"]+)"', drawn)
    heights = [256 - float(y) for y in re.findall(r' ([\d.]+)(?: |$)', bars)]
    assert max(heights) == pytest.approx(244 * 0.75, abs=0.1)  # 30 of 40 pixels
    assert 'class="diagonal"' in drawn and 'share of all pixels in the bin' in drawn
    ece = (abs(15 - 21) + abs(9 - 9.7)) / 40
    assert f'(ECE) {ece:.3f}' in drawn
    assert '(ECE)' in figure(tmp_path, 'Reliability of the image class')


def test_risk_and_coverage_of_the_pixels(tmp_path):
    archive = make_archive(1)
    counts = np.zeros((1, 2, 50), np.int64)
    counts[0, :, 0], counts[0, :, 30] = (60, 0), (20, 20)
    archive.tables['uncertainty/vacuity'] = counts
    report(tmp_path, archive)
    drawn = figure(tmp_path, 'Risk and coverage of the pixels')
    (path,) = re.findall(r'class="line s0" d="([^"]+)"', drawn)
    # No error up to a coverage of 0.6, 20 of 100 at 1; the axis ends 5 % above that.
    top = 256 - 244 / 1.05
    assert path == f'M58.0 256.0 L266.8 256.0 L406.0 {top:.1f}'
    # 60 pixels without risk, then (j / 2) / (60 + j) for the j-th of 40.
    area = sum(j / 2 / (60 + j) for j in range(1, 41)) / 100
    best = sum(j / (80 + j) for j in range(1, 21)) / 100
    assert f'vacuity {area:.4f} ({area - best:.4f}). A random order has 0.2000.' in drawn
    # The metric of the test run gathers pixels in finer steps.
    report(tmp_path, archive, {'seg/AURC.vacuity': 0.0123})
    assert f'vacuity 0.0123 ({area - best:.4f})' in figure(
        tmp_path, 'Risk and coverage of the pixels'
    )


def table_rows(tmp_path, identifier):
    text = (tmp_path / 'report.html').read_text()
    (body,) = re.findall(rf'<tbody id="{identifier}">(.*?)</tbody>', text)
    return [re.findall(r'<t[hd][^>]*>(.*?)</t[hd]>', row) for row in body.split('</tr>')[:-1]]


def test_cases_to_refer_without_scripts(tmp_path):
    page = report(tmp_path, make_archive(20), max_cases=6)
    assert 'Coverage: the model keeps' in page.text
    (controls,) = [a for _, a in page.tags if a.get('id') == 'referral-controls']
    assert 'hidden' in controls  # a script shows them
    rows = table_rows(tmp_path, 'referral-rows')
    # Dice is 1 - 0.5 i / 20: below 0.8 from the ninth case on.
    assert [re.sub('<.*?>', '', row[0]) for row in rows] == ['c19', 'c18', 'c17', 'c16']
    assert rows[0] == ['<a href="#case-19">c19</a>', 'p19', '0.86', '0.525 (failed)']
    assert {address[1:] for address in page.addresses if address.startswith('#case-')} <= set(
        page.ids
    )
    kept = np.mean([0.5 * i / 20 for i in range(16)])
    assert (
        f'The model keeps 16 of 20 cases To a human 4 of 20 cases Risk of what it keeps {kept:.3f}'
        in (page.text)
    )
    assert 'Failed cases sent to the human 4 of 11 mean Dice below 0.8' in page.text
    assert 'mean Dice of the other 90 %' in page.text


def test_threshold_of_failure_is_stated(tmp_path):
    page = report(tmp_path, make_archive(20), failure_dice=0.6)
    assert 'Failed cases sent to the human 3 of 3 mean Dice below 0.6' in page.text
    assert '3 of 20 cases failed (mean Dice below 0.6)' in page.text


def test_curves_of_the_cases(tmp_path):
    report(tmp_path, make_archive(20, seed=1))
    drawn = figure(tmp_path, 'Risk and coverage of the cases: mask')
    assert 'id="risk-mask"' in drawn and 'class="chosen"' in drawn
    # Uncertainty rises with the risk here, so the order is the best one.
    risks = np.cumsum([0.5 * i / 20 for i in range(20)]) / np.arange(1, 21)
    assert f'(AURC) {risks.mean():.3f}' in drawn and 'so 0.000 is too much' in drawn
    assert 'this one saves 100 %' in drawn
    assert [name for name in ('best order', 'random order') if name not in drawn] == []
    assert 'id="risk-class"' in figure(tmp_path, 'Risk and coverage of the cases: class')


def test_an_order_worse_than_chance_is_called_so(tmp_path):
    archive = make_archive(20)
    for index, case in enumerate(archive.cases):
        case['seg_uncertainty'] = {'vacuity': {'mean': 0, 'mean_foreground': 1 - index / 20}}
    report(tmp_path, archive)
    drawn = figure(tmp_path, 'Risk and coverage of the cases: mask')
    assert 'This one is worse than random.' in drawn


def test_scores_are_compared_and_the_test_run_counts(tmp_path):
    archive = make_archive(20)
    for index, case in enumerate(archive.cases):
        case['seg_uncertainty']['vacuity'] |= {'patch_max': float(index % 2)}
    page = report(tmp_path, archive)
    places = [page.text.index(f'vacuity {name}') for name in ('mean of the', 'highest patch')]
    assert places == sorted(places)
    assert '* as the test run measured it, with other settings' not in page.text
    page = report(tmp_path, archive, {'seg/failure_AUROC.vacuity.patch_max': 0.4321})
    assert '0.432 *' in page.text
    assert '* as the test run measured it, with other settings' in page.text


def test_data_of_the_script(tmp_path):
    archive = make_archive(6)
    archive.cases[2]['patient_id'] = '</script><b>'
    archive.cases[3]['seg_uncertainty']['vacuity']['mean_foreground'] = None
    archive.cases[4]['seg_uncertainty'] = None
    report(tmp_path, archive)
    text = (tmp_path / 'report.html').read_text()
    (source,) = re.findall(r'id="referral-data">(.*?)</script>', text)
    data = json.loads(source)
    assert data['patients'][2] == '</script><b>' and data['names'][0] == 'c00'
    order = data['orders'][0]
    assert order['cases'] == [0, 1, 2, 3, 5]
    assert order['scores'][3] is None
    known = [score for score in order['scores'] if score is not None]
    assert known == pytest.approx([0.1 + 0.8 * i / 6 for i in (0, 1, 2, 5)], abs=1e-6)
    assert data['kinds']['mask']['failed'] == [0, 0, 0, 1, None, 1]
    assert data['orders'][2]['cases'] is None  # by the class: all of them


def test_referral_of_unlabelled_cases(tmp_path):
    archive = make_archive(10)
    for case in archive.cases:
        case |= {'gt_label': None, 'dice': None}
    page = report(tmp_path, archive)
    assert len(table_rows(tmp_path, 'referral-rows')) == 2
    assert 'Risk of what it keeps n/a' in page.text
    assert page.text.count('It needs cases with a reference.') == 2


def test_choose_cases():
    priority = np.array([0.1, 0.9, 0.5, 0.3, 0.7])
    errors = np.array([2.0, 0.0, 0.0, 1.0, 0.0])
    assert choose_cases(priority, errors, 5) == [1, 4, 2, 3, 0]
    assert choose_cases(priority, errors, 3) == [1, 4, 0]
    assert choose_cases(priority, errors, 0) == []


def test_table_of_all_cases_as_csv(tmp_path):
    page = report(tmp_path, make_archive(5))
    (address,) = [a for a in page.addresses if a.startswith('data:text/csv')]
    text = base64.b64decode(address.partition(',')[2]).decode()
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row['case'] for row in rows] == ['c04', 'c03', 'c02', 'c01', 'c00']
    assert rows[-1]['Dice cup'] == '1.000' and rows[-1]['truth'] == 'healthy'


def test_a_damaged_training_log_is_named_not_fatal(tmp_path):
    page = report(tmp_path, make_archive(2), train_log=tmp_path / 'none.json')
    assert 'none.json: no such log' in page.text


def test_missing_records(tmp_path):
    with pytest.raises(UserError, match='cases.json: no such file'):
        write_report(tmp_path / 'r.html', tmp_path, {}, title='T')
    assert not (tmp_path / 'r.html').exists()
