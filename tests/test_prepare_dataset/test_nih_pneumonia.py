import csv
import json
import shutil

import pytest

from .scripts import make_phantoms, nih_pneumonia
from .test_mistakes import check, copy, cut_off, remove, write_bytes

SHEET = 'Data_Entry_2017.csv'


@pytest.fixture(scope='module')
def phantom(tmp_path_factory):
    """Thirty images in the raw layout; read only."""
    root = tmp_path_factory.mktemp('phantoms') / 'nih'
    make_phantoms.make_phantoms('nih_pneumonia', root, num_cases=30, seed=3, size=32)
    return root


@pytest.fixture
def raw(phantom, tmp_path):
    """A copy that a test may spoil."""
    return shutil.copytree(phantom, tmp_path / 'raw')


def table(raw):
    with (raw / SHEET).open() as stream:
        return list(csv.DictReader(stream))


def rewrite(change):
    def spoil(raw):
        rows = [row for row in map(change, table(raw)) if row]
        with (raw / SHEET).open('w', newline='') as stream:
            writer = csv.DictWriter(stream, rows[0])
            writer.writeheader()
            writer.writerows(rows)

    return spoil


def rows_of(out):
    return json.loads((out / 'annotations' / 'test.json').read_text())


def test_labels_follow_the_sheet(phantom, tmp_path, cli):
    code, out, err = cli(
        nih_pneumonia.main, phantom, tmp_path / 'out', '--size', 16, '--normals', 10
    )
    assert code == 0 and '10 normal, 9 pneumonia images; the paper has 2754' in err
    rows = {row['img_path'].split('/')[-1]: row for row in rows_of(tmp_path / 'out')}
    patients = {row['patient_id'] for row in rows.values()}
    assert out == f'{tmp_path}/out: test 19 images of {len(patients)} patients\n'
    findings = {row['Image Index']: row for row in table(phantom)}
    ill = {name for name, row in findings.items() if 'Pneumonia' in row['Finding Labels']}
    assert {name for name, row in rows.items() if row['gt_label']} == ill
    for name, row in rows.items():
        assert row['gt_label'] == 1 or findings[name]['Finding Labels'] == 'No Finding'
        assert row['patient_id'] == findings[name]['Patient ID'] and row['domain'] == 'nih'
        assert row['ori_shape'] == [32, 32]
    info = json.loads((tmp_path / 'out' / 'dataset_info.json').read_text())
    assert info['splits']['test']['cls_counts'] == {'normal': 10, 'pneumonia': 9}


def test_choice_of_normal_images_follows_the_seed(phantom, tmp_path, tree):
    for name, seed in (('a', 0), ('b', 0), ('c', 1)):
        nih_pneumonia.prepare(phantom, tmp_path / name, size=16, normals=5, seed=seed)
    assert tree(tmp_path / 'a') == tree(tmp_path / 'b')
    a, c = rows_of(tmp_path / 'a'), rows_of(tmp_path / 'c')
    assert a != c and [r for r in a if r['gt_label']] == [r for r in c if r['gt_label']]


def chosen(raw):
    return next(r['Image Index'] for r in table(raw) if 'Pneumonia' in r['Finding Labels'])


MISTAKES = {
    'sheet missing': (remove(SHEET), r'raw: expected one sheet Data_Entry_2017\*\.csv, found 0'),
    'two sheets': (copy(SHEET, 'Data_Entry_2017_v2020.csv'), r'expected one sheet .*, found 2'),
    'sheet without a column': (
        rewrite(lambda row: {k: v for k, v in row.items() if k != 'Finding Labels'}),
        r"Data_Entry_2017\.csv: expected a column 'Finding Labels', found",
    ),
    'empty cell': (
        rewrite(lambda row: {**row, 'Finding Labels': ''}),
        r'row 2: expected Image Index, Finding Labels, Patient ID, found an empty cell; correct',
    ),
    'image named twice': (
        rewrite(lambda row: {**row, 'Image Index': '00000001_000.png'}),
        r'row 3: expected one row per image, found another for 00000001_000\.png; correct',
    ),
    'no pneumonia': (
        rewrite(lambda row: {**row, 'Finding Labels': 'No Finding'}),
        r'expected images of No Finding and of Pneumonia, found one of them alone',
    ),
    'image missing': (
        lambda raw: remove(f'images/{chosen(raw)}')(raw),
        r'raw: expected an image \d{8}_\d{3}\.png that the sheet names, found none; unpack all',
    ),
    'image there twice': (
        lambda raw: copy(f'images/{chosen(raw)}', f'more/{chosen(raw)}')(raw),
        r'more/\S+: expected one file per image, found another .*; remove',
    ),
    'image cut off': (
        lambda raw: cut_off(f'images/{chosen(raw)}')(raw),
        r'png: expected a whole PNG file, found it damaged or cut off',
    ),
    'web page in place of an image': (
        lambda raw: write_bytes(f'images/{chosen(raw)}', b'<html>')(raw), r'that is no image',
    ),
}  # fmt: skip


@pytest.mark.parametrize('mistake', MISTAKES)
def test_mistakes(mistake, raw, tmp_path, cli):
    spoil, message = MISTAKES[mistake]
    spoil(raw)
    out = tmp_path / 'out'
    ended = cli(nih_pneumonia.main, raw, out, '--size', 16)
    check(ended, 1, message, (out, tmp_path / 'out.partial'))


def test_number_of_normal_images_is_positive(phantom, tmp_path, cli):
    ended = cli(nih_pneumonia.main, phantom, tmp_path / 'out', '--normals', 0)
    check(ended, 2, r'--normals: expected at least 1, got 0', ())
