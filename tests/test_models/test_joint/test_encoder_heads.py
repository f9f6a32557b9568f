import math

import pytest
import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.optim import OptimWrapper
from mmengine.structures import PixelData

from ..tiny import CONFIGS, build, make_samples, unlabelled

SIZE = (32, 32)


def config(**options):
    cfg = Config.fromfile(CONFIGS / '_base_' / 'models' / 'joint-fcn_resnet18.py').model
    cfg.backbone.update(base_channels=4, stem_channels=4)
    cfg.decode_head.update(in_channels=(4, 8, 16, 32), channels=8)
    cfg.cls_head.in_channels = 32
    for key, value in options.items():  # in place of merging
        cfg[key] = value
    return cfg


def make(**options):
    torch.manual_seed(0)
    return build(config(**options))


def batch(samples, size=SIZE, seed=0):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (len(samples), 3, *size), generator=generator)
    return {'inputs': list(images.to(torch.uint8)), 'data_samples': samples}


def step(model, samples):
    """One training step; the log, and the names of the parameters that it changed."""
    before = {name: value.clone() for name, value in model.named_parameters()}
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1))
    log = model.train().train_step(batch(samples), wrapper)
    return log, {n for n, value in model.named_parameters() if not torch.equal(value, before[n])}


def prefixes(names):
    return {name.split('.')[0] for name in names}


def test_step_changes_every_parameter():
    model = make()
    model.decode_head.init_weights()
    model.cls_head.init_weights()
    log, changed = step(model, make_samples(2, SIZE))
    assert changed == {name for name, _ in model.named_parameters()}
    assert set(log) == {'loss', 'decode.loss_ce', 'decode.loss_dice', 'cls.loss_ce'}
    parts = [log[name] for name in log if name != 'loss']
    assert log['loss'].item() == pytest.approx(sum(parts).item(), rel=1e-6)
    # A classifier drawn with std 0.01 says "unknown" to three and two classes.
    assert log['cls.loss_ce'].item() == pytest.approx(math.log(2), abs=0.1)
    assert log['decode.loss_ce'].item() == pytest.approx(math.log(3), abs=0.1)


@pytest.mark.parametrize(
    ('labels', 'expected'),
    [('mask', {'backbone', 'decode_head'}), ('class', {'backbone', 'cls_head'})],
)
def test_step_of_one_kind_of_label_changes_its_head_alone(labels, expected):
    samples = make_samples(2, SIZE)
    for sample in samples:
        delattr(sample, 'gt_label' if labels == 'mask' else 'gt_sem_seg')
    log, changed = step(make(), samples)
    assert prefixes(changed) == expected
    absent = ['cls.loss_ce'] if labels == 'mask' else ['decode.loss_ce', 'decode.loss_dice']
    assert all(log[name] == 0 for name in absent)


def test_batch_without_labels_is_zero_with_a_whole_graph():
    model = make().train()
    data = model.data_preprocessor(batch(unlabelled(2, SIZE)), training=True)
    losses = model(**data, mode='loss')
    assert {name: value.item() for name, value in losses.items()} == dict.fromkeys(
        ('decode.loss_ce', 'decode.loss_dice', 'cls.loss_ce'), 0.0
    )
    sum(losses.values()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and not parameter.grad.any(), name


def test_unlabelled_sample_does_not_count():
    model = make().eval()  # batch norm must not mix the samples
    samples = make_samples(2, SIZE)
    both = [samples[0], *unlabelled(1, SIZE)]
    data = model.data_preprocessor(batch(both), training=True)
    losses = model(**data, mode='loss')
    alone = model(data['inputs'][:1], data['data_samples'][:1], mode='loss')
    # Dice sums over the batch; an unlabelled sample adds to none of its sums.
    for name, value in alone.items():
        torch.testing.assert_close(losses[name], value, msg=name)


def test_predictions_at_the_original_size():
    model = make().eval()
    samples = unlabelled(2, (32, 32), ori_shape=(40, 24))
    with torch.no_grad():
        results = model.test_step(batch(samples))
    for sample in results:
        assert set(sample.keys()) == {
            'seg_logits',
            'pred_sem_seg',
            'seg_uncertainty',
            'pred_label',
            'pred_score',
            'cls_uncertainty',
        }
        assert sample.seg_logits.data.shape == (3, 40, 24)
        probs = sample.seg_logits.data.softmax(0)
        assert torch.equal(sample.pred_sem_seg.data[0], probs.argmax(0))
        entropy = -(probs * probs.log()).sum(0)
        torch.testing.assert_close(sample.seg_uncertainty.predictive_entropy[0], entropy)
        assert sample.pred_score.shape == (2,)
        assert sample.pred_score.sum().item() == pytest.approx(1.0)
        assert sample.pred_label.item() == sample.pred_score.argmax().item()
        probs = sample.pred_score
        expected = -(probs * probs.log()).sum().item()
        assert sample.cls_uncertainty.predictive_entropy.item() == pytest.approx(expected)


def test_padding_is_cut_off_before_resizing():
    model = make().eval()
    sample = unlabelled(1, (20, 32), ori_shape=(20, 32))[0]
    with torch.no_grad():
        data = model.data_preprocessor(batch([sample], (20, 32)), training=False)
        assert data['inputs'].shape[2:] == (32, 32)
        (result,) = model(**data, mode='predict')
        logits = model(data['inputs']).seg_logits
        full = F.interpolate(logits, (32, 32), mode='bilinear', align_corners=False)
    torch.testing.assert_close(result.seg_logits.data, full[0, :, :20])


def test_partial_mask_does_not_push_the_hidden_class_down():
    model = make()
    logits = torch.randn(1, 3, 8, 8, requires_grad=True)
    samples = make_samples(1, (8, 8), annotated_classes=(0, 2))
    seg_map = samples[0].gt_sem_seg.data
    seg_map[seg_map == 1] = 0
    losses = model.decode_head.loss_by_feat(logits, samples)
    sum(losses.values()).backward()
    background = seg_map == 0
    assert (logits.grad[:, 1][background] <= 0).all()
    assert (logits.grad[:, 1][background] < 0).any()
    # Only the joint probability counts: how background and class 1 share it does not.
    with torch.no_grad():
        probs = logits.softmax(1)
        joint = probs[:, :2].sum(1)
        for share in (0.1, 0.9):
            split = torch.stack([share * joint, (1 - share) * joint, probs[:, 2]], 1).log()
            other = model.decode_head.loss_by_feat(split, samples)
            for name, value in losses.items():
                torch.testing.assert_close(other[name], value, msg=name)
    # A complete mask says otherwise: there background does push class 1 down.
    del samples[0].annotated_classes
    complete = logits.detach().requires_grad_()
    sum(model.decode_head.loss_by_feat(complete, samples).values()).backward()
    assert (complete.grad[:, 1][background] > 0).all()


@pytest.mark.parametrize('memory_format', ['channels_first', 'channels_last'])
@pytest.mark.parametrize(
    ('backbone', 'channels'),
    [
        (dict(type='Res2NetV1b', base_channels=4), (4, 16, 32, 64)),
        (dict(type='VGG16BN', base_channels=4), (4, 8, 16, 32)),
        (
            # Its default 'InterpConv' would be looked up in our scope.
            dict(type='mmseg.UNet', base_channels=4, upsample_cfg=dict(type='mmseg.InterpConv')),
            (64, 32, 16, 8, 4),
        ),
        (dict(type='mmpretrain.MobileNetV2', widen_factor=0.1, out_indices=(1, 6)), (8, 32)),
    ],
    ids=lambda value: value['type'] if isinstance(value, dict) else '',
)
def test_any_backbone_with_a_tuple_of_maps(backbone, channels, memory_format):
    cfg = config(backbone=backbone, memory_format=memory_format)
    cfg.decode_head.update(in_channels=channels, in_index=tuple(range(len(channels))))
    cfg.cls_head.in_channels = channels[-1]
    model = build(cfg)
    log, changed = step(model, make_samples(2, SIZE))
    assert torch.isfinite(log['loss'])
    assert prefixes(changed) == {'backbone', 'decode_head', 'cls_head'}


def test_segmentation_alone_and_classification_alone():
    samples = make_samples(2, SIZE)
    log, changed = step(make(cls_head=None), samples)
    assert set(log) == {'loss', 'decode.loss_ce', 'decode.loss_dice'}
    assert prefixes(changed) == {'backbone', 'decode_head'}
    model = make(decode_head=None)
    log, changed = step(model, samples)
    assert set(log) == {'loss', 'cls.loss_ce'}
    assert prefixes(changed) == {'backbone', 'cls_head'}
    with torch.no_grad():
        (sample,) = model.eval().test_step(batch(unlabelled(1, SIZE)))
    assert set(sample.keys()) == {'pred_label', 'pred_score', 'cls_uncertainty'}
    assert model(torch.rand(1, 3, *SIZE)).seg_logits is None


def test_stock_heads_of_mmseg_and_mmpretrain():
    segmentation = dict(
        type='mmseg.FCNHead',
        in_channels=32,
        channels=8,
        num_classes=3,
        loss_decode=dict(type='mmseg.CrossEntropyLoss'),
    )
    log, changed = step(make(decode_head=segmentation, cls_head=None), make_samples(2, SIZE))
    assert log['loss'] == log['decode.loss_ce'] > 0
    assert prefixes(changed) == {'backbone', 'decode_head'}
    classification = dict(
        type='mmpretrain.LinearClsHead',
        in_channels=32,
        num_classes=2,
        loss=dict(type='mmpretrain.CrossEntropyLoss'),
    )
    neck = dict(type='mmpretrain.GlobalAveragePooling')
    model = make(decode_head=None, cls_head=classification, neck=neck)
    log, changed = step(model, make_samples(2, SIZE))
    assert log['loss'] == log['cls.loss'] > 0
    assert prefixes(changed) == {'backbone', 'cls_head'}


def test_losses_by_hand():
    model = make().double()
    logits = torch.tensor([[0.0, math.log(2), math.log(5)]], dtype=torch.float64)
    samples = make_samples(1, (2, 2))
    samples[0].gt_sem_seg = PixelData(data=torch.tensor([[[1, 255], [1, 255]]]))
    losses = model.decode_head.loss_by_feat(logits.view(1, 3, 1, 1), samples)
    # Probabilities (1, 2, 5)/8 on two valid pixels of class 1.
    assert losses['loss_ce'].item() == pytest.approx(math.log(4), abs=1e-12)
    dices = [1e-5 / (2 / 8), (2 * 4 / 8) / (4 / 8 + 2), 1e-5 / (10 / 8)]
    expected = -sum(math.log(dice) for dice in dices) / 3
    assert losses['loss_dice'].item() == pytest.approx(expected, abs=1e-4)
    samples[0].set_gt_label(1)
    loss = model.cls_head._get_loss(torch.tensor([[0.0, math.log(3)]]), samples)
    assert loss['loss_ce'].item() == pytest.approx(math.log(4 / 3), abs=1e-6)
    maps = (torch.zeros(1), torch.arange(8.0).view(1, 2, 2, 2))
    assert model.cls_head.pre_logits(maps).tolist() == [[1.5, 5.5]]


def test_impossible_models():
    with pytest.raises(ValueError, match='decode_head and cls_head are both None'):
        make(decode_head=None, cls_head=None)
    binary = dict(
        type='mmseg.FCNHead',
        in_channels=32,
        channels=8,
        num_classes=2,
        out_channels=1,
        threshold=0.5,
        loss_decode=dict(type='mmseg.CrossEntropyLoss', use_sigmoid=True),
    )
    with pytest.raises(ValueError, match='out_channels must equal num_classes = 2, got 1'):
        make(decode_head=binary)
    with pytest.raises(ValueError, match="memory_format must be one of .* got 'nhwc'"):
        make(memory_format='nhwc')
    with pytest.raises(TypeError, match='backbon'):
        make(backbon={})
    cfg = config()
    cfg.decode_head.num_conv = 1
    with pytest.raises(TypeError, match='num_conv'):
        build(cfg)
    with pytest.raises(ValueError, match="mode must be .* got 'train'"):
        make()(torch.rand(1, 3, *SIZE), mode='train')
