import shutil

import nibabel
import numpy as np
import pytest
import SimpleITK
from scipy import ndimage

from .scripts import make_phantoms, mmwhs, volumes
from .test_mistakes import check, copy, cut_off, nothing, remove
from .volume_checks import all_records, ids_file, ids_of, load, moved, nifti, set_to

SHAPE = (12, 14, 16)
IMAGE = 'CT/imagesTr/ct_train_1003_image.nii.gz'
LABEL = 'CT/labelsTr/ct_train_1003_label.nii.gz'


@pytest.fixture(scope='module')
def phantom_mmwhs(tmp_path_factory):
    """Six CT and six MR volumes in the raw layout of MMWHS; read only."""
    root = tmp_path_factory.mktemp('phantoms') / 'mmwhs'
    make_phantoms.make_phantoms('mmwhs', root, num_cases=12, seed=3, size=28)
    return root


@pytest.fixture
def raw_mmwhs(phantom_mmwhs, tmp_path):
    """A copy that a test may spoil."""
    return shutil.copytree(phantom_mmwhs, tmp_path / 'raw')


@pytest.fixture(scope='module')
def prepared(phantom_mmwhs, tmp_path_factory):
    out = tmp_path_factory.mktemp('prepared') / 'mmwhs'
    mmwhs.prepare(phantom_mmwhs, out, shape=SHAPE)
    return out


def raw_files(root, case_id):
    folder = root / case_id[:2].upper()
    return (
        folder / f'imagesTr/{case_id}_image.nii.gz',
        folder / f'labelsTr/{case_id}_label.nii.gz',
    )


def body_arrays(root, case_id):
    """Image and label map (Z, Y, X), turned by SimpleITK instead of by our code."""
    turned = (
        SimpleITK.DICOMOrient(SimpleITK.ReadImage(str(path)), 'LPS')
        for path in raw_files(root, case_id)
    )
    return [SimpleITK.GetArrayFromImage(image) for image in turned]


@pytest.mark.parametrize('seed', range(12))
def test_axes_are_turned_as_simpleitk_does(seed, tmp_path):
    """Oblique volumes, too, with any order and direction of axes."""
    rng = np.random.default_rng(seed)
    turn, _ = np.linalg.qr(rng.normal(0, 1, (3, 3)) * 0.15 + np.eye(3))
    order = np.eye(3)[rng.permutation(3)] * rng.choice([-1, 1], 3)
    affine = np.eye(4)
    affine[:3, :3] = turn @ order @ np.diag(rng.uniform(0.5, 3, 3))
    affine[:3, 3] = rng.uniform(-50, 50, 3)
    data = rng.integers(-500, 500, (4, 5, 6)).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(data, affine), tmp_path / 'a.nii')
    image = SimpleITK.DICOMOrient(SimpleITK.ReadImage(str(tmp_path / 'a.nii')), 'LPS')
    expected = SimpleITK.GetArrayFromImage(image)
    result = volumes.orient(data, *mmwhs.body_axes(affine))
    assert np.array_equal(result, expected)


def test_labels_by_hand():
    raw = np.array([0, 205, 420, 421, 500, 550, 600, 820, 850])
    assert mmwhs.class_ids(raw).tolist() == [0, 1, 2, 0, 3, 0, 0, 4, 0]
    assert len(mmwhs.RAW_VALUES) == len(raw)


def test_box_by_hand():
    label = np.zeros((20, 20, 20), int)
    label[6:10, 1, 17:19] = 1
    # From 4 before the first to 3 behind the last labelled voxel, within the volume.
    assert mmwhs.label_box(label) == ((2, 13), (0, 5), (13, 20))


def test_stray_labels_by_hand():
    label = np.ones((6, 14, 6), int)
    cleared = mmwhs.clear_stray_labels(label)
    rows = [*range(4), 13]  # the last row stays
    expected = np.zeros_like(label)
    expected[np.ix_(range(4, 6), rows, range(4, 6))] = 1
    assert np.array_equal(cleared, expected) and label.all()


def test_intensities_by_hand():
    image = np.arange(-50.0, 51)  # the 98th percentile is 48
    result = mmwhs.normalise(image)
    clipped = np.clip(image, 0, 48)
    np.testing.assert_allclose(result, (clipped - clipped.mean()) / clipped.std(), atol=1e-6)
    assert result.dtype == np.float32
    assert not mmwhs.normalise(np.full(5, -3.0)).any()  # not NaN


def test_prepared_volumes_follow_the_steps(phantom_mmwhs, prepared):
    records = all_records(prepared)
    assert len(records) == 12
    orders = set()
    for case_id, record in records.items():
        stored, ids, grid = load(prepared, record)
        assert record['domain'] == case_id[:2] and record['patient_id'] == case_id
        image, label = body_arrays(phantom_mmwhs, case_id)
        label = np.select([label == value for value in (205, 420, 500, 820)], (1, 2, 3, 4), 0)
        if case_id == 'mr_train_1002':
            label = mmwhs.clear_stray_labels(label)
        places = np.argwhere(label)
        low = np.maximum(places.min(axis=0) - 4, 0)
        high = np.minimum(places.max(axis=0) + 4, label.shape)
        assert grid.crop == tuple(zip(low.tolist(), high.tolist(), strict=True))
        cut = tuple(slice(*bounds) for bounds in grid.crop)
        image = np.clip(image[cut], 0, np.percentile(image[cut], 98))
        image = (image - image.mean()) / image.std()
        zoom = np.array(SHAPE) / image.shape
        np.testing.assert_allclose(stored, ndimage.zoom(image, zoom, order=0), atol=1e-5)
        np.testing.assert_array_equal(ids, ndimage.zoom(label[cut], zoom, order=0))
        assert set(np.unique(ids)) == {0, 1, 2, 3, 4}
        orders.add((grid.axes, grid.flips))
    assert len(orders) >= 4


@pytest.mark.parametrize('case_id', ['ct_train_1001', 'mr_train_1002', 'mr_train_1004'])
def test_predictions_come_back_to_the_raw_grid(case_id, phantom_mmwhs, tmp_path):
    """A prepared volume that is not resized, put back, is the raw label map in its own place."""
    files = raw_files(phantom_mmwhs, case_id)
    record = mmwhs.convert_case(case_id, files, tmp_path, raw_root=phantom_mmwhs, shape=SHAPE)
    _, _, grid = load(tmp_path, record)
    record = mmwhs.convert_case(
        case_id, files, tmp_path, raw_root=phantom_mmwhs, shape=grid.crop_shape
    )
    _, ids, grid = load(tmp_path, record)
    raw = nibabel.load(files[1])
    expected = mmwhs.class_ids(np.asarray(raw.dataobj))
    restored = grid.restore(ids)
    assert restored.shape == raw.shape
    if case_id != 'mr_train_1002':
        assert np.array_equal(restored, expected)
    else:  # what is missing are the stray labels of one class
        assert set(np.unique(expected[restored != expected])) == {1}
        assert 0 < (restored != expected).mean() < 0.01
    turned = volumes.orient(restored, grid.axes, grid.flips)
    placed = SimpleITK.DICOMOrient(SimpleITK.ReadImage(str(files[1])), 'LPS')
    assert turned.shape == placed.GetSize()[::-1]
    np.testing.assert_allclose(grid.spacing, placed.GetSpacing()[::-1], rtol=1e-4)


def test_stray_labels_do_not_widen_the_box(phantom_mmwhs, prepared):
    record = all_records(prepared)['mr_train_1002']
    _, _, grid = load(prepared, record)
    _, label = body_arrays(phantom_mmwhs, 'mr_train_1002')
    assert (label[:, -10:] > 0).any() and (label[:2] == 205).any()
    (_, back), full = grid.crop[1], grid.full_shape
    assert back < full[1] - 4


def test_splits(prepared):
    for source, target in (('mr', 'ct'), ('ct', 'mr')):
        task = f'{source}2{target}'
        labelled, unlabelled, held, test, other = (
            set(ids_of(prepared, name))
            for name in (
                f'train_{task}_labeled', f'train_{task}_unlabeled', f'eval_{task}',
                f'test_{target}', f'test_{source}',
            )
        )  # fmt: skip
        assert [len(ids) for ids in (labelled, unlabelled, held, test)] == [5, 4, 1, 1]
        assert {case_id[:2] for case_id in labelled | other} == {source}
        assert {case_id[:2] for case_id in unlabelled | held | test} == {target}
        assert len(unlabelled | held | test) == 6 and len(labelled | other) == 6


def official():
    return [f'{name}_train_{number}' for name in ('ct', 'mr') for number in range(1001, 1021)]


def test_numbers_and_test_cases_of_the_official_set():
    splits = mmwhs.make_splits(official(), 0, None)
    assert {name: len(cases) for name, cases in splits.items()} == {
        'train_mr2ct_labeled': 16, 'train_mr2ct_unlabeled': 13, 'eval_mr2ct': 3, 'test_ct': 4,
        'train_ct2mr_labeled': 16, 'train_ct2mr_unlabeled': 13, 'eval_ct2mr': 3, 'test_mr': 4,
    }  # fmt: skip
    assert splits['test_mr'] == [f'mr_train_{number}' for number in (1007, 1009, 1018, 1019)]
    assert splits['test_ct'] == [f'ct_train_{number}' for number in (1003, 1008, 1014, 1019)]
    assert mmwhs.make_splits(official(), 0, None) == splits
    assert mmwhs.make_splits(official(), 1, None)['eval_ct2mr'] != splits['eval_ct2mr']


def published(raw, **changed):
    ids = {
        'train_mr2ct_labeled': ['mr_train_1001'], 'train_mr2ct_unlabeled': ['ct_train_1002'],
        'eval_mr2ct': ['ct_train_1005'], 'test_ct': ['ct_train_1006'],
        'train_ct2mr_labeled': ['ct_train_1001'], 'train_ct2mr_unlabeled': ['mr_train_1003'],
        'eval_ct2mr': ['mr_train_1004'], 'test_mr': ['mr_train_1006'],
    }  # fmt: skip
    for name, lines in {**ids, **changed}.items():
        folder = ids_file(raw, name, lines)
    return folder


def test_published_splits(raw_mmwhs, tmp_path, cli):
    words = '--shape', *SHAPE, '--splits', published(raw_mmwhs)
    code, _, err = cli(mmwhs.main, raw_mmwhs, tmp_path / 'out', *words)
    assert code == 0, err
    assert ids_of(tmp_path / 'out', 'train_ct2mr_unlabeled') == ['mr_train_1003']
    assert ids_of(tmp_path / 'out', 'test_ct') == ['ct_train_1006']
    folder = published(raw_mmwhs, train_mr2ct_labeled=['mr_train_1006'])
    ended = cli(mmwhs.main, raw_mmwhs, tmp_path / 'b', '--splits', folder)
    check(ended, 1, r'test_mr: expected other patients than in train_mr2ct_labeled', ())


def test_same_bytes_again(phantom_mmwhs, prepared, tmp_path, cli, tree):
    code, _, err = cli(mmwhs.main, phantom_mmwhs, tmp_path / 'out', '--shape', *SHAPE)
    assert code == 0 and err == 'note: 6 CT and 6 MR cases; the official set has 20 of each\n'
    assert tree(tmp_path / 'out') == tree(prepared)


# id: (how the raw files are spoilt, further words, exit code, message)
MISTAKES = {
    'label map missing': (
        remove(LABEL), (), 1,
        r'ct_train_1003_image\.nii\.gz: expected ct_train_1003_label\.nii\.gz beside it, found no',
    ),
    'a modality missing': (
        remove('MR'), (), 1, r'mmwhs: expected at least 3 cases of MR, found 0; give more cases',
    ),
    'nothing of the set': (
        lambda raw: [shutil.rmtree(raw / name) for name in ('CT', 'MR')], (), 1,
        r'raw: expected files <id>_image\.nii\.gz, found phantom_info\.json; unpack',
    ),
    'image there twice': (
        copy(IMAGE, 'copy/ct_train_1003_image.nii.gz'), (), 1,
        r'expected one image per id, found another for ct_train_1003 ',
    ),
    'label map cut off': (
        cut_off(LABEL), (), 1, r'1003_label\.nii\.gz: expected a whole NIfTI file, found one cut',
    ),
    'unknown label values': (
        nifti(LABEL, set_to([5, 1000], 2)), (), 1,
        r'ct_train_1003_label\.nii\.gz: expected label values 0, 205, 420, 421, 500, 550, 600, '
        r'820, 850, found 5, 1000 in 2 voxels; use',
    ),
    'none of the classes': (
        nifti(LABEL, lambda data: np.where(data > 0, 850, 0).astype(np.int16)), (), 1,
        r'ct_train_1003: expected voxels of 205, 420, 500, 820, found none; use',
    ),
    'infinity': (
        nifti(IMAGE, set_to(np.inf)), (), 1, r'1003_image\.nii\.gz: expected finite values, found',
    ),
    'label map of another shape': (
        nifti(LABEL, lambda data: data[:, :, :-2]), (), 1,
        r'1003_label\.nii\.gz: expected the shape of its image ct_train_1003_image\.nii\.gz',
    ),
    'label map elsewhere': (
        nifti(LABEL, affine=moved), (), 1, r'1003_label\.nii\.gz: expected the position of its',
    ),
    'label map of another orientation': (
        nifti(LABEL, affine=lambda affine: affine @ np.diag([-1, 1, 1, 1])), (), 1,
        r'1003_label\.nii\.gz: expected the position of its image',
    ),
    'unknown id in a split file': (
        lambda raw: published(raw, eval_mr2ct=['ct_train_1099']), ('--splits', 'SPLITS'), 1,
        r'eval_mr2ct\.txt: expected ids of the raw files, found ct_train_1099, which is not',
    ),
    'split file missing': (
        lambda raw: (published(raw) / 'test_mr.txt').unlink(), ('--splits', 'SPLITS'), 1,
        r'test_mr\.txt: expected this file beside those of train_mr2ct_labeled, .*, found none',
    ),
    'unknown option': (nothing, ('--ratios', 0.5), 2, r'unrecognized arguments: --ratios'),
}  # fmt: skip


@pytest.mark.parametrize('mistake', MISTAKES)
def test_mistakes(mistake, raw_mmwhs, tmp_path, cli):
    spoil, words, code, message = MISTAKES[mistake]
    spoil(raw_mmwhs)
    out = tmp_path / 'out'
    words = [tmp_path / 'splits' if word == 'SPLITS' else word for word in words]
    ended = cli(mmwhs.main, raw_mmwhs, out, '--shape', *SHAPE, *words)
    check(ended, code, message, (out, tmp_path / 'out.partial'))
