import pytest
import torch

from mmjoint.models.backbones import VNetEncoder
from mmjoint.models.decode_heads import VNetHead
from mmjoint.models.layers import ConvBlock
from mmjoint.models.layers.fused_norm import can_fuse_norm, fused_norm
from tests.test_reference.generic_ssl_model import build

LAST = {2: torch.channels_last, 3: torch.channels_last_3d}
# (number of axes, classes) -> the original's parameters: all; E with its stem's embedding, which
# is two modules there; the decoders xi and psi; the embedding of the denoiser.
TABLE = {
    (3, 2): (57_891_910, 346_080, 31_431_424, 9_201_730, 8_282_434, 347_808),
    (3, 4): (57_893_836, 346_080, 31_431_424, 9_201_796, 8_282_500, 349_536),
    (3, 5): (57_894_799, 346_080, 31_431_424, 9_201_829, 8_282_533, 350_400),
    (3, 14): (57_903_466, 346_080, 31_431_424, 9_202_126, 8_282_830, 358_176),
    (2, 4): (22_609_484, 345_504, 12_008_192, 3_915_908, 2_996_612, 346_656),
}
TIME = 512


def linears(*widths):
    """Parameters of the unused linear layers of times."""
    return sum((TIME + 1) * width for width in widths)


def count(module):
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(('num_axes', 'num_classes'), TABLE)
def test_parameters(num_axes, num_classes):
    """Those of the original without what it never uses: 24 tensors, 1,100,256 values."""
    total, embedding, encoder, xi, psi, noisy = TABLE[num_axes, num_classes]
    with torch.device('meta'):
        model = build(
            num_axes,
            decode_head=dict(num_classes=num_classes),
            denoising_stem=dict(num_classes=num_classes),
            difficulty=dict(num_classes=num_classes),
        )
    f = 32
    whole_embedding = linears(f) + (128 + 1) * TIME + (TIME + 1) * TIME
    assert count(model.backbone.stem) == embedding - whole_embedding
    rest = count(model.backbone) - count(model.backbone.stem)
    assert rest == encoder - linears(2 * f, 4 * f, 8 * f, 16 * f)
    assert count(model.denoising_head) == xi - linears(8 * f, 4 * f, 2 * f, f)
    assert count(model.decode_head) == count(model.supervised_head) == psi
    assert count(model.denoising_stem) == noisy - linears(f)
    assert count(model) == total - 1_100_256
    assert len(list(model.parameters())) == 298 - 24


def test_paths_of_prediction():
    """The prediction's path of the published model in 3-D has 37.8 million used parameters."""
    with torch.device('meta'):
        plain = VNetEncoder(), VNetHead(num_classes=2)
    assert sum(count(part) for part in plain) < 37.78e6
    assert not [name for part in plain for name, _ in part.named_parameters() if 'time' in name]


@pytest.mark.parametrize('norm', ['batch', 'group', 'instance', 'none'])
@pytest.mark.parametrize('num_axes', [2, 3])
def test_sizes(num_axes, norm):
    space = (32, 16, 16)[:num_axes]
    options = dict(num_axes=num_axes, base_channels=16, norm=norm)
    encoder = VNetEncoder(in_channels=2, **options).eval()
    head = VNetHead(num_classes=3, **options).eval()
    with torch.no_grad():
        maps = encoder(torch.rand(1, 2, *space))
        logits = head(maps)
    for level, values in enumerate(maps):
        expected = (1, 16 * 2**level, *(side // 2**level for side in space))
        assert tuple(values.shape) == expected
    assert logits.shape == (1, 3, *space)


def test_sides_must_be_multiples():
    with pytest.raises(ValueError, match=r'multiples of 16, got an input of \(32, 40\)'):
        VNetEncoder(num_axes=2, base_channels=2)(torch.rand(1, 1, 32, 40))
    with pytest.raises(ValueError, match='num_axes must be 2 or 3, got 1'):
        VNetEncoder(num_axes=1)
    with pytest.raises(ValueError, match="got 'layer'"):
        VNetEncoder(norm='layer')


@pytest.mark.parametrize('num_axes', [2, 3])
@torch.no_grad()
def test_dropout_takes_whole_channels(num_axes):
    torch.manual_seed(0)
    block = ConvBlock(1, 1, 64, num_axes=num_axes, dropout=0.4).train()
    torch.nn.init.constant_(block.stages[0].norm.bias, 3.0)
    out = block(torch.rand(2, 1, *[6] * num_axes)).flatten(2)
    dropped = (out == 0).all(2)
    assert torch.equal(dropped, (out == 0).any(2))
    assert 0.2 < dropped.float().mean() < 0.6


@pytest.mark.parametrize('track', [True, False])
@pytest.mark.parametrize('parts', ['', 'mask', 'offset', 'mask offset'])
@pytest.mark.parametrize('num_axes', [2, 3])
def test_fused_norm(num_axes, parts, track):
    """Equal to norm, dropout and offset one after the other: values, gradients, statistics."""
    torch.manual_seed(0)
    kind = {2: torch.nn.BatchNorm2d, 3: torch.nn.BatchNorm3d}[num_axes]
    shape = (2, 4, 5, 3, 6)[: num_axes + 2]
    results = []
    mask = torch.tensor([[0.0, 1.25, 1.25, 1.25], [1.25, 0.0, 1.25, 1.25]]).double()
    x = torch.randn(shape, dtype=torch.float64) + 1
    grad, offset = torch.randn(shape, dtype=torch.float64), torch.randn(2, 4).double()
    for fused in (False, True):
        norm = kind(4).double().train()
        norm.weight.data.copy_(torch.arange(1.0, 5.0))
        norm.bias.data.copy_(torch.arange(4.0))
        norm.track_running_stats = track
        inputs = x.contiguous(memory_format=LAST[num_axes]).requires_grad_()
        inputs.grad = None
        shift = offset.clone().requires_grad_() if 'offset' in parts else None
        factor = mask if 'mask' in parts else None
        ones = [1] * num_axes
        if fused:
            assert can_fuse_norm(norm, inputs)
            out = fused_norm(inputs, norm, factor, shift)
            assert out.is_contiguous(memory_format=LAST[num_axes])
        else:
            out = norm(inputs)
            if factor is not None:
                out = out * factor.view(2, 4, *ones)
            if shift is not None:
                out = out + shift.view(2, 4, *ones)
        out.backward(grad)
        results.append(
            [out.detach(), inputs.grad.clone(), norm.weight.grad, norm.bias.grad]
            + [norm.running_mean, norm.running_var, norm.num_batches_tracked]
            + ([] if shift is None else [shift.grad])
        )
    torch.testing.assert_close(results[1], results[0], rtol=1e-9, atol=1e-9)
    with torch.no_grad():  # the input's memory is used
        again = fused_norm(inputs.detach().clone(), norm, factor, shift)
    torch.testing.assert_close(again, results[0][0], rtol=1e-9, atol=1e-9)


def test_fused_norm_is_used_where_it_can_be():
    norm = torch.nn.BatchNorm3d(4)
    last = torch.rand(2, 4, 3, 3, 3).contiguous(memory_format=torch.channels_last_3d)
    assert can_fuse_norm(norm.train(), last)
    assert not can_fuse_norm(norm, last.contiguous())
    assert not can_fuse_norm(norm, last.double())
    assert not can_fuse_norm(norm.eval(), last)
    assert not can_fuse_norm(torch.nn.InstanceNorm3d(4).train(), last)


@pytest.mark.parametrize('training', [True, False])
def test_layouts_agree(training):
    """The same draws of dropout in both layouts, in double precision the same numbers."""
    results = []
    for layout in (torch.contiguous_format, torch.channels_last_3d):
        torch.manual_seed(0)
        encoder = VNetEncoder(base_channels=4, time_channels=8).train(training)
        encoder = encoder.double().to(memory_format=layout)
        x = torch.rand(2, 4, 32, 32, 32).double().contiguous(memory_format=layout)
        time = torch.rand(2, 8).double()
        torch.manual_seed(1)
        maps = encoder.encode(x, time)
        sum(m.square().mean() for m in maps).backward()
        results.append([*maps, *(p.grad for p in encoder.downs.parameters())])
    for first, second in zip(*results, strict=True):
        scale = max(first.abs().max().item(), 1e-4)
        assert (first - second).abs().max().item() <= 1e-8 * scale
