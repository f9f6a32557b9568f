import pytest
import torch

from mmjoint.functional.class_counts import class_counts, hard_dice
from mmjoint.functional.overlap import confusion_matrix, overlap_counts


def test_against_the_confusion_matrix():
    generator = torch.Generator().manual_seed(0)
    pred = torch.randint(4, (2, 5, 6, 7), generator=generator)
    target = torch.randint(4, (2, 5, 6, 7), generator=generator)
    target[0, :2] = 255
    matrix = confusion_matrix(pred.numpy(), target.numpy(), 4)
    expected = overlap_counts(matrix, [[c] for c in range(4)])
    assert class_counts(pred, target, 4).tolist() == [list(row) for row in expected]
    pieces = [class_counts(p, t, 4) for p, t in zip(pred, target, strict=True)]
    assert torch.equal(sum(pieces), class_counts(pred, target, 4))
    kept = target != 255
    alone = class_counts(pred[kept], target[kept], 4, ignore_index=None)
    assert torch.equal(alone, class_counts(pred, target, 4))


def test_dice():
    # A class that is found in part, one that is found nowhere, one that is in neither map.
    counts = torch.tensor([[3, 0, 0], [4, 2, 0], [6, 1, 0]])
    dice = hard_dice(counts)
    assert dice.tolist() == pytest.approx([0.6, 1e-8 / 3, 0.5], rel=1e-6)
    assert hard_dice(counts, smooth=1.0).tolist() == pytest.approx([7 / 11, 1 / 4, 1], rel=1e-6)
