import cv2
import numpy as np
import openpyxl
import pytest

from mmjoint.phantoms import PHANTOM_SETS, write_refuge
from mmjoint.utils.io import sha256_file


def tree(root):
    return {
        path.relative_to(root).as_posix(): sha256_file(path)
        for path in root.rglob('*')
        if path.is_file()
    }


@pytest.fixture(scope='module')
def raw(tmp_path_factory):
    root = tmp_path_factory.mktemp('raw')
    truth = write_refuge(root, num_cases=9, seed=4, size=96, glaucoma_share=0.34)
    return root, truth


def test_folders_and_files_are_the_official_ones(raw):
    assert sorted(tree(raw[0])) == [
        'Annotation-Training400/Disc_Cup_Masks/Glaucoma/g0001.bmp',
        'Annotation-Training400/Disc_Cup_Masks/Non-Glaucoma/n0001.bmp',
        'Annotation-Training400/Disc_Cup_Masks/Non-Glaucoma/n0002.bmp',
        'Annotation-Training400/Fovea_location.xlsx',
        'REFUGE-Test-GT/Disc_Cup_Masks/T0001.bmp',
        'REFUGE-Test-GT/Disc_Cup_Masks/T0002.bmp',
        'REFUGE-Test-GT/Disc_Cup_Masks/T0003.bmp',
        'REFUGE-Test-GT/Glaucoma_label_and_Fovea_location.xlsx',
        'REFUGE-Validation400-GT/Disc_Cup_Masks/V0001.bmp',
        'REFUGE-Validation400-GT/Disc_Cup_Masks/V0002.bmp',
        'REFUGE-Validation400-GT/Disc_Cup_Masks/V0003.bmp',
        'REFUGE-Validation400-GT/Fovea_locations.xlsx',
        'REFUGE-Validation400/V0001.jpg',
        'REFUGE-Validation400/V0002.jpg',
        'REFUGE-Validation400/V0003.jpg',
        'Test400/T0001.jpg',
        'Test400/T0002.jpg',
        'Test400/T0003.jpg',
        'Training400/Glaucoma/g0001.jpg',
        'Training400/Non-Glaucoma/n0001.jpg',
        'Training400/Non-Glaucoma/n0002.jpg',
    ]


def test_sheets_have_their_own_columns_and_the_right_labels(raw):
    root, truth = raw
    rows = {
        split: list(openpyxl.load_workbook(root / name).active.values)
        for split, name in (
            ('train', 'Annotation-Training400/Fovea_location.xlsx'),
            ('val', 'REFUGE-Validation400-GT/Fovea_locations.xlsx'),
            ('test', 'REFUGE-Test-GT/Glaucoma_label_and_Fovea_location.xlsx'),
        )
    }
    assert rows['train'][0] == ('ID', 'ImgName', 'Fovea_X', 'Fovea_Y')
    assert rows['val'][0] == ('ID', 'ImgName', 'Fovea_X', 'Fovea_Y', 'Glaucoma Label')
    assert rows['test'][0] == ('ID', 'ImgName', 'Label(Glaucoma=1)', 'Fovea_X', 'Fovea_Y')
    label_of = {case['id']: case['glaucoma'] for case in truth}
    for split, column in (('val', 4), ('test', 2)):
        for row in rows[split][1:]:
            assert row[column] == label_of[row[1].removesuffix('.jpg')]
    assert [row[1] for row in rows['train'][1:]] == ['g0001.jpg', 'n0001.jpg', 'n0002.jpg']
    assert {case: label for case, label in label_of.items() if case[0] in 'gn'} == {
        'g0001': 1,
        'n0001': 0,
        'n0002': 0,
    }


def test_masks_hold_the_official_grey_values_and_sizes_the_official_aspect(raw):
    root, truth = raw
    for path in root.rglob('*.bmp'):
        mask = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        assert mask.ndim == 2
        assert set(np.unique(mask)) == {0, 128, 255}
        assert mask[0, 0] == 255
        assert mask.shape == ((93, 96) if path.name[0] in 'gn' else (74, 74))
        assert 0.5 < (mask == 255).mean() < 0.99
    assert cv2.imread(str(root / 'Training400/Glaucoma/g0001.jpg')).shape == (93, 96, 3)
    assert cv2.imread(str(root / 'Test400/T0001.jpg')).shape == (74, 74, 3)
    for case in truth:
        low, high = (0.5, 0.9) if case['glaucoma'] else (0.2, 0.62)
        assert low < case['vertical_cdr'] < high


def test_nested_test_masks_and_real_prevalence(tmp_path):
    truth = write_refuge(tmp_path, num_cases=30, seed=0, size=32, nested_test_masks=True)
    assert sum(case['glaucoma'] for case in truth) == 3
    masks = sorted(path.parent.name for path in (tmp_path / 'REFUGE-Test-GT').rglob('*.bmp'))
    assert masks == ['G'] + ['N'] * 9


def test_same_seed_gives_the_same_bytes(raw, tmp_path):
    write_refuge(tmp_path / 'again', num_cases=9, seed=4, size=96, glaucoma_share=0.34)
    write_refuge(tmp_path / 'other', num_cases=9, seed=5, size=96, glaucoma_share=0.34)
    first, again, other = (tree(root) for root in (raw[0], tmp_path / 'again', tmp_path / 'other'))
    assert again == first
    assert not set(other.values()) & {
        value for name, value in first.items() if not name.endswith('xlsx')
    }


def test_every_option_is_a_keyword_of_its_writer():
    import inspect

    for phantoms in PHANTOM_SETS.values():
        keywords = inspect.signature(phantoms.write).parameters
        assert {'num_cases', 'seed', 'size', 'track'} <= set(keywords)
        for option in phantoms.options:
            assert keywords[option.name].default == option.default
        assert keywords['size'].default == phantoms.size
