import collections

import numpy as np
import pytest
from scipy import ndimage

from mmjoint.datasets.transforms import RandomNoiseCutOut, RandomRotateChoice
from mmjoint.datasets.transforms.task_augment import Box
from mmjoint.registry import TRANSFORMS
from mmjoint.utils.random import local_seed

ANGLES = (-15, -11.25, -7.5, -3.75, 0, 3.75, 7.5, 11.25, 15)
RNG = np.random.RandomState(0)
IMAGE = RNG.randint(1, 256, (40, 48, 3)).astype(np.uint8)
MAPS = {f'gt_task_{name}': RNG.randint(0, 3, (40, 48)).astype(np.uint8) for name in 'ab'}


def sample(image=IMAGE, **maps):
    maps = maps or MAPS
    return dict(img=image.copy(), seg_fields=list(maps), **{k: v.copy() for k, v in maps.items()})


def rotated(image, degree, order, outside):
    """Clockwise about the centre, by its definition: where each place comes from."""
    angle = np.deg2rad(degree)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    centre = (np.array(image.shape) - 1) / 2
    return ndimage.affine_transform(
        image.astype(float), turn, centre - turn @ centre, order=order, cval=outside
    )


@pytest.mark.parametrize('degree', [-15, 3.75, 11.25])
def test_rotation_by_its_definition(degree):
    smooth = np.stack([ndimage.gaussian_filter(IMAGE[..., 0], 4.0)] * 3, axis=-1)
    results = RandomRotateChoice([degree]).apply(sample(smooth), degree)
    inner = np.s_[12:-12, 12:-12]
    expected = rotated(smooth[..., 1], degree, 1, 0)
    assert np.abs(results['img'][..., 1] - expected)[inner].max() < 1.5
    for key, labels in MAPS.items():
        # Where no two places are equally near, nearest neighbours agree.
        same = results[key] == rotated(labels, degree, 0, 255)
        assert same[inner].mean() > 0.97, key


def test_rotation_fills_with_black_and_255():
    results = RandomRotateChoice([15]).apply(sample(), 15.0)
    corner = np.s_[0, :3]
    assert not results['img'][corner].any()
    outside = results['gt_task_a'] == 255
    assert outside[corner].all() and np.array_equal(outside, results['gt_task_b'] == 255)
    assert 0.02 < outside.mean() < 0.25
    assert not results['img'][ndimage.binary_erosion(outside, iterations=2)].any()
    other = RandomRotateChoice([15], pad_val=7, seg_pad_val=0).apply(sample(), 15.0)
    assert (other['img'][corner] == 7).all() and other['gt_task_a'].max() == 2
    assert RandomRotateChoice([15])(dict(img=IMAGE[..., :1]))['img'].shape == (40, 48, 1)


def test_no_angle_changes_nothing():
    results = RandomRotateChoice([0])(sample(IMAGE[:, ::-1]))
    assert np.array_equal(results['img'], IMAGE[:, ::-1])
    assert all(np.array_equal(results[key], labels) for key, labels in MAPS.items())


def test_all_angles_are_drawn_alike():
    transform = RandomRotateChoice(ANGLES)
    with local_seed(2):
        drawn = collections.Counter(transform.draw() for _ in range(1800))
    assert set(drawn) == set(ANGLES)
    assert min(drawn.values()) > 150 and max(drawn.values()) < 250  # 200 is meant


def test_cut_out_by_hand():
    given = sample()
    image, labels = given['img'], given['gt_task_a']
    noise = np.arange(2 * 3 * 3).reshape(2, 3, 3).astype(np.uint8)
    results = RandomNoiseCutOut().apply(given, Box(top=4, left=5, height=2, width=3), noise)
    assert np.array_equal(results['img'][4:6, 5:8], noise)
    assert (results['gt_task_a'][4:6, 5:8] == 255).all()
    assert results['img'][6, 8].tolist() == IMAGE[6, 8].tolist()
    # What was given stays as it was.
    assert np.array_equal(image, IMAGE) and np.array_equal(labels, MAPS['gt_task_a'])


def test_rectangles():
    transform = RandomNoiseCutOut(prob=0.5)
    with local_seed(4):
        drawn = [transform.draw(400, 300) for _ in range(3000)]
    boxes = np.array([box for box in drawn if box is not None])
    assert len(boxes) / len(drawn) == pytest.approx(0.5, abs=0.03)
    top, left, height, width = boxes.T
    assert top.min() >= 0 and left.min() >= 0 and height.min() > 0
    assert (top + height).max() <= 400 and (left + width).max() <= 300
    share, ratio = height * width / 120000, height / width
    # A pixel is rounded off each side.
    assert 0.018 < share.min() < 0.03 and 0.3 < share.max() <= 0.4
    assert 0.29 < ratio.min() < 0.4 and 2.8 < ratio.max() < 3.4
    # Small rectangles fit more often, so the shares that are kept lean to them.
    assert np.mean(share) < 0.2


def test_rectangles_that_always_fit_are_uniform():
    transform = RandomNoiseCutOut(1.0, area=(0.00041, 0.00041), ratio=(1, 1))
    with local_seed(5):
        drawn = [transform.draw(1000, 1000) for _ in range(2000)]
    top, left, height, width = np.array(drawn).T
    assert set(height) == set(width) == {20}
    for place in (top, left):
        assert place.mean() == pytest.approx(490, abs=25) and place.std() == pytest.approx(
            980 / 12**0.5, abs=15
        )


def test_noise_and_maps_in_the_rectangle():
    transform = RandomNoiseCutOut(prob=1.0, area=(0.2, 0.3))
    with local_seed(6):
        box = transform.draw(40, 48)
    with local_seed(6):
        results = transform(sample())
    part = np.s_[box.top : box.top + box.height, box.left : box.left + box.width]
    for key, labels in MAPS.items():
        assert (results[key][part] == 255).all()
        assert (results[key] == 255).sum() == box.height * box.width
        kept = results[key] != 255
        assert np.array_equal(results[key][kept], labels[kept])
    changed = (results['img'] != IMAGE).any(axis=-1)
    changed[part] = False
    assert not changed.any()
    noise = transform.draw_noise((200, 200, 3))
    assert noise.dtype == np.uint8 and noise.min() == 0 and noise.max() == 255
    assert noise.mean(axis=(0, 1)) == pytest.approx([127.5] * 3, abs=2)
    assert abs(np.corrcoef(noise[..., 0].ravel(), noise[..., 1].ravel())[0, 1]) < 0.03


def test_never_and_always():
    never = RandomNoiseCutOut(prob=0.0)
    always = RandomNoiseCutOut(prob=1.0, seg_fill=0)
    with local_seed(7):
        assert all(never.draw(40, 48) is None for _ in range(50))
        assert all(always.draw(40, 48) is not None for _ in range(50))
        assert always(sample())['gt_task_a'].max() == 2


def test_seeds():
    def changed(transform, seed):
        with local_seed(seed):
            results = transform(sample())
        return b''.join(results[key].tobytes() for key in ('img', *MAPS))

    for transform in (RandomRotateChoice(ANGLES), RandomNoiseCutOut()):
        visits = [changed(transform, seed) for seed in range(8)]
        assert visits == [changed(transform, seed) for seed in range(8)]
        assert len(set(visits)) > 3


def test_options():
    with pytest.raises(ValueError, match='degrees must hold at least one angle, got none'):
        RandomRotateChoice([])
    for options, text in (
        (dict(prob=1.1), 'prob must be in'),
        (dict(area=(0.0, 0.4)), 'area must be two shares'),
        (dict(area=(0.5, 1.4)), 'area must be two shares'),
        (dict(ratio=(2, 1)), 'ratio must be two numbers'),
    ):
        with pytest.raises(ValueError, match=text):
            RandomNoiseCutOut(**options)
    large = RandomNoiseCutOut(1.0, area=(0.9, 1.0), ratio=(1, 1))
    with pytest.raises(ValueError, match='that fits into an image of 10 x 1000, got none'):
        large.draw(10, 1000)
    built = TRANSFORMS.build(dict(type='RandomRotateChoice', degrees=[-5, 5]))
    assert repr(built) == 'RandomRotateChoice(degrees=(-5.0, 5.0), pad_val=0, seg_pad_val=255)'
    built = TRANSFORMS.build(dict(type='RandomNoiseCutOut', ratio=[1, 2]))
    assert repr(built) == (
        'RandomNoiseCutOut(prob=0.5, area=(0.02, 0.4), ratio=(1, 2), seg_fill=255)'
    )
