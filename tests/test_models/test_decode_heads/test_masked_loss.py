"""What the decode heads derived from mmseg's share."""

import math

import pytest
import torch
from mmengine.structures import PixelData

from ..tiny import build, make_samples, unlabelled

LOSSES = dict(
    loss_decode=dict(type='MaskedCrossEntropyLoss'),
    loss_dice=dict(type='SoftDiceLoss', scheme='foreground'),
)
HEADS = {
    'fcn': dict(type='JointFCNHead', in_channels=8, channels=8, num_convs=0, concat_input=False),
    'uper': dict(
        type='JointUPerHead',
        in_channels=(4, 4, 6, 8),
        channels=8,
        pool_scales=(1, 2),
        norm_cfg=dict(type='BN'),
    ),
}


def make(name, **options):
    torch.manual_seed(0)
    return build(dict(HEADS[name], **LOSSES, **{'num_classes': 2, **options}))


def feats(batch=2, size=16):
    generator = torch.Generator().manual_seed(1)
    return tuple(
        torch.randn(batch, channels, size >> level, size >> level, generator=generator)
        for level, channels in enumerate((4, 4, 6, 8))
    )


@pytest.mark.parametrize('name', HEADS)
def test_one_logit_is_a_sigmoid(name):
    head = make(name, single_logit=True).eval()
    assert head.conv_seg.out_channels == 1 and head.out_channels == 2
    with torch.no_grad():
        logits = head(feats())
    assert logits.shape[1] == 2 and not logits[:, 0].any()
    torch.testing.assert_close(logits.softmax(1)[:, 1], logits[:, 1].sigmoid())
    target = make_samples(2, tuple(logits.shape[2:]), num_classes=2)
    loss = head.loss_by_feat(logits, target)['loss_ce']
    truth = torch.stack([sample.gt_sem_seg.data[0] for sample in target])
    expected = torch.nn.functional.binary_cross_entropy_with_logits(logits[:, 1], truth.float())
    torch.testing.assert_close(loss, expected)


def test_one_logit_by_hand():
    head = make('fcn', single_logit=True).double()
    logits = torch.tensor([[[[0.0]], [[math.log(3)]]]], dtype=torch.float64)
    (sample,) = make_samples(1, (1, 2))
    sample.gt_sem_seg = PixelData(data=torch.tensor([[[1, 255]]]))
    losses = head.loss_by_feat(logits, [sample])
    assert losses['loss_ce'].item() == pytest.approx(math.log(4 / 3), abs=1e-12)
    assert losses['loss_dice'].item() == pytest.approx(1 - 2 * 0.75 / 1.75, abs=1e-6)


@pytest.mark.parametrize('single_logit', [False, True])
@pytest.mark.parametrize('name', HEADS)
def test_absent_masks_do_not_count(name, single_logit):
    head = make(name, single_logit=single_logit).eval()
    maps = feats()
    labelled = make_samples(1, (16, 16), num_classes=2)
    mixed = head.loss(maps, [*labelled, *unlabelled(1, (16, 16))], {})
    alone = head.loss(tuple(m[:1] for m in maps), labelled, {})
    for key, value in alone.items():
        torch.testing.assert_close(mixed[key], value, msg=key)
    nothing = head.loss(maps, unlabelled(2, (16, 16)), {})
    assert {key: value.item() for key, value in nothing.items()} == dict(loss_ce=0, loss_dice=0)
    sum(nothing.values()).backward()
    for key, parameter in head.named_parameters():
        assert parameter.grad is not None and not parameter.grad.any(), key


@pytest.mark.parametrize('name', HEADS)
def test_initialisation(name):
    default, own = make(name), make(name, init_cfg=[])
    before = own.conv_seg.weight.clone()
    own.init_weights()
    assert torch.equal(own.conv_seg.weight, before)
    default.init_weights()
    assert not default.conv_seg.bias.any()
    assert default.conv_seg.weight.abs().max() < 0.06  # deviation 0.01


def test_impossible_options():
    with pytest.raises(ValueError, match='single_logit needs num_classes=2, got 3'):
        make('fcn', single_logit=True, num_classes=3)
    with pytest.raises(TypeError, match='pool_scale'):
        make('uper', pool_scale=(1, 2))
