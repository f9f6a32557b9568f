import csv
import json
import math
import shutil

import nibabel
import numpy as np
import openpyxl
import pytest
import torch
from scipy import ndimage

from .scripts import make_phantoms, mnms, mnms_layout
from .test_mistakes import check, cut_off, nothing, remove
from .volume_checks import all_records, ids_file, ids_of, load, moved, nifti, set_to

SHAPE = (6, 12, 14)
SHEET = '201014_M&Ms_Dataset_Information_-_opendataset.csv'


@pytest.fixture(scope='module')
def phantom_mnms(tmp_path_factory):
    """Fourteen subjects in the raw layout of M&Ms, one of them without labels; read only."""
    root = tmp_path_factory.mktemp('phantoms') / 'mnms'
    make_phantoms.make_phantoms('mnms', root, num_cases=14, seed=3, size=24, num_frames=4)
    return root


@pytest.fixture
def raw_mnms(phantom_mnms, tmp_path):
    """A copy that a test may spoil."""
    return shutil.copytree(phantom_mnms, tmp_path / 'raw')


@pytest.fixture(scope='module')
def prepared(phantom_mnms, tmp_path_factory):
    out = tmp_path_factory.mktemp('prepared') / 'mnms'
    mnms.prepare(phantom_mnms, out, shape=SHAPE)
    return out


@pytest.fixture(scope='module')
def prepared_2d(phantom_mnms, tmp_path_factory):
    out = tmp_path_factory.mktemp('prepared') / 'mnms_2d'
    mnms.prepare(phantom_mnms, out, two_d=True, short_side=20)
    return out


def cases_of(raw):
    return json.loads((raw / 'phantom_info.json').read_text())['cases']


def raw_frame(raw, code, frame):
    """Image and label map (Z, Y, X)."""
    arrays = []
    for ending in ('sa', 'sa_gt'):
        (path,) = raw.rglob(f'{code}_{ending}.nii.gz')
        arrays.append(nibabel.load(path).get_fdata(dtype=np.float32)[..., frame].transpose())
    return arrays


def middle(length):
    return length // 2 - length // 3, length // 2 + length // 3


def labelled(label):
    return np.flatnonzero(label.any(axis=(1, 2)))


def test_volumes_are_cut_and_resized_as_scipy_does(phantom_mnms, prepared):
    records = all_records(prepared)
    expected = {
        f'{case["id"]}_sa_{frame}': case
        for case in cases_of(phantom_mnms) if case['labelled'] for frame in (case['ed'], case['es'])
    }  # fmt: skip
    assert set(records) == set(expected) and len(records) == 26
    for case_id, record in records.items():
        image, ids, grid = load(prepared, record)
        case = expected[case_id]
        assert record['patient_id'] == case['id'] and record['domain'] == case['vendor']
        assert grid.frame == int(case_id.rpartition('_')[2])
        raw_image, raw_label = raw_frame(phantom_mnms, case['id'], grid.frame)
        slices = labelled(raw_label)
        assert grid.crop == (
            (slices[0], slices[-1]),  # without the last labelled slice
            middle(raw_label.shape[1]),
            middle(raw_label.shape[2]),
        )
        cut = tuple(slice(*bounds) for bounds in grid.crop)
        zoom = np.array(SHAPE) / raw_image[cut].shape
        np.testing.assert_array_equal(image, ndimage.zoom(raw_image[cut], zoom, order=0))
        np.testing.assert_array_equal(ids, ndimage.zoom(raw_label[cut], zoom, order=0))


def test_the_last_labelled_slice_can_be_kept(phantom_mnms, prepared, tmp_path):
    mnms.prepare(phantom_mnms, tmp_path / 'out', shape=SHAPE, inclusive=True)
    without = all_records(prepared)
    for case_id, record in all_records(tmp_path / 'out').items():
        start, stop = without[case_id]['geometry']['crop'][0]
        assert record['geometry']['crop'][0] == [start, stop + 1]


def test_slices_are_cut_and_resized_as_torch_does(phantom_mnms, prepared_2d):
    records = all_records(prepared_2d)
    numbers = {}
    for case_id, record in records.items():
        image, ids, grid = load(prepared_2d, record)
        code, frame = record['patient_id'], grid.frame
        number = int(case_id.removeprefix(f'{code}_sa_{frame}_'))
        numbers.setdefault((code, frame), set()).add(number)
        raw_image, raw_label = raw_frame(phantom_mnms, code, frame)
        place = labelled(raw_label)[0] + number
        assert grid.crop[0] == (place, place + 1) and grid.shape == (1, *image.shape)
        rows, columns = (slice(*middle(length)) for length in raw_label.shape[1:])
        short, long = sorted(raw_image[0, rows, columns].shape)
        assert sorted(image.shape) == [20, math.floor(20 / short * long)]
        assert (image.shape[0] == 20) == (raw_image.shape[1] <= raw_image.shape[2])
        for raw, stored, mode in ((raw_image, image, 'bilinear'), (raw_label, ids, 'nearest')):
            plane = torch.from_numpy(raw[place, rows, columns].copy())[None, None]
            expected = torch.nn.functional.interpolate(plane, size=image.shape, mode=mode)[0, 0]
            np.testing.assert_allclose(stored, expected, atol=2e-3)
    for (code, frame), found in numbers.items():  # all labelled slices, the last one, too
        slices = labelled(raw_frame(phantom_mnms, code, frame)[1])
        assert found == set(range(slices[-1] - slices[0] + 1))


def test_slices_without_image_are_left_out():
    image, label = np.ones((5, 9, 12)), np.zeros((5, 9, 12), int)
    label[1:4, 4, 5] = 1
    image[2] = 0
    cases = mnms.frame_cases(image, label, two_d=True, short_side=6)
    assert [ending for ending, *_ in cases] == ['_0', '_2']
    assert [box[0] for *_, box in cases] == [(1, 2), (3, 4)]


def test_one_labelled_slice_is_kept_only_on_request():
    image, label = np.ones((5, 9, 12)), np.zeros((5, 9, 12), int)
    label[3, 4, 5] = 1
    assert mnms.frame_cases(image, label, shape=(4, 4, 4)) == []
    assert len(mnms.frame_cases(image, label, shape=(4, 4, 4), inclusive=True)) == 1


@pytest.mark.parametrize('two_d', [False, True])
def test_predictions_come_back_to_the_raw_grid(two_d, phantom_mnms, tmp_path):
    subject = mnms_layout.find_subjects(phantom_mnms)[0]
    records = mnms.convert_subject(
        subject, tmp_path, raw_root=phantom_mnms, two_d=two_d, shape=(40, 60, 60), short_side=64
    )
    for record in records.values():
        _, ids, grid = load(tmp_path, record)
        restored = grid.restore(ids)
        _, raw = raw_frame(phantom_mnms, subject.code, grid.frame)
        raw = raw.transpose()
        assert restored.shape == raw.shape
        kept = np.zeros(raw.shape, bool)
        kept.transpose()[tuple(slice(*bounds) for bounds in grid.crop)] = True
        assert not restored[~kept].any()
        if two_d:  # torch's floor rule moves labels by up to half a raw pixel
            assert (restored == raw)[kept].mean() > 0.9
        else:
            assert np.array_equal(restored[kept], raw[kept])


def subjects_of(out, split):
    return {case_id.partition('_')[0] for case_id in ids_of(out, split)}


def test_splits(phantom_mnms, prepared, prepared_2d):
    vendor_of = {case['id']: case['vendor'] for case in cases_of(phantom_mnms) if case['labelled']}
    for target in 'ABCD':
        others = set('ABCD') - {target}
        for ratio in (0.02, 0.05):
            names = mnms_layout.split_names(target, ratio)
            few, many, held, test = (subjects_of(prepared, name) for name in names)
            assert few == held and {vendor_of[code] for code in few} == others
            assert len(few) == 3 and not few & many  # one subject of each other vendor
            assert few | many == {code for code, name in vendor_of.items() if name != target}
            assert test == {code for code, name in vendor_of.items() if name == target}
            assert all(len(ids_of(prepared, name)) == 2 * len(subjects_of(prepared, name))
                       for name in names)  # fmt: skip
            # The same division of the same subjects in slices.
            for name in names:
                assert subjects_of(prepared_2d, name) == subjects_of(prepared, name)
        vendor = subjects_of(prepared, f'vendor{target}')
        assert vendor == {code for code, name in vendor_of.items() if name == target}


def test_numbers_of_the_official_set_and_seeds():
    subjects = [
        mnms_layout.Subject(f'{vendor}{number:03d}', vendor, None, None, ())
        for vendor, count in zip('ABCD', (95, 125, 50, 50), strict=True)
        for number in range(count)
    ]
    codes = {subject.code: subject.code for subject in subjects}

    def divide(seed):
        return mnms_layout.make_splits(
            subjects, (0.02, 0.05), seed, None, lambda name: [name[:-3]], codes
        )

    splits = divide(0)
    for target, numbers in {
        'A': (5, 13, 220, 212, 95), 'B': (4, 11, 191, 184, 125),
        'C': (6, 15, 264, 255, 50), 'D': (6, 15, 264, 255, 50),
    }.items():  # fmt: skip
        small, large = (mnms_layout.split_names(target, ratio) for ratio in (0.02, 0.05))
        order = (small[0], large[0], small[1], large[1], small[3])
        assert tuple(len(splits[name]) for name in order) == numbers
        assert set(splits[small[0]]) < set(splits[large[0]])
    assert divide(0) == splits and divide(1) != splits


def published(raw, change=lambda ids: ids):
    """Splits for the unseen vendor A that name frames, as the published ones do."""
    cases = [case for case in cases_of(raw) if case['labelled']]
    others = [case for case in cases if case['vendor'] != 'A']

    def frames(group):
        return [f'{case["id"]}_sa_{frame}' for case in group for frame in (case['es'], case['ed'])]

    ids = {
        'train_toA_labeled_0.02': frames(others[:2]),
        'train_toA_unlabeled_0.02': frames(others[2:5]),
        'eval_toA_0.02': frames(others[:2]),
        'test_toA_0.02': frames(case for case in cases if case['vendor'] == 'A'),
    }
    for name, lines in change(ids).items():
        folder = ids_file(raw, name, lines)
    return folder, ids


def test_published_splits(raw_mnms, tmp_path, cli):
    folder, ids = published(raw_mnms)
    words = raw_mnms, tmp_path / 'out', '--shape', *SHAPE, '--splits', folder
    code, _, err = cli(mnms.main, *words)
    assert code == 0, err
    for name, lines in ids.items():
        assert ids_of(tmp_path / 'out', name) == sorted(lines)
    assert 'has no train_toB_labeled_0.02' in err  # drawn
    words = raw_mnms, tmp_path / 'flat', '--2d', '--short-side', 20, '--splits', folder
    assert cli(mnms.main, *words)[0] == 0
    name = 'train_toA_unlabeled_0.02'
    frames = {case_id.rpartition('_')[0] for case_id in ids_of(tmp_path / 'flat', name)}
    assert frames == set(ids[name])  # all slices of these frames


@pytest.mark.parametrize(
    ('name', 'line', 'message'),
    [
        ('eval_toA_0.02', 'X9X9X9_sa_0', r'eval_toA_0\.02\.txt: .*found X9X9X9_sa_0, which is not'),
        ('eval_toA_0.02', '{code}_sa_2', r'eval_toA_0\.02\.txt: .*found \w+_sa_2, which is not'),
        (
            'test_toA_0.02', '{code}_sa_0',
            r'test_toA_0\.02: expected other patients than in train_toA_labeled_0\.02, found',
        ),
    ],
)  # fmt: skip
def test_published_splits_that_do_not_fit(name, line, message, raw_mnms, tmp_path, cli):
    def change(ids):
        code = ids['train_toA_labeled_0.02'][0].partition('_')[0]
        return {**ids, name: [line.format(code=code)]}

    folder, _ = published(raw_mnms, change)
    ended = cli(mnms.main, raw_mnms, tmp_path / 'out', '--shape', *SHAPE, '--splits', folder)
    check(ended, 1, message, (tmp_path / 'out', tmp_path / 'out.partial'))


def test_same_bytes_again(phantom_mnms, prepared, tmp_path, cli, tree):
    code, out, err = cli(mnms.main, phantom_mnms, tmp_path / 'out', '--shape', *SHAPE)
    assert code == 0 and '26 volumes or slices of 13 patients in 36 splits' in out
    assert err.splitlines() == [
        'note: 1 subjects of a folder Unlabeled have no label map and are not used',
        'note: 13 labelled subjects; the official set has 320',
    ]
    assert tree(tmp_path / 'out') == tree(prepared)


def test_name_and_command_of_slices(prepared_2d):
    info = json.loads((prepared_2d / 'dataset_info.json').read_text())
    assert info['dataset'] == 'mnms_2d'
    assert ' OUT_ROOT --2d --short-side 20 --ratios 0.02 0.05 --seed 0' in info['command']


def read_rows(raw):
    with (raw / SHEET).open(newline='', encoding='utf-8') as stream:
        return list(csv.reader(stream))


def rows(change):
    """Change the rows of the sheet, the header among them."""

    def spoil(raw):
        table = change(read_rows(raw))
        with (raw / SHEET).open('w', newline='', encoding='utf-8') as stream:
            csv.writer(stream).writerows(table)

    return spoil


def as_excel(raw):
    book = openpyxl.Workbook()
    for row in read_rows(raw):
        book.active.append([int(cell) if cell.isdigit() else cell for cell in row])
    book.save((raw / SHEET).with_suffix('.xlsx'))
    (raw / SHEET).unlink()


def test_sheet_in_excel_format(raw_mnms, prepared, tmp_path):
    as_excel(raw_mnms)
    mnms.prepare(raw_mnms, tmp_path / 'out', shape=SHAPE)
    assert all_records(tmp_path / 'out') == all_records(prepared)


def test_sheet_without_phases(raw_mnms, prepared, tmp_path):
    rows(lambda table: [row[:5] for row in table])(raw_mnms)
    mnms.prepare(raw_mnms, tmp_path / 'out', shape=SHAPE)
    assert all_records(tmp_path / 'out') == all_records(prepared)


def on_first(kind, spoil):
    """Apply a change of one file to the label map or volume of the first labelled subject."""

    def change(raw):
        subject = mnms_layout.find_subjects(raw)[0]
        spoil(getattr(subject, kind).relative_to(raw).as_posix())(raw)

    return change


def cell(column, value, row=1):
    def change(table):
        table[row][column] = value
        return table

    return rows(change)


def only_one_slice(data):
    data[:, :, 6:] = 0
    data[:, :, :5] = 0
    data[8:16, 8:16, 5, :2] = 1
    return data


# id: (how the raw files are spoilt, further words, exit code, message)
MISTAKES = {
    'sheet missing': (
        remove(SHEET), (), 1,
        r'raw: expected one information sheet .* columns External code and Vendor\), found Testing',
    ),
    'two sheets': (
        lambda raw: shutil.copy(raw / SHEET, raw / 'information.csv'), (), 1,
        r'expected one information sheet .*, found 201014.*\.csv, information\.csv; unpack',
    ),
    'sheet in the old format': (
        lambda raw: (raw / SHEET).rename(raw / 'information.xls'), (), 1,
        r'information\.xls: expected a \.csv or \.xlsx file, found one in the old format .* save',
    ),
    'column missing': (
        rows(lambda table: [row[:3] for row in table]), (), 1,
        r"opendataset\.csv: expected a column 'Vendor', found 'External code', 'VendorName'; use",
    ),
    'unknown vendor': (
        cell(3, 'E'), (), 1,
        r"csv, row 2: expected a vendor A, B, C or D in the column 'Vendor', found 'E'; use",
    ),
    'vendor empty': (cell(3, '', row=3), (), 1, r'csv, row 4: expected a vendor .*, found None'),
    'subject listed twice': (
        rows(lambda table: [*table, table[1]]), (), 1,
        r'csv, row 16: expected each subject once, found \w+ again; correct',
    ),
    'subject not listed': (
        rows(lambda table: table[:1] + table[2:]), (), 1,
        r'_sa\.nii\.gz: expected a row \w+ in 201014.*\.csv, found none; use',
    ),
    'volumes missing': (
        lambda raw: [path.unlink() for path in raw.rglob('*_sa.nii.gz')], (), 1,
        r'raw: expected files <code>_sa\.nii\.gz, found 201014',
    ),
    'label map missing': (
        on_first('label', remove), (), 1,
        r'_sa\.nii\.gz: expected \w+_sa_gt\.nii\.gz beside it, found no such file; unpack',
    ),
    'volume missing': (
        on_first('image', remove), (), 1,
        r'_sa_gt\.nii\.gz: expected \w+_sa\.nii\.gz beside it, found no such file; unpack',
    ),
    'volume cut off': (
        on_first('image', cut_off), (), 1, r'_sa\.nii\.gz: expected a whole NIfTI file, found one',
    ),
    'unknown label value': (
        on_first('label', lambda name: nifti(name, set_to(4))), (), 1,
        r'_sa_gt\.nii\.gz: expected label values 0, 1, 2, 3, found 4 in 1 voxels; use',
    ),
    'empty label map': (
        on_first('label', lambda name: nifti(name, np.zeros_like)), (), 1,
        r'_sa_gt\.nii\.gz: expected at least one labelled voxel, found only 0',
    ),
    'NaN': (
        on_first('image', lambda name: nifti(name, set_to(np.nan))), (), 1,
        r'_sa\.nii\.gz: expected finite values, found NaN or infinity in 1 of',
    ),
    'fewer frames with labels': (
        on_first('label', lambda name: nifti(name, lambda data: data[..., :2])), (), 1,
        r'_sa_gt\.nii\.gz: expected the shape of its image',
    ),
    'label map elsewhere': (
        on_first('label', lambda name: nifti(name, affine=moved)), (), 1,
        r'_sa_gt\.nii\.gz: expected the position of its image',
    ),
    'labels in other frames than the sheet says': (
        on_first('label', lambda name: nifti(name, lambda data: np.roll(data, 1, axis=3))), (), 1,
        r'_sa_gt\.nii\.gz: expected labels in the frames \[0, \d\] that the sheet calls ED and ES, '
        r'found them in \[1, \d\]; use',
    ),
    'one labelled slice': (
        on_first('label', lambda name: nifti(name, only_one_slice)), (), 1,
        r'_sa_gt\.nii\.gz: expected at least two labelled slices in frame 0, because the last one '
        r'is dropped, found one; keep it with --inclusive',
    ),
    'volume of three axes': (
        on_first('image', lambda name: nifti(name, lambda data: data[..., 0])), (), 1,
        r'_sa_gt\.nii\.gz: expected the shape of its image .*, \(\d+, \d+, \d+, 1\), found',
    ),
    'split folder of another set': (
        lambda raw: ids_file(raw, 'labeled_0.05', ['a']), ('--splits', 'SPLITS'), 1,
        r'splits: expected split files such as train_toA_labeled_0\.02\.txt \(--splits\), found',
    ),
    'side too small': (
        nothing, ('--2d', '--short-side', 4), 2, r'--short-side: expected 16 to 4096, got 4',
    ),
}  # fmt: skip


@pytest.mark.parametrize('mistake', MISTAKES)
def test_mistakes(mistake, raw_mnms, tmp_path, cli):
    spoil, words, code, message = MISTAKES[mistake]
    spoil(raw_mnms)
    out = tmp_path / 'out'
    words = [tmp_path / 'splits' if word == 'SPLITS' else word for word in words]
    ended = cli(mnms.main, raw_mnms, out, '--shape', *SHAPE, *words)
    check(ended, code, message, (out, tmp_path / 'out.partial'))


def test_a_vendor_needs_two_subjects(raw_mnms, tmp_path, cli):
    (first, *others) = [case['id'] for case in cases_of(raw_mnms) if case['vendor'] == 'D']
    for code in others:
        (path,) = raw_mnms.rglob(code)
        shutil.rmtree(path)
    ended = cli(mnms.main, raw_mnms, tmp_path / 'out')
    check(ended, 1, r'mnms: expected at least 2 labelled subjects of vendor D, found 1; give', ())
