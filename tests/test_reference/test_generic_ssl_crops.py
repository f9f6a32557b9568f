"""Patches as the original code of A&D cuts them."""

import re

import numpy as np

from mmjoint.datasets.transforms import CenterCropPatch, RandomCropPatch

from .loader import reference

METHOD = 'generic_ssl'
NUM_LABELS = 5


def names(arrays):
    return sorted(match[1] for name in arrays if (match := re.fullmatch(r'(.+)_patch', name)))


def sample(shape):
    image = np.arange(1, np.prod(shape) + 1).reshape(shape)
    return dict(
        img=image[..., None].astype(np.float32),
        gt_seg_map=(image % NUM_LABELS).astype(np.uint8),
        seg_fields=['gt_seg_map'],
    )


def same(results, expected):
    # Padded voxels are 0 in the label map, too: 0 mod 5.
    return (
        np.array_equal(results['img'][..., 0], expected)
        and np.array_equal(results['gt_seg_map'], expected % NUM_LABELS)
        and results['img_shape'] == results['ori_shape'] == expected.shape
    )


def test_crops():
    arrays = reference(METHOD, 'crops')
    assert names(arrays)
    for name in names(arrays):
        shape, size = arrays[f'{name}_shape'].tolist(), arrays[f'{name}_patch'].tolist()
        crop = RandomCropPatch(size)
        bounds = crop.bounds(shape)
        assert np.array_equal(bounds, arrays[f'{name}_offset_upper_excl']), name
        first = crop.apply(sample(shape), (0,) * len(shape))
        assert same(first, arrays[f'{name}_random_zero_offset']), name
        last = crop.apply(sample(shape), tuple(bound - 1 for bound in bounds))
        assert same(last, arrays[f'{name}_random_max_offset']), name
        centre = CenterCropPatch(size)(sample(shape))
        assert same(centre, arrays[f'{name}_center']), name


def test_the_comparison_can_fail():
    arrays = reference(METHOD, 'crops')
    name = names(arrays)[0]
    shape, size = arrays[f'{name}_shape'].tolist(), arrays[f'{name}_patch'].tolist()
    moved = CenterCropPatch(size)(sample(shape))
    moved['img'] = np.roll(moved['img'], 1, axis=0)
    assert not same(moved, arrays[f'{name}_center'])
