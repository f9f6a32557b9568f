import pytest
import torch

from ..tiny import assert_same, build

TASKS = dict(
    vessel=dict(vessel=(1,)), lesion=dict(EX=(1,), HE=(2,)), nerve=dict(disc=(1, 2), cup=(2,))
)
GN = dict(type='GN', num_groups=1)
UPER = dict(
    type='mmseg.UPerHead', in_channels=(3, 4, 5, 6), in_index=(0, 1, 2, 3), channels=8, norm_cfg=GN
)
FCN = dict(
    type='mmseg.FCNHead', in_channels=5, in_index=2, channels=8, num_convs=1, concat_input=False,
    norm_cfg=GN,
)  # fmt: skip
ATTENTION = dict(type='CrossTaskAttention', num_heads=2, window_size=4)


def make(decoder=UPER, attention=None, **options):
    torch.manual_seed(0)
    head = build(
        dict(type='TaskDecodeHead', tasks=TASKS, decoder=decoder, attention=attention, **options)
    )
    for parameter in head.parameters():  # norms and biases as those of a trained head
        parameter.data = parameter.data + 0.1 * torch.randn(parameter.shape)
    return head.double()


def make_feats(batch=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return tuple(
        torch.randn(batch, 3 + k, 16 >> k, 24 >> k, generator=generator, dtype=torch.float64)
        for k in range(4)
    )


@pytest.mark.parametrize('attention', [None, ATTENTION])
@pytest.mark.parametrize('decoder', [UPER, FCN])
@torch.no_grad()
def test_no_sample_depends_on_another(decoder, attention):
    """The original mixes the samples of a batch; two in one batch are two batches of one here."""
    head, feats = make(decoder, attention).eval(), make_feats()
    together = head(feats)
    assert list(together) == list(TASKS)
    for sample in range(2):
        alone = head(tuple(f[sample : sample + 1] for f in feats))
        for task, channels in TASKS.items():
            assert alone[task].shape[:2] == (1, len(channels))
            assert_same(together[task][sample : sample + 1], alone[task], task)
    first = next(iter(together.values()))
    assert first.shape[2:] == ((16, 24) if decoder is UPER else (4, 6))


@pytest.mark.parametrize('attention', [None, ATTENTION])
@torch.no_grad()
def test_wanted_tasks_and_samples(attention):
    head, feats = make(attention=attention).eval(), make_feats(3)
    whole = head(feats)
    some = head(feats, {'nerve': None, 'vessel': [2, 0], 'lesion': slice(1, 2)})
    assert list(some) == ['nerve', 'vessel', 'lesion']
    assert_same(some['nerve'], whole['nerve'])
    assert_same(some['vessel'], whole['vessel'][[2, 0]])
    assert_same(some['lesion'], whole['lesion'][1:2])


@pytest.mark.parametrize(('attention', 'expected'), [(None, 1), (ATTENTION, 3)])
def test_what_is_not_wanted_is_not_decoded(attention, expected):
    head = make(attention=attention)
    called = []
    for task, decoder in head.decoders.items():
        decoder.bottleneck.register_forward_hook(lambda *_, task=task: called.append(task))
    logits = head(make_feats(), {'lesion': None})
    assert list(logits) == ['lesion'] and len(called) == expected
    logits['lesion'].sum().backward()
    moved = {
        name.split('.')[1]
        for name, parameter in head.named_parameters()
        if name.startswith('decoders') and parameter.grad is not None
    }
    assert moved == (set(TASKS) if attention else {'lesion'})


@torch.no_grad()
def test_tasks_are_separate_without_attention():
    """They know of each other by attention alone."""
    feats = make_feats()
    for attention in (None, ATTENTION):
        head = make(attention=attention).eval()
        before = head(feats)
        for parameter in head.decoders['vessel'].parameters():
            parameter.mul_(-2)
        after = head(feats)
        assert not torch.equal(before['vessel'], after['vessel'])
        assert torch.equal(before['lesion'], after['lesion']) == (attention is None)


@torch.no_grad()
def test_dropout_of_a_task_leaves_the_others():
    """A dropped map gives the classifier's bias; with attention, something made of the others."""
    feats = make_feats(1)
    head = make(dropout_ratio=1.0).train()
    for task, logits in head(feats).items():
        bias = head.decoders[task].conv_seg.bias
        assert_same(logits, bias[None, :, None, None].expand_as(logits))
    head = make(attention=ATTENTION, dropout_ratio=0.0).train()
    maps = {task: head.decode(feats, task) for task in TASKS}
    maps['lesion'] = torch.zeros_like(maps['lesion'])
    assert head.classify(maps, {'lesion': None})['lesion'].std((2, 3)).min() > 0


@pytest.mark.parametrize(('dropout', 'alike'), [('task', True), ('channel', False)])
@torch.no_grad()
def test_kinds_of_dropout(dropout, alike):
    head = make(dropout=dropout, dropout_ratio=0.5).train()
    decoder = head.decoders['vessel']
    decoder.fpn_bottleneck.gn.bias.fill_(9)  # no channel is zero of itself
    gone = (head.decode(make_feats(40), 'vessel') == 0).flatten(2).all(2)
    assert gone.any() and not gone.all()
    assert bool((gone == gone[:, :1]).all()) == alike


def test_initial_values():
    """Convolutions count the outputs of all tasks, as if they were groups of one."""
    torch.manual_seed(0)
    head = build(
        dict(
            type='TaskDecodeHead',
            tasks=TASKS,
            decoder=dict(UPER, channels=64, in_channels=(30, 40, 50, 60)),
            attention=ATTENTION,
        )
    )
    for _ in range(2):  # as it is built, and when it is told to
        decoder = head.decoders['nerve']
        assert decoder.fpn_bottleneck.conv.weight.std().item() == pytest.approx(
            (2 / (3 * 64 * 9)) ** 0.5, rel=0.05
        )
        assert decoder.lateral_convs[1].conv.weight.std().item() == pytest.approx(
            (2 / (3 * 64)) ** 0.5, rel=0.05
        )
        fuse = head.attention.fuse.conv.weight
        assert fuse.std().item() == pytest.approx((2 / 64) ** 0.5, rel=0.05)
        assert (decoder.fpn_bottleneck.gn.weight == 1).all()
        head.init_weights()
    classifier = decoder.conv_seg
    assert classifier.weight.std().item() == pytest.approx(0.01, rel=0.3)
    assert not classifier.bias.any()


def test_mistakes():
    with pytest.raises(ValueError, match="'task', 'channel'.*got 'pixel'"):
        make(dropout='pixel')
    with pytest.raises(ValueError, match='tasks is empty'):
        build(dict(type='TaskDecodeHead', tasks={}, decoder=UPER))
    other = dict(
        type='mmseg.SegformerHead', in_channels=(3, 4), in_index=(0, 1), channels=8, norm_cfg=GN
    )
    with pytest.raises(ValueError, match='SegformerHead does not'):
        make(other)
