import math

import pytest
import torch

from mmjoint.functional.noise_levels import linear_betas
from mmjoint.models.diffusion import DenoisingStem, GaussianDiffusion, RandomSource
from mmjoint.models.diffusion.gaussian_diffusion import signed_one_hot


def test_signed_one_hot():
    x_0 = signed_one_hot(torch.tensor([[0, 2, 255]]), 3, torch.float64)
    assert x_0.tolist() == [[[1, -1, -1], [-1, -1, -1], [-1, 1, -1]]]


def test_noise_by_hand():
    diffusion = GaussianDiffusion(num_steps=3, sampling_steps=2)
    levels = torch.tensor(1 - linear_betas(3)).cumprod(0)
    x_0, noise = torch.ones(2, 1, 4, dtype=torch.float64), torch.full((2, 1, 4), 2.0).double()
    x_t = diffusion.add_noise(x_0, noise, torch.tensor([0, 2]))
    for value, level in zip(x_t[:, 0, 0], levels[[0, 2]], strict=True):
        expected = math.sqrt(level) + 2 * math.sqrt(1 - level)
        assert value.item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize('space', [(3,), (4, 5), (2, 3, 4)])
@pytest.mark.parametrize('sampling_steps', [1, 2, 10, [3, 4]])
def test_a_perfect_denoiser_gives_the_mask(space, sampling_steps):
    diffusion = GaussianDiffusion(num_steps=100, sampling_steps=sampling_steps)
    x_0 = signed_one_hot(torch.randint(3, (2, *space)), 3, torch.float32)
    seen = []

    def perfect(x_t, t):
        seen.append((x_t, t))
        return 5 * x_0  # clipped to it

    start = torch.randn_like(x_0)
    assert torch.equal(diffusion.sample(perfect, start), x_0)
    times = [t.tolist() for _, t in seen]
    assert times == [[t, t] for t in reversed(diffusion.timesteps)]
    assert torch.equal(seen[0][0], start)
    # Each sample is the mask noised with one and the same noise.
    noises = []
    for x_t, t in seen:
        level = torch.as_tensor(diffusion.alphas_cumprod)[t].view(-1, *[1] * (x_t.dim() - 1))
        noises.append((x_t - level.sqrt() * x_0) / (1 - level).sqrt())
    for noise in noises[1:]:
        torch.testing.assert_close(noise, noises[0], rtol=0, atol=2e-3)


def test_steps_without_clipping():
    """With a denoiser that gives the sample back, a step only changes the scale."""
    diffusion = GaussianDiffusion(num_steps=50, sampling_steps=5, clip=False)
    start = torch.randn(1, 2, 8, dtype=torch.float64)
    outputs = list(diffusion.predicted_x0(lambda x, t: x, start))
    assert len(outputs) == 5 and torch.equal(outputs[0], start)
    ratio = outputs[1] / outputs[0]
    torch.testing.assert_close(ratio, ratio.mean().expand_as(ratio), rtol=1e-9, atol=0)
    level, below = diffusion.visited_alphas_cumprod[[4, 3]]
    noise = (1 / math.sqrt(level) - 1) / math.sqrt(1 / level - 1)
    expected = math.sqrt(below) + math.sqrt(1 - below) * noise
    assert ratio.mean().item() == pytest.approx(expected, rel=1e-5)


def test_lowest_step_gives_x0():
    diffusion = GaussianDiffusion(num_steps=50, sampling_steps=5)
    x_0, x_t = torch.randn(2, 1, 2, 3)
    assert torch.equal(diffusion.step(x_0, 0, x_t), x_0)


def test_half_precision_is_widened_and_nothing_is_stored():
    diffusion = GaussianDiffusion(num_steps=50, sampling_steps=2)
    start = torch.randn(1, 2, 3)
    assert diffusion.sample(lambda x, t: x.half(), start).dtype == torch.float32
    assert not diffusion.state_dict()


def test_mistakes():
    with pytest.raises(ValueError, match="'linear' or 'cosine', got 'square'"):
        GaussianDiffusion(schedule='square')
    with pytest.raises(ValueError, match='cannot keep 11 of 10 steps'):
        GaussianDiffusion(num_steps=10, sampling_steps=11)


def test_random_source():
    torch.manual_seed(0)
    source, like = RandomSource(), torch.empty(2, 3, 40, 40, 40)
    gumbel = source.gumbel(like)
    assert torch.isfinite(gumbel).all() and gumbel.shape == like.shape
    assert gumbel.mean().item() == pytest.approx(0.5772, abs=0.01)  # Euler's constant
    assert gumbel.std().item() == pytest.approx(math.pi / math.sqrt(6), abs=0.01)
    for noise in (source.start(like), source.forward_noise(like)):
        assert noise.mean().item() == pytest.approx(0, abs=0.01)
        assert noise.std().item() == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize('num_axes', [2, 3])
def test_stem(num_axes):
    space = (5, 6, 4)[:num_axes]
    stem = DenoisingStem(
        num_classes=3, num_axes=num_axes, base_channels=4, sinusoid_channels=8, time_channels=16
    ).eval()
    image, x_t = torch.rand(2, 1, *space), torch.randn(2, 3, *space)
    x, time = stem(x_t, torch.tensor([3, 900]), image)
    assert x.shape == (2, 4, *space) and time.shape == (2, 16)
    assert not torch.equal(time[0], time[1])
    # The image stands first.
    kernel = stem.block.stages[0].conv
    assert torch.equal(stem.block(torch.cat([image, x_t], 1)), x) and kernel.in_channels == 4
