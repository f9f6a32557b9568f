"""Raw layouts of the sets of chest X-rays: folders, names, encodings, seeds."""

import csv
import re

import cv2
import numpy as np
import pytest
from PIL import Image
from scipy.io import loadmat

from mmjoint.phantoms import (
    PHANTOM_SETS,
    write_chest_xray_pneumonia,
    write_jsrt,
    write_montgomery,
    write_nih_pneumonia,
)
from mmjoint.utils.io import sha256_file

WRITERS = {
    'chest_xray_pneumonia': write_chest_xray_pneumonia,
    'jsrt': write_jsrt,
    'montgomery': write_montgomery,
    'nih_pneumonia': write_nih_pneumonia,
}
NUM_CASES = {'chest_xray_pneumonia': 24, 'jsrt': 8, 'montgomery': 5, 'nih_pneumonia': 20}
SIZE = 48


def tree(root):
    return {
        path.relative_to(root).as_posix(): sha256_file(path)
        for path in root.rglob('*')
        if path.is_file()
    }


@pytest.fixture(scope='module')
def raw(tmp_path_factory):
    made = {}
    for name, write in WRITERS.items():
        root = tmp_path_factory.mktemp(name)
        made[name] = (root, write(root, num_cases=NUM_CASES[name], seed=4, size=SIZE))
    return made


@pytest.mark.parametrize('name', WRITERS)
def test_same_seed_gives_the_same_bytes(name, raw, tmp_path):
    assert PHANTOM_SETS[name].write is WRITERS[name]
    root, truth = raw[name]
    again = WRITERS[name](tmp_path / 'a', num_cases=NUM_CASES[name], seed=4, size=SIZE)
    WRITERS[name](tmp_path / 'b', num_cases=NUM_CASES[name], seed=5, size=SIZE)
    first, second, other = (tree(folder) for folder in (root, tmp_path / 'a', tmp_path / 'b'))
    assert (again, second) == (truth, first) and len(truth) == NUM_CASES[name]
    images = re.compile(r'\.(jpeg|IMG)$|CXR_png|images/')
    changed = [path for path in first if images.search(path)]
    assert len(changed) == NUM_CASES[name]
    assert not {first[path] for path in changed} & set(other.values())


def test_names_and_folders_of_the_pneumonia_set(raw):
    root, truth = raw['chest_xray_pneumonia']
    assert set(tree(root)) == {case['file'] for case in truth}
    pattern = re.compile(
        r'chest_xray/(train|val|test)/(NORMAL/(NORMAL2-)?IM-\d{4}-\d{4}'
        r'|PNEUMONIA/person\d+_(bacteria|virus)_\d+)\.jpeg'
    )
    folders = {}
    for case in truth:
        match = pattern.fullmatch(case['file'])
        assert match and match[1] == case['split'] and case['kind'] == match[4]
        assert case['pneumonia'] == ('PNEUMONIA' in case['file'])
        assert (case['opacity_share'] > 0) == (case['opacity_strength'] > 0) == case['pneumonia']
        folders.setdefault(case['patient'], set()).add(case['file'].rsplit('/', 1)[0])
    assert all(len(places) == 1 for places in folders.values())  # no patient is in two splits
    assert len(folders) < len(truth)  # some have several images
    splits = [case['split'] for case in truth]
    assert [splits.count(split) for split in ('train', 'val', 'test')] == [18, 1, 5]  # 8 : .5 : 2
    assert {case['kind'] for case in truth} == {None, 'bacteria', 'virus'}


def test_share_of_pneumonia(tmp_path):
    truth = write_chest_xray_pneumonia(
        tmp_path, num_cases=12, seed=0, size=32, pneumonia_share=0.5, split_ratio=(1, 1, 1)
    )
    for split in ('train', 'val', 'test'):
        assert sum(case['pneumonia'] for case in truth if case['split'] == split) == 2


def test_pneumonia_images_are_grey_jpegs_of_several_sizes(raw):
    root, truth = raw['chest_xray_pneumonia']
    shapes = set()
    for case in truth:
        with Image.open(root / case['file']) as image:
            assert (image.format, image.mode) == ('JPEG', 'L')
            assert SIZE * 0.6 < image.width <= SIZE and image.width > image.height
            shapes.add(image.size)
    assert len(shapes) > 8


def test_jsrt_has_big_endian_words_and_masks_of_half_the_size(raw):
    root, truth = raw['jsrt']
    ids = [case['id'] for case in truth]
    assert ids == [f'JPCLN{number:03d}' for number in range(1, 6)] + [
        f'JPCNN{number:03d}' for number in range(1, 4)
    ]
    names = ('heart', 'left clavicle', 'left lung', 'right clavicle', 'right lung')
    expected = {f'All247images/{case}.IMG' for case in ids} | {
        f'scratch/fold{2 - int(case[-1]) % 2}/masks/{name}/{case}.gif'
        for case in ids
        for name in names
    }
    assert set(tree(root)) == expected
    for case in truth:
        data = (root / 'All247images' / f'{case["id"]}.IMG').read_bytes()
        assert len(data) == 2 * SIZE * SIZE
        film = np.frombuffer(data, '>u2').reshape(SIZE, SIZE)
        assert 2000 < film.max() <= 4095
        masks = {}
        for name in names:
            (path,) = root.glob(f'scratch/*/masks/{name}/{case["id"]}.gif')
            with Image.open(path) as image:
                assert image.format == 'GIF' and image.size == (SIZE // 2, SIZE // 2)
                masks[name] = np.array(image.convert('L'))
            assert set(np.unique(masks[name])) == {0, 255}
        lungs = (masks['left lung'] > 0) | (masks['right lung'] > 0)
        assert lungs.mean() == pytest.approx(
            case['lung_share'], abs=0.04
        )  # half the size, 48 pixels
        # Film: the air in the lungs is darker, so its numbers are higher.
        large = cv2.resize(lungs.astype(np.uint8), (SIZE, SIZE)) > 0
        heart = cv2.resize(masks['heart'], (SIZE, SIZE)) > 0
        assert np.median(film[large]) > np.median(film[heart & ~large])


def test_jsrt_as_a_matlab_file(raw, tmp_path):
    truth = write_jsrt(tmp_path / 'a', num_cases=8, seed=4, size=SIZE, mat=True)
    write_jsrt(tmp_path / 'b', num_cases=8, seed=4, size=SIZE, mat=True)
    assert tree(tmp_path / 'a') == tree(tmp_path / 'b') and list(tree(tmp_path / 'a')) == [
        'jsrt.mat'
    ]
    assert truth == raw['jsrt'][1]
    arrays = loadmat(tmp_path / 'a' / 'jsrt.mat')
    counts = {split: len(arrays[f'x_{split}']) for split in ('train', 'val', 'test')}
    assert counts == {'train': 3, 'val': 1, 'test': 4}  # 111 : 13 : 123, at least one
    shares = []
    for split, count in counts.items():
        x, y = arrays[f'x_{split}'], arrays[f'y_{split}']
        assert x.shape == (count, SIZE, SIZE) and y.shape == (count, SIZE, SIZE, 2)
        assert 0 <= x.min() and x.max() <= 1 and set(np.unique(y)) == {0, 1}
        shares += y.sum(axis=-1).mean(axis=(1, 2)).tolist()
    expected = sorted(case['lung_share'] for case in truth)
    assert sorted(shares) == pytest.approx(expected, abs=1e-4)


def test_montgomery_files(raw):
    root, truth = raw['montgomery']
    ids = [case['id'] for case in truth]
    assert [case[:11] for case in ids] == [f'MCUCXR_{number:04d}' for number in range(1, 6)]
    assert [int(case[-1]) for case in ids] == [case['tuberculosis'] for case in truth]
    folder = 'MontgomerySet'
    expected = {f'{folder}/ClinicalReadings/{case}.txt' for case in ids} | {
        f'{folder}/{kind}/{case}.png'
        for case in ids
        for kind in ('CXR_png', 'ManualMask/leftMask', 'ManualMask/rightMask')
    }
    assert set(tree(root)) == expected
    for case in truth:
        with Image.open(root / folder / 'CXR_png' / f'{case["id"]}.png') as image:
            size = image.size
            assert image.mode == 'L' and sorted(size) == [39, 48]
        lungs = np.zeros(size[::-1], bool)
        for side in ('left', 'right'):
            path = root / folder / 'ManualMask' / f'{side}Mask' / f'{case["id"]}.png'
            with Image.open(path) as image:
                assert image.mode == '1' and image.size == size
                lungs |= np.array(image)
        assert lungs.mean() == pytest.approx(case['lung_share'], abs=1e-4)
        text = (root / folder / 'ClinicalReadings' / f'{case["id"]}.txt').read_text()
        lines = text.splitlines()
        assert re.fullmatch(r"Patient's Sex: [FM]", lines[0])
        assert re.fullmatch(r"Patient's Age: \d{3}Y", lines[1])
        assert ('tuberculosis' in lines[2]) == case['tuberculosis']


def test_nih_sheet(raw):
    root, truth = raw['nih_pneumonia']
    with (root / 'Data_Entry_2017.csv').open() as stream:
        rows = list(csv.DictReader(stream))
    assert [f'images/{row["Image Index"]}' for row in rows] == [case['file'] for case in truth]
    assert [row['Finding Labels'] for row in rows] == [case['findings'] for case in truth]
    ill = [case for case in truth if 'Pneumonia' in case['findings'].split('|')]
    healthy = [case for case in truth if case['findings'] == 'No Finding']
    assert (len(ill), len(healthy)) == (6, 12)  # a tenth has other findings
    assert all(case['opacity_share'] > 0 for case in ill)
    assert all(case['opacity_share'] == 0 for case in healthy)
    for row in rows:
        assert re.fullmatch(r'\d{8}_\d{3}\.png', row['Image Index'])
        assert int(row['Image Index'][:8]) == int(row['Patient ID'])
        assert int(row['Image Index'][9:12]) == int(row['Follow-up #'])
        with Image.open(root / 'images' / row['Image Index']) as image:
            assert (image.mode, image.size) == ('L', (SIZE, SIZE))
