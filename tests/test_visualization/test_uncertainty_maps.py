import math

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import entropy

from mmjoint.functional.dirichlet import predictive_entropy
from mmjoint.visualization.drawing import heat_table
from mmjoint.visualization.uncertainty_maps import (
    blend_mask,
    colour_map,
    disagreement,
    entropy_bits,
    mask_png,
    probability_from_png,
    probability_png,
    write_png,
)


@pytest.mark.parametrize(
    'options, expected',
    [
        ({}, [0, 0, 127, 254, 255, 255]),
        ({'rounding': 'nearest'}, [0, 0, 128, 255, 255, 255]),
        ({'bits': 16}, [0, 0, 32767, 65469, 65535, 65535]),
        ({'bits': 16, 'rounding': 'nearest'}, [0, 0, 32768, 65469, 65535, 65535]),
    ],
)
def test_probability_png_by_hand(options, expected):
    probs = np.array([-0.5, 0.0, 0.5, 0.999, 1.0, 1.5])
    assert probability_png(probs, **options).tolist() == expected


@pytest.mark.parametrize('dtype, bits', [(np.uint8, 8), (np.uint16, 16)])
def test_levels_survive_the_way_there_and_back(dtype, bits):
    levels = np.arange(2**bits).astype(dtype)
    probs = probability_from_png(levels)
    assert probs[0] == 0 and probs[-1] == 1
    assert np.array_equal(probability_png(probs, rounding='nearest', bits=bits), levels)
    # Nor does a level fall to the one below where the probability is a float32.
    assert np.array_equal(probability_png(probs.astype(np.float32), bits=bits), levels)


@pytest.mark.parametrize(
    'probs, options, message',
    [
        (np.array([0, 255]), {}, 'probs must be floats, got int64'),
        (np.array([0.1, np.nan]), {}, 'NaN'),
        (np.array([0.1]), {'rounding': 'ceil'}, "'floor' or 'nearest'"),
        (np.array([0.1]), {'bits': 12}, 'bits 8 or 16'),
    ],
)
def test_what_is_no_probability(probs, options, message):
    with pytest.raises(ValueError, match=message):
        probability_png(probs, **options)


def test_levels_of_another_dtype():
    with pytest.raises(ValueError, match='uint8 or uint16, got float64'):
        probability_from_png(np.array([0.5]))


LABELS = np.array([[0, 1], [1, 0]])


@pytest.mark.parametrize(
    'values, mode, dtype, corner',
    [
        ([0, 255], 'L', np.uint8, 255),
        ([0, 1], '1', bool, True),
        ([0, 1, 2], 'L', np.uint8, 1),
        ([1, 0], 'L', np.uint8, 0),
        ([[0, 0, 0], [255, 0, 10]], 'RGB', np.uint8, [255, 0, 10]),
    ],
)
def test_mask_modes(values, mode, dtype, corner):
    pixels, found = mask_png(LABELS, values)
    assert found == mode and pixels.dtype == dtype
    assert pixels[0, 1].tolist() == corner


@pytest.mark.parametrize(
    'labels, values, message',
    [
        (LABELS, [0, 300], r'lie in 0\.\.255'),
        (LABELS, [0, -1], r'lie in 0\.\.255'),
        (LABELS, [0.0, 1.0], 'integers or RGB triples'),
        (LABELS, [[0, 0], [1, 1]], 'integers or RGB triples'),
        (LABELS, [7], 'labels reach from 0 to 1, but there are 1 mask_values'),
        (LABELS - 1, [0, 255], 'labels reach from -1'),
        (LABELS.astype(float), [0, 255], r'integer \(H, W\), got float64'),
        (LABELS[None], [0, 255], r'integer \(H, W\)'),
    ],
)
def test_masks_that_cannot_be_written(labels, values, message):
    with pytest.raises(ValueError, match=message):
        mask_png(labels, values)


@pytest.mark.parametrize(
    'pixels, mode',
    [
        (np.eye(3, 5) > 0, '1'),
        (np.arange(15, dtype=np.uint8).reshape(3, 5), 'L'),
        (np.arange(0, 60000, 4000, dtype=np.uint16).reshape(3, 5), 'I;16'),
        (np.arange(45, dtype=np.uint8).reshape(3, 5, 3), 'RGB'),
    ],
)
def test_files_hold_what_was_written(tmp_path, pixels, mode):
    write_png(tmp_path / 'new' / 'a.png', pixels)
    assert [path.name for path in (tmp_path / 'new').iterdir()] == ['a.png']
    with Image.open(tmp_path / 'new' / 'a.png') as picture:
        assert picture.mode == mode and picture.format == 'PNG'
        assert np.array_equal(np.array(picture), pixels)


@pytest.mark.parametrize('pixels', [np.zeros((2, 2)), np.zeros((2, 2, 4), np.uint8)])
def test_pixels_that_no_png_holds(tmp_path, pixels):
    with pytest.raises(ValueError, match='bool, uint8 or uint16'):
        write_png(tmp_path / 'a.png', pixels)
    assert not list(tmp_path.iterdir())


def test_entropy_in_bits():
    probs = np.array([[0.0, 0.1, 0.5], [0.25, 0.9, 1.0]])
    expected = entropy(np.stack([probs, 1 - probs]), base=2)
    assert entropy_bits(probs) == pytest.approx(expected, abs=1e-7)
    assert entropy_bits(probs, eps=1e-300) == pytest.approx(expected, abs=1e-12)
    # The eps of the original: below 0 by log2(1 + eps) where the model is certain.
    assert entropy_bits(np.array(1.0)) == pytest.approx(-math.log2(1 + 1e-8), rel=1e-6)
    nats = predictive_entropy(torch.from_numpy(np.stack([probs, 1 - probs])[None]))[0, 0]
    assert entropy_bits(probs) == pytest.approx(nats.numpy() / math.log(2), abs=1e-7)


@pytest.mark.parametrize('values', [[-0.1], [1.1], [np.nan]])
def test_entropy_of_no_probability(values):
    with pytest.raises(ValueError, match=r'lie in \[0, 1\]'):
        entropy_bits(np.array(values))


def test_disagreement():
    truth = np.array([[0, 1, 2, 255]])
    assert disagreement(truth, np.array([[0, 2, 2, 1]])).tolist() == [[0, 255, 0, 255]]
    found = disagreement(truth, np.array([[0, 2, 2, 1]]), ignore_index=255)
    assert found.tolist() == [[0, 255, 0, 0]] and found.dtype == np.uint8
    with pytest.raises(ValueError, match=r'one shape, got \(1, 4\) and \(4,\)'):
        disagreement(truth, truth[0])


def test_colours_between_two_entries():
    table = heat_table('viridis').astype(float)
    values = np.array([[0.0, 1 / 255, 0.3 / 255, 1.0, 7.0, -1.0]])
    expected = [table[0], table[1], np.floor(0.7 * table[0] + 0.3 * table[1] + 0.5)]
    expected += [table[255], table[255], table[0]]
    assert colour_map(values, 'viridis')[0].tolist() == np.stack(expected).tolist()
    doubled = colour_map(2 * values, 'viridis', upper=2.0)
    assert np.array_equal(doubled, colour_map(values, 'viridis'))


def test_colours_need_a_range():
    with pytest.raises(ValueError, match='upper 0'):
        colour_map(np.zeros((2, 2)), 'viridis', upper=0.0)
    with pytest.raises(ValueError, match='without NaN'):
        colour_map(np.full((2, 2), np.nan), 'viridis')


def test_blending():
    image = np.full((1, 3, 3), 100, np.uint8)
    mask = np.array([[0, 1, 255]])
    blended = blend_mask(image, mask, (0, 201, 255))
    # 0.4 * 100 + 0.6 * (0, 201, 255) = (40, 160.6, 193)
    assert blended[0].tolist() == [[100, 100, 100], [40, 161, 193], [40, 161, 193]]
    half = blend_mask(image[:, :, 0], mask, (101, 101, 101), opacity=0.5)
    assert half[0, 1].tolist() == [101, 101, 101]  # 100.5 goes up
    with pytest.raises(ValueError, match=r'the mask is \(3, 1\), the image \(1, 3\)'):
        blend_mask(image, mask.T, (0, 0, 0))
