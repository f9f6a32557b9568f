import cv2
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from mmjoint.phantoms.common import case_rng
from mmjoint.phantoms.fundus import draw_vertical_cdr, render_fundus

SHAPE = (124, 128)


@pytest.fixture(scope='module')
def phantoms():
    """Twelve healthy and twelve glaucomatous eyes by the Canon camera."""
    return [
        (label, render_fundus(case_rng(5, index, label), (128, 128), 'canon', bool(label)))
        for index in range(12)
        for label in (0, 1)
    ]


def test_same_generator_state_gives_the_same_photograph():
    first, again, other = (
        render_fundus(case_rng(1, key), SHAPE, 'zeiss', True) for key in (0, 0, 1)
    )
    assert np.array_equal(first.image, again.image)
    assert np.array_equal(first.mask, again.mask)
    assert first.vertical_cdr == again.vertical_cdr
    assert not np.array_equal(first.image, other.image)


def test_label_follows_from_the_ratio_with_a_small_overlap():
    rng = case_rng(0)
    healthy = [draw_vertical_cdr(rng, False) for _ in range(1500)]
    glaucoma = [draw_vertical_cdr(rng, True) for _ in range(1500)]
    assert 0.26 <= min(healthy) and max(healthy) <= 0.58
    assert 0.54 <= min(glaucoma) and max(glaucoma) <= 0.86
    assert max(healthy) > min(glaucoma)
    auc = roc_auc_score([0] * 1500 + [1] * 1500, healthy + glaucoma)
    assert 0.99 < auc < 1


def test_mask_agrees_with_the_stated_ratio_and_its_label(phantoms):
    for label, phantom in phantoms:
        disc_rows, cup_rows = (
            np.flatnonzero((phantom.mask >= part).any(axis=1)) for part in (1, 2)
        )
        assert phantom.vertical_cdr == len(cup_rows) / len(disc_rows)
        # Pixels round both heights.
        assert (0.51 < phantom.vertical_cdr < 0.90) if label else (0.22 < phantom.vertical_cdr)
        assert label or phantom.vertical_cdr < 0.62
        assert 0.21 * 128 <= len(disc_rows) <= 0.30 * 128


def test_cup_lies_inside_the_disc_with_rim_around(phantoms):
    for _, phantom in phantoms:
        assert set(np.unique(phantom.mask)) == {0, 1, 2}
        cup = (phantom.mask == 2).astype(np.uint8)
        # Hardly any cup pixel touches background: the rim goes all round.
        grown = cv2.dilate(cup, np.ones((3, 3), np.uint8))
        assert (phantom.mask[grown > 0] == 0).sum() <= 0.1 * cup.sum()


def test_cup_is_brighter_than_rim_and_rim_than_retina(phantoms):
    for _, phantom in phantoms:
        green = phantom.image[..., 1].astype(float)
        disc = (phantom.mask > 0).astype(np.uint8)
        around = cv2.dilate(disc, np.ones((9, 9), np.uint8)) - disc
        # Vessels cross all three: compare the upper quarter.
        levels = [
            np.quantile(green[part > 0], 0.75)
            for part in (around, phantom.mask == 1, phantom.mask == 2)
        ]
        assert levels[0] + 10 < levels[1] < levels[2] - 10


def test_field_of_view_is_round_on_black_and_orange_red(phantoms):
    for _, phantom in phantoms:
        corners = phantom.image[[0, 0, -1, -1], [0, -1, 0, -1]]
        assert corners.max() < 25
        red, green, blue = np.median(phantom.image[40:88, 40:88].reshape(-1, 3), axis=0)
        assert red > 1.5 * green > 1.5 * blue


def test_cameras_differ_in_colour():
    means = {
        camera: np.mean(
            [
                render_fundus(case_rng(2, index), SHAPE, camera, False).image.mean(axis=(0, 1))
                for index in range(4)
            ],
            axis=0,
        )
        for camera in ('zeiss', 'canon')
    }
    assert means['zeiss'][0] > means['canon'][0] + 10
    assert means['zeiss'][1] > means['canon'][1] + 10


def test_ratio_can_be_read_off_the_pixels_at_64(phantoms):
    labels, areas = [], []
    for label, phantom in phantoms:
        image = cv2.resize(phantom.image, (64, 64))
        mask = cv2.resize(phantom.mask, (64, 64), interpolation=cv2.INTER_NEAREST_EXACT)
        assert (mask == 2).sum() >= 9 and (mask == 1).sum() >= 30
        blue = image[..., 2][mask > 0].astype(float)
        middle = (np.quantile(blue, 0.05) + np.quantile(blue, 0.98)) / 2
        labels.append(label)
        areas.append((blue > middle).mean())  # share of the disc that is bright, unsupervised
    assert roc_auc_score(labels, areas) >= 0.9
