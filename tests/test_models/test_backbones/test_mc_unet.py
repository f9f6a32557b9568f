import pytest
import torch
from torch import nn

from mmjoint.models.backbones import MCUNet

from ..tiny import assert_same_run, run_block, vary_norms


def make(seed=0, **options):
    torch.manual_seed(seed)
    return MCUNet(base_channels=4, **options)


def image(batch=2, size=(32, 48), **options):
    return torch.rand(batch, 3, *size, generator=torch.Generator().manual_seed(1), **options)


def dropouts(model):
    return [name for name, m in model.named_modules() if isinstance(m, nn.Dropout2d)]


@pytest.mark.parametrize('bilinear', [False, True])
@pytest.mark.parametrize('size', [(32, 48), (37, 45), (16, 31)])
def test_maps(size, bilinear):
    maps = make(bilinear=bilinear)(image(size=size))
    assert len(maps) == 5
    for level, out in zip((4, 3, 2, 1, 0), maps, strict=True):
        channels = 4 * 2**level // (2 if bilinear and level else 1)
        assert out.shape == (2, channels, size[0] >> level, size[1] >> level)


@pytest.mark.parametrize('bilinear', [False, True])
def test_an_enlarged_map_is_padded_by_zeros_at_the_end(bilinear):
    """A channel of the map that is joined to the skip map, seen through its convolution."""
    model = make(bilinear=bilinear).eval()
    seen = []
    conv = model.ups[-1].conv.conv1
    conv.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        model(image(size=(35, 33)))  # 17 and 16 after pooling, so 1 is missing in both
    (joined,) = seen
    assert joined.shape[2:] == (35, 33)
    skip, up = joined[:, :4], joined[:, 4:]
    assert skip[..., -1, :].any() and skip[..., -1].any()
    assert not up[..., -1, :].any() and not up[..., -1].any()
    assert up[..., 0, :].any() and up[..., 0].any()


def test_where_dropout_is():
    everywhere = [f'downs.{i}.dropout2' for i in range(4)]
    everywhere += [f'ups.{i}.conv.dropout2' for i in range(4)]
    model = make()
    assert dropouts(model) == everywhere
    assert {m.p for m in model.modules() if isinstance(m, nn.Dropout2d)} == {0.2}
    assert dropouts(make(dropout=0.0)) == []
    assert dropouts(make(drop_stages=(0, 5))) == ['stem.dropout2', 'ups.0.conv.dropout2']
    each = dropouts(make(dropout_at='each', drop_stages=range(9)))
    assert len(each) == 18 and 'stem.dropout1' in each


def test_whole_channels_are_dropped_in_training_and_none_in_testing():
    model = make(dropout=0.5)
    with torch.no_grad():
        maps = model.train()(image(batch=64, size=(16, 16)))
        share = (maps[-1] == 0).flatten(2).all(2).double().mean().item()
        assert 0.35 < share < 0.65  # 256 channels, 3 deviations of 0.031, and a few dead ones
        model.eval()
        one, two = model(image()), model(image())
    for a, b in zip(one, two, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize('bilinear', [False, True])
@pytest.mark.parametrize('options', [{}, dict(dropout_at='each', drop_stages=range(9))])
def test_recomputing_changes_nothing(bilinear, options):
    models = []
    for recompute in (False, True):
        model = vary_norms(make(bilinear=bilinear, recompute=recompute, **options)).double()
        models.append(model)
    inputs = [image(size=(17, 19), dtype=torch.float64)]
    expected, actual = (run_block(model, inputs) for model in models)
    assert_same_run(actual, expected)
    assert (expected['gradient of stem.conv1.weight'] != 0).all()


def test_impossible_options():
    with pytest.raises(ValueError, match=r'dropout must be in \[0, 1\), got 1.0'):
        make(dropout=1.0)
    with pytest.raises(ValueError, match=r'drop_stages must be among 0\.\.8, got \(1, 9\)'):
        make(drop_stages=(1, 9))
    with pytest.raises(ValueError, match="dropout_at must be .* got 'start'"):
        make(dropout_at='start')
