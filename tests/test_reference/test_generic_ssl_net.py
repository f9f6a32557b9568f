"""The whole diffusion V-Net against the original's: its three paths and ten steps of DDIM."""

import pytest
import torch

from .fill import normal, rounded, uniform
from .generic_ssl_model import METHOD, fill, norms, our_name, small
from .loader import assert_close, reference

F64, F32_FACTOR = 1e-9, 10
DTYPES = (torch.float64, torch.float32)


def setting(arrays):
    salt, num_classes, width = (int(arrays[name]) for name in ('salt', 'num_classes', 'n_filters'))
    return salt, num_classes, width, tuple(arrays['patch'].tolist())


def make(arrays, dtype):
    salt, num_classes, width, patch = setting(arrays)
    model = small(len(patch), num_classes, width)
    return fill(model, len(patch), num_classes, width, salt, dtype)


def inputs(arrays, dtype):
    salt, num_classes, _, patch = setting(arrays)
    number = len(arrays['t'])
    image = rounded(uniform(7 * salt + 1, (number, 1, *patch)), dtype)
    x_t = rounded(normal(7 * salt + 2, (number, num_classes, *patch)), dtype)
    return image, x_t, arrays.tensor('t')


def paths(model, image, x_t, t):
    """In the order in which the vectors were made."""
    yield 'xi', model.denoise(x_t, t, image)
    yield 'theta', model.segment(image, model.decode_head)
    yield 'psi', model.segment(image, model.supervised_head)


def statistics(values):
    return torch.stack([values.mean(), values.std(), values.min(), values.max()])


def compare(arrays, name, values, dtype):
    expected = torch.from_numpy(arrays[name]).double()
    values = values.detach().double()
    # The deviation of a float32 run is stored for each array; it is itself rounding.
    deviation = float(arrays[f'f32dev/{name}'])
    tolerance = F64 if dtype == torch.float64 else F32_FACTOR * max(deviation, 1e-8)
    error = (values - expected).abs().max().item()
    assert error <= tolerance, f'{name}: error {error:.3g}, tolerance {tolerance:.3g}'


def compare_map(arrays, name, values, dtype):
    every_fourth = values[(..., *[slice(None, None, 4)] * (values.dim() - 2))]
    compare(arrays, f'{name}_sub4', every_fourth, dtype)
    compare(arrays, f'{name}_stat', statistics(values.double()), dtype)


@pytest.mark.parametrize('dtype', DTYPES)
@pytest.mark.parametrize('num_axes', [2, 3])
@torch.no_grad()
def test_paths(num_axes, dtype):
    arrays = reference(METHOD, f'net_{num_axes}d')
    image, x_t, t = inputs(arrays, dtype)
    for mode in ('eval', 'train'):
        model = make(arrays, dtype).train(mode == 'train')
        for name, values in paths(model, image, x_t, t):
            compare_map(arrays, f'{mode}_{name}', values, dtype)
    prediction = make(arrays, dtype).eval().infer(image).seg_logits
    compare_map(arrays, 'eval_theta', prediction, dtype)


@pytest.mark.parametrize('num_axes', [2, 3])
@torch.no_grad()
def test_running_statistics(num_axes):
    """Each pass moves those that it goes through, and stored ones are reproduced.

    Vectors whose counters say that no batch was seen were read off a model before its passes.
    """
    arrays = reference(METHOD, f'net_{num_axes}d')
    image, x_t, t = inputs(arrays, torch.float64)
    fresh, model = make(arrays, torch.float64).state_dict(), make(arrays, torch.float64).train()
    assert len(list(paths(model, image, x_t, t))) == 3
    counts = {'backbone.stem': 2, 'backbone': 3}
    for name, norm in norms(model).items():
        part = 'backbone.stem' if name.startswith('backbone.stem') else name.split('.')[0]
        assert norm.num_batches_tracked == counts.get(part, 1), name
    prefix = 'after_train/'
    stored = [name.removeprefix(prefix) for name in arrays if name.startswith(prefix)]
    assert stored
    for key in stored:
        norm = key.rpartition('.')[0]
        seen = int(arrays[f'{prefix}{norm}.num_batches_tracked'])
        state = model.state_dict() if seen else fresh
        assert_close(state[our_name(key)], arrays[prefix + key], F64, key)


@pytest.mark.parametrize('dtype', DTYPES)
@pytest.mark.parametrize('num_axes', [2, 3])
@torch.no_grad()
def test_sampling(num_axes, dtype):
    arrays = reference(METHOD, f'net_{num_axes}d')
    image, x_t, _ = inputs(arrays, dtype)
    model = make(arrays, dtype).eval()
    seen = list(model.diffusion.predicted_x0(lambda x, t: model.denoise(x, t, image), x_t))
    stats = torch.stack([statistics(x_0.double()) for x_0 in seen])
    compare(arrays, 'eval_ddim_xstart_stat_per_step', stats, dtype)
    every_fourth = seen[-1][(..., *[slice(None, None, 4)] * num_axes)]
    compare(arrays, 'eval_ddim_pred_xstart_sub4', every_fourth, dtype)
