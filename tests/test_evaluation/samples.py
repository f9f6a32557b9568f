"""Predicted and annotated samples for the tests of metrics."""

import numpy as np
import torch
from mmengine.structures import BaseDataElement, PixelData

from mmjoint.structures import JointDataSample, VolumeData


def make_sample(
    gt_label=None,
    pred_score=None,
    cls_alpha=None,
    pred_label=None,
    gt_map=None,
    pred_map=None,
    seg_logits=None,
    vacuity_map=None,
    vacuity=None,
    **metainfo,
):
    sample = JointDataSample(metainfo={'img_path': 'a.png', **metainfo})
    if cls_alpha is not None:
        sample.cls_alpha = torch.as_tensor(cls_alpha)
        if pred_score is None:
            pred_score = sample.cls_alpha / sample.cls_alpha.sum()
    if gt_label is not None:
        sample.set_gt_label(int(gt_label))
    if pred_score is not None:
        sample.pred_score = torch.as_tensor(pred_score)
        label = int(sample.pred_score.argmax()) if pred_label is None else pred_label
        sample.pred_label = torch.tensor([label])
    if vacuity is not None:
        sample.cls_uncertainty = BaseDataElement(vacuity=torch.tensor(vacuity))
    if gt_map is not None:
        sample.gt_sem_seg = pixels(gt_map, torch.int64)
    if seg_logits is not None:
        sample.seg_logits = PixelData(data=torch.as_tensor(np.array(seg_logits)))
        if pred_map is None:
            pred_map = np.asarray(seg_logits).argmax(0)
    if pred_map is not None:
        sample.pred_sem_seg = pixels(pred_map, torch.int64)
    if vacuity_map is not None:
        sample.seg_uncertainty = PixelData(vacuity=torch.as_tensor(np.array(vacuity_map))[None])
    return sample


def pixels(label_map, dtype):
    kind = VolumeData if np.ndim(label_map) == 3 else PixelData
    return kind(data=torch.as_tensor(np.array(label_map)).to(dtype)[None])


def evaluate(metric, samples, size=None, classes=None, cls_classes=None):
    """Run a metric as an evaluator does, one sample per batch."""
    meta = {}
    if classes is not None:
        meta['classes'] = classes
    if cls_classes is not None:
        meta['cls_classes'] = cls_classes
    metric.dataset_meta = meta
    for sample in samples:
        metric.process(None, [sample.to_dict()])
    return metric.evaluate(len(samples) if size is None else size)
