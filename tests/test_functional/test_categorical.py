import math

import pytest
import torch

from mmjoint.functional.categorical import confident_labels, elementwise_kl


def test_confident_labels():
    probs = torch.tensor([[0.5, 0.5], [0.75, 0.25], [0.25, 0.75], [0.9, 0.1]], dtype=torch.float64)
    labels = confident_labels(probs.log(), 0.6)
    assert labels.label.tolist() == [0, 0, 1, 0]  # the lower class wins a tie
    torch.testing.assert_close(labels.confidence, probs.max(1).values)
    assert labels.accepted.tolist() == [False, True, True, True]
    # A probability of just the threshold is accepted.
    assert confident_labels(torch.zeros(1, 2), 0.5).accepted.all()
    assert not confident_labels(torch.zeros(1, 2), 0.5001).accepted.any()
    maps = confident_labels(torch.randn(2, 3, 4, 5), 0.0)
    assert maps.label.shape == (2, 4, 5) and maps.accepted.all()


def test_elementwise_kl():
    p, q = torch.tensor([[0.5, 0.5]]), torch.tensor([[0.25, 0.75]])
    terms = elementwise_kl(p.log(), q.log())
    expected = torch.tensor([[0.5 * math.log(2), 0.5 * math.log(2 / 3)]])
    torch.testing.assert_close(terms, expected)
    assert elementwise_kl(p.log(), p.log()).abs().max() == 0
    a, b = (torch.randn(3, 4, 5, dtype=torch.float64) for _ in range(2))
    library = torch.distributions.kl_divergence(
        *(torch.distributions.Categorical(logits=x.movedim(1, -1)) for x in (a, b))
    )
    torch.testing.assert_close(elementwise_kl(a, b).sum(1), library)
    assert torch.autograd.gradcheck(
        elementwise_kl, (a[:, :, :2].requires_grad_(), b[:, :, :2].requires_grad_())
    )


def test_of_one_class_nothing_is_left():
    a, b = (torch.randn(2, 1, 3, 3, requires_grad=True) for _ in range(2))
    terms = elementwise_kl(a, b)
    assert not terms.any()
    terms.sum().backward()
    assert not a.grad.any() and not b.grad.any()


@pytest.mark.parametrize('logit', [-800.0, 800.0])
def test_extreme_logits(logit):
    sure = torch.tensor([[0.0, logit]], requires_grad=True)
    terms = elementwise_kl(sure, torch.zeros(1, 2))
    assert terms.sum().item() == pytest.approx(math.log(2))
    terms.sum().backward()
    assert torch.isfinite(sure.grad).all()
