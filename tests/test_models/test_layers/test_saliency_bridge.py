import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from mmjoint.models.layers import SaliencyBridge, in_mode, saliency_map


def network(channels=1):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(channels, 4, 3),
        nn.BatchNorm2d(4),
        nn.LeakyReLU(0.2),
        nn.Dropout(0.5),
        nn.Flatten(),
        nn.Linear(4 * 36, 3),
    )


def images(channels=1, seed=0):
    return torch.randn(5, channels, 8, 8, generator=torch.Generator().manual_seed(seed))


def by_backward(model, inputs):
    """As the original has it: a whole backward pass, whose gradients are thrown away."""
    model.eval()
    x = inputs.clone().requires_grad_()
    logits = model(x)
    best = logits.max(1).values
    best.backward(torch.ones_like(best))
    model.zero_grad()
    return x.grad.abs().max(1, keepdim=True).values


def test_hand_value():
    """The gradient of a linear map's largest logit is that class's row."""
    linear = nn.Linear(2, 2, bias=False)
    linear.weight.data = torch.tensor([[1.0, -2.0], [3.0, 0.5]])
    inputs = torch.tensor([[1.0, -1.0], [1.0, 1.0]]).view(2, 1, 1, 2)
    found = saliency_map(inputs, lambda x: linear(x.flatten(1)), [linear])
    # Logits 3 and 2.5, -1 and 3.5.
    assert found.view(2, 2).tolist() == [[1, 2], [3, 0.5]]


@pytest.mark.parametrize('channels', [1, 3])
def test_equal_to_a_whole_backward_pass(channels):
    """Bit by bit; of several channels the largest counts."""
    model, inputs = network(channels), images(channels)
    found = saliency_map(inputs, model, [model])
    assert found.shape == (5, 1, 8, 8) and not found.requires_grad
    assert torch.equal(found, by_backward(model, inputs))
    assert found.min() >= 0 and found.max() > 0


class Watch(TorchDispatchMode):
    """Notes which gradients convolutions compute."""

    def __init__(self):
        super().__init__()
        self.masks = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten.convolution_backward.default:
            self.masks.append(tuple(args[10]))
        return func(*args, **(kwargs or {}))


def test_gradients_of_weights_are_neither_made_nor_changed():
    model, inputs = network(), images()
    for i, parameter in enumerate(model.parameters()):
        parameter.grad = torch.full_like(parameter, i)
    with Watch() as watch:
        saliency_map(inputs, model, [model])
    assert watch.masks == [(True, False, False)]
    for i, parameter in enumerate(model.parameters()):
        assert (parameter.grad == i).all() and parameter.requires_grad


@pytest.mark.parametrize('around', [torch.enable_grad, torch.no_grad, torch.inference_mode])
def test_works_without_gradients_around_it(around):
    model = network()
    expected = by_backward(model, images())
    with around():
        inputs = images()
        found = saliency_map(inputs, model, [model])
        assert torch.equal(found, expected)
        assert not inputs.requires_grad


def test_modes_are_restored():
    """Each part's own, even after an error; statistics stay."""
    model = network().train()
    model[1].eval()
    before = [module.training for module in model.modules()]
    mean = model[1].running_mean.clone()
    saliency_map(images(), model, [model])
    assert [module.training for module in model.modules()] == before
    assert torch.equal(model[1].running_mean, mean)
    with pytest.raises(ValueError, match='no'), in_mode([model], training=False):
        assert not any(module.training for module in model.modules())
        raise ValueError('no')
    assert [module.training for module in model.modules()] == before


def test_single_precision_under_autocast():
    model = network()
    expected = by_backward(model, images())
    with torch.autocast('cpu', torch.bfloat16):
        assert torch.equal(saliency_map(images(), model, [model]), expected)


def test_random_numbers_are_left_alone():
    model = network().train()
    torch.manual_seed(0)
    saliency_map(images(), model, [model])
    drawn = torch.rand(3)
    torch.manual_seed(0)
    assert torch.equal(drawn, torch.rand(3))


@pytest.mark.parametrize('level', [0, 1, -1])
def test_bridge(level):
    feats = tuple(torch.randn(2, 3 + i, 8 // 2**i, 8 // 2**i, requires_grad=True) for i in range(3))
    inputs, saliency = torch.randn(2, 1, 8, 8), torch.rand(2, 1, 8, 8)
    joined = SaliencyBridge(level=level)(feats, inputs, saliency)
    assert len(joined) == 3
    for i, (old, new) in enumerate(zip(feats, joined, strict=True)):
        if i != level % 3:
            assert new is old
            continue
        assert torch.equal(new[:, : old.shape[1]], old)
        appended, side = new[:, old.shape[1] :], old.shape[2]
        assert appended.shape == (2, 2, side, side)
        corners = [0, side - 1], [0, 7]
        for channel, source in enumerate((inputs, saliency)):  # corners meet corners
            for a, b in zip(*corners, strict=True):
                torch.testing.assert_close(appended[:, channel, a, a], source[:, 0, b, b])
