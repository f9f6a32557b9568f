import collections

import numpy as np
import pytest

from mmjoint.datasets.transforms import PillowRandAugment
from mmjoint.functional.pillow_images import OPERATIONS, apply_operation
from mmjoint.registry import TRANSFORMS
from mmjoint.utils.errors import UserError
from mmjoint.utils.random import local_seed

IMAGE = np.random.RandomState(1).randint(0, 256, (16, 18, 1)).astype(np.uint8)
SIGNED = {'Rotate', 'ShearX', 'ShearY', 'TranslateX', 'TranslateY'}


def test_what_is_drawn():
    transform = PillowRandAugment()
    with local_seed(0):
        draws = [transform.draw() for _ in range(5200)]
    # Of two operations each acts every second time.
    sizes = collections.Counter(map(len, draws))
    assert [sizes[n] / len(draws) for n in range(3)] == pytest.approx([0.25, 0.5, 0.25], abs=0.03)
    drawn = [operation for draw in draws for operation in draw]
    names = collections.Counter(operation.name for operation in drawn)
    assert len(names) == 13 and names.keys() == OPERATIONS.keys()
    assert all(names[n] / len(drawn) == pytest.approx(1 / 13, abs=0.015) for n in names)
    levels = collections.Counter(operation.level for operation in drawn)
    assert sorted(levels) == list(range(1, 10))
    assert all(levels[n] / len(drawn) == pytest.approx(1 / 9, abs=0.02) for n in levels)
    signs = [operation.negative for operation in drawn if operation.name in SIGNED]
    assert np.mean(signs) == pytest.approx(0.5, abs=0.04)
    assert {operation.name for operation in drawn if operation.negative} == SIGNED
    # With replacement: every thirteenth pair is twice the same operation.
    pairs = [draw for draw in draws if len(draw) == 2]
    assert np.mean([a.name == b.name for a, b in pairs]) == pytest.approx(1 / 13, abs=0.03)


def test_operations_follow_one_another():
    transform = PillowRandAugment()
    drawn = [('Rotate', 9, True), ('Posterize', 1, False)]
    first = apply_operation(IMAGE, 'Rotate', 9, negative=True)
    expected = apply_operation(first, 'Posterize', 1)
    assert np.array_equal(transform.apply(dict(img=IMAGE), drawn)['img'], expected)
    reverse = apply_operation(apply_operation(IMAGE, 'Posterize', 1), 'Rotate', 9, negative=True)
    assert np.array_equal(transform.apply(dict(img=IMAGE), drawn[::-1])['img'], reverse)
    untouched = transform.apply(dict(img=IMAGE), [])['img']
    assert np.array_equal(untouched, IMAGE)


def test_seeds():
    transform = PillowRandAugment(num=4)

    def changed(seed):
        with local_seed(seed):
            return transform(dict(img=IMAGE))['img'].tobytes()

    results = [changed(seed) for seed in range(6)]
    assert results == [changed(seed) for seed in range(6)] and len(set(results)) > 3


def test_options():
    transform = PillowRandAugment(3, 2)
    with local_seed(1):
        draws = [transform.draw() for _ in range(50)]
    assert max(map(len, draws)) == 3
    assert {operation.level for draw in draws for operation in draw} == {1}
    for magnitude in (1, 12):
        with pytest.raises(ValueError, match=rf'magnitude must be in 2\.\.11, got {magnitude}'):
            PillowRandAugment(2, magnitude)
    with pytest.raises(ValueError, match='num must be >= 0, got -1'):
        PillowRandAugment(-1)
    built = TRANSFORMS.build(dict(type='PillowRandAugment'))
    assert repr(built) == 'PillowRandAugment(num=2, magnitude=10)'


def test_masks_are_refused():
    with pytest.raises(UserError, match=r"without masks, .* found \['gt_seg_map'\] in a\.png"):
        PillowRandAugment()(dict(img=IMAGE, seg_fields=['gt_seg_map'], img_path='a.png'))
