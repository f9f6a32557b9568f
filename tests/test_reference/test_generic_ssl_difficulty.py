"""The tracker of difficulties against the original's, step by step."""

import torch

from mmjoint.models.semi import DifficultyTracker

from .loader import reference

METHOD = 'generic_ssl'
RELATIVE = 1e-4
# Our running value for each of the stored ones.
NAMES = {'last_dice': 'dice', 'cls_learn': 'learned', 'cls_unlearn': 'unlearned'}


def test_every_step():
    arrays = reference(METHOD, 'difficulty')
    pred, label = arrays.tensor('pred', torch.int64), arrays.tensor('label', torch.int64)
    iters = int(arrays['accumulate_iters'])
    tracker = DifficultyTracker(int(arrays['num_cls']), num_iters=iters).train()
    expected = {name: arrays.tensor(name, torch.float64) for name in (*NAMES, 'dice_weight')}
    weights = arrays.tensor('weights', torch.float64)
    for step in range(len(pred)):
        ours = tracker(pred[step], label[step]).double()
        torch.testing.assert_close(ours, weights[step], rtol=RELATIVE, atol=0, msg=str(step))
        for stored, name in {**NAMES, 'dice_weight': 'undice'}.items():
            value, other = getattr(tracker.state, name).double(), expected[stored][step]
            torch.testing.assert_close(value, other, rtol=RELATIVE, atol=1e-9, msg=stored)
    again = tracker.eval()(pred[0], label[0]).double()
    assert torch.equal(again, ours)  # in evaluation mode nothing moves
