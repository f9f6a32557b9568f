import pytest
import torch
import torch.nn.functional as F

from ..tiny import build, make_samples


def make(**options):
    torch.manual_seed(0)
    settings = dict(in_channels=(2, 3, 6), channels=(2, 3))
    return build(dict(type='InstanceUNetHead', **{**settings, **options}))


def feats(channels=(2, 3, 6), size=8):
    generator = torch.Generator().manual_seed(0)
    return tuple(
        torch.randn(2, c, size // 2**i, size // 2**i, generator=generator)
        for i, c in enumerate(channels)
    )


def test_definition():
    head = make().eval()
    maps = feats()
    x = maps[-1]
    for block, skip in zip(head.blocks, (maps[1], maps[0]), strict=True):
        up = F.interpolate(x, scale_factor=2, mode='bilinear', align_corners=True)
        x = block(torch.cat([up, skip], 1))
    logits = head(maps)
    assert logits.shape == (2, 2, 8, 8)
    assert not logits[:, 0].any()
    torch.testing.assert_close(logits[:, 1:], head.conv_seg(x))
    assert [block.conv1.in_channels for block in head.blocks] == [6 + 3, 3 + 2]


def test_published_size():
    head = build(dict(type='InstanceUNetHead', in_channels=(16, 32, 64, 130, 256)))
    assert sum(p.numel() for p in head.parameters()) == 786_179 - 18  # without what is never called


def test_of_several_classes():
    head = make(
        num_classes=3, single_logit=False, loss_decode=dict(type='MaskedCrossEntropyLoss')
    ).eval()
    samples = make_samples(2, (8, 8))
    assert head.predict(feats(), [dict(img_shape=(8, 8))], {}).shape == (2, 3, 8, 8)
    target = torch.cat([sample.gt_sem_seg.data for sample in samples])
    loss = head.loss(feats(), samples, {})['loss_ce']
    torch.testing.assert_close(loss, F.cross_entropy(head(feats()), target))


def test_mistakes():
    with pytest.raises(ValueError, match='one level more than channels'):
        make(channels=(2, 3, 4))
    with pytest.raises(ValueError, match='single_logit needs num_classes=2, got 3'):
        make(num_classes=3)
