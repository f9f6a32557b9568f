import pytest
import torch
from mmengine.structures import PixelData

from mmjoint.models.decode_heads import VNetHead
from mmjoint.models.uncertainty import MCDropout
from mmjoint.structures import JointDataSample, VolumeData
from tests.test_models.tiny import build

SPACE = {2: (32, 16), 3: (16, 32, 16)}
DATA = {2: PixelData, 3: VolumeData}
axes = pytest.mark.parametrize('num_axes', [2, 3])


def make(num_axes, layout='channels_first'):
    torch.manual_seed(0)
    parts = dict(num_axes=num_axes, base_channels=4)
    return build(
        dict(
            type='JointModel',
            memory_format=layout,
            backbone=dict(type='VNetEncoder', in_channels=2, **parts),
            decode_head=dict(
                type='VNetHead', num_classes=3, loss_decode=dict(type='DiceCELoss'), **parts
            ),
        )
    )


def batch(num_axes, labelled=2):
    space = SPACE[num_axes]
    generator = torch.Generator().manual_seed(0)
    samples = [JointDataSample(metainfo=dict(ori_shape=space, img_shape=space)) for _ in range(2)]
    for sample in samples[:labelled]:
        seg_map = torch.randint(3, (1, *space), generator=generator)
        sample.gt_sem_seg = DATA[num_axes](data=seg_map)
    return torch.rand(2, 2, *space, generator=generator), samples


@axes
@pytest.mark.parametrize('layout', ['channels_first', 'channels_last'])
def test_a_supervised_vnet(num_axes, layout):
    model = make(num_axes, layout).train()
    inputs, samples = batch(num_axes)
    losses = model(inputs, samples, mode='loss')
    assert set(losses) == {'decode.loss_dice_ce'}
    losses['decode.loss_dice_ce'].backward()
    assert all(
        p.grad is not None and p.grad.abs().sum() > 0 for p in model.decode_head.parameters()
    )
    with torch.no_grad():
        results = model.eval()(inputs, samples, mode='predict')
    for sample in results:
        assert sample.seg_logits.data.shape == (3, *SPACE[num_axes])
        assert isinstance(sample.pred_sem_seg, DATA[num_axes])


@axes
def test_samples_without_a_mask_do_not_count(num_axes):
    model = make(num_axes).eval()
    inputs, samples = batch(num_axes, labelled=1)
    half = model(inputs, samples, mode='loss')['decode.loss_dice_ce']
    alone = model(inputs[:1], samples[:1], mode='loss')['decode.loss_dice_ce']
    assert half.item() == pytest.approx(alone.item(), rel=1e-5)
    inputs, samples = batch(num_axes, labelled=0)
    none = model(inputs, samples, mode='loss')['decode.loss_dice_ce']
    none.backward()
    assert none.item() == 0


@axes
def test_sizes(num_axes):
    """Logits are brought to the size of masks and of the input."""
    model = make(num_axes).eval()
    inputs, samples = batch(num_axes)
    big = tuple(2 * side for side in SPACE[num_axes])
    for sample in samples:
        del sample.gt_sem_seg
        sample.gt_sem_seg = DATA[num_axes](data=torch.zeros(1, *big, dtype=torch.int64))
    head, feats = model.decode_head, model.extract_feat(inputs)
    assert torch.isfinite(head.loss(feats, samples, {})['loss_dice_ce'])
    assert head.predict(feats, [{'img_shape': big}], {}).shape == (2, 3, *big)
    logits = head(feats)
    assert head.predict_by_feat(logits, [{'img_shape': SPACE[num_axes]}]) is logits


def test_mistakes():
    with pytest.raises(ValueError, match='num_classes must be at least 2, got 1'):
        VNetHead(num_classes=1)
    head = VNetHead(num_classes=2, base_channels=2)
    with pytest.raises(ValueError, match='VNetHead has no loss: set its loss_decode'):
        head.loss_by_feat(torch.zeros(1, 2, 4, 4, 4), [])


@axes
def test_monte_carlo_dropout(num_axes):
    """The uncertainty layer finds the dropout of every stage."""
    model = make(num_axes).eval()
    inputs, samples = batch(num_axes)
    estimator = MCDropout(model, num_samples=3).eval()
    torch.manual_seed(0)
    with torch.no_grad():
        results = estimator.test_step({'inputs': inputs[:1], 'data_samples': samples[:1]})
    uncertainty = results[0].seg_uncertainty
    assert uncertainty.mutual_information.shape == (1, *SPACE[num_axes])
    assert uncertainty.mutual_information.max() > 0
