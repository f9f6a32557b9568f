from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from mmjoint.functional.noise_levels import cosine_betas, linear_betas, respaced_betas, spaced_steps
from mmjoint.registry import MODELS

Denoiser = Callable[[Tensor, Tensor], Tensor]

_SCHEDULES = {'linear': linear_betas, 'cosine': cosine_betas}


def signed_one_hot(target: Tensor, num_classes: int, dtype: torch.dtype) -> Tensor:
    """Masks as x_0: 1 at the voxel's class, -1 at the others.

    Args:
        target: int64 ``(B, *space)`` in [0, C); other values give -1 everywhere.
        num_classes: C.
        dtype: Type of the result.

    Returns:
        ``(B, C, *space)``.
    """
    classes = torch.arange(num_classes, device=target.device)
    one_hot = target.unsqueeze(1) == classes.view(-1, *[1] * (target.dim() - 1))
    return one_hot.to(dtype).mul_(2).sub_(1)


@MODELS.register_module()
class GaussianDiffusion(nn.Module):
    r"""Gaussian noising of masks, and DDIM sampling with a network that predicts x_0.

    It knows no network: :math:`x_t = \sqrt{\bar\alpha_t} x_0 + \sqrt{1 - \bar\alpha_t} \epsilon`,
    and backwards, deterministically (:math:`\eta = 0`), over some of the steps. Tables are computed
    in float64, rounded to float32 when used; they are no part of checkpoints.

    Args:
        num_steps: Number T of noise levels.
        schedule: ``'linear'`` (1e-4 to 0.02) or ``'cosine'``.
        sampling_steps: How many of the levels sampling visits: in all, or in each of as many equal
            sections.
        clip: Keep x_0 within [-1, 1] in sampling.

    Raises:
        ValueError: The schedule is unknown or there are fewer levels than sampling visits.

    Reference:
        Ho et al., "Denoising diffusion probabilistic models", NeurIPS 2020, eq. 4; Song et al.,
        "Denoising diffusion implicit models", ICLR 2021, eq. 12.
    """

    def __init__(
        self,
        *,
        num_steps: int = 1000,
        schedule: Literal['linear', 'cosine'] = 'linear',
        sampling_steps: int | Sequence[int] = 10,
        clip: bool = True,
    ) -> None:
        super().__init__()
        if schedule not in _SCHEDULES:
            raise ValueError(f"schedule must be 'linear' or 'cosine', got {schedule!r}")
        self.num_steps = num_steps
        self.clip = clip
        self.betas = _SCHEDULES[schedule](num_steps)
        """float64 ``(T,)``."""
        self.alphas_cumprod = np.cumprod(1 - self.betas)
        """Share of the signal in the variance of each level, float64 ``(T,)``."""
        self.timesteps = spaced_steps(num_steps, sampling_steps)
        """The levels that sampling visits, rising; the network is told these."""
        visited = respaced_betas(self.betas, self.timesteps)
        self.visited_alphas_cumprod = np.cumprod(1 - visited)
        for name, squares in (
            ('_signal', self.alphas_cumprod),
            ('_spread', 1 - self.alphas_cumprod),
        ):
            table = torch.from_numpy(np.sqrt(squares)).float()
            self.register_buffer(name, table, persistent=False)

    def add_noise(self, x_0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """Noise clean masks.

        Args:
            x_0: ``(B, C, *space)``.
            noise: Standard normal, of the same shape.
            t: int64 ``(B,)`` in [0, T).

        Returns:
            x_t, ``(B, C, *space)``.
        """
        shape = (-1, *[1] * (x_0.dim() - 1))
        signal = self._signal[t].view(shape).to(x_0)
        spread = self._spread[t].view(shape).to(x_0)
        return signal * x_0 + spread * noise

    def step(self, pred_x0: Tensor, index: int, x_t: Tensor) -> Tensor:
        r"""One step of DDIM, to the next lower of the visited levels.

        Args:
            pred_x0: What the network makes of ``x_t``, ``(B, C, *space)``.
            index: Position of the present level among ``timesteps``.
            x_t: The present sample.

        Returns:
            The sample at level ``index - 1``; at ``index`` 0 ``pred_x0`` itself.
        """
        level = self.visited_alphas_cumprod[index]
        below = self.visited_alphas_cumprod[index - 1] if index else 1.0
        # Rounded where the original rounds, on the host: no look-up on the device. Its 1 - below
        # in float32 is wrong by up to 3e-4 of itself at the lowest level.
        rescale, reverse = np.sqrt([1 / level, 1 / level - 1]).astype(np.float32).tolist()
        below = np.float32(below)
        signal, spread = float(np.sqrt(below)), float(np.sqrt(1 - below))
        # signal * pred_x0 + spread * pred_noise, pred_noise = (rescale * x_t - pred_x0) / reverse
        share = spread / reverse
        return torch.add(share * rescale * x_t, pred_x0, alpha=signal - share)

    def predicted_x0(self, denoise: Denoiser, start: Tensor) -> Iterator[Tensor]:
        """Sample, and give the x_0 that the network sees at each visited level.

        Only the present sample is kept, and after the last prediction none is made.

        Args:
            denoise: ``(x_t (B, C, *space), t int64 (B,)) -> x_0``; half precision is widened.
            start: Standard normal noise ``(B, C, *space)``.

        Yields:
            x_0 as clipped, from the highest level to the lowest.
        """
        x_t = start
        for index in reversed(range(len(self.timesteps))):
            t = torch.full((len(start),), self.timesteps[index], device=start.device)
            pred_x0 = denoise(x_t, t).to(start.dtype)
            if self.clip:
                pred_x0 = pred_x0.clamp(-1, 1)
            yield pred_x0
            if index:
                x_t = self.step(pred_x0, index, x_t)

    def sample(self, denoise: Denoiser, start: Tensor) -> Tensor:
        """Sample masks: the clipped x_0 of the lowest level.

        Args:
            denoise: See :meth:`predicted_x0`.
            start: See :meth:`predicted_x0`.

        Returns:
            ``(B, C, *space)``, in [-1, 1] where clipped.
        """
        for pred_x0 in self.predicted_x0(denoise, start):
            result = pred_x0
        return result
