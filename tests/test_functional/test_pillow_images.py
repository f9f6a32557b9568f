"""RandAugment's operations against their definitions, written out pixel by pixel."""

import math

import numpy as np
import pytest
from PIL import Image

from mmjoint.functional.pillow_images import OPERATIONS, apply_operation, edit, resize, to_grey

RNG = np.random.RandomState(5)
IMAGE = RNG.randint(20, 200, (23, 31)).astype(np.uint8)
SIGNED = ('Rotate', 'ShearX', 'ShearY', 'TranslateX', 'TranslateY')


def moved(image, source, nudge=0.0):
    """The pixel at ``source(x, y)``, which takes and gives places of centres, and 0 outside."""
    result = np.zeros_like(image)
    height, width = image.shape
    for row in range(height):
        for column in range(width):
            x, y = (place + nudge for place in source(column + 0.5, row + 0.5))
            if 0 <= x < width and 0 <= y < height:
                result[row, column] = image[int(y), int(x)]
    return result


def rotated(degrees):
    """Counter-clockwise about the centre of the image."""
    height, width = IMAGE.shape
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))

    def source(x, y):
        x, y = x - width / 2, y - height / 2
        return cosine * x - sine * y + width / 2, sine * x + cosine * y + height / 2

    return source


def blended(degenerate, image, factor):
    """Between a degenerate image (factor 0) and the image (factor 1)."""
    mixed = degenerate + np.float32(factor) * (image.astype(np.float32) - degenerate)
    return mixed.astype(np.uint8)


def equalized(image):
    histogram = np.bincount(image.ravel(), minlength=256)
    step = (image.size - histogram[histogram > 0][-1]) // 255
    below = np.concatenate([[0], np.cumsum(histogram)[:-1]])
    return np.minimum((step // 2 + below) // step, 255).astype(np.uint8)[image]


def changed_values(name, level):
    factor = 0.09 * level + 0.05
    if name == 'AutoContrast':
        low, high = int(IMAGE.min()), int(IMAGE.max())
        return ((IMAGE.astype(float) - low) * (255 / (high - low)) + 1e-9).astype(np.uint8)
    if name == 'Brightness':
        return blended(np.float32(0), IMAGE, factor)
    if name == 'Contrast':
        return blended(np.float32(int(IMAGE.mean() + 0.5)), IMAGE, factor)
    if name == 'Equalize':
        return equalized(IMAGE)
    if name == 'Posterize':
        lost = 8 - (4 + 4 * level // 10)
        return IMAGE >> lost << lost
    if name == 'Solarize':
        return np.where(256 - 256 * level // 10 <= IMAGE, 255 - IMAGE, IMAGE)
    assert name == 'Identity'
    return IMAGE


def source_of(name, level):
    """Where the pixels of a moved image come from; negative levels for negative parameters."""
    height, width = IMAGE.shape
    if name == 'Rotate':
        return rotated(3 * level)
    if name == 'ShearX':
        return lambda x, y: (x + 0.03 * level * y, y)
    if name == 'ShearY':
        return lambda x, y: (x, y + 0.03 * level * x)
    if name == 'TranslateX':
        return lambda x, y: (x + int(3 * level * width / 100), y)
    assert name == 'TranslateY'
    return lambda x, y: (x, y + int(3 * level * height / 100))


@pytest.mark.parametrize('name', sorted(set(OPERATIONS) - {*SIGNED, 'Sharpness'}))
@pytest.mark.parametrize('level', range(1, 11))
def test_values(name, level):
    actual, wanted = apply_operation(IMAGE, name, level), changed_values(name, level)
    assert actual.dtype == np.uint8 and actual.shape == IMAGE.shape
    if name in ('AutoContrast', 'Brightness', 'Contrast'):  # rounding at whole numbers
        assert np.abs(actual.astype(int) - wanted).max() <= 1
        assert (actual == wanted).mean() > 0.95
    else:
        assert np.array_equal(actual, wanted)


@pytest.mark.parametrize('name', SIGNED)
@pytest.mark.parametrize('level', [1, 4, 9, 10])
def test_places(name, level):
    for sign in (1, -1):
        actual = apply_operation(IMAGE, name, level, negative=sign < 0)
        source = source_of(name, sign * level)
        # A place between two pixels may become either one.
        either = [moved(IMAGE, source, nudge) for nudge in (-1e-3, 1e-3)]
        assert np.array_equal(actual, np.where(actual == either[0], *either)), sign
        assert (either[0] == either[1]).mean() > 0.9


@pytest.mark.parametrize('level', [1, 4, 9])
def test_sharpness_blurs(level):
    # Its degenerate image is smoothed by 3 x 3 weights of 1 around 5, but for the border.
    kernel = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]]) / 13
    smooth = IMAGE.astype(float)
    for row in range(1, IMAGE.shape[0] - 1):
        for column in range(1, IMAGE.shape[1] - 1):
            window = IMAGE[row - 1 : row + 2, column - 1 : column + 2]
            smooth[row, column] = (kernel * window).sum()
    actual = apply_operation(IMAGE, 'Sharpness', level)
    wanted = blended(smooth.astype(np.float32), IMAGE, 0.09 * level + 0.05)
    assert np.abs(actual.astype(int) - wanted).max() <= 1
    assert np.array_equal(actual[0], IMAGE[0])


def test_where_translations_end():
    # 0.03 * 5 * 20 = 3 pixels: plus moves the content left and up.
    image = np.arange(400, dtype=np.uint16).reshape(20, 20).astype(np.uint8)
    left = apply_operation(image, 'TranslateX', 5)
    assert np.array_equal(left[:, :-3], image[:, 3:]) and not left[:, -3:].any()
    down = apply_operation(image, 'TranslateY', 5, negative=True)
    assert np.array_equal(down[3:], image[:-3]) and not down[:3].any()


def test_ranges_of_parameters():
    ranges = {
        name: (operation.parameter(1), operation.parameter(9))
        for name, operation in OPERATIONS.items()
        if operation.largest is not None
    }
    for name in ('Brightness', 'Contrast', 'Sharpness'):
        assert ranges.pop(name) == pytest.approx((0.14, 0.86))
    for name in ('ShearX', 'ShearY', 'TranslateX', 'TranslateY'):
        assert ranges.pop(name) == pytest.approx((0.03, 0.27))
    assert ranges == dict(Posterize=(4, 7), Rotate=(3, 27), Solarize=(25, 230))
    assert {name for name in OPERATIONS if OPERATIONS[name].signed} == set(SIGNED)


@pytest.mark.parametrize('name', OPERATIONS)
def test_shapes(name):
    colours = RNG.randint(0, 256, (9, 8, 3)).astype(np.uint8)
    changed = apply_operation(colours, name, 5)
    assert changed.shape == colours.shape and changed is not colours
    grey = apply_operation(IMAGE[..., None], name, 5)
    assert np.array_equal(grey[..., 0], apply_operation(IMAGE, name, 5))


def test_grey_values_by_hand():
    colours = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [10, 20, 30]]], np.uint8)
    assert to_grey(colours)[0, :, 0].tolist() == [76, 150, 29, 18]
    every = np.arange(256, dtype=np.uint8)[:, None, None]
    assert np.array_equal(to_grey(np.repeat(every, 3, axis=2)), every)
    assert to_grey(every) is every


def test_resizing_one_channel():
    picture = Image.fromarray(IMAGE).resize((7, 9), Image.Resampling.BILINEAR)
    assert np.array_equal(resize(IMAGE[..., None], (7, 9), 'bilinear')[..., 0], np.asarray(picture))


def test_impossible_arguments():
    for arguments, message in (
        (('Cutout', 3), 'name must be one of AutoContrast, .* got .Cutout.'),
        (('Rotate', 0), r'level must be in 1\.\.10, got 0'),
        (('Rotate', 11), 'got 11'),
    ):
        with pytest.raises(ValueError, match=message):
            apply_operation(IMAGE, *arguments)
    with pytest.raises(ValueError, match='Solarize has no negative parameter'):
        apply_operation(IMAGE, 'Solarize', 3, negative=True)
    with pytest.raises(TypeError, match='takes uint8 images here, got float64'):
        edit(IMAGE / 255, lambda picture: picture)
    with pytest.raises(ValueError, match=r'got \(23, 31, 2\)'):
        edit(np.stack([IMAGE] * 2, axis=-1), lambda picture: picture)
