import json

import cv2
import nibabel
import numpy as np
import pytest

from mmjoint.phantoms.common import write_sheet
from mmjoint.utils.errors import UserError

from .scripts import common, ispy1, ispy1_layout


def records_of(out, split):
    return json.loads((out / 'annotations' / f'{split}.json').read_text())


def volume_with_areas(areas):
    mask = np.zeros((8, 8, len(areas)), np.uint8)
    for z, area in enumerate(areas):
        mask[:, :, z].flat[:area] = 1
    return mask


@pytest.mark.parametrize(
    ('areas', 'keep', 'expected'),
    [
        # Peak 6, start 6 - 5 = 1.
        ([0, 1, 2, 3, 4, 5, 9, 5, 4, 3, 2, 1, 1, 0], 10, list(range(1, 11))),
        # Peak 9, start 4, six upwards; then downwards from 3.
        ([1, 1, 1, 1, 2, 2, 2, 3, 3, 9, 0, 0], 10, [4, 5, 6, 7, 8, 9, 3, 2, 1, 0]),
        # The first of two equal peaks counts; empty slices are passed over.
        ([1, 0, 9, 0, 9, 1], 4, [0, 2, 4, 5]),
        # Peak 1: a start of 1 - 5 is clamped, upstream wraps to slices 8 to 11.
        ([3, 9, 1, 0, 0, 0, 0, 0, 2, 2, 2, 2], 4, [0, 1, 2, 8]),
        # Downwards only keep - 1 slices: 13 - 2 = 11, then 10, 9, 8; slice 7 is out of reach.
        ([1] * 9 + [0, 0, 0, 0, 9], 4, [13, 8]),
        ([0, 0, 5, 0], 10, [2]),
    ],
)
def test_choose_slices(areas, keep, expected):
    assert ispy1.choose_slices(volume_with_areas(areas), keep) == expected


def test_official_division_by_rows():
    # Classes mixed in the sheet; rows count within their class.
    labels = {1000 + row: int(row % 3 == 0 and row < 129) for row in range(157)}
    assert sum(labels.values()) == 43
    split_of = ispy1_layout.divide_patients(labels)
    for label, (train, val, test) in {0: (92, 11, 11), 1: (35, 4, 4)}.items():
        rows = [split_of[case] for case, value in labels.items() if value == label]
        assert rows == ['train'] * train + ['val'] * val + ['test'] * test


def test_division_of_other_numbers_is_proportional():
    labels = dict.fromkeys(range(20), 0) | dict.fromkeys(range(20, 30), 1)
    split_of = ispy1_layout.divide_patients(labels)
    counts = [[0, 0, 0], [0, 0, 0]]
    for case, split in split_of.items():
        counts[labels[case]][common.SPLITS.index(split)] += 1
    assert counts == [[16, 2, 2], [8, 1, 1]]
    split_of = ispy1_layout.divide_patients(labels, fractions=(2, 1, 1))
    assert sum(split == 'train' for split in split_of.values()) == 10 + 6  # 2.5 rounds to 2


def test_random_division_follows_the_seed():
    labels = {case: int(case % 4 == 0) for case in range(60)}
    first, again, other = (
        ispy1_layout.divide_patients(labels, order='random', seed=seed) for seed in (1, 1, 2)
    )
    assert first == again != other
    assert sorted(first) == sorted(labels)
    for label in (0, 1):
        numbers = [
            [split_of[case] for case in labels if labels[case] == label].count('test')
            for split_of in (first, other)
        ]
        assert numbers[0] == numbers[1] >= 1


@pytest.mark.parametrize('cell', [1001, 1001.0, '1001', 'ISPY_1001', 'ISPY1_1001', ' 1001.0 '])
def test_patient_numbers(cell):
    assert ispy1_layout.parse_id(cell, 'x') == 1001


@pytest.mark.parametrize('cell', [1001.5, None, 'nan', 'A1', '', -3])
def test_patient_numbers_refused(cell):
    with pytest.raises(UserError, match='^row 2: expected a whole number in the column SUBJECTID'):
        ispy1_layout.parse_id(cell, 'row 2')


@pytest.fixture(scope='module')
def prepared(phantom_ispy1, tmp_path_factory):
    out = tmp_path_factory.mktemp('prepared') / 'ispy1'
    ispy1.prepare(phantom_ispy1, out)
    return out


def raw_volumes(root, patient):
    return (
        nibabel.load(root / 'Dataset ISPY' / f'ISPY_{patient}' / 'DCEMRI_1.nii'),
        nibabel.load(root / 'Tumor_segmentation_new' / f'ISPY_{patient}_tumor_mask.nii'),
    )


def test_every_patient_is_in_one_split_with_ten_slices(phantom_ispy1, prepared):
    truth = json.loads((phantom_ispy1 / 'phantom_info.json').read_text())['cases']
    seen = {}
    for split in common.SPLITS:
        for record in records_of(prepared, split):
            seen.setdefault(record['patient_id'], []).append((split, record['gt_label']))
    assert {int(patient) for patient in seen} == {case['id'] for case in truth}
    for case in truth:
        rows = seen[str(case['id'])]
        assert len(rows) == 10
        assert len(set(rows)) == 1
        assert rows[0][1] == case['pcr']


def test_slices_are_transposed_scaled_and_spaced(phantom_ispy1, prepared):
    for record in records_of(prepared, 'val'):
        image, mask = raw_volumes(phantom_ispy1, record['patient_id'])
        plane = np.asarray(image.dataobj)[:, :, record['slice']].T.astype(float)
        expected = (plane - plane.min()) / (plane.max() - plane.min()) * 255
        stored = cv2.imread(str(prepared / record['img_path']))
        assert stored.shape == (32, 32, 3)
        assert np.ptp(stored, axis=2).max() == 0
        assert np.corrcoef(stored[..., 0].ravel(), expected.ravel())[0, 1] > 0.97
        ids = cv2.imread(str(prepared / record['seg_map_path']), cv2.IMREAD_UNCHANGED)
        truth = np.asarray(mask.dataobj)[:, :, record['slice']].T
        assert ids.dtype == np.uint8 and ids.shape == (32, 32)
        assert np.array_equal(ids, truth)
        assert record['spacing'] == pytest.approx([5.6, 5.6])
        assert record['ori_shape'] == [32, 32]


def test_spacing_is_row_then_column(tmp_path, phantom_ispy1):
    data = np.zeros((6, 8, 12), np.int16)
    data[2:4, 2:5, 1:11] = 1
    paths = []
    for name in ('image', 'mask'):
        paths.append(tmp_path / f'{name}.nii')
        nibabel.save(nibabel.Nifti1Image(data, np.diag([0.5, 0.75, 2, 1])), paths[-1])
    (record, *others) = ispy1.convert_case(
        ispy1_layout.Case(7, *paths, 1), 'train', tmp_path, image_format='png'
    )
    assert len(others) == 9
    assert record['spacing'] == [0.75, 0.5]
    assert record['ori_shape'] == [8, 6]
    assert cv2.imread(str(tmp_path / record['seg_map_path']), 0).sum() == 6


def test_png_with_volume_range_keeps_intensities_comparable(phantom_ispy1, tmp_path):
    ispy1.prepare(phantom_ispy1, tmp_path / 'out', image_format='png', intensity='volume', keep=3)
    records = records_of(tmp_path / 'out', 'test')
    assert len(records) == 2 * 3
    for record in records:
        image, _ = raw_volumes(phantom_ispy1, record['patient_id'])
        volume = np.asarray(image.dataobj).astype(float)
        plane = volume[:, :, record['slice']].T
        expected = (plane - volume.min()) / (volume.max() - volume.min()) * 255
        stored = cv2.imread(str(tmp_path / 'out' / record['img_path']), cv2.IMREAD_UNCHANGED)
        assert np.abs(stored - expected).max() <= 0.501


def test_order_is_that_of_the_file_names(prepared):
    for split in common.SPLITS:
        names = [record['img_path'].split('/')[-1] for record in records_of(prepared, split)]
        assert names == sorted(names, key=lambda name: name.replace('.', '_'))


def test_info_and_repeatability(phantom_ispy1, prepared, tmp_path, tree):
    info = json.loads((prepared / 'dataset_info.json').read_text())
    assert info['classes'] == ['background', 'tumour']
    assert info['cls_classes'] == ['non-pCR', 'pCR']
    assert info['splits']['train']['num_patients'] == 3
    assert info['splits']['train']['cls_counts'] == {'non-pCR': 20, 'pCR': 10}
    assert info['splits']['val']['cls_counts'] == {'non-pCR': 10, 'pCR': 10}
    ispy1.prepare(phantom_ispy1, tmp_path / 'elsewhere')
    assert tree(tmp_path / 'elsewhere') == tree(prepared)


def test_rows_without_files_can_be_left_out(raw_ispy1, tmp_path, cli):
    info = json.loads((raw_ispy1 / 'phantom_info.json').read_text())
    rows = [(case['id'], case['pcr']) for case in info['cases']]
    # Numbers as floats, as sheets with gaps store them.
    rows = [(float(number), pcr) for number, pcr in rows] + [(1200.0, 0), (1201.0, None)]
    write_sheet(raw_ispy1 / 'outcome_new.xlsx', ('SUBJECTID', 'PCR', 'AGE'), rows)
    code, out, err = cli(ispy1.main, raw_ispy1, tmp_path / 'out', '--skip-missing', '--keep', 2)
    assert code == 0
    assert out.startswith(f'{tmp_path}/out: train 6 images of 3 patients; ')
    assert 'patient 1201 has no PCR and is left out' in err
    assert 'patient 1200 has no ISPY_1200/DCEMRI_1.nii and is left out' in err
    assert (tmp_path / 'out' / 'masks' / 'train').is_dir()
