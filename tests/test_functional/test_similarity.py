import numpy as np
import pytest
from skimage.metrics import structural_similarity

from mmjoint.functional.similarity import mask_ssim


@pytest.mark.parametrize('shape', [(7, 7), (23, 31), (9, 8, 10)])
@pytest.mark.parametrize('window', [3, 7])
def test_against_scikit_image(shape, window):
    rng = np.random.default_rng(1)
    for share in (0.02, 0.5, 0.95):
        pred, target = rng.random((2, *shape)) < share
        pred[: shape[0] // 2] = target[: shape[0] // 2]
        expected = structural_similarity(
            pred.astype(float), target.astype(float), win_size=window, data_range=1.0
        )
        assert mask_ssim(pred, target, window=window) == pytest.approx(expected, abs=1e-12)
        assert mask_ssim(target, pred, window=window) == pytest.approx(expected, abs=1e-12)


def test_by_hand():
    # One window of nine: the one mask is full, the other empty, so means are 1 and 0 and nothing
    # varies.
    full, empty = np.ones((3, 3), bool), np.zeros((3, 3), bool)
    assert mask_ssim(full, empty, window=3) == pytest.approx(1e-4 / (1 + 1e-4))
    # One of nine pixels against none: means 1/9 and 0, variances 1/9 and 0.
    one = empty.copy()
    one[1, 1] = True
    expected = (1e-4 / (1 / 81 + 1e-4)) * (9e-4 / (1 / 9 + 9e-4))
    assert mask_ssim(one, empty, window=3) == pytest.approx(expected)


def test_equal_and_empty_masks():
    mask = np.random.default_rng(2).random((9, 9)) < 0.4
    assert mask_ssim(mask, mask) == pytest.approx(1)
    assert mask_ssim(mask & False, mask & False) == 1
    assert mask_ssim(mask, ~mask) < 0


def test_what_does_not_fit():
    mask = np.zeros((9, 6), bool)
    with pytest.raises(ValueError, match=r'sides of at least 7, got \(9, 6\)'):
        mask_ssim(mask, mask)
    with pytest.raises(ValueError, match='one shape'):
        mask_ssim(mask, mask.T)
