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

    def branch_labels(self) -> dict[str, Tensor]:
        """What each branch alone would label, and last the pseudo-label, int64 ``(B, *space)``."""
        return {
            'denoiser': self.denoiser_probs.max(1).indices,
            'psi': self.psi_probs.max(1).indices,
            'fused': self.label,
        }


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


def label_health(fused: FusedLabels) -> dict[str, dict[str, Tensor]]:
    """Say how each branch votes, class by class.

    Args:
        fused: What :func:`fuse_pseudo_labels` gave.

    Returns:
        For each branch (``denoiser``, ``psi`` and, last, ``fused``) float32 ``(C,)`` each:
        ``coverage``: share of the voxels that the branch gives to the class. ``confidence``: mean
        over these voxels of the branch's probability of it, normalised where smoothing lost some
        beyond the border (fused: the mean of both). ``agreement``: share of these voxels that the
        fused label gives to it too. NaN where the branch has no voxel of the class.
    """
    num_classes = fused.psi_probs.shape[1]
    denoiser = fused.denoiser_probs / fused.denoiser_probs.sum(1, keepdim=True)
    both = (denoiser + fused.psi_probs) / 2
    health = {}
    for name, probs in (('denoiser', denoiser), ('psi', fused.psi_probs), ('fused', both)):
        if name == 'fused':
            label = fused.label
            confidence = probs.gather(1, label[:, None])[:, 0]
        else:
            confidence, label = probs.max(1)
        same = label == fused.label
        sums = _sums_by_class(label, (torch.ones_like(confidence), confidence, same), num_classes)
        values = (sums[0] / label.numel(), sums[1] / sums[0], sums[2] / sums[0])
        health[name] = dict(
            zip(('coverage', 'confidence', 'agreement'), (v.float() for v in values), strict=True)
        )
    return health


def dice_beyond_chance(counts: Tensor) -> Tensor:
    r"""Mean Dice of the foreground, as a share of what lies between chance and 1.

    Chance is a label drawn for each voxel at random, with the frequencies of the prediction: of
    shares p in the prediction and t in the target it gives the Dice :math:`2 p t / (p + t)`. So
    0 is noise, however often it names a class, and 1 is perfect.

    Args:
        counts: ``(..., 3, C)``: voxels of each class in both maps, in the prediction, in the
            target; class 0 is the background. See ``class_counts``.

    Returns:
        float64 ``(...)``, at most 1, below 0 where it is worse than chance: mean over the
        foreground classes that the target holds, NaN if it holds none.
    """
    overlap, pred, target = counts.double().unbind(-2)
    total = target.sum(-1, keepdim=True)
    dice = 2 * overlap / (pred + target)
    chance = 2 * pred * target / total / (pred + target)
    beyond = ((dice - chance) / (1 - chance))[..., 1:]
    return beyond.masked_fill(target[..., 1:] == 0, torch.nan).nanmean(-1)


def agreement_beyond_chance(coverage: Tensor, same: Tensor, reference: Tensor) -> Tensor:
    """Cohen's kappa of a label map and a reference from shares of voxels.

    Args:
        coverage: Share of each class in the map, ``(..., C)``.
        same: Share of the voxels that are of the class in both, ``(..., C)``.
        reference: Share of each class in the reference, ``(..., C)``.

    Returns:
        ``(...)``, at most 1; 0 for maps that have nothing to do with each other. NaN where both
        consist of one and the same class.
    """
    chance = (coverage * reference).sum(-1)
    return (same.sum(-1) - chance) / (1 - chance).where(chance < 1, torch.nan)


def _sums_by_class(label: Tensor, values: tuple[Tensor, ...], num_classes: int) -> Tensor:
    """Sums ``(len(values), C)`` over the voxels of each class."""
    flat = torch.stack([value.reshape(-1).to(values[0]) for value in values])
    label = label.reshape(-1)
    return torch.stack([(flat * (label == c)).sum(1) for c in range(num_classes)], 1)
