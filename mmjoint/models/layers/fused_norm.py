"""Batch norm, channel dropout and an offset in one pass, where a voxel's channels lie together.

PyTorch's batch norm on the CPU sums maps of this layout in float32 one after the other: with the
millions of voxels of a volume the variance is wrong by 1e-3. Here sums are taken in a cascade, as
exact as those of the other layout; and what follows the norm costs no further pass.
"""

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx

_BATCH_NORMS = (nn.BatchNorm2d, nn.BatchNorm3d)


def can_fuse_norm(norm: nn.Module, x: Tensor) -> bool:
    """Whether :func:`fused_norm` gives what a norm gives for a map, and faster."""
    return (
        type(norm) in _BATCH_NORMS
        and norm.training
        and norm.affine
        and x.device.type == 'cpu'
        and x.dtype == norm.weight.dtype
        and x.movedim(1, -1).is_contiguous()
        and not x.is_contiguous()
    )


def fused_norm(x: Tensor, norm: nn.Module, mask: Tensor | None, offset: Tensor | None) -> Tensor:
    """Compute ``norm(x) * mask + offset`` with the batch's statistics, and follow these.

    Args:
        x: ``(B, C, *space)``, for which :func:`can_fuse_norm` is true. Without gradients its
            memory becomes that of the result.
        norm: Batch norm in training mode; its running statistics are updated, if it has them.
        mask: Factors ``(B, C)`` without gradient, or None for 1.
        offset: ``(B, C)``, or None for 0.

    Returns:
        ``(B, C, *space)``.
    """
    out, mean, var = _FusedNorm.apply(
        x, norm.weight, norm.bias, mask, offset, norm.eps, not torch.is_grad_enabled()
    )
    if norm.track_running_stats:
        count = x.numel() // x.shape[1]
        with torch.no_grad():
            norm.num_batches_tracked.add_(1)
            momentum = norm.momentum
            if momentum is None:
                momentum = 1 / norm.num_batches_tracked.item()
            norm.running_mean.lerp_(mean, momentum)
            norm.running_var.lerp_(var * (count / (count - 1)), momentum)
    return out


def _rows(x: Tensor) -> Tensor:
    """A map as ``(B, voxels, C)``."""
    return x.movedim(1, -1).flatten(1, -2)


class _FusedNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: FunctionCtx,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        mask: Tensor | None,
        offset: Tensor | None,
        eps: float,
        inplace: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:
        rows = _rows(x)
        count = rows.shape[0] * rows.shape[1]
        mean = rows.flatten(0, 1).sum(0) / count
        centred = rows.sub_(mean) if inplace else rows - mean
        var = centred.square().flatten(0, 1).sum(0) / count
        inverse = (var + eps).rsqrt()
        scale, shift = weight * inverse, bias
        if mask is not None:
            scale, shift = scale * mask, shift * mask
        if offset is not None:
            shift = shift + offset
        if mask is not None or offset is not None:
            scale, shift = (each.expand(len(x), -1).unsqueeze(1) for each in (scale, shift))
        out = centred.mul_(scale).add_(shift)
        ctx.save_for_backward(x, weight, mask, mean, inverse)
        ctx.has_offset = offset is not None
        ctx.mark_non_differentiable(mean, var)
        return out.unflatten(1, x.shape[2:]).movedim(-1, 1), mean, var

    @staticmethod
    def backward(ctx: FunctionCtx, grad: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mask, mean, inverse = ctx.saved_tensors
        grad = _rows(grad).contiguous()
        centred = _rows(x) - mean
        count = grad.shape[0] * grad.shape[1]
        # Sums of each sample, since masks differ between samples.
        grad_sum = grad.sum(1)
        moment = (grad * centred).sum(1)
        grad_offset = grad_sum if ctx.has_offset else None
        scale = (weight * inverse).expand(len(x), -1)
        if mask is not None:
            grad_sum, moment, scale = grad_sum * mask, moment * mask, scale * mask
        grad_bias, moment = grad_sum.sum(0), moment.sum(0)
        slope = weight * inverse**3 * moment / count
        level = weight * inverse * grad_bias / count
        grad_x = centred.mul_(-slope).sub_(level).addcmul_(grad, scale.unsqueeze(1))
        grad_x = grad_x.unflatten(1, x.shape[2:]).movedim(-1, 1)
        return grad_x, moment * inverse, grad_bias, None, grad_offset, None, None
