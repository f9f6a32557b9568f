import pytest
import torch

from mmjoint.functional.multilabel import channel_masks
from mmjoint.functional.task_labels import ignore_unsure, label_confidence, labels_from_probs

LESION = dict(EX=(1,), HE=(2,), SE=(3,))
DISC = dict(disc=(1, 2), cup=(2,))


def by_pixel(rule, probs):
    """What a rule for the list of one pixel's probabilities gives for all pixels."""
    flat = [rule(pixel.tolist()) for pixel in probs.flatten(1).T]
    return torch.tensor(flat).view(probs.shape[1:])


def test_exclusive_channels_by_brute_force():
    probs = torch.rand(3, 20, 30, generator=torch.Generator().manual_seed(0))

    def rule(pixel):
        return pixel.index(max(pixel)) + 1 if any(p > 0.6 for p in pixel) else 0

    labels = labels_from_probs(probs, LESION, threshold=0.6)
    assert labels.dtype == torch.uint8
    assert torch.equal(labels.long(), by_pixel(rule, probs))
    assert set(labels.unique().tolist()) == {0, 1, 2, 3}


def test_nested_channels_by_brute_force():
    probs = torch.rand(2, 20, 30, generator=torch.Generator().manual_seed(1))

    def rule(pixel):
        return 2 if pixel[1] > 0.5 else int(pixel[0] > 0.5)

    expected = by_pixel(rule, probs)
    assert torch.equal(labels_from_probs(probs, DISC).long(), expected)
    # The order in the table does not tell what lies inside what; the values do.
    turned = labels_from_probs(probs.flip(0), dict(cup=(2,), disc=(1, 2)))
    assert torch.equal(turned.long(), expected)


def test_one_channel_and_the_threshold_itself():
    probs = torch.tensor([[0.5, 0.50001, 0.0, 1.0]])
    assert labels_from_probs(probs, dict(vessel=(1,))).tolist() == [0, 1, 0, 1]


def test_nested_and_exclusive_channels_in_one_task():
    channels = dict(disc=(1, 2, 4), cup=(2, 4), spot=(3,), pit=(4,))
    probs = torch.tensor(
        [
            [0.9, 0.6, 0.9, 0.1, 0.0],  # disc
            [0.1, 0.1, 0.6, 0.2, 0.0],  # cup, in the disc
            [0.8, 0.9, 0.8, 0.3, 0.0],  # spot, apart from the disc
            [0.1, 0.2, 0.3, 0.8, 0.0],  # pit, in the cup
        ]
    )
    assert labels_from_probs(probs, channels).tolist() == [1, 3, 2, 4, 0]


@pytest.mark.parametrize('channels', [LESION, DISC, dict(vessel=(7,))])
def test_masks_of_probabilities_come_back(channels):
    """Labels of the masks that a label map makes are that label map."""
    values = sorted({value for each in channels.values() for value in each})
    labels = torch.tensor([0, *values] * 5)[torch.randperm(5 * len(values) + 5)]
    masks = channel_masks(labels[None], channels)[0]
    assert torch.equal(labels_from_probs(masks.float(), channels).long(), labels)


@pytest.mark.parametrize(
    'channels',
    [
        dict(a=(1, 2), b=(2, 3)),  # crossing
        dict(a=(1,), b=(1,)),  # the same
        dict(a=(1, 2), b=(3,)),  # which of the two values?
        dict(a=(1, 2), b=(1,), c=(2,)),  # none of its own
    ],
)
def test_channels_that_no_single_map_holds(channels):
    with pytest.raises(ValueError, match='one value apart'):
        labels_from_probs(torch.zeros(len(channels), 4), channels)


def test_a_wrong_number_of_channels():
    with pytest.raises(ValueError, match=r'probs must have 2 channels \(disc, cup\), got 3'):
        labels_from_probs(torch.zeros(3, 4, 4), DISC)


def test_confidence_by_hand():
    probs = torch.tensor([[0.9, 0.9, 0.2, 0.3], [0.8, 0.1, 0.1, 0.7]])
    labels = torch.tensor([1, 1, 0, 2])
    # Of exclusive channels: what speaks for the other lesion speaks against the label.
    assert label_confidence(probs, labels, dict(EX=(1,), HE=(2,))).tolist() == pytest.approx(
        [0.2, 0.9, 0.8, 0.7]
    )
    # Of nested ones: a cup where no disc is.
    labels = labels_from_probs(probs, DISC)
    assert labels.tolist() == [2, 1, 0, 2]
    assert label_confidence(probs, labels, DISC).tolist() == pytest.approx([0.8, 0.9, 0.8, 0.3])


def test_unsure_labels_go():
    probs = torch.tensor([[0.95, 0.6, 0.4, 0.05, float('nan')]])
    labels = torch.tensor([1, 1, 0, 0, 0], dtype=torch.uint8)
    vessel = dict(vessel=(1,))
    kept = ignore_unsure(labels, probs, vessel, min_confidence=0.9)
    assert kept.tolist() == [1, 255, 255, 0, 255]
    assert kept.dtype == torch.uint8 and labels.tolist() == [1, 1, 0, 0, 0]
    uncertainty = torch.tensor([0.1, 0.1, 0.1, 0.4, float('nan')])
    options = dict(uncertainty=uncertainty, max_uncertainty=0.3)
    assert ignore_unsure(labels, probs, vessel, **options).tolist() == [1, 1, 0, 255, 255]
    both = ignore_unsure(labels, probs, vessel, min_confidence=0.9, **options)
    assert both.tolist() == [1, 255, 255, 255, 255]
    assert torch.equal(ignore_unsure(labels, probs, vessel), labels)


def test_options_that_do_not_fit():
    probs, labels = torch.zeros(1, 4), torch.zeros(4, dtype=torch.uint8)
    with pytest.raises(ValueError, match='belong together'):
        ignore_unsure(labels, probs, dict(a=(1,)), max_uncertainty=0.1)
    with pytest.raises(ValueError, match=r'shape of the labels, \(4,\), got \(1, 4\)'):
        ignore_unsure(labels, probs, dict(a=(1,)), uncertainty=probs, max_uncertainty=0.1)
