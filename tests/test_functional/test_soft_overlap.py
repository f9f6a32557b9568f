import pytest
import torch

from mmjoint.functional.overlap import dice
from mmjoint.functional.soft_overlap import soft_dice, squared_dice


def test_by_hand():
    pred = torch.tensor([[1.0, 0.5], [0.0, 0.25]], dtype=torch.float64)
    target = torch.tensor([[1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    # Overlap 1 + 1/4, sizes 7/4 and 2.
    expected = (2 * 1.25 + 0.5) / (3.75 + 0.5)
    assert soft_dice(pred, target, smooth=0.5).item() == pytest.approx(expected, abs=1e-12)
    rows = soft_dice(pred, target, axes=(1,), smooth=0.5)
    assert rows.tolist() == pytest.approx([(2 + 0.5) / (2.5 + 0.5), (0.5 + 0.5) / (1.25 + 0.5)])


def test_of_masks_it_is_the_dice_of_label_maps():
    generator = torch.Generator().manual_seed(0)
    masks = torch.rand(2, 5, 6, 7, generator=generator, dtype=torch.float64) < 0.4
    masks[:, 0] = False
    values = soft_dice(*masks.double(), axes=(1, 2), smooth=1e-12)
    for value, pred, target in zip(values, *masks.numpy(), strict=True):
        assert value.item() == pytest.approx(dice(pred, target, empty=1.0), abs=1e-9)
    assert values[0] == 1


def test_gradcheck():
    generator = torch.Generator().manual_seed(0)
    pred, target = torch.rand(2, 3, 4, 5, generator=generator, dtype=torch.float64)
    for axes in (None, (0,), (1, 2)):
        assert torch.autograd.gradcheck(
            lambda p, axes=axes: soft_dice(p, target, axes=axes), pred.clone().requires_grad_()
        )


def test_squares():
    """2 * (1 + 1/4) / (1 + 1/4 + 1/4 + 1 + 1/4) = 10/11 and, of two empty masks, 1."""
    pred, target = (
        torch.tensor([[1.0, 0.5, 0.5], [0.0] * 3]),
        torch.tensor([[1.0, 0.5, 0.0], [0.0] * 3]),
    )
    dice = squared_dice(pred, target, axes=(1,), smooth=1e-9)
    torch.testing.assert_close(dice, torch.tensor([10 / 11, 1.0]))
    whole = squared_dice(pred, target, smooth=1.0)
    torch.testing.assert_close(whole, torch.tensor(3.5 / 3.75))
