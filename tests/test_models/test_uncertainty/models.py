"""A tiny model of either task or both in 2-D and 3-D, and the stacked form of all measures."""

import numpy as np
import torch
import torch.nn.functional as F
from scipy.special import entr
from torch import nn

from mmjoint.models.data_preprocessors import JointDataPreprocessor
from mmjoint.models.joint import BaseJointModel, BatchPrediction
from mmjoint.structures import JointDataSample

CONV = {2: nn.Conv2d, 3: nn.Conv3d}
TASKS = ('seg', 'cls', 'joint')


class Tiny(BaseJointModel):
    """One convolution; pixel logits, and logits or evidence of the image from its mean."""

    def __init__(
        self, axes=2, task='joint', num_classes=3, num_cls_classes=3, evidence=False, seed=0
    ):
        super().__init__(data_preprocessor=JointDataPreprocessor([0.0], [255.0]))
        torch.manual_seed(seed)
        self.head = CONV[axes](3, num_classes, 3, padding=1)
        self.cls = nn.Linear(num_classes, num_cls_classes)
        self.task = task
        self.evidence = evidence

    def loss(self, inputs, data_samples):
        raise NotImplementedError

    def _forward(self, inputs):
        raise NotImplementedError

    def infer_window(self, inputs):
        maps = 3 * self.head(inputs)
        image = 3 * self.cls(maps.flatten(2).mean(2))
        seg, cls = self.task != 'cls', self.task != 'seg'
        return BatchPrediction(
            seg_logits=maps if seg else None,
            seg_evidence=F.softplus(maps) if seg and self.evidence else None,
            cls_logits=image if cls and not self.evidence else None,
            cls_alpha=F.softplus(image) + 1 if cls and self.evidence else None,
        )


def make_inputs(axes=2, count=2, size=(6, 8, 5), seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 3, *size[:axes], generator=generator)


def make_samples(inputs, original=None):
    """Samples of images of another size than the network's input."""
    metainfo = {} if original is None else dict(ori_shape=original)
    return [JointDataSample(metainfo=metainfo) for _ in inputs]


def watched(estimator, inputs, original=None):
    """Predict; give the samples and the pixel probabilities that the observer saw of the last."""
    samples, seen = make_samples(inputs, original), {}

    def observe(sample, number, probs):
        seen.setdefault(id(sample), []).append((number, probs.double().numpy()))

    estimator.observer = observe
    with torch.no_grad():
        estimator.eval().predict(inputs, samples)
    passes = seen.get(id(samples[-1]), [])
    assert [number for number, _ in passes] == list(range(len(passes)))
    return samples, np.array([probs for _, probs in passes])


def stacked(probs):
    """All measures of maps ``(M, C, ...)`` at once, by their definitions."""
    mean = probs.mean(0)
    total, expected = entr(mean).sum(0), entr(probs).sum(1).mean(0)
    return mean, {
        'predictive_entropy': total,
        'expected_entropy': expected,
        'mutual_information': total - expected,
        'variance': probs.var(0).mean(0),
    }


def check_seg(sample, probs, *, std=None):
    """Compare a sample's pixel fields with the stacked passes."""
    mean, measures = stacked(probs)
    close(sample.seg_logits.data.double().softmax(0), mean)
    assert torch.equal(sample.pred_sem_seg.data[0], sample.seg_logits.data.argmax(0))
    assert set(sample.seg_uncertainty.keys()) == set(measures)
    for name, expected in measures.items():
        value = getattr(sample.seg_uncertainty, name)
        assert value.shape == (1, *mean.shape[1:]) and value.dtype == torch.float32
        close(value[0], expected)
    if std is not None:
        close(sample.seg_std.data, probs.std(0))


def check_cls(sample, probs):
    """Compare a sample's image fields with the stacked passes."""
    mean, measures = stacked(probs)
    close(sample.pred_score, mean)
    assert sample.pred_score.sum().item() == 1 or abs(sample.pred_score.sum().item() - 1) < 1e-6
    assert sample.pred_label.item() == mean.argmax()
    for name, expected in measures.items():
        value = getattr(sample.cls_uncertainty, name)
        assert value.shape == ()
        close(value, expected)


def close(actual, expected, tolerance=1e-6):
    np.testing.assert_allclose(np.asarray(actual), expected, rtol=0, atol=tolerance)
