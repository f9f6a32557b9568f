import collections

import numpy as np
import pytest

from mmjoint.datasets.transforms import RandomReflectCrop
from mmjoint.registry import TRANSFORMS
from mmjoint.utils.random import local_seed

IMAGE = np.arange(12, dtype=np.uint8).reshape(3, 4, 1)


def mirrored(index, length):
    """The place that a place outside mirrors, the border pixels not repeated."""
    index = abs(index)
    return index if index < length else 2 * (length - 1) - index


def test_each_place_by_its_definition():
    transform = RandomReflectCrop(2)
    labels = IMAGE[..., 0] % 3
    for top in range(5):
        for left in range(5):
            sample = dict(img=IMAGE, gt_seg_map=labels, seg_fields=['gt_seg_map'])
            results = transform.apply(sample, top, left)
            rows = [mirrored(row + top - 2, 3) for row in range(3)]
            columns = [mirrored(column + left - 2, 4) for column in range(4)]
            assert np.array_equal(results['img'], IMAGE[np.ix_(rows, columns)])
            assert np.array_equal(results['gt_seg_map'], labels[np.ix_(rows, columns)])
    middle = transform.apply(dict(img=IMAGE), 2, 2)
    assert np.array_equal(middle['img'], IMAGE)


def test_all_places_are_drawn_alike():
    transform = RandomReflectCrop(1)
    with local_seed(3):
        drawn = collections.Counter(transform.draw() for _ in range(1800))
    assert set(drawn) == {(top, left) for top in range(3) for left in range(3)}
    assert min(drawn.values()) > 150 and max(drawn.values()) < 250  # 200 is meant


def test_seeds():
    image = np.random.RandomState(0).randint(0, 256, (8, 8, 1)).astype(np.uint8)

    def shifted(seed):
        with local_seed(seed):
            return RandomReflectCrop(4)(dict(img=image))['img']

    assert np.array_equal(shifted(1), shifted(1)) and not np.array_equal(shifted(1), shifted(2))


def test_no_padding_and_impossible_padding():
    assert np.array_equal(RandomReflectCrop(0)(dict(img=IMAGE))['img'], IMAGE)
    with pytest.raises(ValueError, match='padding must be >= 0, got -1'):
        RandomReflectCrop(-1)
    built = TRANSFORMS.build(dict(type='RandomReflectCrop', padding=4))
    assert repr(built) == 'RandomReflectCrop(padding=4)'
