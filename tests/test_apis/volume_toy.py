"""A model that knows the answer; configs of the tests import it."""

import torch
from torch import nn

from mmjoint.models.joint import BaseJointModel, BatchPrediction, pixel_data
from mmjoint.registry import MODELS


@MODELS.register_module()
class LevelModel(BaseJointModel):
    """Takes the class from the intensity: level c of the C levels in [0, 1] is class c.

    With ``echo`` it gives the true label map back, whatever it sees; without ``seg`` it predicts
    a class of the whole image alone.
    """

    def __init__(self, num_classes, num_axes=3, echo=False, seg=True, **options):
        options.setdefault('data_preprocessor', dict(type='VolumeDataPreprocessor'))
        super().__init__(**options)
        self.conv = (nn.Conv3d if num_axes == 3 else nn.Conv2d)(1, num_classes, 1)
        self.echo, self.seg = echo, seg
        # The squared distance from x (C - 1) to c, without what all classes share.
        levels = torch.arange(num_classes).float()
        shape = (num_classes, 1, *(1,) * num_axes)
        with torch.no_grad():
            self.conv.weight.copy_((40 * levels * (num_classes - 1)).reshape(shape))
            self.conv.bias.copy_(-20 * levels**2)

    def infer_window(self, inputs):
        logits = self.conv(inputs[:, :1])
        if self.seg:
            return BatchPrediction(seg_logits=logits)
        return BatchPrediction(cls_logits=logits.flatten(2).mean(2))

    def predict(self, inputs, data_samples):
        super().predict(inputs, data_samples)
        if self.echo:
            for sample in data_samples:
                sample.pred_sem_seg = pixel_data(data=sample.gt_sem_seg.data.clone())
        return data_samples

    def loss(self, inputs, data_samples):
        raise NotImplementedError

    def _forward(self, inputs):
        return self.conv(inputs)
