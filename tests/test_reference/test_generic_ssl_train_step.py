"""Whole training iterations of the diffusion V-Net against the original's."""

from collections import Counter

import numpy as np
import pytest
import torch
from mmengine.optim import OptimWrapper

from mmjoint.structures import JointDataSample, VolumeData

from .fill import normal, rounded, uniform
from .generic_ssl_model import METHOD, fill, official_shapes, our_name, small
from .loader import reference

F64, F32_FACTOR = 1e-6, 10
STATE = ('step{}_param_l2', 'step{}_param_sum')


class Setting:
    """What the file says about its runs."""

    def __init__(self, arrays):
        self.salt, self.num_classes, self.width = (
            int(arrays[name]) for name in ('salt', 'num_classes', 'n_filters')
        )
        self.lr, self.mu, self.keep = (float(arrays[name]) for name in ('lr', 'mu', 'ema_w'))
        self.patch = tuple(arrays['patch'].tolist())
        self.iterations, self.batch = arrays['t'].shape

    def seed(self, iteration, number):
        return 100000 * self.salt + 10 * iteration + number

    def label(self, iteration):
        coarse = (self.batch, 1, *[side // 4 for side in self.patch])
        label = np.floor(self.num_classes * uniform(self.seed(iteration, 3), coarse))
        for axis in range(2, label.ndim):
            label = label.repeat(4, axis)
        return label

    def batches(self, iteration, dtype):
        shape, label = (self.batch, 1, *self.patch), self.label(iteration)
        # Only what is drawn was rounded to float32, not the sum.
        drawn = uniform(self.seed(iteration, 1), shape).astype(np.float32).astype(np.float64)
        labelled = torch.from_numpy(0.5 * drawn + 0.5 * label / self.num_classes)
        samples = [JointDataSample() for _ in label]
        for sample, volume in zip(samples, label, strict=True):
            sample.gt_sem_seg = VolumeData(data=torch.from_numpy(volume).long())
        unlabelled = uniform(self.seed(iteration, 2), shape)
        return (
            {'labelled': labelled.to(dtype), 'unlabelled': rounded(unlabelled, dtype)},
            {'labelled': samples, 'unlabelled': [JointDataSample() for _ in label]},
        )


class StoredSource:
    """The numbers that the vectors' runs drew."""

    def __init__(self, setting):
        self.setting = setting
        self.iteration = 0

    def _seed(self, number):
        return self.setting.seed(self.iteration, number)

    def times(self, batch_size, num_steps, device):
        drawn = uniform(self._seed(4), (batch_size,))
        return torch.from_numpy(np.floor(num_steps * drawn).astype(np.int64))

    def forward_noise(self, like):
        return rounded(normal(self._seed(5), like.shape), like.dtype)

    def start(self, like):
        return rounded(normal(self._seed(6), like.shape), like.dtype)

    def gumbel(self, like):
        drawn = uniform(self._seed(7), like.shape)
        return rounded(-np.log(-np.log(drawn + 1e-12)), like.dtype)


def run(arrays, dtype):
    """All iterations, with what the vectors tell of each."""
    setting = Setting(arrays)
    patch = setting.patch
    model = small(
        len(patch),
        setting.num_classes,
        setting.width,
        unlabelled_weight=setting.mu,
        ramp_up_epochs=0,
    )
    fill(model, len(patch), setting.num_classes, setting.width, setting.salt, dtype).train()
    model.random_source = source = StoredSource(setting)
    sgd = dict(lr=setting.lr, momentum=0.9, nesterov=True, weight_decay=3e-5)
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), **sgd))
    seen = {'x0': [], 'labels': []}
    sample_x0, make_labels = model.sample_x0, model.make_pseudo_labels

    def watch_x0(image):
        x_0 = sample_x0(image)
        seen['x0'].append((x_0.mean().item(), x_0.std().item()))
        return x_0

    def watch_labels(image):
        fused = make_labels(image)
        seen['labels'].append(fused.label)
        return fused

    model.sample_x0, model.make_pseudo_labels = watch_x0, watch_labels
    logs, states, gradients = [], [], None
    for iteration in range(setting.iterations):
        source.iteration = iteration
        model.average_decoders(setting.keep)
        inputs, samples = setting.batches(iteration, dtype)
        losses = model(inputs, samples, mode='loss')
        total, log = model.parse_losses(losses)
        wrapper.zero_grad()
        total.backward()
        if gradients is None:
            gradients = {
                name: p.grad.double().norm().item() for name, p in model.named_parameters()
            }
        wrapper.step()
        logs.append({name: value.item() for name, value in log.items()})
        states.append({name: p.detach().double().clone() for name, p in model.named_parameters()})
    return setting, model, logs, states, gradients, seen


@pytest.fixture(scope='module', params=[torch.float64, torch.float32])
def result(request):
    arrays = reference(METHOD, 'train_step_3d')
    torch.manual_seed(0)
    return arrays, request.param, run(arrays, request.param)


def compare(arrays, name, actual, dtype):
    expected, actual = np.asarray(arrays[name], np.float64), np.asarray(actual, np.float64)
    assert actual.shape == expected.shape, name
    error = np.abs(actual - expected)
    if dtype == torch.float64:
        bound = F64 * np.maximum(1.0, np.abs(expected))
    else:
        bound = F32_FACTOR * float(arrays[f'f32dev_abs/{name}'])
        relative = np.median(error / np.maximum(np.abs(expected), 1e-12))
        median = float(arrays[f'f32dev_rel_median/{name}'])
        assert relative <= F32_FACTOR * median + 1e-6, f'{name}: median {relative:.3g}'
    assert (error <= bound).all(), f'{name}: error {error.max():.3g}'


def test_losses_and_weights_of_classes(result):
    arrays, dtype, (setting, _, logs, *_) = result
    keys = (
        'loss',
        'labelled.loss_denoise',
        'labelled.loss_difficulty',
        'unlabelled.unweighted_pseudo',
    )
    ours = [[log[key] for key in keys] for log in logs]
    compare(arrays, 'losses_total_deno_diff_u', ours, dtype)
    weights = [
        [log[f'labelled.class_weight.{c}'] for c in range(setting.num_classes)] for log in logs
    ]
    compare(arrays, 'weight_diff', weights, dtype)
    for log in logs:
        assert log['unlabelled.consistency_weight'] == pytest.approx(setting.mu)
        trained = setting.mu * log['unlabelled.unweighted_pseudo']
        assert log['unlabelled.loss_pseudo'] == pytest.approx(trained, rel=1e-5)


def test_pseudo_labels(result):
    arrays, dtype, (setting, model, *_, seen) = result
    times = [
        np.floor(model.diffusion.num_steps * uniform(setting.seed(i, 4), (setting.batch,)))
        for i in range(setting.iterations)
    ]
    assert np.array_equal(times, arrays['t'])
    assert float(arrays['f32dev_frac/t']) == float(arrays['f32dev_frac/patch']) == 0
    labels = torch.stack(seen['labels'])
    counts = [torch.bincount(x.flatten(), minlength=setting.num_classes) for x in labels]
    every_fourth = labels[(slice(None), slice(None), *[slice(None, None, 4)] * len(setting.patch))]
    expected = arrays['pseudo_sub4']
    differing = (every_fourth.numpy() != expected.reshape(every_fourth.shape)).mean()
    hist_error = np.abs(torch.stack(counts).numpy() - arrays['pseudo_hist'])
    allowed = float(arrays['f32dev_frac/pseudo_sub4'])
    assert 0 <= float(arrays['f32dev_frac/pseudo_hist']) <= 1
    if dtype == torch.float64:
        assert differing == 0 and hist_error.max() == 0
    else:
        assert differing <= F32_FACTOR * allowed + 1e-3
        assert hist_error.max() <= (F32_FACTOR * allowed + 1e-3) * labels[0].numel()
    compare(arrays, 'ddim_xstart_mean_std', seen['x0'], dtype)


def test_gradients_and_weights(result):
    arrays, dtype, (_, _, _, states, gradients, _) = result
    names = [our_name(str(name)) for name in arrays['param_names']]
    used = [i for i, name in enumerate(names) if name is not None]
    assert {names[i] for i in used} == set(gradients)
    stored = arrays['step0_grad_l2']
    # What the converter drops is what the original never gives a gradient.
    assert [i for i, value in enumerate(stored) if value != -1] == used

    def at(name, values):
        """Ours in the places of the stored, the dropped ones as they are stored."""
        filled = np.array(arrays[name])
        filled[used] = [values[names[i]] for i in used]
        return filled

    compare(arrays, 'step0_grad_l2', at('step0_grad_l2', gradients), dtype)
    for step, state in enumerate(states):
        for name, reduce in zip(STATE, (torch.Tensor.norm, torch.Tensor.sum), strict=True):
            values = {key: reduce(value).item() for key, value in state.items()}
            compare(arrays, name.format(step), at(name.format(step), values), dtype)
    final = states[-1]
    last = final['decode_head.conv_seg.weight'].flatten(1)
    name = 'final_theta_out_conv_weight'
    compare(arrays, name, last, dtype)


def test_running_statistics(result):
    arrays, dtype, (_, model, *_) = result
    state = model.state_dict()
    names = [our_name(str(name)) for name in arrays['bn_names']]
    sums = [state[name].double().sum().item() for name in names]
    compare(arrays, 'bn_final_sum', sums, dtype)
    counters = [name.replace('running_mean', 'num_batches_tracked') for name in names[::2]]
    counts = [int(state[name]) for name in counters]
    assert np.array_equal(counts, arrays['bn_num_batches'])
    assert float(arrays['f32dev_frac/bn_num_batches']) == 0
    assert len(Counter(counts)) == 5
    mean = state[our_name('denoise_model.encoder.block_two.ops.0.norm.running_mean')]
    compare(arrays, 'final_enc_block_two_bn_mean', mean, dtype)


def test_vectors_name_every_weight(result):
    arrays, _, (setting, *_) = result
    shapes = official_shapes(len(setting.patch), setting.num_classes, setting.width)
    buffers = ('running_mean', 'running_var', 'num_batches_tracked')
    parameters = [name for name in shapes if not name.endswith(buffers)]
    assert sorted(parameters) == sorted(str(name) for name in arrays['param_names'])
