import pytest
import torch
import torch.nn.functional as F

from mmjoint.functional.partial_label import merge_logits, merge_probs


def annotated(*rows):
    return torch.tensor(rows, dtype=torch.bool)


def test_merged_probabilities_by_hand():
    probs = torch.tensor([[0.2, 0.5, 0.3], [0.2, 0.5, 0.3]])
    merged = merge_probs(probs, annotated((1, 0, 1), (1, 1, 1)))
    expected = torch.tensor([[0.7, 0.0, 0.3], [0.2, 0.5, 0.3]])
    torch.testing.assert_close(merged, expected)


def test_background_counts_as_annotated():
    probs = torch.tensor([[0.2, 0.5, 0.3]])
    merged = merge_probs(probs, annotated((0, 1, 0)))
    torch.testing.assert_close(merged, torch.tensor([[0.5, 0.5, 0.0]]))
    mask = annotated((0, 1, 0))
    merge_logits(torch.zeros(1, 3), mask)
    assert mask.tolist() == [[False, True, False]]  # the caller's tensor stays


@pytest.mark.parametrize('space', [(), (3, 4), (2, 3, 4)])
@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
def test_softmax_of_merged_logits_is_merged_softmax(space, dtype):
    torch.manual_seed(0)
    logits = 5 * torch.randn(3, 4, *space, dtype=dtype)
    mask = annotated((1, 0, 1, 0), (1, 1, 1, 1), (1, 0, 0, 0))
    merged = merge_logits(logits, mask)
    torch.testing.assert_close(merged.softmax(1), merge_probs(logits.softmax(1), mask))
    torch.testing.assert_close(merged[1], logits[1])
    # Classes that do not exist for a sample: as if their channels had been removed.
    removed = torch.stack([logits[0, [0, 1, 3]].logsumexp(0), logits[0, 2]])
    torch.testing.assert_close(merged[0, [0, 2]], removed)


def test_no_annotation_mask_changes_nothing():
    values = torch.rand(2, 3, 4)
    assert merge_probs(values, None) is values
    assert merge_logits(values, None) is values


def test_merging_equals_removing_for_the_losses_gradient():
    torch.manual_seed(0)
    logits = torch.randn(2, 3, 5, dtype=torch.float64, requires_grad=True)
    target = torch.tensor([[0, 2, 0, 2, 0], [0, 0, 0, 2, 2]])
    mask = annotated((1, 0, 1), (1, 0, 1))
    F.cross_entropy(merge_logits(logits, mask), target).backward()
    probs = logits.detach().softmax(1)
    # The gradient of a joined channel is shared out by the share of its logit.
    joined = torch.stack([probs[:, :2].sum(1), probs[:, 2]], 1)
    wanted = F.one_hot((target == 2).long(), 2).movedim(-1, 1)
    shared = (joined - wanted) / target.numel()
    share = probs[:, :2] / probs[:, :2].sum(1, keepdim=True)
    expected = torch.cat([shared[:, :1] * share, shared[:, 1:]], 1)
    torch.testing.assert_close(logits.grad, expected)
    # Where the label says background, nothing pushes the class that may hide there down.
    background = target == 0
    assert (logits.grad[:, 1][background] < 0).all()


def test_gradcheck_where_merged():
    torch.manual_seed(0)
    logits = torch.randn(2, 3, 2, dtype=torch.float64, requires_grad=True)
    mask = annotated((1, 0, 1), (1, 1, 0))

    def probabilities(x):
        return merge_logits(x, mask).softmax(1)

    assert torch.autograd.gradcheck(probabilities, logits)
    assert torch.autograd.gradcheck(lambda x: merge_probs(x, mask), logits)
