import torch
from torch import Tensor


class RandomSource:
    """Everything that a diffusion draws, in one place, so that it can be replaced.

    Each method is called once per use in the order that its user documents. This one draws from
    torch's global generators; dropout, which does so too, is in the network's layers.
    """

    def times(self, batch_size: int, num_steps: int, device: torch.device) -> Tensor:
        """Draw the times at which labels are noised.

        Returns:
            int64 ``(batch_size,)``, uniform in [0, num_steps).
        """
        return torch.randint(num_steps, (batch_size,), device=device)

    def forward_noise(self, like: Tensor) -> Tensor:
        """Draw the standard normal noise that is added to labels, of the shape of ``like``."""
        return self._normal(like)

    def start(self, like: Tensor) -> Tensor:
        """Draw the standard normal noise from which sampling starts, of the shape of ``like``."""
        return self._normal(like)

    def gumbel(self, like: Tensor) -> Tensor:
        """Draw standard Gumbel noise of the shape of ``like``, finite."""
        uniform = torch.rand(like.shape, dtype=like.dtype, device=like.device)
        uniform.clamp_min_(torch.finfo(like.dtype).tiny)
        return uniform.log_().neg_().log_().neg_()

    @staticmethod
    def _normal(like: Tensor) -> Tensor:
        # Not randn_like: in a layout other than the plain one it is many times slower.
        return torch.randn(like.shape, dtype=like.dtype, device=like.device)
