import pytest
import torch

from ..tiny import build


def make(**options):
    torch.manual_seed(0)
    return build(dict(type='InstanceUNetEncoder', **options))


def test_maps_and_size():
    model = make()
    assert sum(p.numel() for p in model.parameters()) == 1_178_994 - 514  # without the class head
    maps = model(torch.randn(2, 1, 32, 48))
    shapes = [(2, 16 * 2**i, 32 // 2**i, 48 // 2**i) for i in range(5)]
    assert [tuple(m.shape) for m in maps] == shapes


def test_samples_are_independent():
    model = make(channels=(2, 3)).eval()
    x = torch.randn(3, 1, 8, 8)
    for whole, alone in zip(model(x), model(x[1:2]), strict=True):
        torch.testing.assert_close(whole[1:2], alone)


def test_mistakes():
    for options, message in (
        (dict(channels=(4,)), r'at least two levels, got \(4,\)'),
        (dict(dropout=1.0), r'dropout must be in \[0, 1\), got 1.0'),
    ):
        with pytest.raises(ValueError, match=message):
            make(**options)
    model = make(channels=(2, 3, 4))
    for size in ((10, 12), (4, 8)):
        with pytest.raises(ValueError, match='multiples of 4 and at least 8, got'):
            model(torch.zeros(1, 1, *size))
