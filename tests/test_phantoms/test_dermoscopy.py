import numpy as np
import pytest
from scipy import ndimage

from mmjoint.phantoms.common import case_rng
from mmjoint.phantoms.dermoscopy import render_dermoscopy

SHAPE = (120, 160)


@pytest.fixture(scope='module')
def phantoms():
    """Twenty ordinary and twenty hard photographs."""
    return {
        hard: [render_dermoscopy(case_rng(5, index, hard), SHAPE, hard) for index in range(20)]
        for hard in (False, True)
    }


def everything(phantoms):
    return phantoms[False] + phantoms[True]


def ring(mask, width):
    """Skin around the lesion."""
    return ndimage.binary_dilation(mask, iterations=width) & ~ndimage.binary_dilation(
        mask, iterations=width // 3
    )


def seen_contrast(phantom):
    """Difference of skin and lesion in grey levels, medians against hairs and spots."""
    mask = phantom.mask > 0
    brightness = phantom.image.mean(axis=2)
    return np.median(brightness[ring(mask, 12)]) - np.median(brightness[mask])


def test_same_generator_state_gives_the_same_photograph():
    first, again, other = (render_dermoscopy(case_rng(1, key), SHAPE) for key in (0, 0, 1))
    assert np.array_equal(first.image, again.image)
    assert np.array_equal(first.mask, again.mask)
    assert (first.contrast, first.border, first.num_hairs) == (
        again.contrast,
        again.border,
        again.num_hairs,
    )
    assert not np.array_equal(first.image, other.image)


def test_lesion_is_one_piece_without_holes(phantoms):
    for phantom in everything(phantoms):
        assert phantom.image.shape == (*SHAPE, 3) and phantom.image.dtype == np.uint8
        assert phantom.mask.shape == SHAPE and phantom.mask.dtype == np.uint8
        assert set(np.unique(phantom.mask)) == {0, 1}
        assert ndimage.label(phantom.mask)[1] == 1
        assert ndimage.binary_fill_holes(phantom.mask).sum() == phantom.mask.sum()
        assert 0.02 < phantom.mask.mean() < 0.75


def test_sizes_and_outlines_vary(phantoms):
    shares = [phantom.mask.mean() for phantom in everything(phantoms)]
    assert max(shares) > 4 * min(shares)
    # A circle's outline is the shortest: 1.0; an irregular one is longer for the same area.
    rough = []
    for phantom in everything(phantoms):
        inner = ndimage.binary_erosion(phantom.mask)
        rough.append((phantom.mask.sum() - inner.sum()) / np.sqrt(4 * np.pi * phantom.mask.sum()))
    assert max(rough) > 1.25 * min(rough)


def test_hard_lesions_are_paler_but_not_invisible(phantoms):
    drawn = {hard: [p.contrast for p in rows] for hard, rows in phantoms.items()}
    assert min(drawn[True]) > 0.005 and max(drawn[True]) < 0.2
    assert np.median(drawn[False]) > 2.5 * np.median(drawn[True])
    seen = {hard: [seen_contrast(p) for p in rows] for hard, rows in phantoms.items()}
    assert np.mean(np.array(seen[False]) > 15) >= 0.9
    assert np.median(seen[False]) > 2 * np.median(seen[True])


def test_hard_borders_are_wider_on_average(phantoms):
    borders = {hard: [p.border for p in rows] for hard, rows in phantoms.items()}
    assert 0.004 <= min(borders[False]) and max(borders[False]) <= 0.03
    assert 0.02 <= min(borders[True]) and max(borders[True]) <= 0.07


def test_skin_is_redder_than_blue_and_light(phantoms):
    for phantom in everything(phantoms):
        red, green, blue = np.median(phantom.image[ring(phantom.mask > 0, 12)], axis=0)
        assert red > green > blue
        assert red > 110


def test_dark_spots_outside_do_not_belong_to_the_lesion(phantoms):
    found = 0
    for phantom in phantoms[False]:
        mask = phantom.mask > 0
        far = ~ndimage.binary_dilation(mask, iterations=8)
        y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
        far &= np.hypot(x - 80, y - 60) < 55  # inside a round frame
        brightness = ndimage.median_filter(phantom.image.mean(axis=2), 7)  # hairs are thin
        found += bool((brightness[far] < np.median(brightness[far]) - 18).any())
    assert found >= 4
