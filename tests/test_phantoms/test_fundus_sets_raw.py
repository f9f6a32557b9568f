"""The seven fundus sets: files of the real sets, labels of the real sets, truth beside."""

import gzip

import cv2
import numpy as np
import pytest
from PIL import Image

from mmjoint.phantoms import (
    write_aria,
    write_ddr,
    write_drive,
    write_idrid,
    write_refuge_tasks,
    write_reta,
    write_stare,
)
from mmjoint.utils.errors import UserError
from mmjoint.utils.index_png import read_index_png
from mmjoint.utils.io import sha256_file

SETS = {
    'reta': (write_reta, 6),
    'idrid': (write_idrid, 6),
    'ddr': (write_ddr, 6),
    'refuge_tasks': (write_refuge_tasks, 6),
    'drive': (write_drive, 4),
    'stare': (write_stare, 3),
    'aria': (write_aria, 7),
}
LESION_ROOT = 'DDR-dataset/lesion_segmentation'
MASKS = 'A. Segmentation/2. All Segmentation Groundtruths'


def tree(root):
    return {
        path.relative_to(root).as_posix(): sha256_file(path)
        for path in root.rglob('*')
        if path.is_file()
    }


@pytest.fixture(scope='module')
def raw(tmp_path_factory):
    """Set -> (folder, what is known)."""
    root = tmp_path_factory.mktemp('raw')
    return {
        name: (root / name, write(root / name, num_cases=count, seed=4, size=64))
        for name, (write, count) in SETS.items()
    }


def labels(raw, name):
    """Files of a set without its photographs and truth."""
    return sorted(path for path in tree(raw[name][0]) if not path.startswith('truth/'))


@pytest.mark.parametrize('name', SETS)
def test_same_seed_gives_the_same_bytes_and_another_seed_others(name, raw, tmp_path):
    write, count = SETS[name]
    for seed in (4, 5):
        write(tmp_path / str(seed), num_cases=count, seed=seed, size=64)
    first, again, other = (tree(root) for root in (raw[name][0], tmp_path / '4', tmp_path / '5'))
    assert again == first
    vessels = {first[path] for path in first if path.startswith('truth/vessel/')}
    assert vessels and not vessels & set(other.values())


@pytest.mark.parametrize('name', SETS)
def test_truth_of_all_tasks_is_beside(name, raw):
    root, known = raw[name]
    ids = [case['id'] for case in known]
    assert len(set(ids)) == len(ids) == SETS[name][1]
    for task in ('vessel', 'lesion', 'odoc'):
        found = sorted(path.stem for path in (root / 'truth' / task).iterdir())
        assert found == sorted(ids)
    for case in known:
        assert 0.05 < case['vessel_share'] < 0.3 and 0.2 < case['vertical_cdr'] < 0.9


def test_reta_has_vessels_of_the_training_part_alone(raw):
    assert labels(raw, 'reta') == [
        *(f'RETA/test/images/IDRiD_0{n}.jpg' for n in (5, 6)),
        *(f'RETA/train/images/IDRiD_0{n}.jpg' for n in range(1, 5)),
        *(f'RETA/train/vessels/IDRiD_0{n}_vessel.png' for n in range(1, 5)),
    ]
    root = raw['reta'][0]
    mask = cv2.imread(str(root / 'RETA/train/vessels/IDRiD_02_vessel.png'), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(mask, 255 * read_index_png(root / 'truth/vessel/IDRiD_02.png'))
    photograph = cv2.imread(str(root / 'RETA/train/images/IDRiD_02.jpg'))
    assert photograph.shape == (64, 96, 3)


def test_reta_and_idrid_show_the_same_eyes(raw):
    images = 'A. Segmentation/1. Original Images'
    pairs = [
        (f'RETA/train/images/IDRiD_0{n}.jpg', f'a. Training Set/IDRiD_0{n}.jpg') for n in (1, 4)
    ]
    pairs += [('RETA/test/images/IDRiD_06.jpg', 'b. Testing Set/IDRiD_06.jpg')]
    for reta, idrid in pairs:
        first = sha256_file(raw['reta'][0] / reta)
        assert sha256_file(raw['idrid'][0] / images / idrid) == first


def test_the_number_of_cases_changes_no_eye_and_no_side(raw, tmp_path):
    """What one set trains on is never in the test part of the other."""
    write_idrid(tmp_path, num_cases=3, seed=4, size=64)
    images = 'A. Segmentation/1. Original Images'
    few, many = (
        {sha256_file(path) for path in (root / images / 'b. Testing Set').iterdir()}
        for root in (tmp_path, raw['idrid'][0])
    )
    assert len(few) == 1 and len(many) == 2 and few < many


def test_idrid_has_a_red_file_per_lesion_that_is_there(raw):
    root, known = raw['idrid']
    modes = set()
    for case in known:
        ids = read_index_png(root / f'truth/lesion/{case["id"]}.png')
        files = {path.stem[-2:]: path for path in root.glob(f'{MASKS}/*/*/{case["id"]}_*.tif')}
        assert 'OD' in files and 'SE' not in files or case['SE_share'] > 0
        for number, kind in enumerate(('EX', 'HE', 'SE', 'MA'), 1):
            assert kind in files or not (ids == number).any()
            if kind in files:
                with Image.open(files[kind]) as image:
                    modes.add(image.mode)
                    values = np.array(image.convert('RGB'))
                assert set(np.unique(values[..., 0])) == {0, 255} and not values[..., 1:].any()
                assert (values[..., 0] > 0)[ids == number].all()
    assert modes == {'P', 'RGBA'}


def test_ddr_has_a_mask_of_every_kind_for_every_photograph(raw):
    root, known = raw['ddr']
    assert [case['split'] for case in known] == ['train'] * 3 + ['val'] + ['test'] * 2
    shapes = set()
    for case in known:
        folder = {'val': 'valid'}.get(case['split'], case['split'])
        label = 'segmentation label' if folder == 'valid' else 'label'
        image = cv2.imread(str(root / LESION_ROOT / folder / 'image' / f'{case["id"]}.jpg'))
        shapes.add(image.shape)
        for kind in ('EX', 'HE', 'SE', 'MA'):
            path = root / LESION_ROOT / folder / label / kind / f'{case["id"]}.tif'
            mask = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
            assert mask.shape == image.shape[:2] and set(np.unique(mask)) <= {0, 255}
            assert mask.any() == (case[f'{kind}_share'] > 0)
    assert len(shapes) > 2


def test_refuge_has_its_layout_and_nothing_of_the_other_tasks(raw):
    root, known = raw['refuge_tasks']
    assert labels(raw, 'refuge_tasks') == [
        'Annotation-Training400/Disc_Cup_Masks/Glaucoma/g0001.bmp',
        'Annotation-Training400/Disc_Cup_Masks/Non-Glaucoma/n0001.bmp',
        'Annotation-Training400/Fovea_location.xlsx',
        *(f'REFUGE-Test-GT/Disc_Cup_Masks/T000{n}.bmp' for n in (1, 2)),
        'REFUGE-Test-GT/Glaucoma_label_and_Fovea_location.xlsx',
        *(f'REFUGE-Validation400-GT/Disc_Cup_Masks/V000{n}.bmp' for n in (1, 2)),
        'REFUGE-Validation400-GT/Fovea_locations.xlsx',
        *(f'REFUGE-Validation400/V000{n}.jpg' for n in (1, 2)),
        *(f'Test400/T000{n}.jpg' for n in (1, 2)),
        'Training400/Glaucoma/g0001.jpg',
        'Training400/Non-Glaucoma/n0001.jpg',
    ]
    mask = cv2.imread(str(root / 'REFUGE-Test-GT/Disc_Cup_Masks/T0001.bmp'), cv2.IMREAD_UNCHANGED)
    ids = read_index_png(root / 'truth/odoc/T0001.png')
    assert np.array_equal(np.array([255, 128, 0])[ids], mask)
    assert sum(case['glaucoma'] for case in known) == 3


def test_drive_has_vessels_and_fields_of_view(raw):
    root = raw['drive'][0] / 'DRIVE'
    assert labels(raw, 'drive') == [
        f'DRIVE/{part}/{folder}/{name}'
        for part, numbers in (('test', (1, 2)), ('training', (3, 4)))
        for folder, ending in (
            ('1st_manual', 'manual1.gif'),
            ('images', f'{part}.tif'),
            ('mask', f'{part}_mask.gif'),
        )
        for name in (f'{number:02d}_{ending}' for number in numbers)
    ]
    with Image.open(root / 'training/1st_manual/04_manual1.gif') as image:
        mask = np.array(image.convert('L'))
    truth = read_index_png(raw['drive'][0] / 'truth/vessel/04_training.png')
    assert np.array_equal(mask, 255 * truth)
    with Image.open(root / 'training/mask/04_training_mask.gif') as image:
        assert not truth[np.array(image.convert('L')) == 0].any()
    assert cv2.imread(str(root / 'test/images/01_test.tif')).shape == (64, 62, 3)


def test_stare_is_packed_and_the_second_observer_sees_more(raw, tmp_path):
    root = raw['stare'][0]
    assert labels(raw, 'stare') == [
        *(f'labels-{o}/im000{n}.{o}.ppm.gz' for o in ('ah', 'vk') for n in (1, 2, 3)),
        *(f'stare-images/im000{n}.ppm.gz' for n in (1, 2, 3)),
    ]
    masks = {}
    for observer in ('ah', 'vk'):
        data = gzip.decompress((root / f'labels-{observer}/im0002.{observer}.ppm.gz').read_bytes())
        masks[observer] = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(masks['vk'], 255 * read_index_png(root / 'truth/vessel/im0002.png'))
    assert 0.3 * masks['vk'].sum() < masks['ah'].sum() < masks['vk'].sum()


def test_aria_has_three_groups_and_lesions_in_one(raw):
    root, known = raw['aria']
    assert [case['id'] for case in known] == [
        'aria_a_1_1',
        *(f'aria_c_{n}_1' for n in (1, 2, 3)),
        *(f'aria_d_{n}_1' for n in (1, 2, 3)),
    ]
    for case in known:
        assert (read_index_png(root / f'truth/lesion/{case["id"]}.png').any()) == (
            '_d_' in case['id']
        )
        group = case['id'][5]
        for observer in ('BDP', 'BSS'):
            assert (root / f'aria_{group}_markup_vessel/{case["id"]}_{observer}.tif').is_file()
    assert cv2.imread(str(root / 'aria_a_markups/aria_a_1_1.tif')).shape == (64, 85, 3)


@pytest.mark.parametrize('write', [write_idrid, write_reta, write_drive])
def test_more_cases_than_names(write, tmp_path):
    with pytest.raises(UserError, match='--num-cases: expected at most 99 for .* found 100'):
        write(tmp_path, num_cases=100, seed=0, size=16)
