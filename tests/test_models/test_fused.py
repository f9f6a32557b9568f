"""Every exact saving against its plain form: outputs, all gradients and buffers, in float64."""

import copy

import pytest
import torch
from torch import nn

from mmjoint.models.backbones import VGG16BN, Res2NetV1b
from mmjoint.models.layers import (
    ComposedPointwise,
    DoubleConv,
    FrozenBatchNorm2d,
    PolarizedSelfAttention,
    UncertaintyNavigator,
    UpConcat,
    UpConv,
    conv_frozen_bn,
)
from mmjoint.models.layers.recompute import scale_by_pixel
from mmjoint.models.necks import MutualFeatureMixer

from .tiny import assert_same, assert_same_run, run_block, vary_norms

LAYOUTS = {'channels_first': torch.contiguous_format, 'channels_last': torch.channels_last}
layouts = pytest.mark.parametrize('layout', LAYOUTS)


def maps(*shapes, layout='channels_first', seed=3):
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randn(shape, generator=generator, dtype=torch.float64).contiguous(
            memory_format=LAYOUTS[layout]
        )
        for shape in shapes
    ]


def twins(make, layout='channels_first', seed=1):
    """The plain and the fused form of a block with the same weights, none of them trivial."""
    torch.manual_seed(seed)
    plain = vary_norms(make(fused=False).double())
    for module in plain.modules():
        if isinstance(module, nn.LayerNorm):
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
    fused = make(fused=True).double()
    fused.load_state_dict(plain.state_dict())
    memory_format = LAYOUTS[layout]
    return plain.to(memory_format=memory_format), fused.to(memory_format=memory_format)


def check(make, *shapes, layout='channels_first', prepare=None):
    plain, fused = twins(make, layout)
    inputs = maps(*shapes, layout=layout)
    if prepare:
        inputs = prepare(inputs)
    expected = run_block(plain, inputs)
    actual = run_block(fused, inputs)
    assert_same_run(actual, expected)
    return expected


@layouts
@pytest.mark.parametrize('shape', [(2, 8, 6, 5), (1, 4, 1, 1), (3, 2, 2, 7)])
def test_attention(shape, layout):
    check(lambda fused: PolarizedSelfAttention(shape[1], fused=fused), shape, layout=layout)


def test_attention_query_bias_keeps_a_gradient_of_zero():
    _, fused = twins(lambda fused: PolarizedSelfAttention(8, fused=fused))
    run_block(fused, maps((2, 8, 6, 5)))
    # A constant added to all logits of a softmax changes nothing; DDP still needs the gradient.
    assert fused.ch_wq.bias.grad.abs().max() < 1e-12


HEAD = dict(cls_channels=(2, 8, 16, 32), seg_channels=(2, 8, 16, 32), out_channels=(2, 8, 16, 32))
EARLY = dict(cls_channels=(2, 8, 16, 32), seg_channels=(2, 8, 16, 32), out_channels=(None, 8, 2, 2))
PAPER = dict(cls_channels=(2, 8, 16, 32), seg_channels=(2, 4, 8, 16), out_channels=(2, 4, 8, None))


class Mixed(nn.Module):
    """The mixer, and pointwise maps behind it that may be composed with its last projection."""

    def __init__(self, settings, fused, after):
        super().__init__()
        self.mixer = MutualFeatureMixer(**settings, branch_channels=8, fused=fused)
        self.after = nn.ModuleList(nn.Conv2d(c, c // 2, 1, bias=False) for c in after)
        self.fused = fused

    def forward(self, *feats):
        cls_feats, seg_feats = feats[:4], feats[4:]
        if not self.after:
            return self.mixer(cls_feats, seg_feats)
        if self.fused:
            return self.mixer(cls_feats, seg_feats, [None, *(c.weight for c in self.after)])
        first, *others = self.mixer(cls_feats, seg_feats)
        return first, *(conv(x) for conv, x in zip(self.after, others, strict=True))


@layouts
@pytest.mark.parametrize(
    ('settings', 'after'), [(HEAD, ()), (HEAD, (8, 16, 32)), (PAPER, ()), (EARLY, ())], ids=str
)
def test_mixer(settings, after, layout):
    shapes = [
        (2, c, 16 >> i, 16 >> i)
        for channels in (settings['cls_channels'], settings['seg_channels'])
        for i, c in enumerate(channels)
    ]
    check(lambda fused: Mixed(settings, fused, after), *shapes, layout=layout)


@layouts
@pytest.mark.parametrize('channels', [(8, 4, 3), (4, 2, 2), (3, 5, 1)])
def test_composed_pointwise(channels, layout):
    shape = (2, channels[0], 5, 4)
    check(lambda fused: ComposedPointwise(*channels, fused=fused), shape, layout=layout)


@layouts
@pytest.mark.parametrize('repeats', [1, 2, 4])
def test_uncertainty_navigator(repeats, layout):
    shapes = ((2, 8, 6, 5), (2, 8 // repeats, 6, 5), (2, 1, 6, 5))

    def uncertainty(inputs):
        return [*inputs[:2], inputs[2].sigmoid()]

    check(
        lambda fused: UncertaintyNavigator(8, repeats, fused=fused),
        *shapes,
        layout=layout,
        prepare=uncertainty,
    )


@pytest.mark.parametrize('bias', [False, True])
@pytest.mark.parametrize('groups', [1, 2])
@pytest.mark.parametrize('eps', [0.0, 1e-5])
def test_frozen_norm_folds_into_convolution(bias, groups, eps):
    conv = nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=groups, bias=bias).double()
    norm = vary_norms(FrozenBatchNorm2d(6, eps=eps).double())

    class Unit(nn.Module):
        def __init__(self, fused):
            super().__init__()
            self.conv, self.norm, self.fused = copy.deepcopy(conv), norm, fused

        def forward(self, x):
            return conv_frozen_bn(x, self.conv, self.norm, fused=self.fused)

    (x,) = maps((2, 4, 7, 6))
    assert_same_run(run_block(Unit(True), [x]), run_block(Unit(False), [x]))
    library = nn.functional.batch_norm(
        conv(x), norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=eps
    ).relu()
    assert_same(Unit(True)(x), library, 'against batch_norm')


@pytest.mark.parametrize('make', [Res2NetV1b, VGG16BN])
@layouts
def test_encoder(make, layout):
    check(lambda fused: make(base_channels=8, fused=fused), (2, 3, 16, 16), layout=layout)


def test_recomputing_encoder_equals_the_plain_one():
    check(lambda fused: Res2NetV1b(base_channels=8, fused=fused, recompute=fused), (2, 3, 16, 16))


def test_recomputing_encoder_gives_gradients_where_the_input_needs_none():
    plain, fused = twins(lambda fused: Res2NetV1b(base_channels=8, fused=fused, recompute=fused))
    (x,) = maps((1, 3, 16, 16))
    for encoder in (plain, fused):
        sum(out.square().mean() for out in encoder(x)).backward()
    for (name, ours), theirs in zip(fused.named_parameters(), plain.parameters(), strict=True):
        assert_same(ours.grad, theirs.grad, name)


# ------------------------------------------------------------------ recomputing double convolution

BLOCKS = {
    'double conv': (DoubleConv, (6, 4), ((2, 6, 6, 5),)),
    'double conv, dropout after each': (
        lambda *a, **k: DoubleConv(*a, **k, dropout_at='each'),
        (6, 4),
        ((2, 6, 6, 5),),
    ),
    'double conv without bias, narrow inside': (
        lambda *a, **k: DoubleConv(*a, **k, mid_channels=3, bias=False, dropout_at='each'),
        (6, 4),
        ((2, 6, 6, 5),),
    ),
    'up conv': (UpConv, (8, 4), ((2, 8, 3, 4), (2, 4, 6, 8))),
    'up concat': (UpConcat, (8, 4), ((2, 8, 3, 4), (2, 6, 6, 8))),
}


@layouts
@pytest.mark.parametrize('dropout', [0.0, 0.4, 1.0])
@pytest.mark.parametrize('name', BLOCKS)
def test_recomputing_block_with_equal_dropout(name, dropout, layout):
    make, channels, shapes = BLOCKS[name]
    expected = check(
        lambda fused: make(*channels, dropout=dropout, recompute=fused), *shapes, layout=layout
    )
    counts = [v for k, v in expected.items() if k.endswith('num_batches_tracked')]
    assert counts and all(count == 1 for count in counts)
    output = expected['output 0'][:, -channels[1] :]
    dropped = (output == 0).all(-1).all(-1).double().mean().item()
    assert {0.0: dropped == 0, 0.4: 0 < dropped < 1, 1.0: dropped == 1}[dropout]


@pytest.mark.parametrize('recompute', [True, False])
def test_running_statistics_move_once_by_hand(recompute):
    torch.manual_seed(0)
    block = DoubleConv(2, 3, dropout=0.0, recompute=recompute).double()
    (x,) = maps((2, 2, 4, 4))
    z = block.conv1(x).detach()
    block(x).sum().backward()
    assert_same(block.bn1.running_mean, 0.1 * z.mean((0, 2, 3)), 'mean')
    assert_same(block.bn1.running_var, 0.9 + 0.1 * z.var((0, 2, 3)), 'unbiased variance')
    assert block.bn1.num_batches_tracked == block.bn2.num_batches_tracked == 1


@pytest.mark.parametrize('mode', ['eval', 'no_grad'])
def test_recomputing_block_outside_training(mode):
    plain, fused = twins(lambda fused: UpConv(8, 4, dropout=0.0, recompute=fused))
    inputs = maps((2, 8, 3, 4), (2, 4, 6, 8))
    if mode == 'eval':
        assert_same_run(run_block(fused.eval(), inputs), run_block(plain.eval(), inputs))
        assert fused.conv1.bn1.num_batches_tracked == 0
    else:
        with torch.no_grad():
            assert_same(fused(*inputs), plain(*inputs))
        assert fused.conv1.bn1.num_batches_tracked == 1


def test_recomputing_block_passes_gradcheck():
    torch.manual_seed(0)
    block = DoubleConv(2, 2, dropout=0.0).double()
    (x,) = maps((2, 2, 3, 3))
    x.requires_grad_()
    names, values = zip(*block.named_parameters(), strict=True)

    def run(x, *parameters):
        return torch.func.functional_call(block, dict(zip(names, parameters, strict=True)), (x,))

    assert torch.autograd.gradcheck(run, (x, *values), atol=1e-6)


def test_recomputing_block_leaves_the_gradient_it_was_given():
    block = DoubleConv(2, 3, dropout=0.5).double()
    (x,) = maps((2, 2, 4, 4))
    out = block(x)
    grad = torch.ones_like(out)
    out.backward(grad)
    assert torch.equal(grad, torch.ones_like(grad))


@layouts
def test_scale_by_pixel(layout):
    x, factor = maps((2, 3, 4, 5), (2, 1, 4, 5), layout=layout)
    inputs = [x, 1 + factor.sigmoid()]
    assert_same_run(run_block(scale_by_pixel, inputs), run_block(torch.mul, inputs))
    leaves = [value.clone().requires_grad_() for value in inputs]
    assert torch.autograd.gradcheck(scale_by_pixel, leaves)
