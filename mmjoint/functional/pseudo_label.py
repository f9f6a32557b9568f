"""Fusion of two branches' predictions into pseudo-labels, and how healthy these are."""

import math
from typing import NamedTuple

import torch
from torch import Tensor


class FusedLabels(NamedTuple):
    """What a fusion gives.

    Attributes:
        label: int64 ``(B, *space)``, the pseudo-label.
        denoiser_probs: ``(B, C, *space)``, the vote of the denoiser.
        psi_probs: ``(B, C, *space)``, the probabilities of the other branch.
    """

    label: Tensor
    denoiser_probs: Tensor
    psi_probs: Tensor


def gaussian_weights(sigma: float = 1.0) -> tuple[float, float, float]:
    """Three normalised taps of a Gaussian.

    Args:
        sigma: Standard deviation, in voxels.

    Returns:
        Weights at -1, 0, 1; a kernel of several axes is their outer product.
    """
    side = math.exp(-0.5 / sigma**2)
    total = 1 + 2 * side
    return side / total, 1 / total, side / total


def smooth_maps(maps: Tensor, sigma: float = 1.0) -> Tensor:
    """Smooth every channel by a Gaussian of 3 taps per axis; zeros lie beyond the borders.

    Axis by axis, which is the kernel of ``3 ** d`` taps up to rounding.

    Args:
        maps: ``(B, C, *space)``.
        sigma: Standard deviation, in voxels.

    Returns:
        ``(B, C, *space)``.
    """
    side, centre, _ = gaussian_weights(sigma)
    for axis in range(2, maps.dim()):
        length = maps.shape[axis] - 1
        smooth = maps * centre
        smooth.narrow(axis, 1, length).add_(maps.narrow(axis, 0, length), alpha=side)
        smooth.narrow(axis, 0, length).add_(maps.narrow(axis, 1, length), alpha=side)
        maps = smooth
    return maps


def gumbel_softmax(logits: Tensor, noise: Tensor | None, temperature: float = 1.0) -> Tensor:
    """Softmax of logits with Gumbel noise: a soft draw of a class.

    Args:
        logits: ``(B, C, *space)``.
        noise: Standard Gumbel noise of the same shape, or None for no noise.
        temperature: > 0; towards 0 the result becomes a hard draw (without noise: the argmax).

    Returns:
        ``(B, C, *space)``, sums over axis 1 are 1.

    Reference:
        Jang et al., "Categorical reparameterization with Gumbel-Softmax", ICLR 2017, eq. 2.
    """
    logits = logits if noise is None else logits + noise
    return (logits if temperature == 1 else logits / temperature).softmax(1)


def fuse_pseudo_labels(
    pred_x0: Tensor,
    psi_logits: Tensor,
    gumbel_noise: Tensor | None,
    *,
    temperature: float = 1.0,
    sigma: float = 1.0,
) -> FusedLabels:
    """Let a denoiser and a discriminative branch vote for the class of each voxel.

    The denoiser's vote is the smoothed soft draw of a class from its x_0, the other one the
    softmax; the label is the argmax of their sum.

    Args:
        pred_x0: ``(B, C, *space)`` in [-1, 1].
        psi_logits: ``(B, C, *space)``.
        gumbel_noise: Standard Gumbel noise of the same shape, or None for no noise. Against it
            a difference of 2 between classes counts little: with many classes the vote is noise.
        temperature: See :func:`gumbel_softmax`.
        sigma: Of the smoothing, in voxels.

    Returns:
        The label and both votes.
    """
    denoiser = smooth_maps(gumbel_softmax(pred_x0, gumbel_noise, temperature), sigma)
    psi = psi_logits.softmax(1)
    # max() finds the class several times faster than argmax().
    return FusedLabels((denoiser + psi).max(1).indices, denoiser, psi)


def label_health(fused: FusedLabels) -> dict[str, Tensor]:
    """Say how each branch votes, class by class.

    Args:
        fused: What :func:`fuse_pseudo_labels` gave.

    Returns:
        float32 ``(3, C)`` each, rows: denoiser, psi, fused. ``coverage``: share of the voxels that
        the branch gives to the class. ``confidence``: mean over these voxels of the branch's
        probability of it, normalised where smoothing lost some beyond the border (fused: the mean
        of both). ``agreement``: share of these voxels that the fused label gives to it too. NaN
        where the branch has no voxel of the class.
    """
    num_classes = fused.psi_probs.shape[1]
    denoiser = fused.denoiser_probs / fused.denoiser_probs.sum(1, keepdim=True)
    rows: dict[str, list[Tensor]] = {'coverage': [], 'confidence': [], 'agreement': []}
    both = (denoiser + fused.psi_probs) / 2
    for probs, label in ((denoiser, None), (fused.psi_probs, None), (both, fused.label)):
        if label is None:
            confidence, label = probs.max(1)
        else:
            confidence = probs.gather(1, label[:, None])[:, 0]
        same = label == fused.label
        sums = _sums_by_class(label, (torch.ones_like(confidence), confidence, same), num_classes)
        rows['coverage'].append(sums[0] / label.numel())
        rows['confidence'].append(sums[1] / sums[0])
        rows['agreement'].append(sums[2] / sums[0])
    return {name: torch.stack(values).float() for name, values in rows.items()}


def _sums_by_class(label: Tensor, values: tuple[Tensor, ...], num_classes: int) -> Tensor:
    """Sums ``(len(values), C)`` over the voxels of each class."""
    flat = torch.stack([value.reshape(-1).to(values[0]) for value in values])
    label = label.reshape(-1)
    return torch.stack([(flat * (label == c)).sum(1) for c in range(num_classes)], 1)
