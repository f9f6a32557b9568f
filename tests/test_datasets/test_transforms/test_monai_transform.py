import monai.transforms
import numpy as np
import pytest

from mmjoint.datasets.transforms import MonaiTransform
from mmjoint.registry import TRANSFORMS
from mmjoint.utils.random import local_seed

BOTH = ('img', 'gt_seg_map')


def sample(shape=(6, 7, 8), channels=1):
    rng = np.random.default_rng(0)
    return dict(
        img=rng.random((*shape, channels), np.float32),
        gt_seg_map=rng.integers(0, 4, shape).astype(np.uint8),
        seg_fields=['gt_seg_map'],
        img_shape=shape,
        ori_shape=shape,
        geometry={},
    )


def test_intensities_are_those_of_monai():
    noise = TRANSFORMS.build(
        dict(type='MonaiTransform', transform=dict(type='RandGaussianNoise', prob=1.0, std=0.3))
    )
    results = sample(channels=2)
    changed = noise.apply(dict(results), seed=7)['img']
    expected = monai.transforms.RandGaussianNoise(prob=1.0, std=0.3)
    expected.set_random_state(7)
    first = np.moveaxis(results['img'], -1, 0)
    assert np.array_equal(np.moveaxis(changed, -1, 0), expected(first).numpy())
    assert changed.dtype == np.float32 and type(changed) is np.ndarray


def test_the_seed_of_the_visit_decides():
    noise = MonaiTransform(dict(type='RandGaussianNoise', prob=0.5))
    runs = []
    for _ in range(2):
        with local_seed(11):
            runs.append([noise(sample())['img'] for _ in range(6)])
    assert all(np.array_equal(a, b) for a, b in zip(*runs, strict=True))
    assert len({image.tobytes() for image in runs[0]}) > 2


@pytest.mark.parametrize('shape', [(6, 7, 8), (9, 8)])
@pytest.mark.parametrize(
    'cfg',
    [
        dict(type='RandFlip', prob=0.5, spatial_axis=1),
        dict(type='RandAxisFlip', prob=0.7),
        dict(type='RandRotate90', prob=0.7, spatial_axes=(0, 1)),
        dict(type='RandSpatialCrop', roi_size=4, random_size=False),
    ],
)
def test_image_and_label_map_move_together(cfg, shape):
    transform = MonaiTransform(cfg, keys=BOTH)
    seen = set()
    for seed in range(8):
        results = sample(shape)
        results['img'] = results['gt_seg_map'][..., None].astype(np.float32)
        results = transform.apply(results, seed)
        assert np.array_equal(results['img'][..., 0], results['gt_seg_map'])
        assert results['gt_seg_map'].dtype == np.uint8
        seen.add(results['img'].tobytes())
    assert len(seen) > 1


def test_label_maps_are_interpolated_by_nearest_voxels():
    transform = MonaiTransform(
        dict(type='RandAffine', prob=1.0, rotate_range=(0.5,), padding_mode='zeros'), keys=BOTH
    )
    results = sample()
    results['gt_seg_map'] = np.where(results['gt_seg_map'] > 1, 200, 0).astype(np.uint8)
    changed = transform.apply(dict(results), 3)
    assert set(np.unique(changed['gt_seg_map'])) == {0, 200}
    assert not np.array_equal(changed['gt_seg_map'], results['gt_seg_map'])
    assert len(np.unique(changed['img'])) > 100


def test_new_shapes_are_noted():
    crop = MonaiTransform(dict(type='CenterSpatialCrop', roi_size=(4, 4, 4)), keys=BOTH)
    results = crop(sample())
    assert results['img_shape'] == results['ori_shape'] == (4, 4, 4) and 'geometry' not in results
    kept = MonaiTransform(dict(type='Flip', spatial_axis=0))(sample())
    assert 'geometry' in kept


def test_nested_transforms():
    choice = MonaiTransform(
        dict(
            type='OneOf',
            transforms=[
                dict(type='ScaleIntensity', minv=5.0, maxv=6.0),
                dict(type='ScaleIntensity', minv=8.0, maxv=9.0),
            ],
        )
    )
    lowest = {float(choice.apply(sample(), seed)['img'].min()) for seed in range(8)}
    assert lowest == {5.0, 8.0}


def test_samples_without_a_label_map():
    flip = MonaiTransform(dict(type='Flip', spatial_axis=0), keys=BOTH)
    results = sample()
    del results['gt_seg_map'], results['seg_fields']
    assert 'gt_seg_map' not in flip(results)


def test_misuse():
    for name in ('RandGaussianNois', 'RandFlipd', 'Tensor', 'np'):
        with pytest.raises(ValueError, match='must name an array transform of monai'):
            MonaiTransform(dict(type=name))
    with pytest.raises(ValueError, match='keys must be a sequence'):
        MonaiTransform(dict(type='Flip'), keys='img')
    with pytest.raises(KeyError, match='neither img nor in seg_fields'):
        MonaiTransform(dict(type='Flip'), keys=('image',))(sample())
