import numpy as np
import pytest
import torch
from scipy.ndimage import convolve

from mmjoint.functional.pseudo_label import (
    FusedLabels,
    fuse_pseudo_labels,
    gaussian_weights,
    gumbel_softmax,
    label_health,
    smooth_maps,
)
from tests.test_models.test_semi.plain import plain_smooth


@pytest.mark.parametrize('space', [(5, 6), (4, 5, 3), (1, 4, 2)])
def test_smoothing(space):
    """Against scipy and against one convolution with the whole kernel."""
    maps = torch.rand(2, 3, *space, dtype=torch.float64)
    taps = np.exp(-0.5 * np.array([1.0, 0.0, 1.0]))
    taps /= taps.sum()
    assert gaussian_weights() == pytest.approx(tuple(taps))
    kernel = taps
    for _ in space[1:]:
        kernel = np.multiply.outer(kernel, taps)
    before = maps.clone()
    result = smooth_maps(maps)
    assert torch.equal(maps, before)
    for values, expected in zip(result.flatten(0, 1), maps.flatten(0, 1), strict=True):
        other = convolve(expected.numpy(), kernel, mode='constant')
        np.testing.assert_allclose(values.numpy(), other, rtol=0, atol=1e-14)
    torch.testing.assert_close(result, plain_smooth(maps), rtol=0, atol=1e-7)


def test_soft_draw():
    logits, noise = torch.tensor([[1.0, -1.0]]), torch.tensor([[0.5, 3.5]])
    plain = torch.tensor([[1.5, 2.5]]).softmax(1)
    assert torch.equal(gumbel_softmax(logits, noise), plain)
    assert gumbel_softmax(logits, noise, 0.01)[0, 1] == 1
    quiet = gumbel_softmax(logits, None, 0.5)
    torch.testing.assert_close(quiet, torch.tensor([[2.0, -2.0]]).softmax(1))


def test_votes():
    """The denoiser decides where the other branch does not know, and the other way round."""
    sure, unsure = 1.0, 0.0
    pred_x0 = torch.zeros(1, 3, 4, 4)
    pred_x0[:, 1] = sure
    psi = torch.full((1, 3, 4, 4), unsure)
    fused = fuse_pseudo_labels(pred_x0, psi, None)
    assert (fused.label == 1).all()
    psi[:, 2] = 9.0
    fused = fuse_pseudo_labels(pred_x0, psi, None)
    assert (fused.label == 2).all()
    sharp = fuse_pseudo_labels(pred_x0, psi, None, temperature=1e-3)
    assert (sharp.label[:, 1:3, 1:3] == 2).sum() + (sharp.label[:, 1:3, 1:3] == 1).sum() == 4
    torch.testing.assert_close(fused.psi_probs, psi.softmax(1))


def test_health_by_hand():
    # Four voxels. Denoiser: 0 0 0 1; psi: 0 1 1 1; fused: 0 1 0 1; class 2 nowhere.
    denoiser = torch.tensor([[0.8, 0.6, 0.9, 0.2], [0.2, 0.4, 0.1, 0.6], [0.0, 0.0, 0.0, 0.2]])
    psi = torch.tensor([[0.7, 0.1, 0.4, 0.0], [0.2, 0.9, 0.5, 1.0], [0.1, 0.0, 0.1, 0.0]])
    denoiser[:, 3] /= 2  # at a border, where smoothing loses half
    fused = FusedLabels(torch.tensor([[0, 1, 0, 1]]), denoiser[None], psi[None])
    health = label_health(fused)
    coverage = [[0.75, 0.25, 0], [0.25, 0.75, 0], [0.5, 0.5, 0]]
    assert torch.allclose(health['coverage'], torch.tensor(coverage))
    confidence = health['confidence'].nan_to_num(-1).tolist()
    assert confidence[0] == pytest.approx([(0.8 + 0.6 + 0.9) / 3, 0.6, -1])
    assert confidence[1] == pytest.approx([0.7, (0.9 + 0.5 + 1) / 3, -1])
    assert confidence[2] == pytest.approx([(0.75 + 0.65) / 2, (0.65 + 0.8) / 2, -1])
    agreement = health['agreement'].nan_to_num(-1).tolist()
    assert agreement == [pytest.approx(x) for x in ([2 / 3, 1, -1], [1, 2 / 3, -1], [1, 1, -1])]
