import numpy as np
import pytest
import torch
from scipy.ndimage import convolve
from sklearn.metrics import cohen_kappa_score

from mmjoint.functional.class_counts import class_counts
from mmjoint.functional.pseudo_label import (
    FusedLabels,
    agreement_beyond_chance,
    dice_beyond_chance,
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
    assert list(health) == list(fused.branch_labels()) == ['denoiser', 'psi', 'fused']
    coverage = {'denoiser': [0.75, 0.25, 0], 'psi': [0.25, 0.75, 0], 'fused': [0.5, 0.5, 0]}
    confidence = {
        'denoiser': [(0.8 + 0.6 + 0.9) / 3, 0.6, -1],
        'psi': [0.7, (0.9 + 0.5 + 1) / 3, -1],
        'fused': [(0.75 + 0.65) / 2, (0.65 + 0.8) / 2, -1],
    }
    agreement = {'denoiser': [2 / 3, 1, -1], 'psi': [1, 2 / 3, -1], 'fused': [1, 1, -1]}
    for branch, values in health.items():
        assert values['coverage'].tolist() == pytest.approx(coverage[branch])
        assert values['confidence'].nan_to_num(-1).tolist() == pytest.approx(confidence[branch])
        assert values['agreement'].nan_to_num(-1).tolist() == pytest.approx(agreement[branch])
    labels = fused.branch_labels()
    assert labels['denoiser'].tolist() == [[0, 0, 0, 1]]
    assert labels['psi'].tolist() == [[0, 1, 1, 1]]
    assert labels['fused'] is fused.label


def test_dice_beyond_chance():
    # Class 1: Dice 2 * 3 / (4 + 6) = 0.6; by chance 2 * 4 * 6 / 100 / (4 + 6) = 0.048.
    # Class 2: not in the target. Class 3: never predicted: Dice 0, by chance 0 as well.
    counts = torch.tensor([[88, 3, 0, 0], [91, 4, 5, 0], [92, 6, 0, 2]])
    expected = ((0.6 - 0.048) / (1 - 0.048) + 0) / 2
    assert dice_beyond_chance(counts).item() == pytest.approx(expected)
    perfect = torch.tensor([[50, 30, 20]] * 3)
    nothing = torch.tensor([[50, 0], [60, 40], [100, 0]])
    assert dice_beyond_chance(perfect) == 1
    assert dice_beyond_chance(nothing).isnan()
    many = torch.stack([perfect, perfect // 2])
    assert torch.equal(dice_beyond_chance(many), torch.ones(2, dtype=torch.float64))


def test_noise_is_at_chance():
    """Random labels, however frequent a class is in them, are 0 beyond chance; others are not."""
    generator = torch.Generator().manual_seed(0)
    target = (torch.rand(200_000, generator=generator) < 0.1).long()
    for share in (0.02, 0.1, 0.6):
        noise = (torch.rand(200_000, generator=generator) < share).long()
        counts = class_counts(noise, target, 2)
        assert abs(dice_beyond_chance(counts)) < 0.01
        half = torch.where(torch.rand(200_000, generator=generator) < 0.5, target, noise)
        assert dice_beyond_chance(class_counts(half, target, 2)) > 0.2
        shares = counts / 200_000
        kappa = agreement_beyond_chance(shares[1], shares[0], shares[2])
        assert abs(kappa) < 0.02
        assert kappa.item() == pytest.approx(cohen_kappa_score(noise, target), abs=1e-5)


def test_one_class_has_no_kappa():
    one = torch.tensor([1.0, 0.0])
    assert agreement_beyond_chance(one, one, one).isnan()
