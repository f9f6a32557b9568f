"""The phantoms of LA, Synapse, MMWHS and M&Ms: files as distributed, anatomy as promised."""

import csv
import re

import h5py
import nibabel
import numpy as np
import pytest
from scipy import ndimage

from mmjoint.phantoms import PHANTOM_SETS, la_raw, mmwhs_raw, mnms_raw, synapse_raw
from mmjoint.phantoms.common import case_rng
from mmjoint.utils.io import sha256_file

CASES = {'la': 10, 'synapse': 6, 'mmwhs': 7, 'mnms': 12}
SIZE = 32


def tree(root):
    return {
        path.relative_to(root).as_posix(): sha256_file(path)
        for path in root.rglob('*')
        if path.is_file()
    }


@pytest.fixture(scope='module')
def raw(tmp_path_factory):
    """Set -> (folder, what the writer returned)."""
    top = tmp_path_factory.mktemp('raw')
    for name in CASES:
        (top / name).mkdir()
    return {
        name: (top / name, PHANTOM_SETS[name].write(top / name, num_cases=count, seed=4, size=SIZE))
        for name, count in CASES.items()
    }


def volume(path):
    return np.asarray(nibabel.load(path).dataobj)


@pytest.mark.parametrize('name', CASES)
def test_same_seed_gives_the_same_bytes_however_many_cases(name, raw, tmp_path):
    write, root = PHANTOM_SETS[name].write, raw[name][0]
    for folder, seed in (('again', 4), ('other', 5)):
        (tmp_path / folder).mkdir()
        write(tmp_path / folder, num_cases=CASES[name], seed=seed, size=SIZE)
    assert tree(tmp_path / 'again') == tree(root)
    assert not set(tree(tmp_path / 'other').values()) & set(tree(root).values())


def test_la_files(raw):
    root, truth = raw['la']
    assert [case['split'] for case in truth] == ['train'] * 8 + ['test'] * 2
    assert all(re.fullmatch('[A-Z0-9]{20}', case['id']) for case in truth)
    for split in ('train', 'test'):
        ids = (root / f'{split}.list').read_text().split()
        assert ids == [case['id'] for case in truth if case['split'] == split]
    shapes = set()
    for case in truth:
        path = root / '2018LA_Seg_Training Set' / case['id'] / 'mri_norm2.h5'
        with h5py.File(path) as stored:
            image, label = stored['image'][()], stored['label'][()]
        assert image.dtype == np.float32 and label.dtype == np.uint8
        assert image.shape == label.shape and max(image.shape) <= SIZE
        assert abs(image.mean()) < 1e-3 and image.std() == pytest.approx(1, abs=1e-3)
        assert set(np.unique(label)) == {0, 1}
        assert label.mean() == pytest.approx(case['label_share'], abs=1e-5)
        shapes.add(image.shape)
    assert len(shapes) > 5


def test_atria_are_in_one_piece_and_vary_in_size():
    shares = []
    for index in range(8):
        phantom = la_raw.render_atrium(case_rng(2, index), (48, 36, 28))
        pieces, _ = ndimage.label(phantom.label, np.ones((3, 3, 3)))
        sizes = np.bincount(pieces.ravel())[1:]
        assert sizes.max() >= 0.95 * sizes.sum()
        shares.append(phantom.label.mean())
    assert 0.005 < min(shares) and max(shares) < 0.12
    assert max(shares) > 1.5 * min(shares)


def test_synapse_files(raw):
    root, truth = raw['synapse']
    assert [case['id'] for case in truth] == ['0001', '0002', '0003', '0004', '0005', '0006']
    assert len(tree(root)) == 12
    for case in truth:
        image = nibabel.load(root / f'imagesTr/img{case["id"]}.nii.gz')
        label = nibabel.load(root / f'labelsTr/label{case["id"]}.nii.gz')
        assert image.shape == label.shape and image.shape[:2] == (SIZE, SIZE)
        assert np.array_equal(image.affine, label.affine)
        units, organs = volume(root / f'imagesTr/img{case["id"]}.nii.gz'), np.asarray(label.dataobj)
        assert units.dtype == np.int16 and -1024 <= units.min() < -900 and units.max() > 200
        counts = np.bincount(organs.ravel(), minlength=14)
        assert len(counts) == 14 and counts[1:].tolist() == case['organ_voxels']
        present = {organ for organ in range(1, 14) if counts[organ]}
        assert present >= set(range(1, 14)) - {synapse_raw.GALLBLADDER}  # some have lost it


def test_numbers_of_synapse_are_the_real_ones(tmp_path):
    truth = synapse_raw.write_synapse(tmp_path, num_cases=32, seed=0, size=16)
    numbers = [int(case['id']) for case in truth]
    assert numbers == [*range(1, 11), *range(21, 43)]


def test_organs_are_imbalanced_by_500():
    counts = np.zeros(14)
    for index in range(4):
        phantom = synapse_raw.render_abdomen(case_rng(3, index), (96, 96, 48))
        counts += np.bincount(phantom.label.ravel(), minlength=14)
        # Contrast agent is brightest in the vessels.
        units = {
            organ: np.percentile(phantom.image[phantom.label == organ], 70)
            for organ in (synapse_raw.AORTA, synapse_raw.LIVER, synapse_raw.PANCREAS)
        }
        assert units[synapse_raw.AORTA] == max(units.values())
    adrenals = counts[[synapse_raw.RIGHT_ADRENAL, synapse_raw.LEFT_ADRENAL]].mean()
    assert 300 < counts[synapse_raw.LIVER] / adrenals < 900
    assert counts[1:].max() == counts[synapse_raw.LIVER]


def test_mmwhs_files(raw):
    root, truth = raw['mmwhs']
    assert [case['id'] for case in truth] == [
        *(f'ct_train_100{number}' for number in range(1, 5)),
        *(f'mr_train_100{number}' for number in range(1, 4)),
    ]
    seen = set()
    for case in truth:
        folder, orientation = root / case['modality'].upper(), case['orientation']
        image = nibabel.load(folder / f'imagesTr/{case["id"]}_image.nii.gz')
        label = nibabel.load(folder / f'labelsTr/{case["id"]}_label.nii.gz')
        assert image.shape == label.shape and np.array_equal(image.affine, label.affine)
        # Letters of nibabel name the same directions as ours.
        assert ''.join(nibabel.aff2axcodes(image.affine)) == orientation
        assert min(image.header.get_zooms()) > 0
        values = set(np.unique(label.dataobj).tolist())
        assert values <= {0, 205, 420, 421, 500, 550, 600, 820, 850}
        assert values >= {0, 205, 420, 500, 820}
        seen |= values if 421 in values else set()
    assert 421 in seen


def test_hearts_lie_the_same_way_whatever_the_orientation_of_the_file(raw):
    """The left ventricle lies left of the right atrium and before the left one, aorta above."""
    root, truth = raw['mmwhs']
    for case in truth:
        path = root / case['modality'].upper() / f'labelsTr/{case["id"]}_label.nii.gz'
        label = nibabel.as_closest_canonical(nibabel.load(path))  # R, A, S
        data = np.asarray(label.dataobj)
        if case['id'] == mmwhs_raw.STRAY_CASE:  # axes to R, A, S: the left end is kept
            across, back, foot = mmwhs_raw.STRAY_ROOM
            data = data[:-across, back:, foot:]
        at = {value: np.argwhere(data == value).mean(axis=0) for value in (420, 500, 550, 820)}
        assert at[500][0] < at[550][0] and at[500][1] > at[420][1]
        assert at[820][2] > at[420][2]


def brightness(modality, tissue, **options):
    phantom = mmwhs_raw.render_heart(case_rng(1, 2), (48, 48, 40), modality, **options)
    return phantom.image[phantom.label == tissue].mean()


@pytest.mark.parametrize('dark', [False, True])
def test_blood_is_above_muscle_except_in_dark_blood_mr(dark):
    assert brightness('ct', 500) > brightness('ct', 205)
    gap = brightness('mr', 500, dark_blood=dark) - brightness('mr', 205, dark_blood=dark)
    assert bool(gap < 0) is dark


def test_fat_moves_from_the_darkest_to_the_brightest_with_the_gap():
    units = [
        mmwhs_raw.mr_units(case_rng(0), modality_gap=gap, dark_blood=False) for gap in (0, 0.5, 1)
    ]
    fat, muscle, blood = (
        [unit[tissue] for unit in units]
        for tissue in (mmwhs_raw.FAT, mmwhs_raw.MYOCARDIUM, mmwhs_raw.LEFT_VENTRICLE)
    )
    assert fat[0] < muscle[0] and muscle[1] < fat[1] < blood[1] and fat[2] > 0.9 * blood[2]
    assert muscle[0] == muscle[1] == muscle[2]
    ct = mmwhs_raw.ct_units(case_rng(0))
    assert ct[mmwhs_raw.FAT] < ct[mmwhs_raw.MYOCARDIUM] < ct[mmwhs_raw.LEFT_VENTRICLE]


def test_case_1002_has_stray_labels_far_from_the_heart(raw):
    root, truth = raw['mmwhs']
    assert truth[5]['id'] == mmwhs_raw.STRAY_CASE
    path = root / f'MR/labelsTr/{mmwhs_raw.STRAY_CASE}_label.nii.gz'
    label = np.asarray(nibabel.as_closest_canonical(nibabel.load(path)).dataobj)
    across, back, foot = mmwhs_raw.STRAY_ROOM  # beyond the heart: towards R, behind, below
    for part in (label[-across:], label[:, :back], label[:, :, :foot]):
        assert set(np.unique(part)) == {0, 205}
        assert 0 < (part > 0).mean() < 0.05


def test_mnms_files(raw):
    root, truth = raw['mnms']
    (sheet,) = root.glob('*.csv')
    assert sheet.name == '201014_M&Ms_Dataset_Information_-_opendataset.csv'
    with sheet.open(newline='') as stream:
        rows = {row['External code']: row for row in csv.DictReader(stream)}
    assert len(rows) == CASES['mnms'] == len(truth)
    assert {case['vendor'] for case in truth} == set('ABCD')
    for case in truth:
        row = rows[case['id']]
        assert re.fullmatch('([A-Z][0-9]){3}', case['id'])
        assert (row['Vendor'], int(row['ED']), int(row['ES'])) == (
            case['vendor'], case['ed'], case['es'],
        )  # fmt: skip
        (path,) = root.rglob(f'{case["id"]}_sa.nii.gz')
        image = volume(path)
        assert image.ndim == 4 and image.shape[3] == 8 and max(image.shape[:2]) == SIZE
        labels = list(root.rglob(f'{case["id"]}_sa_gt.nii.gz'))
        assert len(labels) == case['labelled']
        if not labels:
            assert case['vendor'] == 'C' and path.parents[1].name == 'Unlabeled'
            continue
        label = volume(labels[0])
        assert label.shape == image.shape and set(np.unique(label)) == {0, 1, 2, 3}
        frames = np.flatnonzero(label.any(axis=(0, 1, 2))).tolist()
        assert frames == sorted((case['ed'], case['es']))
        assert (label[..., case['es']] == 1).sum() < (label[..., case['ed']] == 1).sum()
        slices = label.any(axis=(0, 1, 3))
        assert not slices[0] and not slices[-1] and slices.sum() >= 3


def test_unlabelled_subjects_come_last(tmp_path):
    truth = mnms_raw.write_mnms(tmp_path, num_cases=40, seed=0, size=16, num_frames=2)
    missing = [case for case in truth if not case['labelled']]
    assert len(missing) == 3 and {case['vendor'] for case in missing} == {'C'}
    few = mnms_raw.write_mnms(tmp_path / 'few', num_cases=8, seed=0, size=16, num_frames=2)
    assert all(case['labelled'] for case in few)


@pytest.mark.parametrize(
    ('num_cases', 'counts'),
    [
        (345, [95, 125, 50, 50, 25]),
        (69, [19, 25, 10, 10, 5]),
        (8, [2, 2, 2, 2, 0]),
        (9, [2, 3, 2, 2, 0]),
    ],
)
def test_subjects_per_vendor(num_cases, counts):
    found = mnms_raw.divide_subjects(num_cases)
    assert found == counts and sum(found) == num_cases


def test_hearts_contract_and_relax():
    share = mnms_raw.contraction(9, 3)
    assert share[0] == 0 and share[3] == pytest.approx(1)
    assert (np.diff(share[:4]) > 0).all() and (np.diff(share[3:]) < 0).all()


def test_vendors_differ_in_contrast_noise_and_resolution():
    looks = []
    for letter, vendor in mnms_raw.VENDORS.items():
        rng = case_rng(5)  # the same patient for all
        phantom = mnms_raw.render_cine(rng, (64, 56, 8), vendor, 2)
        image, label = (array[..., 0].astype(float) for array in (phantom.image, phantom.label))
        blood, muscle = (image[label == value].mean() for value in (1, 2))
        assert blood > 1.1 * muscle, letter
        background = image[:6, :6]
        looks.append((blood / muscle, background.std() / blood, (label > 0).mean()))
    for first in range(4):
        for second in range(first):
            change = np.abs(np.log(looks[first]) - np.log(looks[second]))
            assert change.max() > 0.2, (first, second)
