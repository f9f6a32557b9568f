"""Noise levels, noising and DDIM against the original's."""

import re

import numpy as np
import pytest
import torch

from mmjoint.functional.noise_levels import (
    cosine_betas,
    linear_betas,
    respaced_betas,
    spaced_steps,
    strided_steps,
)
from mmjoint.models.diffusion import GaussianDiffusion, RandomSource
from mmjoint.models.diffusion.gaussian_diffusion import signed_one_hot

from .loader import assert_close, reference

METHOD = 'generic_ssl'
EXACT, TENSOR = 1e-12, 1e-5


@pytest.fixture(scope='module')
def arrays():
    return reference(METHOD, 'diffusion')


def sizes(arrays):
    """Numbers of all levels and of the visited ones."""
    found = {int(m[1]) for name in arrays if (m := re.match(r'T(\d+)_betas$', name))}
    return max(found), min(found)


def make(arrays, **options):
    total, visited = sizes(arrays)
    return GaussianDiffusion(num_steps=total, sampling_steps=visited, **options)


def posterior(betas):
    """Coefficients of the mean, and variance, of x_{t-1} given x_0 and x_t (DDPM, eq. 6, 7)."""
    level = np.cumprod(1 - betas)
    below = np.concatenate([[1.0], level[:-1]])
    return (
        betas * np.sqrt(below) / (1 - level),
        (1 - below) * np.sqrt(1 - betas) / (1 - level),
        betas * (1 - below) / (1 - level),
    )


def test_levels(arrays):
    total, visited = sizes(arrays)
    diffusion = make(arrays)
    assert_close(diffusion.betas, arrays[f'T{total}_betas'], EXACT, 'betas')
    name = f'T{total}_alphas_cumprod'
    assert_close(diffusion.alphas_cumprod, arrays[name], EXACT, name)
    assert diffusion.timesteps == arrays[f'T{visited}_timestep_map'].tolist()
    every = list(range(total)) == spaced_steps(total, total)
    assert every == bool(arrays[f'T{total}_map_is_identity'])
    betas = respaced_betas(diffusion.betas, diffusion.timesteps)
    level = diffusion.visited_alphas_cumprod
    below = np.concatenate([[1.0], level[:-1]])
    for name, values in {
        'betas': betas,
        'alphas_cumprod': level,
        'alphas_cumprod_prev': below,
        'sqrt_alphas_cumprod': np.sqrt(level),
        'sqrt_one_minus_alphas_cumprod': np.sqrt(1 - level),
        'sqrt_recip_alphas_cumprod': np.sqrt(1 / level),
        'sqrt_recipm1_alphas_cumprod': np.sqrt(1 / level - 1),
    }.items():
        assert_close(values, arrays[f'T{visited}_{name}'], EXACT, name)
    for number, values in ((total, diffusion.betas), (visited, betas)):
        names = ('posterior_mean_coef1', 'posterior_mean_coef2', 'posterior_variance')
        for name, value in zip(names, posterior(values), strict=True):
            assert_close(value, arrays[f'T{number}_{name}'], EXACT, name)
    variance = posterior(betas)[2]
    logarithm = np.log(np.concatenate([variance[1:2], variance[1:]]))
    name = f'T{visited}_posterior_log_variance_clipped'
    assert_close(logarithm, arrays[name], EXACT, name)


def test_choice_of_steps(arrays):
    for name in [name for name in arrays if name.startswith('steps_')]:
        total, *counts = name.removeprefix('steps_').split('_')
        if counts[0].startswith('ddim'):
            steps = strided_steps(int(total), int(counts[0].removeprefix('ddim')))
        else:
            steps = spaced_steps(int(total), [int(count) for count in counts])
        assert steps == arrays[name].tolist(), name


def test_other_schedules(arrays):
    for name in [name for name in arrays if name.startswith('betas_')]:
        if match := re.fullmatch(r'betas_linear_(\d+)_scaled', name):
            number = int(match[1])
            scale = 1000 / number
            betas = linear_betas(number, start=1e-4 * scale, end=0.02 * scale)
        else:
            match = re.fullmatch(r'betas_cosine_(\d+)_first(\d+)_last(\d+)', name)
            number, first, last = (int(group) for group in match.groups())
            betas = cosine_betas(number)
            betas = np.concatenate([betas[:first], betas[-last:]])
        assert_close(betas, arrays[name], EXACT, name)


def test_noising(arrays):
    noise, t = arrays.tensor('noise'), arrays.tensor('t')
    label = arrays.tensor('label', torch.int64)[:, 0]
    x_0 = signed_one_hot(label, noise.shape[1], noise.dtype)
    assert_close(make(arrays).add_noise(x_0, noise, t), arrays['q_sample'], TENSOR, 'q_sample')


def toy_denoiser(arrays):
    image = arrays.tensor('image')
    num_classes = arrays['x_t'].shape[1]
    slope = torch.linspace(-1, 1.5, num_classes).view(1, -1, 1, 1, 1)

    def denoise(x, t):
        return 0.6 * x * torch.cos(t.view(-1, 1, 1, 1, 1) / 700) + slope * image * 1.7 - 0.1

    return denoise


def test_one_step(arrays):
    diffusion, denoise = make(arrays), toy_denoiser(arrays)
    x_t, index = arrays.tensor('x_t'), arrays.tensor('step_idx')
    t = torch.tensor(diffusion.timesteps)[index]
    output = denoise(x_t, t)
    assert_close(output, arrays['p_model_output'], TENSOR, 'output')
    pred_x0 = output.clamp(-1, 1)
    assert_close(pred_x0, arrays['p_pred_xstart'], TENSOR, 'x_0')
    assert_close(pred_x0, arrays['ddim_step_pred_xstart'], TENSOR, 'x_0 of DDIM')
    steps = [
        diffusion.step(pred_x0[i : i + 1], int(n), x_t[i : i + 1]) for i, n in enumerate(index)
    ]
    assert_close(torch.cat(steps), arrays['ddim_step_sample'], TENSOR, 'step')
    level = torch.from_numpy(diffusion.visited_alphas_cumprod)[index].view(-1, 1, 1, 1, 1)
    noise = (x_t / level.sqrt() - pred_x0) / (1 / level - 1).sqrt()
    assert_close(noise, arrays['eps_from_xstart'], TENSOR, 'noise')


def test_posterior_that_is_not_used(arrays):
    """The original computes it in each step; a written-out check that it means the same."""
    diffusion = make(arrays)
    betas = respaced_betas(diffusion.betas, diffusion.timesteps)
    index = arrays['step_idx']
    first, second, variance = posterior(betas)
    shape = (-1, 1, 1, 1, 1)
    x_0, x_t = arrays['p_pred_xstart'], arrays['x_t']
    mean = first[index].reshape(shape) * x_0 + second[index].reshape(shape) * x_t
    assert_close(mean, arrays['p_mean'], TENSOR, 'mean')
    large = np.concatenate([variance[1:2], betas[1:]])[index]
    assert_close(large, arrays['p_variance'], TENSOR, 'variance')
    assert_close(np.log(large), arrays['p_log_variance'], TENSOR, 'log variance')


def test_sampling(arrays):
    x_t, denoise = arrays.tensor('x_t'), toy_denoiser(arrays)
    diffusion = make(arrays)
    seen = list(diffusion.predicted_x0(denoise, x_t))
    means = [x_0.double().mean().item() for x_0 in seen]
    assert_close(means, arrays['ddim_loop_xstart_mean_per_step'], TENSOR, 'means')
    result = diffusion.sample(denoise, x_t)
    assert torch.equal(result, seen[-1])
    assert_close(result, arrays['ddim_loop_pred_xstart'], TENSOR, 'x_0')
    assert_close(result, arrays['ddim_loop_sample'], TENSOR, 'sample')
    free = make(arrays, clip=False).sample(denoise, x_t)
    assert_close(free, arrays['ddim_loop_noclip_sample'], TENSOR, 'without clipping')


def test_times(arrays):
    """The original's draw by numpy; ours draws the same numbers' range, uniformly too."""
    seed, expected = int(arrays['uniform_sampler_t_np_seed']), arrays['uniform_sampler_t']
    total, number = sizes(arrays)[0], len(expected)
    drawn = np.random.RandomState(seed).choice(total, size=number, p=np.full(total, 1 / total))
    assert np.array_equal(drawn, expected)
    assert np.array_equal(arrays['uniform_sampler_w'], np.ones(number))
    torch.manual_seed(seed)
    ours = RandomSource().times(100 * total, total, torch.device('cpu'))
    counts = torch.bincount(ours, minlength=total)
    assert len(counts) == total and counts.min() > 40 and counts.max() < 170
