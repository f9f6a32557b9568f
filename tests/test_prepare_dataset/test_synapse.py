import shutil

import nibabel
import numpy as np
import pytest
import torch

from .scripts import make_phantoms, synapse
from .test_mistakes import check, copy, cut_off, nothing, remove, write_bytes
from .volume_checks import all_records, ids_file, ids_of, load, moved, nifti, set_to

SHAPE = (12, 20, 16)
IMAGE, LABEL = 'imagesTr/img0003.nii.gz', 'labelsTr/label0003.nii.gz'


@pytest.fixture(scope='module')
def phantom_synapse(tmp_path_factory):
    """Nine volumes in the raw layout of Synapse; read only."""
    root = tmp_path_factory.mktemp('phantoms') / 'synapse'
    make_phantoms.make_phantoms('synapse', root, num_cases=9, seed=3, size=24)
    return root


@pytest.fixture
def raw_synapse(phantom_synapse, tmp_path):
    """A copy that a test may spoil."""
    return shutil.copytree(phantom_synapse, tmp_path / 'raw')


@pytest.fixture(scope='module')
def prepared(phantom_synapse, tmp_path_factory):
    out = tmp_path_factory.mktemp('prepared') / 'synapse'
    synapse.prepare(phantom_synapse, out, shape=SHAPE)
    return out


def test_whole_volumes_are_resized_as_torch_does(phantom_synapse, prepared):
    records = all_records(prepared)
    assert sorted(records) == [f'{number:04d}' for number in range(1, 10)]
    for case_id, record in records.items():
        image, ids, grid = load(prepared, record)
        assert record['patient_id'] == case_id and record['domain'] == 'ct'
        assert grid.raw_path == f'imagesTr/img{case_id}.nii.gz'
        raw = nibabel.load(phantom_synapse / grid.raw_path)
        np.testing.assert_allclose(grid.affine, raw.affine, rtol=1e-5)
        assert grid.raw_shape == raw.shape and grid.full_shape == raw.shape[::-1]
        volume = torch.from_numpy(raw.get_fdata(dtype=np.float32).transpose().copy())[None, None]
        expected = torch.nn.functional.interpolate(volume, size=SHAPE, mode='trilinear')[0, 0]
        np.testing.assert_allclose(image, expected, atol=0.01)
        label = nibabel.load(phantom_synapse / f'labelsTr/label{case_id}.nii.gz')
        volume = torch.from_numpy(label.get_fdata(dtype=np.float32).transpose().copy())[None, None]
        expected = torch.nn.functional.interpolate(volume, size=SHAPE)[0, 0]
        np.testing.assert_array_equal(ids, expected)


def test_without_resizing_predictions_come_back_exactly(phantom_synapse, tmp_path):
    files = phantom_synapse / IMAGE, phantom_synapse / LABEL
    raw = np.asarray(nibabel.load(files[1]).dataobj)
    record = synapse.convert_case(
        '0003', files, tmp_path, raw_root=phantom_synapse, shape=raw.shape[::-1]
    )
    _, ids, grid = load(tmp_path, record)
    np.testing.assert_array_equal(grid.restore(ids), raw)
    np.testing.assert_allclose(grid.spacing, np.abs(np.diag(grid.affine))[2::-1], rtol=1e-5)


def test_splits(prepared):
    train, held, test = (set(ids_of(prepared, name)) for name in ('train', 'eval', 'test'))
    assert (len(train), len(held), len(test)) == (6, 1, 2)
    assert len(train | held | test) == 9
    few, many = (set(ids_of(prepared, f'labeled_{ratio}')) for ratio in (0.2, 0.4))
    assert (len(few), len(many)) == (1, 2) and few < many < train
    assert set(ids_of(prepared, 'unlabeled_0.2')) == train - few


def test_numbers_of_the_official_set_and_seeds():
    ids = [f'{number:04d}' for number in range(30)]
    splits = synapse.make_splits(ids, synapse.RATIOS, 0, None)
    assert {name: len(cases) for name, cases in splits.items()} == {
        'train': 20, 'eval': 4, 'test': 6, 'labeled_0.2': 4, 'unlabeled_0.2': 16,
        'labeled_0.4': 8, 'unlabeled_0.4': 12,
    }  # fmt: skip
    assert synapse.make_splits(ids, synapse.RATIOS, 0, None) == splits
    assert synapse.make_splits(ids, synapse.RATIOS, 1, None)['test'] != splits['test']


@pytest.mark.parametrize('count', [4, 5, 6, 11])
def test_small_sets_have_cases_in_all_splits(count):
    splits = synapse.make_splits([f'{n:04d}' for n in range(count)], (0.2,), 0, None)
    assert min(map(len, splits.values())) >= 1
    assert sum(len(splits[name]) for name in ('train', 'eval', 'test')) == count


def published(raw, **changed):
    ids = {
        'train': ['0001', '0002', '0003', '0004'], 'eval': ['0005'], 'test': ['0006', '0009'],
        'labeled_0.2': ['0002'], 'unlabeled_0.2': ['0001', '0003', '0004'],
    }  # fmt: skip
    for name, lines in {**ids, **changed}.items():
        folder = ids_file(raw, name, lines)
    return folder


def test_published_splits(raw_synapse, tmp_path, cli):
    words = '--shape', *SHAPE, '--splits', published(raw_synapse)
    code, _, err = cli(synapse.main, raw_synapse, tmp_path / 'out', *words)
    assert code == 0, err
    assert ids_of(tmp_path / 'out', 'test') == ['0006', '0009']
    assert ids_of(tmp_path / 'out', 'labeled_0.2') == ['0002']
    # What is not published is drawn from the published training cases.
    assert set(ids_of(tmp_path / 'out', 'labeled_0.4')) < {'0001', '0002', '0003', '0004'}
    assert 'has no labeled_0.4, unlabeled_0.4: drawn by --seed' in err


@pytest.mark.parametrize(
    ('changed', 'message'),
    [
        (dict(eval=['0001']), r'eval: expected other patients than in train, found 0001 in both'),
        ({'labeled_0.2': ['0009']}, r'test: expected other patients than in labeled_0\.2, found'),
        (dict(test=['0077']), r'test\.txt: expected ids of the raw files, found 0077, which is'),
    ],
)
def test_published_splits_that_do_not_fit(changed, message, raw_synapse, tmp_path, cli):
    words = '--shape', *SHAPE, '--splits', published(raw_synapse, **changed)
    ended = cli(synapse.main, raw_synapse, tmp_path / 'out', *words)
    check(ended, 1, message, (tmp_path / 'out', tmp_path / 'out.partial'))


def test_same_bytes_again(phantom_synapse, prepared, tmp_path, cli, tree):
    code, _, err = cli(synapse.main, phantom_synapse, tmp_path / 'out', '--shape', *SHAPE)
    assert code == 0 and err == 'note: 9 cases; the official set has 30\n'
    assert tree(tmp_path / 'out') == tree(prepared)


def few_cases(raw):
    for path in [*raw.glob('imagesTr/*'), *raw.glob('labelsTr/*')]:
        if int(path.name.split('.')[0][-4:]) > 3:
            path.unlink()


# id: (how the raw files are spoilt, further words, exit code, message)
MISTAKES = {
    'label maps missing': (
        remove('labelsTr'), (), 1,
        r'raw: expected files label<id>\.nii\.gz, found imagesTr, phantom_info\.json; unpack',
    ),
    'label map missing': (
        remove(LABEL), (), 1,
        r'img0003\.nii\.gz: expected label0003\.nii\.gz beside it, found no such file; unpack',
    ),
    'image missing': (
        remove(IMAGE), (), 1, r'label0003\.nii\.gz: expected img0003\.nii\.gz beside it, found no',
    ),
    'image there twice': (
        copy(IMAGE, 'copy/img0003.nii.gz'), (), 1,
        r'expected one image per id, found another for 0003 \(.*\); remove one',
    ),
    'image cut off': (
        cut_off(IMAGE), (), 1, r'img0003\.nii\.gz: expected a whole NIfTI file, found one cut off',
    ),
    'image is text': (
        write_bytes(IMAGE, b'<html>'), (), 1, r'img0003\.nii\.gz: expected a whole NIfTI file',
    ),
    'NaN': (
        nifti(IMAGE, set_to(np.nan, 3)), (), 1,
        r'img0003\.nii\.gz: expected finite values, found NaN or infinity in 3 of \d+ voxels',
    ),
    'NaN in a label map': (
        nifti(LABEL, set_to(np.nan)), (), 1, r'label0003\.nii\.gz: expected finite values, found',
    ),
    'unknown label values': (
        nifti(LABEL, set_to([14, 20, -1], 3)), (), 1,
        r'label0003\.nii\.gz: expected label values 0, 1, .*, 13, found -1, 14, 20 in 3 voxels',
    ),
    'label values between two organs': (
        nifti(LABEL, set_to(2.5)), (), 1, r'expected label values .*, found 2\.5 in 1 voxels',
    ),
    'label map of another shape': (
        nifti(LABEL, lambda data: data[1:]), (), 1,
        r'label0003\.nii\.gz: expected the shape of its image img0003\.nii\.gz, \(24, 24, \d+\), '
        r'found \(23, 24, \d+\); use',
    ),
    'label map elsewhere': (
        nifti(LABEL, affine=moved), (), 1,
        r'label0003\.nii\.gz: expected the position of its image img0003\.nii\.gz, found a corner '
        r'1e\+03 mm away; .* --ignore-affine',
    ),
    'empty label map': (
        nifti(LABEL, np.zeros_like), (), 1,
        r'label0003\.nii\.gz: expected at least one labelled voxel, found only 0; use',
    ),
    'too few cases': (few_cases, (), 1, r'synapse: expected at least 4 cases, found 3; give more'),
    'no such splits': (
        nothing, ('--splits', '.'), 1, r'\.: expected split files such as train\.txt \(--splits\)',
    ),
    'shape too small': (
        nothing, ('--shape', 2, 20, 20), 1,
        r'--shape: expected three lengths of 4 to 1024, found 2 20 20; change them',
    ),
    'shape of two': (nothing, ('--shape', 20, 20), 2, r'--shape: expected 3 arguments'),
}  # fmt: skip


@pytest.mark.parametrize('mistake', MISTAKES)
def test_mistakes(mistake, raw_synapse, tmp_path, cli):
    spoil, words, code, message = MISTAKES[mistake]
    spoil(raw_synapse)
    out = tmp_path / 'out'
    words = ('--shape', *SHAPE, *words)
    ended = cli(synapse.main, raw_synapse, out, *words)
    check(ended, code, message, (out, tmp_path / 'out.partial'))


def test_wrong_positions_can_be_ignored(raw_synapse, prepared, tmp_path):
    nifti(LABEL, affine=moved)(raw_synapse)
    synapse.prepare(raw_synapse, tmp_path / 'out', shape=SHAPE, ignore_affine=True)
    assert all_records(tmp_path / 'out') == all_records(prepared)
