"""A tiny joint model and a config for it."""

import torch
from mmengine.model import BaseModel
from mmengine.structures import PixelData
from torch import nn
from torch.nn import functional as F

from mmjoint.registry import MODELS
from mmjoint.structures import stack_labels, stack_seg_maps

CONFIG = """
default_scope = 'mmjoint'
model = dict(
    type='TinyJointModel',
    data_preprocessor=dict(type='JointDataPreprocessor', mean=[0.0], std=[255.0]),
)
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.1))
train_dataloader = dict(
    batch_size=3,
    num_workers=0,
    sampler=dict(type='ResumableSampler', shuffle=True),
    dataset=dict(
        type='REFUGEJointDataset',
        data_root='nowhere',
        split='train',
        pipeline=[
            dict(type='LoadJointImage'),
            dict(type='LoadJointAnnotations'),
            dict(type='PackJointInputs'),
        ],
    ),
)
test_dataloader = train_dataloader
"""


@MODELS.register_module()
class TinyJointModel(BaseModel):
    """A 3x3 convolution for the mask, a linear layer for the class."""

    def __init__(self, num_classes=3, data_preprocessor=None):
        super().__init__(data_preprocessor)
        self.conv = nn.Conv2d(3, num_classes, 3, padding=1)
        self.fc = nn.Linear(3, 2)
        self.progress = None
        self.calls = []

    def set_train_progress(self, progress):
        self.progress = progress

    def forward(self, inputs, data_samples=None, mode='tensor'):
        self.calls.append((mode, self.training, torch.is_grad_enabled()))
        maps, scores = self.conv(inputs), self.fc(inputs.mean(dim=(2, 3)))
        if mode == 'tensor':
            return maps, scores
        if mode == 'loss':
            labels, _ = stack_labels(data_samples)
            seg_maps = stack_seg_maps(data_samples)
            return dict(
                loss_seg=F.cross_entropy(maps, seg_maps, ignore_index=255),
                loss_cls=F.cross_entropy(scores, labels),
            )
        for sample, one in zip(data_samples, maps, strict=True):
            sample.pred_sem_seg = PixelData(data=one.argmax(dim=0, keepdim=True))
        return data_samples
