"""A&D without its savings, for measuring: the model and the loading of data as in the original.

Configs beside this file import it; it is no test.
"""

import numpy as np
from mmcv.transforms import BaseTransform

from mmjoint.functional.intensity import normalize_volume
from mmjoint.registry import MODELS, TRANSFORMS
from tests.test_models.test_semi.plain import PlainAggregateDecouple

MODELS.register_module(module=PlainAggregateDecouple)


@TRANSFORMS.register_module()
class PlainLoadVolume(BaseTransform):
    """Read a whole prepared volume at each visit, and look for its range anew."""

    def __init__(self, clip=None, percentiles=None):
        self.limits = dict(clip=clip, percentiles=percentiles)

    def transform(self, results):
        image = normalize_volume(np.load(results['img_path']), **self.limits)
        results['img'] = image[..., None]
        results['img_shape'] = results['ori_shape'] = image.shape
        return results


@TRANSFORMS.register_module()
class PlainZeroLabels(BaseTransform):
    """Give a sample without labels a map of zeros, which all that follows carries along."""

    def transform(self, results):
        results['gt_seg_map'] = np.zeros(results['ori_shape'], np.uint8)
        results['seg_fields'].append('gt_seg_map')
        return results


@TRANSFORMS.register_module()
class PlainDropLabels(BaseTransform):
    """Take the map away before it is packed."""

    def transform(self, results):
        results['seg_fields'].remove('gt_seg_map')
        del results['gt_seg_map']
        return results
