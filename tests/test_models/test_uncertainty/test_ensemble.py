import pytest
import torch

from mmjoint.models.uncertainty import Ensemble

from .models import Tiny, close, make_inputs, watched


def test_equal_members_agree():
    members = [Tiny().eval() for _ in range(3)]
    samples, probs = watched(Ensemble(members[0], checkpoints=members[1:]), make_inputs())
    assert len(probs) == 3
    for uncertainty in (samples[0].seg_uncertainty, samples[0].cls_uncertainty):
        close(uncertainty.mutual_information, 0.0)
        close(uncertainty.variance, 0.0)


def test_the_mean_is_that_of_the_members():
    members, inputs = [Tiny(seed=seed).eval() for seed in range(3)], make_inputs()
    samples, _ = watched(Ensemble(members[0], checkpoints=members[1:]), inputs)
    with torch.no_grad():
        expected = sum(m.infer(inputs).seg_logits.double().softmax(1) for m in members) / 3
    for sample, probs in zip(samples, expected, strict=True):
        close(sample.seg_logits.data.double().softmax(0), probs)
    assert samples[0].seg_uncertainty.mutual_information.max() > 0.01


def test_what_is_refused():
    with pytest.raises(ValueError, match='expected at least 2 members, found only the tested'):
        Ensemble(Tiny())
    with pytest.raises(TypeError, match="must be built models, got 'a.pth'"):
        Ensemble(Tiny(), checkpoints=['a.pth'])
