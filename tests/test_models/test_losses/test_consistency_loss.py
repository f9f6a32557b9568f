import pytest
import torch

from mmjoint.models.losses import SoftmaxMSELoss


def test_by_hand():
    logits = torch.tensor([[[3.0], [1.0]]], dtype=torch.float64).log().requires_grad_()
    target = torch.tensor([[[1.0], [1.0]]], dtype=torch.float64).log().requires_grad_()
    loss = SoftmaxMSELoss(loss_weight=2.0)(logits, target)
    assert loss.item() == pytest.approx(2 * 0.25**2)
    loss.backward()
    assert target.grad is None and logits.grad.abs().sum() > 0
    opposite = SoftmaxMSELoss()(torch.tensor([[99.0, -99, 0]]), torch.tensor([[-99.0, 99, 0]]))
    assert opposite.item() == pytest.approx(2 / 3)  # the largest value, 2 / C


@pytest.mark.parametrize('space', [(4,), (2, 3, 2)])
def test_gradcheck(space):
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 2, 3, *space, generator=generator, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: SoftmaxMSELoss()(x, b), a.clone().requires_grad_())
