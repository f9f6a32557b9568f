import pytest
import torch

from mmjoint.models.semi import DifficultyTracker

from .plain import PlainTracker


def maps(seed=0, num_classes=4):
    generator = torch.Generator().manual_seed(seed)
    shape = (2, 6, 5, 4)
    return (torch.randint(num_classes, shape, generator=generator) for _ in range(2))


def test_equal_to_the_plain_form():
    tracker, plain = DifficultyTracker(4, num_iters=10).train(), PlainTracker(4, 10)
    for seed in range(20):
        pred, target = maps(seed)
        if seed % 3 == 0:  # a class that is in neither map
            pred, target = pred.clamp_max(2), target.clamp_max(2)
        weights = tracker(pred, target)
        torch.testing.assert_close(weights, plain(pred, target), rtol=1e-4, atol=0)


def test_state_is_in_the_checkpoint():
    first, second = DifficultyTracker(4).train(), DifficultyTracker(4).train()
    first(*maps(0))
    second.load_state_dict(first.state_dict())
    assert torch.equal(first(*maps(1)), second(*maps(1)))
    assert not list(first.parameters())


def test_evaluation_changes_nothing():
    tracker = DifficultyTracker(4).train()
    weights = tracker(*maps(0))
    assert torch.equal(tracker.eval()(*maps(1)), weights)


def test_ignored_voxels_do_not_count():
    pred, target = maps()
    other = pred.clone()
    target[:, :2] = 255
    other[:, :2] = 0
    weights = [DifficultyTracker(4).train()(p, target) for p in (pred, other)]
    assert torch.equal(*weights)


def test_mistakes():
    with pytest.raises(ValueError, match='got 1, 50'):
        DifficultyTracker(1)
    with pytest.raises(ValueError, match='got 3, 0'):
        DifficultyTracker(3, num_iters=0)
