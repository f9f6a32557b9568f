import re

import cv2
import numpy as np
import pytest

from mmjoint.phantoms import PHANTOM_SETS, write_isic2016
from mmjoint.utils.io import sha256_file

TRAIN, TEST = 'ISBI2016_ISIC_Part1_Training', 'ISBI2016_ISIC_Part1_Test'


def tree(root):
    return {
        path.relative_to(root).as_posix(): sha256_file(path)
        for path in root.rglob('*')
        if path.is_file()
    }


@pytest.fixture(scope='module')
def raw(tmp_path_factory):
    root = tmp_path_factory.mktemp('raw')
    return root, write_isic2016(root, num_cases=10, seed=4, size=96)


def test_folders_and_files_are_the_official_ones(raw):
    root, truth = raw
    assert sorted(path.name for path in root.iterdir()) == [
        f'{part}_{kind}' for part in (TEST, TRAIN) for kind in ('Data', 'GroundTruth')
    ]
    assert [case['id'] for case in truth] == [f'ISIC_{number:07d}' for number in range(10)]
    expected = set()
    for case in truth:
        part = TRAIN if case['split'] == 'train' else TEST
        expected |= {
            f'{part}_Data/{case["id"]}.jpg',
            f'{part}_GroundTruth/{case["id"]}_Segmentation.png',
        }
    assert set(tree(root)) == expected
    assert sum(case['split'] == 'train' for case in truth) == 7  # of 10, as 900 of 1279
    assert all(re.search(r'ISIC_\d{7}(\.jpg|_Segmentation\.png)$', name) for name in tree(root))


def test_masks_are_grey_images_of_0_and_255_of_the_size_of_their_photograph(raw):
    root, truth = raw
    shapes = set()
    for case in truth:
        (photo,) = root.rglob(f'{case["id"]}.jpg')
        (path,) = root.rglob(f'{case["id"]}_Segmentation.png')
        image = cv2.imread(str(photo), cv2.IMREAD_UNCHANGED)
        mask = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        assert mask.dtype == np.uint8 and set(np.unique(mask)) == {0, 255}
        assert image.shape == (*mask.shape, 3)
        assert (mask > 0).mean() == pytest.approx(case['lesion_share'], abs=1e-4)
        assert 48 <= mask.shape[1] <= 96
        shapes.add(mask.shape)
    assert len(shapes) >= 8
    assert len({round(width / height, 1) for height, width in shapes}) >= 2


def test_share_of_hard_ones_and_size_of_the_parts(tmp_path):
    truth = write_isic2016(
        tmp_path, num_cases=8, seed=0, size=32, hard_share=0.5, split_ratio=(1.0, 1.0)
    )
    for split in ('train', 'test'):
        assert [case['hard'] for case in truth if case['split'] == split].count(1) == 2


def test_same_seed_gives_the_same_bytes(raw, tmp_path):
    write_isic2016(tmp_path / 'again', num_cases=10, seed=4, size=96)
    write_isic2016(tmp_path / 'other', num_cases=10, seed=5, size=96)
    first, again, other = (tree(root) for root in (raw[0], tmp_path / 'again', tmp_path / 'other'))
    assert again == first
    assert not set(other.values()) & set(first.values())


def test_it_is_one_of_the_phantom_sets():
    assert PHANTOM_SETS['isic2016'].write is write_isic2016
