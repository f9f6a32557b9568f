"""A tiny model of two tasks that learns from five branches; configs of the tests import it."""

import torch
from mmengine.model import BaseModel
from torch import nn
from torch.nn import functional

from mmjoint.registry import MODELS
from mmjoint.structures import stack_labels


@MODELS.register_module()
class FiveStreamToy(BaseModel):
    """A convolution under a mask head and a class head, with dropout."""

    def __init__(self, data_preprocessor):
        super().__init__(data_preprocessor)
        self.conv = nn.Conv2d(1, 3, 3, padding=1)
        self.mask = nn.Conv2d(3, 1, 1)
        self.label = nn.Linear(3, 2)

    def forward(self, inputs, data_samples=None, mode='tensor'):
        assert mode == 'loss'
        assert [s.img_path for s in data_samples['cls_weak']] == [
            s.img_path for s in data_samples['cls_strong']
        ]
        assert not any('gt_label' in sample for sample in data_samples['cls_weak'])
        assert not any('gt_sem_seg' in sample for sample in data_samples['seg_unlabelled'])
        features = {
            branch: functional.dropout(self.conv(images).relu(), 0.25)
            for branch, images in inputs.items()
        }
        masks = {b: self.mask(features[b]) for b in ('seg_labelled', 'seg_unlabelled')}
        logits = {
            b: self.label(features[b].mean((2, 3)))
            for b in ('cls_labelled', 'cls_weak', 'cls_strong')
        }
        target = torch.stack([s.gt_sem_seg.data for s in data_samples['seg_labelled']]).float()
        labels, known = stack_labels(data_samples['cls_labelled'])
        assert known.all()
        pseudo = logits['cls_weak'].detach().argmax(1)
        return dict(
            loss_mask=functional.binary_cross_entropy_with_logits(masks['seg_labelled'], target),
            loss_entropy=(lambda p: (p * (1 - p)).mean())(masks['seg_unlabelled'].sigmoid()),
            loss_cls=functional.cross_entropy(logits['cls_labelled'], labels),
            loss_ssl=functional.cross_entropy(logits['cls_strong'], pseudo),
        )
