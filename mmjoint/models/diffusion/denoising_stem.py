import torch
from mmengine.model import BaseModule
from torch import Tensor

from mmjoint.registry import MODELS

from ..layers.vnet_blocks import ConvBlock, Norm, TimeEmbedding


@MODELS.register_module()
class DenoisingStem(BaseModule):
    """First level of a denoiser: image and noisy mask joined and convolved, and the time.

    Args:
        num_classes: Channels C of the noisy mask.
        num_axes: Number of space axes, 2 or 3.
        in_channels: Channels of the image.
        base_channels: Channels f of the result.
        norm: ``'batch'``, ``'group'`` (16 groups), ``'instance'`` or ``'none'``.
        dropout: Channel dropout after the convolution.
        sinusoid_channels: Length of the sinusoidal embedding of a time.
        time_channels: Length of the time vectors.
        init_cfg: Initialisation; by default PyTorch's own.

    Shape:
        - x_t: ``(B, C, *space)``; t: ``(B,)``; image: ``(B, in_channels, *space)``.
        - Output: ``(B, f, *space)`` and ``(B, time_channels)``.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        num_axes: int = 3,
        in_channels: int = 1,
        base_channels: int = 32,
        norm: Norm = 'batch',
        dropout: float = 0.1,
        sinusoid_channels: int = 128,
        time_channels: int = 512,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.time_embedding = TimeEmbedding(sinusoid_channels, time_channels)
        self.block = ConvBlock(
            1,
            in_channels + num_classes,
            base_channels,
            num_axes=num_axes,
            norm=norm,
            dropout=dropout,
        )

    def forward(self, x_t: Tensor, t: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
        """Give the first map and the time's vectors."""
        return self.block(_joined(image, x_t)), self.time_embedding(t)


def _joined(image: Tensor, x_t: Tensor) -> Tensor:
    """Channels of both, where a voxel's channels lie together in the same layout.

    With one channel the image's layout is ambiguous, and PyTorch would join in the plain one.
    """
    rows = x_t.movedim(1, -1)
    if not rows.is_contiguous():
        return torch.cat([image, x_t], 1)
    return torch.cat([image.movedim(1, -1), rows], -1).movedim(-1, 1)
