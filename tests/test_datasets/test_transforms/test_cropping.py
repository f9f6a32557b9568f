import numpy as np
import pytest

from mmjoint.datasets.transforms import CenterCropPatch, RandomCropPatch
from mmjoint.utils.random import local_seed


def sample(shape):
    image = np.arange(1.0, np.prod(shape) + 1).reshape(shape)
    return dict(
        img=image[..., None].astype(np.float32),
        gt_seg_map=(image % 5).astype(np.uint8),
        seg_fields=['gt_seg_map'],
        geometry={},
    )


@pytest.mark.parametrize(('shape', 'size'), [((9, 8, 7), (4, 5, 6)), ((9, 8), (4, 5))])
def test_image_and_map_are_cut_alike_at_every_place(shape, size):
    crop = RandomCropPatch(size)
    bounds = crop.bounds(shape)
    seen = set()
    with local_seed(0):
        for _ in range(400):
            results = crop(sample(shape))
            assert results['img'].shape == (*size, 1)
            assert np.array_equal(results['img'][..., 0] % 5, results['gt_seg_map'])
            seen.add(int(results['img'].flat[0]) - 1)
    assert 'geometry' not in results
    assert results['img_shape'] == results['ori_shape'] == size
    assert seen == {np.ravel_multi_index(place, shape) for place in np.ndindex(bounds)}


def test_the_seed_decides():
    crop = RandomCropPatch((3, 3))
    with local_seed(1):
        first = crop(sample((20, 20)))['img']
    with local_seed(1):
        assert np.array_equal(crop(sample((20, 20)))['img'], first)


def test_centre():
    results = CenterCropPatch((2, 2))(sample((6, 5)))  # offsets 2, and 1.5 rounded to 2
    assert results['img'][..., 0].tolist() == [[13, 14], [18, 19]]
    assert CenterCropPatch.deterministic


def test_without_a_label_map():
    results = RandomCropPatch((2, 2))(dict(img=np.ones((4, 4, 3), np.float32)))
    assert results['img'].shape == (2, 2, 3)


@pytest.mark.parametrize('kind', [RandomCropPatch, CenterCropPatch])
def test_misuse(kind):
    with pytest.raises(ValueError, match='size must be 2 or 3 lengths'):
        kind((4,))
    with pytest.raises(ValueError, match='size must be 2 or 3 lengths'):
        kind((4, 0))
    with pytest.raises(ValueError, match=r'must have as many axes as the image'):
        kind((4, 4))(sample((5, 5, 5)))
    assert repr(kind((4, 5))) == f'{kind.__name__}(size=(4, 5))'
