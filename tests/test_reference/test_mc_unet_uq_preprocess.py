"""Images and masks as the MC-dropout U-Net's original code loads them, down to the last bit."""

import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from mmjoint.datasets.transforms import (
    LoadJointAnnotations,
    LoadJointImage,
    PackJointInputs,
    PillowResize,
)
from mmjoint.models.data_preprocessors import JointDataPreprocessor
from mmjoint.utils.errors import UserError

from ..test_prepare_dataset.scripts import reading
from .loader import ROOT, Arrays, reference

SHARED = Path(__file__).resolve().parents[3] / 'shared'
REAL = {
    path.stem: path
    for folder in (SHARED / 'reference', ROOT)
    for path in sorted((folder / 'mc_unet_uq').glob('preprocess_ISIC_*.npz'))
}


@pytest.fixture(scope='module')
def arrays():
    return reference('mc_unet_uq', 'preprocess')


def sizes(arrays, prefix):
    """(name, (width, height)) of all arrays ``<prefix>_w<width>_h<height>``."""
    found = [
        (name, (int(match[1]), int(match[2])))
        for name in arrays
        if (match := re.fullmatch(rf'{prefix}_w(\d+)_h(\d+)', name))
    ]
    assert found, prefix
    return found


def network_input(path, size):
    """(inputs as the data loader gives them, uint8; inputs as the network gets them, float32)."""
    results = dict(img_path=str(path), seg_fields=[])
    for transform in (LoadJointImage(), PillowResize(size), PackJointInputs()):
        results = transform(results)
    inputs = results['inputs']
    batch = dict(inputs=[inputs], data_samples=[results['data_samples']])
    preprocess = JointDataPreprocessor(mean=[0.0], std=[255.0])
    return inputs, preprocess(batch)['inputs'][0]


def write(path, image):
    assert cv2.imwrite(str(path), image if image.ndim == 2 else image[..., ::-1])
    return path


def resized_mask(labels, size):
    results = dict(img=np.zeros((*labels.shape, 3), np.uint8), gt_seg_map=labels)
    return PillowResize(size)(dict(results, seg_fields=['gt_seg_map']))['gt_seg_map']


def as_labels(mask, values):
    """Index of each pixel's value in the sorted list of values, as the original counts them."""
    return (mask[..., None] == np.asarray(values)).argmax(axis=-1).astype(np.uint8)


def test_images(arrays, tmp_path):
    path = write(tmp_path / 'image.png', arrays['image'])
    for name, size in sizes(arrays, 'image'):
        _, actual = network_input(path, size)
        assert actual.dtype == torch.float32
        assert np.array_equal(actual.numpy(), arrays[name]), name


def test_grey_images_become_three_equal_channels(arrays, tmp_path):
    path = write(tmp_path / 'grey.png', np.ascontiguousarray(arrays['image'][:, :, 0]))
    for name, size in sizes(arrays, 'gray'):
        _, actual = network_input(path, size)
        expected = np.broadcast_to(arrays[name], actual.shape)
        assert np.array_equal(actual.numpy(), expected), name


def test_images_of_zeros_and_ones_are_scaled_like_all_others(arrays, tmp_path):
    # The original leaves an image without a value above 1 as it is; we divide whatever it holds.
    path = write(tmp_path / 'image01.png', arrays['image01'])
    for name, size in sizes(arrays, 'image01'):
        stored, actual = network_input(path, size)
        unscaled = np.broadcast_to(arrays[name], actual.shape)
        assert unscaled.max() == 1
        assert np.array_equal(stored.numpy(), unscaled)
        assert np.array_equal(actual.numpy(), unscaled.astype(np.float32) / np.float32(255))


def test_masks(arrays):
    labels = as_labels(arrays['mask'], np.unique(arrays['mask']))
    for name, size in sizes(arrays, 'mask'):
        assert np.array_equal(resized_mask(labels, size), arrays[name]), name


def test_masks_of_more_classes(arrays):
    # Class numbers are made before the resizing here, after it there: the same for nearest pixels.
    values = arrays['mask_rgb_values']
    assert np.array_equal(values, np.unique(arrays['mask_rgb'].reshape(-1, 3), axis=0))
    matches = (arrays['mask_rgb'][:, :, None] == values).all(axis=-1)
    labels = matches.argmax(axis=-1).astype(np.uint8)
    for name, size in sizes(arrays, 'mask_rgb'):
        assert np.array_equal(resized_mask(labels, size), arrays[name]), name


def test_unknown_mask_values_are_refused_where_the_original_calls_them_background(arrays, tmp_path):
    mask, silent = arrays['mask'], arrays['mask_unknown_value']
    nearest = resized_mask(mask, silent.shape[::-1])
    assert nearest.max() == mask.max() and not silent[nearest == mask.max()].any()
    known = sorted(set(np.unique(mask).tolist()) - {int(mask.max())})
    with pytest.raises(UserError, match=f'expected mask values .*, found {mask.max()} in'):
        reading.read_mask(write(tmp_path / 'mask.png', mask), known)


@pytest.mark.skipif(
    not REAL, reason='preprocess_ISIC_*.npz: ../shared is not beside the repository'
)
@pytest.mark.parametrize('name', sorted(REAL) or ['none'])
def test_real_photographs(name, tmp_path):
    case = name.removeprefix('preprocess_')
    image = SHARED / 'samples' / 'isic' / 'images' / f'{case}.jpg'
    mask = SHARED / 'samples' / 'isic' / 'masks' / f'{case}_Segmentation.png'
    if not image.is_file():
        pytest.skip(f'{case}.jpg: ../shared/samples/isic is not beside the repository')
    arrays = Arrays(REAL[name])
    decoded = LoadJointImage()(dict(img_path=str(image)))['img']
    assert decoded.shape[1::-1] == tuple(arrays['orig_size_wh'])
    # Another decoder may differ by a grey level here and there; a wrong one would by far more.
    drift = np.abs(decoded.sum(axis=(0, 1), dtype=np.int64) - arrays['decoded_sum'])
    assert drift.max() <= 0.5 * decoded.shape[0] * decoded.shape[1]
    expected = arrays['image_u8_chw']
    size = expected.shape[:0:-1]
    stored, actual = network_input(image, size)
    away = np.abs(stored.numpy().astype(int) - expected)
    assert away.max() <= 1
    if not drift.any():
        assert not away.any()
    assert actual.double().mean(dim=(1, 2)).numpy() == pytest.approx(
        arrays['mean_rgb'], abs=max(1e-6, 1 / 255 * drift.any())
    )
    ids = (reading.read_mask(mask, (0, 255)) > 0).astype(np.uint8)
    path = write(tmp_path / 'ids.png', ids)
    results = dict(seg_map_path=str(path), classes=('a', 'b'), ori_shape=ids.shape, img_path='')
    loaded = LoadJointAnnotations()(results)['gt_seg_map']
    assert np.array_equal(resized_mask(loaded, arrays['mask'].shape[::-1]), arrays['mask'])
