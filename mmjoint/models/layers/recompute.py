"""Double convolution that keeps only the convolutions' outputs for its backward pass.

Batch norm, ReLU, dropout and the cheap step that made the input (enlarging, joining) are computed
anew in the backward pass, which needs a fraction of the memory and no second convolution.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

_ALL = [True, True, True]


def _per_channel(values: Tensor) -> Tensor:
    return values.view(1, -1, 1, 1)


def _normalised(z: Tensor, mean: Tensor, inv_std: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    scale = inv_std * weight
    return torch.addcmul(_per_channel(bias - mean * scale), z, _per_channel(scale)).relu_()


def _conv_backward(
    grad: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None
) -> tuple[Tensor, Tensor, Tensor | None]:
    sizes, wanted = ([weight.shape[0]], _ALL) if bias is not None else (None, [True, True, False])
    return torch.ops.aten.convolution_backward(
        grad, x, weight, sizes, [1, 1], [1, 1], [1, 1], False, [0, 0], 1, wanted
    )


def _norm_backward(
    grad: Tensor, z: Tensor, weight: Tensor, mean: Tensor, inv_std: Tensor, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    return torch.ops.aten.native_batch_norm_backward(
        grad, z, weight, None, None, mean, inv_std, True, eps, _ALL
    )


class _DoubleConv(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx,
        prepare: Callable[..., Tensor],
        noises: tuple[Tensor | None, Tensor | None],
        norms: tuple[nn.BatchNorm2d, nn.BatchNorm2d],
        *tensors: Tensor | None,
    ) -> Tensor:
        parameters, sources = tensors[:8], tensors[8:]
        x = prepare(*sources)
        kept = []
        for i, (norm, noise) in enumerate(zip(norms, noises, strict=True)):
            conv_weight, conv_bias, weight, bias = parameters[4 * i : 4 * i + 4]
            z = torch.conv2d(x, conv_weight, conv_bias, padding=1)
            x, mean, inv_std = torch.native_batch_norm(
                z, weight, bias, norm.running_mean, norm.running_var, True, norm.momentum, norm.eps
            )
            x.relu_()
            if noise is not None:
                x.mul_(noise)
            kept += [z, mean, inv_std]
        ctx.save_for_backward(*tensors, *kept)
        ctx.prepare, ctx.noises = prepare, noises
        ctx.eps = tuple(norm.eps for norm in norms)
        ctx.num_sources = len(sources)
        return x

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        saved = ctx.saved_tensors
        parameters, sources = saved[:8], saved[8 : 8 + ctx.num_sources]
        z1, mean1, inv_std1, z2, mean2, inv_std2 = saved[8 + ctx.num_sources :]
        w1, b1, gamma1, beta1, w2, b2, gamma2, beta2 = parameters
        noise1, noise2 = ctx.noises

        out = _normalised(z2, mean2, inv_std2, gamma2, beta2)
        grad = grad.masked_fill(out <= 0, 0.0)
        del out
        if noise2 is not None:
            grad.mul_(noise2)
        grad, grad_gamma2, grad_beta2 = _norm_backward(
            grad, z2, gamma2, mean2, inv_std2, ctx.eps[1]
        )
        hidden = _normalised(z1, mean1, inv_std1, gamma1, beta1)
        inactive = hidden <= 0
        if noise1 is not None:
            hidden.mul_(noise1)
        grad, grad_w2, grad_b2 = _conv_backward(grad, hidden, w2, b2)
        del hidden
        grad.masked_fill_(inactive, 0.0)
        del inactive
        if noise1 is not None:
            grad.mul_(noise1)
        grad, grad_gamma1, grad_beta1 = _norm_backward(
            grad, z1, gamma1, mean1, inv_std1, ctx.eps[0]
        )
        with torch.enable_grad():
            leaves = [source.detach().requires_grad_() for source in sources]
            x = ctx.prepare(*leaves)
        grad, grad_w1, grad_b1 = _conv_backward(grad, x.detach(), w1, b1)
        grad_sources = torch.autograd.grad(x, leaves, grad) if x.grad_fn else (grad,)
        return (
            None,
            None,
            None,
            grad_w1,
            grad_b1,
            grad_gamma1,
            grad_beta1,
            grad_w2,
            grad_b2,
            grad_gamma2,
            grad_beta2,
            *grad_sources,
        )


def _noise(x: Tensor, channels: int, dropout: nn.Module) -> Tensor | None:
    """Channel dropout's factors, drawn as ``nn.Dropout2d`` draws them."""
    keep = 1 - getattr(dropout, 'p', 0.0)
    if keep == 1 or not dropout.training:
        return None
    if keep == 0:
        return x.new_zeros(x.shape[0], channels, 1, 1)
    return x.new_empty(x.shape[0], channels, 1, 1).bernoulli_(keep).div_(keep)


class _Scale(torch.autograd.Function):
    """``x * factor`` for a factor per pixel >= 1, keeping the product alone."""

    @staticmethod
    def forward(ctx, x: Tensor, factor: Tensor) -> Tensor:
        product = x * factor
        ctx.save_for_backward(product, factor)
        return product

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor, Tensor]:
        product, factor = ctx.saved_tensors
        return grad * factor, (grad * product).sum(1, keepdim=True) / factor


def scale_by_pixel(x: Tensor, factor: Tensor) -> Tensor:
    """Scale every pixel, keeping only the product for the backward pass.

    Args:
        x: ``(B, C, H, W)``.
        factor: ``(B, 1, H, W)``, >= 1, so that dividing by it is safe.

    Returns:
        ``x * factor``.
    """
    return _Scale.apply(x, factor)


def can_recompute(norms: tuple[nn.Module, ...], *sources: Tensor) -> bool:
    """Whether the lean backward pass applies.

    It needs plain batch norm in training mode with a fixed momentum, gradients, and one precision
    throughout.
    """
    return (
        torch.is_grad_enabled()
        and not torch.is_autocast_enabled(sources[0].device.type)
        and not torch.compiler.is_compiling()
        and all(
            type(norm) is nn.BatchNorm2d and norm.training and norm.momentum is not None
            for norm in norms
        )
    )


def double_conv(prepare: Callable[..., Tensor], block: nn.Module, *sources: Tensor) -> Tensor:
    """Apply a ``DoubleConv`` in training mode to ``prepare(*sources)``.

    Args:
        prepare: Cheap differentiable function of the sources, without parameters.
        block: The double convolution.
        sources: What ``prepare`` takes.

    Returns:
        The block's output; same values and gradients as calling it.
    """
    norms = (block.bn1, block.bn2)
    noises = (
        _noise(sources[0], block.conv1.out_channels, block.dropout1),
        _noise(sources[0], block.conv2.out_channels, block.dropout2),
    )
    for norm in norms:
        norm.num_batches_tracked.add_(1)
    parameters = [
        parameter
        for conv, norm in zip((block.conv1, block.conv2), norms, strict=True)
        for parameter in (conv.weight, conv.bias, norm.weight, norm.bias)
    ]
    return _DoubleConv.apply(prepare, noises, norms, *parameters, *sources)
