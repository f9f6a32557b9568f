import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmjoint.registry import MODELS


@MODELS.register_module()
class FrozenBatchNorm2d(nn.Module):
    """Batch norm with fixed statistics and affine part; all four are buffers.

    ``y = x * scale + shift`` with ``scale = weight / sqrt(running_var + eps)`` and
    ``shift = bias - running_mean * scale``.

    Args:
        num_features: Channels.
        eps: Added to the variance. UML's frozen norms use 0.
    """

    def __init__(self, num_features: int, *, eps: float = 0.0) -> None:
        super().__init__()
        self.num_features = num_features
        self.eps = eps
        self.register_buffer('weight', torch.ones(num_features))
        self.register_buffer('bias', torch.zeros(num_features))
        self.register_buffer('running_mean', torch.zeros(num_features))
        self.register_buffer('running_var', torch.ones(num_features))

    def scale_shift(self) -> tuple[Tensor, Tensor]:
        """The factor and the summand per channel, in the buffers' own precision."""
        scale = self.weight / (self.running_var + self.eps).sqrt()
        return scale, self.bias - self.running_mean * scale

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``(B, C, H, W)``."""
        scale, shift = self.scale_shift()
        return x * scale.view(1, -1, 1, 1) + shift.view(1, -1, 1, 1)

    def extra_repr(self) -> str:
        """Show the arguments in ``print(model)``."""
        return f'{self.num_features}, eps={self.eps}'


def conv_frozen_bn(
    x: Tensor, conv: nn.Conv2d, norm: FrozenBatchNorm2d, *, relu: bool = True, fused: bool = True
) -> Tensor:
    """Convolution, frozen batch norm and, if asked, ReLU.

    Args:
        x: ``(B, C, H, W)``.
        conv: With or without bias.
        norm: The norm that follows.
        relu: Whether a ReLU follows.
        fused: Fold the norm into the convolution's weight and bias for this call. The result is
            the same up to rounding, without two full-size element-wise passes; the gradient
            reaches ``conv`` through the folding.

    Returns:
        ``(B, C_out, H_out, W_out)``.
    """
    if fused:
        scale, shift = norm.scale_shift()
        bias = shift if conv.bias is None else conv.bias * scale + shift
        weight = conv.weight * scale.view(-1, 1, 1, 1)
        out = F.conv2d(x, weight, bias, conv.stride, conv.padding, conv.dilation, conv.groups)
    else:
        out = norm(conv(x))
    return F.relu(out, inplace=fused) if relu else out


def freeze_batch_norms(module: nn.Module, *, eps: float = 0.0) -> None:
    """Replace every ``BatchNorm2d`` below ``module`` by a frozen one with its values."""
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            frozen = FrozenBatchNorm2d(child.num_features, eps=eps)
            frozen.load_state_dict(
                {k: v for k, v in child.state_dict().items() if k != 'num_batches_tracked'}
            )
            setattr(module, name, frozen)
        else:
            freeze_batch_norms(child, eps=eps)
