import re

import numpy as np
import pytest
from PIL import Image

from mmjoint.visualization.drawing import heat_table
from mmjoint.visualization.uncertainty_maps import (
    PREDICTION_COLOUR,
    TRUTH_COLOUR,
    blend_mask,
    colour_map,
    disagreement,
    entropy_bits,
    mask_png,
    probability_from_png,
    probability_png,
    write_png,
)

from .loader import reference


def read_back(path, pixels):
    write_png(path, pixels)
    with Image.open(path) as picture:
        return np.array(picture), picture.mode


def test_probability_png(tmp_path):
    vectors = reference('mc_unet_uq', 'png_io')
    pixels = probability_png(vectors['prob'])
    assert pixels.dtype == np.uint8
    assert np.array_equal(pixels, vectors['png'])
    stored, mode = read_back(tmp_path / 'a.png', pixels)
    assert np.array_equal(stored, vectors['png']) and mode == str(vectors['png_mode'])


def value_list(name, labels, written):
    """The values that a name spells (``0_255``); else those written for each label that occurs."""
    if re.fullmatch(r'\d+(_\d+)*', name):
        return [int(value) for value in name.split('_')]
    values = np.zeros((labels.max() + 1, *written.shape[2:]), int)
    values[labels.ravel()] = written.reshape(-1, *written.shape[2:])
    return values.tolist()


def test_mask_png(tmp_path):
    vectors = reference('mc_unet_uq', 'png_io')
    names = [name.removeprefix('mask_') for name in vectors if name.startswith('mask_')]
    if not names:
        pytest.skip('no masks among the reference vectors')
    for name in names:
        labels, written = vectors[f'mask_{name}'], vectors[f'out_{name}']
        pixels, mode = mask_png(labels, value_list(name, labels, written))
        assert mode == str(vectors[f'mode_{name}']), name
        assert pixels.dtype == written.dtype and np.array_equal(pixels, written), name
        stored, stored_mode = read_back(tmp_path / f'{name}.png', pixels)
        assert np.array_equal(stored, written) and stored_mode == mode, name


def test_maps_of_the_passes():
    vectors = reference('mc_unet_uq', 'uq_maps')
    mean = probability_from_png(vectors['mc_png_c1']).mean(0)
    assert np.array_equal(mean, vectors['avg_prob'])
    bits = entropy_bits(mean)
    assert np.abs(bits - vectors['entropy_bits']).max() < 1e-12
    assert np.array_equal(colour_map(mean, 'viridis'), vectors['avg_rgb'])
    assert np.array_equal(colour_map(bits, 'inferno'), vectors['entropy_rgb'])


@pytest.mark.parametrize('name', ['viridis', 'inferno'])
def test_palettes(name):
    assert np.array_equal(heat_table(name), reference('mc_unet_uq', 'uq_maps')[f'{name}256'])


def test_disagreement_and_overlays():
    vectors = reference('mc_unet_uq', 'uq_maps')
    truth, prediction = vectors['mask_true'], vectors['mask_pred']
    assert np.array_equal(disagreement(truth, prediction), vectors['disagree'])
    image = vectors['image']
    overlay = blend_mask(image, truth, TRUTH_COLOUR)
    assert np.array_equal(overlay, vectors['overlay_true'])
    overlay = blend_mask(image, prediction, PREDICTION_COLOUR)
    assert np.array_equal(overlay, vectors['overlay_pred'])
