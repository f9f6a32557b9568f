"""A tiny model that learns from two branches; configs of the tests import it."""

import torch
from mmengine.model import BaseModel
from torch import nn

from mmjoint.registry import MODELS


@MODELS.register_module()
class BranchToy(BaseModel):
    """A convolution that learns from both branches."""

    def __init__(self, data_preprocessor):
        super().__init__(data_preprocessor)
        self.conv = nn.Conv3d(1, 2, 3, padding=1)

    def forward(self, inputs, data_samples=None, mode='tensor'):
        assert mode == 'loss'
        target = torch.cat([sample.gt_sem_seg.data for sample in data_samples['labelled']])
        assert not any('gt_sem_seg' in sample for sample in data_samples['unlabelled'])
        supervised = nn.functional.cross_entropy(self.conv(inputs['labelled']), target)
        probs = self.conv(inputs['unlabelled']).softmax(1)
        return dict(loss_sup=supervised, loss_unsup=(probs * (1 - probs)).mean())
