from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn


class TaskDropout(nn.Module):
    """Dropout of whole maps: in training, all channels of a sample are dropped together.

    Of a model with several tasks, a task whose map is dropped is predicted from those of the
    others alone.

    Args:
        p: Share of maps that are dropped; the rest is scaled by 1 / (1 - p).

    Shape:
        ``(B, C, H, W)`` to the same.

    Raises:
        ValueError: If ``p`` lies outside [0, 1].
    """

    def __init__(self, p: float = 0.1) -> None:
        super().__init__()
        if not 0 <= p <= 1:
            raise ValueError(f'p must lie in [0, 1], got {p}')
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """Drop maps; nothing happens in evaluation."""
        # To the function each sample is a volume of one channel, which goes or stays as a whole.
        return F.dropout3d(x.unsqueeze(1), self.p, self.training).squeeze(1)

    @staticmethod
    def mask_shape(shape: Sequence[int]) -> tuple[int, ...]:
        """Shape of the mask of maps of a shape; Monte Carlo dropout draws masks by it."""
        return (shape[0], *[1] * (len(shape) - 1))

    def extra_repr(self) -> str:
        """Show the share."""
        return f'p={self.p}'
