"""The augmentations of A&D, as its original code does them with given parameters."""

import re

import numpy as np
import pytest

from mmjoint.datasets.transforms import (
    RandomBlurPatch,
    RandomBrightnessPatch,
    RandomContrastPatch,
    RandomGammaPatch,
    RandomRotatePatch,
    RandomScalePatch,
)

from .loader import assert_close, reference

METHOD = 'generic_ssl'
TOLERANCE = 1e-5
# Name of the setting -> transform, name of the image, name of the label map where it changes.
SPATIAL = {'rot(\\d+)_deg': RandomRotatePatch, 'scale(\\d+)': RandomScalePatch}
INTENSITY = {
    'blur_sigma': (RandomBlurPatch, 'blur'),
    'bright_mult': (RandomBrightnessPatch, 'bright'),
    'contrast(\\d+)_factor': (RandomContrastPatch, 'contrast{}'),
    'gamma(\\d+)_value': (RandomGammaPatch, 'gamma{}'),
}


def sample(arrays, prefix):
    return dict(
        img=arrays[f'{prefix}data'][..., None],
        gt_seg_map=arrays[f'{prefix}seg'],
        seg_fields=['gt_seg_map'],
    )


def settings(arrays, prefix, patterns):
    """The names that hold a parameter, with what they match and the number in them."""
    for name in sorted(arrays):
        for pattern, found in patterns.items():
            match = re.fullmatch(re.escape(prefix) + pattern, name)
            if match:
                yield name, found, match.groups()


@pytest.mark.parametrize('fast', [True, False])
@pytest.mark.parametrize('prefix', ['d3_', 'd2_'])
def test_rotation_and_scale(prefix, fast):
    arrays = reference(METHOD, 'augment')
    count = 0
    for name, kind, _ in settings(arrays, prefix, SPATIAL):
        stem = name.removesuffix('_deg')
        results = kind(fast=fast).apply(sample(arrays, prefix), float(arrays[name]))
        assert_close(results['img'][..., 0], arrays[f'{stem}_data'], TOLERANCE, stem)
        assert np.array_equal(results['gt_seg_map'], arrays[f'{stem}_seg']), stem
        assert results['img'].dtype == np.float32 and results['gt_seg_map'].dtype == np.uint8
        count += 1
    assert count or not any(name.startswith(prefix) for name in arrays)


@pytest.mark.parametrize('prefix', ['d3_', 'd2_'])
def test_intensities(prefix):
    arrays = reference(METHOD, 'augment')
    count = 0
    for name, (kind, result), numbers in settings(arrays, prefix, INTENSITY):
        results = kind().apply(sample(arrays, prefix), float(arrays[name]))
        expected = arrays[prefix + result.format(*numbers)]
        assert_close(results['img'][..., 0], expected, TOLERANCE, name)
        assert np.array_equal(results['gt_seg_map'], arrays[f'{prefix}seg'])
        assert results['img'].dtype == np.float32
        count += 1
    assert count or not any(name.startswith(prefix) for name in arrays)
