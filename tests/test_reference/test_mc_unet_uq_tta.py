"""Test-time augmentation at the size of the image, against the original's functions."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from mmjoint.functional.views import Shrink, View, dihedral_views
from mmjoint.models.data_preprocessors import JointDataPreprocessor
from mmjoint.models.joint import BaseJointModel, BatchPrediction
from mmjoint.models.uncertainty import Softmax, TestTimeAugmentation
from mmjoint.registry import TRANSFORMS

from .loader import reference

METHOD = 'mc_unet_uq'
TOLERANCE = 1e-5


class Net(BaseJointModel):
    """A function of images in [0, 1] as a model."""

    def __init__(self, function):
        super().__init__(data_preprocessor=JointDataPreprocessor([0.0], [255.0]))
        self.function = function

    def loss(self, inputs, data_samples):
        raise NotImplementedError

    def _forward(self, inputs):
        raise NotImplementedError

    def infer_window(self, inputs):
        return BatchPrediction(seg_logits=self.function(inputs))


def stub(arrays):
    weight, bias = arrays.tensor('stub_weight'), arrays.tensor('stub_bias')
    return Net(lambda x: F.conv2d(x, weight, bias, padding=weight.shape[-1] // 2))


def u_net(weights):
    """The original's network in evaluation mode, by its own keys."""

    def convolve_twice(x, name):
        for conv, norm in ((0, 1), (3, 4)):
            x = F.conv2d(x, weights[f'{name}.double_conv.{conv}.weight'], padding=1)
            parts = ('running_mean', 'running_var', 'weight', 'bias')
            x = F.batch_norm(x, *(weights[f'{name}.double_conv.{norm}.{p}'] for p in parts)).relu()
        return x

    def forward(x):
        maps = [convolve_twice(x, 'inc')]
        for level in range(1, 5):
            small = F.max_pool2d(maps[-1], 2)
            maps.append(convolve_twice(small, f'down{level}.maxpool_conv.1'))
        x = maps.pop()
        for level in range(1, 5):
            up = f'up{level}'
            x = F.conv_transpose2d(x, weights[f'{up}.up.weight'], weights[f'{up}.up.bias'], 2)
            x = convolve_twice(torch.cat([maps.pop(), x], 1), f'{up}.conv')
        return F.conv2d(x, weights['outc.conv.weight'], weights['outc.conv.bias'])

    return Net(forward)


def predict(model, image, size, kind, **options):
    """Probabilities ``(C, H, W)`` by an estimator, through the whole test pipeline."""
    pipeline = [
        dict(type='PillowResize', size=tuple(int(n) for n in size)),
        dict(type='PackJointInputs'),
    ]
    estimator = kind(model, **options).eval()
    shape = image.shape[:2]
    packed = dict(img=image, img_shape=shape, ori_shape=shape, seg_fields=[])
    for transform in kind.adapt_pipeline(pipeline, options):
        packed = TRANSFORMS.build(transform)(packed)
    batch = {key: [value] for key, value in packed.items()}
    with torch.no_grad():
        (sample,) = estimator.test_step(batch)
    return sample.seg_logits.data.double().softmax(0).numpy()


def close(actual, expected):
    np.testing.assert_allclose(actual, expected, rtol=0, atol=TOLERANCE)


def test_views():
    arrays = reference(METHOD, 'tta')
    grid = arrays['grid']
    for number, view in enumerate(dihedral_views()):
        expected, inverse = arrays[f'd4_{number}'], arrays[f'd4_inv_{number}']
        np.testing.assert_array_equal(view.apply(grid, (0, 1)), expected)
        np.testing.assert_array_equal(view.invert(grid, (0, 1)), inverse)
        np.testing.assert_array_equal(view.invert(expected, (0, 1)), grid)
        np.testing.assert_array_equal(view.apply(torch.from_numpy(grid), (-2, -1)), expected)


def test_shrinking_and_its_inverse():
    arrays = reference(METHOD, 'tta')
    for name in [name for name in arrays if name.startswith('shrunk_')]:
        shrink, image = Shrink(float(name.partition('_')[2])), arrays['shrink_image']
        offsets = [shrink.offset(length) for length in image.shape[:2]]
        canvas = shrink.canvas(shrink.content(image), image.shape[:2], *offsets)
        np.testing.assert_array_equal(canvas, arrays[name])
    for name in [name for name in arrays if name.startswith('prob')]:
        shrink, probs = Shrink(float(name.partition('_')[2])), arrays[name]
        expected = arrays[name.replace('prob', 'unshrunk')]
        np.testing.assert_allclose(shrink.undo_plain(probs), expected, rtol=0, atol=1e-7)
        undone = shrink.undo(torch.from_numpy(np.array(probs)))
        np.testing.assert_allclose(undone, expected, rtol=0, atol=2e-7)
        # What a view has flipped is cut from the other side.
        view = View(False, (0, 1))
        turned = shrink.undo_plain(view.apply(probs, (0, 1)))
        undone = shrink.undo(torch.from_numpy(np.array(probs)), (True, True))
        np.testing.assert_allclose(undone, view.invert(turned, (0, 1)), rtol=0, atol=2e-7)


@pytest.mark.parametrize('fused', [True, False])
@pytest.mark.parametrize('spread', [True, False])
def test_mean_over_the_views(fused, spread):
    arrays = reference(METHOD, 'tta')
    options = dict(
        source='image', shrink=float(arrays['scale']), fused=fused, spread=spread, views='dihedral'
    )
    image, size = arrays['shrink_image'], arrays['newWH']
    probs = predict(stub(arrays), image, size, TestTimeAugmentation, **options)
    close(probs[0], arrays['tta_avg_c0'])
    close(probs[1], arrays['tta_avg_c1'])
    close(predict(stub(arrays), image, size, Softmax)[1], arrays['direct_c1'])
    # The bases are what matters: the forms agree far more closely than the vectors ask for.
    other = predict(
        stub(arrays), image, size, TestTimeAugmentation, **{**options, 'fused': not fused}
    )
    np.testing.assert_allclose(probs, other, rtol=0, atol=8e-7)


@pytest.mark.parametrize('fused', [True, False])
def test_mean_over_the_views_of_the_small_u_net(fused):
    arrays, picture = reference(METHOD, 'tta'), reference(METHOD, 'mc_dropout_w2')
    weights = reference(METHOD, 'unet_w2_tconv').below('w.')
    model = u_net({name: weight.float() for name, weight in weights.items()})
    options = dict(source='image', shrink=float(arrays['scale']), fused=fused)
    image, size = picture['image'], picture['newWH']
    close(predict(model, image, size, Softmax)[1], picture['direct_c1'])
    probs = predict(model, image, size, TestTimeAugmentation, **options)
    close(probs[1], arrays['tta_unet_w2_c1'])
