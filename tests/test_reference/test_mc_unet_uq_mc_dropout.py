"""MC dropout and the plain pass of a small U-Net, from a picture to maps at its size."""

import numpy as np
import pytest
import torch

from mmjoint.datasets.transforms import PackJointInputs, PillowResize
from mmjoint.models.uncertainty import MCDropout, Softmax

from .loader import reference
from .test_mc_unet_uq_model import METHOD, assert_near, load, scope  # noqa: F401 (a fixture)

TOLERANCE = 1e-5
# Where the original's dropout layers stand in ours.
OURS = {'down': 'backbone.downs.{}.dropout2', 'up': 'backbone.ups.{}.conv.dropout2'}


def our_name(original):
    stage = original.partition('.')[0]
    kind, number = stage.rstrip('0123456789'), int(stage.lstrip('downup'))
    return OURS[kind].format(number - 1)


@pytest.fixture(scope='module')
def arrays():
    return reference(METHOD, 'mc_dropout_w2')


@pytest.fixture
def model():
    return load(reference(METHOD, 'unet_w2_tconv').below('w.')).eval()


def predict(estimator, arrays):
    image = arrays['image']
    results = dict(img=image, img_shape=image.shape[:2], ori_shape=image.shape[:2])
    size = tuple(int(length) for length in arrays['newWH'])
    for transform in (PillowResize(size), PackJointInputs()):
        results = transform(results)
    batch = {key: [value] for key, value in results.items()}
    with torch.no_grad():
        (sample,) = estimator.test_step(batch)
    return sample


def keep_flags(arrays):
    """(our name of a layer) -> bool (T, channels)."""
    counts = [int(count) for count in arrays['drop_layer_channels']]
    flags = np.split(arrays['keep'], np.cumsum(counts)[:-1], axis=1)
    names = [our_name(str(name)) for name in arrays['drop_layer_names']]
    return dict(zip(names, flags, strict=True))


@pytest.mark.parametrize(
    'options', [{'fused': False}, {'memory_budget_mib': 1e-6}, {'memory_budget_mib': 64.0}]
)
def test_mc_dropout(arrays, model, options):
    keep = keep_flags(arrays)
    passes = len(arrays['keep'])
    estimator = MCDropout(model, num_samples=passes, keep_std=True, **options).eval()
    asked = set()

    def masks(name, number, shape, p):
        asked.add((name, number))
        flags = torch.from_numpy(keep[name][number]).float()
        return (flags / (1 - p)).view(1, -1, *[1] * (len(shape) - 2)).expand(shape)

    estimator.mask_source = masks
    seen = []
    estimator.observer = lambda sample, number, probs: seen.append((number, probs))
    sample = predict(estimator, arrays)
    assert asked == {(name, number) for name in keep for number in range(passes)}
    assert [number for number, _ in seen] == list(range(passes))
    stored = arrays['probs_c1']
    for (number, probs), expected in zip(seen, stored, strict=False):
        assert_near(probs[1], expected, TOLERANCE, f'pass {number}')
    means = torch.stack([probs[1].double().mean() for _, probs in seen])
    assert_near(means, arrays['pass_mean_c1'], TOLERANCE)
    mean = sample.seg_logits.data.double().softmax(0)
    assert_near(mean[1], arrays['avg_c1'], TOLERANCE)
    assert_near(mean[0], arrays['avg_c0'], TOLERANCE)
    assert_near(sample.seg_std.data[1], arrays['std_c1'], TOLERANCE)


def test_share_of_dropped_channels(arrays, model):
    """The seed behind the flags is told for information: another torch draws others from it."""
    assert arrays['torch_seed'].shape == ()
    flags = keep_flags(arrays)
    layers = dict(model.named_modules())
    assert all(isinstance(layers[name], torch.nn.Dropout2d) for name in flags)
    rate = {layers[name].p for name in flags}.pop()
    dropped = np.mean(np.concatenate([each.ravel() for each in flags.values()]) == 0)
    error = 4 * np.sqrt(rate * (1 - rate) / arrays['keep'].size)
    assert abs(dropped - rate) < error


def test_one_pass(arrays, model):
    sample = predict(Softmax(model).eval(), arrays)
    assert_near(sample.seg_logits.data.double().softmax(0)[1], arrays['direct_c1'], TOLERANCE)
    assert np.array_equal(sample.pred_sem_seg.data[0].numpy(), arrays['hard_mask'])
    sample = predict(model, arrays)  # without any estimator
    assert_near(sample.seg_logits.data.double().softmax(0)[1], arrays['direct_c1'], TOLERANCE)
    assert np.array_equal(sample.pred_sem_seg.data[0].numpy(), arrays['hard_mask'])
