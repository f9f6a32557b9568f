"""Images as MultiMix's original code prepares and augments them, down to the last bit."""

import random
import re
from pathlib import Path

import cv2
import mmcv.transforms
import numpy as np
import pytest
import torch

from mmjoint.datasets.transforms import (
    LoadJointImage,
    PackJointInputs,
    PillowGrey,
    PillowRandAugment,
    PillowResize,
    RandomReflectCrop,
    ToUnitRange,
)
from mmjoint.datasets.transforms.randaugment import DrawnOperation
from mmjoint.functional.pillow_images import OPERATIONS, apply_operation
from mmjoint.models.data_preprocessors import JointDataPreprocessor
from mmjoint.utils.random import local_seed

from .loader import ROOT, Arrays, reference

METHOD = 'multimix'
SHARED = Path(__file__).resolve().parents[3] / 'shared'
REAL = [
    path
    for folder in (ROOT, SHARED / 'reference')
    if (path := folder / METHOD / 'preprocess_classification_sample.npz').is_file()
]


def run(image, *transforms):
    results = dict(img=image)
    for transform in transforms:
        results = transform(results)
    return results


def network_input(image, *transforms):
    """What the network gets: float32 ``(C, H, W)``."""
    packed = run(image, *transforms, PackJointInputs())
    batch = dict(inputs=[packed['inputs']], data_samples=[packed['data_samples']])
    inputs = JointDataPreprocessor()(batch)['inputs'][0]
    assert inputs.dtype == torch.float32
    return inputs.numpy()


def test_pool():
    arrays = reference(METHOD, 'aug_ops')
    names, largest, offsets = (arrays[f'pool_{part}'] for part in ('names', 'max', 'bias'))
    # The order of our table does not matter to what is drawn; theirs is replayed below.
    assert sorted(OPERATIONS) == sorted(map(str, names))
    for name, most, offset in zip(map(str, names), largest, offsets, strict=True):
        operation = OPERATIONS[name]
        assert (operation.largest is None) == bool(np.isnan(most)), name
        if operation.largest is not None:
            assert (operation.largest, operation.offset) == (most, offset), name


def test_operations():
    arrays = reference(METHOD, 'aug_ops')
    signed = set()
    for key in arrays:
        if not (match := re.fullmatch(r'([A-Za-z]+)_v(\d+)(_neg)?', key)):
            continue
        name, level, negative = match[1], int(match[2]), match[3] is not None
        actual = apply_operation(arrays['image'], name, level, negative=negative)
        assert np.array_equal(actual, arrays[key]), key
        signed |= {name} if negative else set()
    assert signed <= {name for name, operation in OPERATIONS.items() if operation.signed}


def replay(seed, pool, num, magnitude):
    """The original's draws: Python's generator, numpy's for the levels; as text and as drawn."""
    trace, drawn = [], []
    with local_seed(seed):
        for name in random.choices(pool, k=num):
            level = np.random.randint(1, magnitude)
            acts, sign = random.random() < 0.5, ''
            if acts and OPERATIONS[name].signed:
                sign = '-' if random.random() < 0.5 else '+'
            trace.append(f'{name}:{level}:{int(acts)}' + (f':{sign}' if sign else ''))
            if acts:
                drawn.append(DrawnOperation(name, level, sign == '-'))
    return '|'.join(trace), drawn


def test_randaugment():
    arrays = reference(METHOD, 'randaugment')
    pool = sorted(OPERATIONS)  # the original's order
    transform = PillowRandAugment()
    cases = sorted(match[1] for key in arrays if (match := re.fullmatch(r'seed(\d+)', key)))
    assert cases
    for case in cases:
        expected = str(arrays[f'trace{case}'])
        num = expected.count('|') + 1
        trace, drawn = replay(int(arrays[f'seed{case}']), pool, num, transform.magnitude)
        assert trace == expected, case
        results = transform.apply(dict(img=arrays['image'][..., None]), drawn)
        assert np.array_equal(results['img'][..., 0], arrays[f'out{case}']), case


def test_flips_and_crops():
    arrays = reference(METHOD, 'weak_geometry')
    sizes = [match[1] for key in arrays if (match := re.fullmatch(r'image(\d+)', key))]
    for size in map(int, sizes):
        resize = PillowResize((size, size), 'bilinear')
        resized = run(arrays['image'][..., None], resize)['img']
        assert np.array_equal(resized[..., 0], arrays[f'image{size}'])
    cases = arrays.cases(r'case\d+_')
    assert cases
    for case in cases:
        flip, padding, top, left = map(int, case['flip_pad_top_left'])
        expected = case['u8']
        image = arrays[f'image{expected.shape[0]}'][..., None]
        flipped = run(image, mmcv.transforms.RandomFlip(float(flip), 'horizontal'))
        crop = RandomReflectCrop(padding)
        results = crop.apply(flipped, top, left)
        assert np.array_equal(results['img'][..., 0], expected), case.prefix
        actual = network_input(results['img'], ToUnitRange())
        assert np.array_equal(actual, case['tensor']), case.prefix


def test_classification_inputs():
    arrays = reference(METHOD, 'preprocess')
    found = [match for key in arrays if (match := re.fullmatch(r'cls_(\d+)(_norm)?', key))]
    assert found
    for match in found:
        size = int(match[1])
        actual = network_input(
            arrays['rgb'],
            PillowGrey(),
            PillowResize((size, size), 'bilinear'),
            ToUnitRange(signed=match[2] is not None),
        )
        assert np.array_equal(actual, arrays[match[0]]), match[0]


def test_segmentation_inputs():
    arrays = reference(METHOD, 'preprocess')
    for kind in ('float', 'u8'):
        image = arrays[f'seg_{kind}_in'][..., None]
        expected = arrays[f'seg_{kind}_out']
        actual = run(image, ToUnitRange(signed=True))['img']
        assert actual.dtype == expected.dtype
        assert np.array_equal(np.moveaxis(actual, -1, 0), expected), kind
        inputs = network_input(image, ToUnitRange(signed=True))
        assert np.array_equal(inputs, expected.astype(np.float32)), kind


@pytest.mark.skipif(
    not REAL, reason='preprocess_classification_sample.npz: ../shared is not beside the repository'
)
def test_real_picture():
    image = SHARED / 'samples' / 'cxr' / 'classification_sample.png'
    if not image.is_file():
        pytest.skip('../shared/samples/cxr is not beside the repository')
    arrays = Arrays(REAL[0])
    expected = arrays['u8']
    decoded = LoadJointImage()(dict(img_path=str(image)))['img']
    assert decoded.shape[1::-1] == tuple(arrays['size_wh'])
    size = expected.shape[:0:-1]
    actual = network_input(decoded, PillowGrey(), PillowResize(size, 'bilinear'), ToUnitRange())
    assert np.array_equal(actual, expected.astype(np.float32) / np.float32(255))


def test_grey_files_keep_their_values(tmp_path):
    grey = reference(METHOD, 'preprocess')['seg_u8_in']
    assert cv2.imwrite(str(tmp_path / 'grey.png'), grey)
    decoded = LoadJointImage()(dict(img_path=str(tmp_path / 'grey.png')))['img']
    assert np.array_equal(run(decoded, PillowGrey())['img'][..., 0], grey)
