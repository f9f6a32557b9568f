import torch

from ..tiny import build, make_samples


def make():
    torch.manual_seed(0)
    return build(
        dict(
            type='PooledLinearClsHead',
            in_channels=2,
            num_classes=2,
            loss=dict(type='MaskedCrossEntropyLoss'),
        )
    )


def test_hand_value():
    """The largest of each 2x2 window, of an odd side's last row none; then their mean."""
    head = make()
    head.fc.weight.data, head.fc.bias.data = torch.eye(2), torch.tensor([0.0, 10.0])
    x = torch.arange(20.0).view(1, 1, 5, 4).repeat(1, 2, 1, 1)
    # Windows of rows 0-1 and 2-3: 5, 7, 13, 15.
    assert head((None, x)).tolist() == [[10.0, 20.0]]


def test_initialisation_is_pytorchs_own():
    head = make()
    before = head.fc.weight.clone()
    head.init_weights()
    assert torch.equal(head.fc.weight, before) and before.std() > 0.1


def test_loss():
    head = make()
    feats = (torch.randn(2, 2, 4, 4),)
    samples = make_samples(2)
    expected = torch.nn.functional.cross_entropy(head(feats), torch.tensor([0, 1]))
    torch.testing.assert_close(head.loss(feats, samples)['loss_ce'], expected)
    del samples[1].gt_label
    expected = torch.nn.functional.cross_entropy(head(feats)[:1], torch.tensor([0]))
    torch.testing.assert_close(head.loss(feats, samples)['loss_ce'], expected)
