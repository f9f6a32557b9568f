"""Fusion of pseudo-labels against the original's, in 3-D and 2-D."""

import numpy as np
import pytest
import torch

from mmjoint.functional.pseudo_label import (
    fuse_pseudo_labels,
    gaussian_weights,
    gumbel_softmax,
    smooth_maps,
)

from .loader import assert_close, reference

METHOD = 'generic_ssl'
TOLERANCE = 1e-6


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
@pytest.mark.parametrize('num_axes', [2, 3])
def test_fusion(num_axes, dtype):
    arrays = reference(METHOD, f'pseudo_label_{num_axes}d')
    taps = np.array(gaussian_weights())
    kernel = taps
    for _ in range(num_axes - 1):
        kernel = np.multiply.outer(kernel, taps)
    assert_close(kernel, arrays['kernel'], TOLERANCE, 'kernel')
    pred_x0, noise, psi = (
        arrays.tensor(name, dtype) for name in ('p_u_xi', 'gumbel_noise', 'psi_logits')
    )
    soft = gumbel_softmax(pred_x0, noise)
    assert_close(soft, arrays['gumbel_softmax'], TOLERANCE, 'softmax')
    assert_close(smooth_maps(soft), arrays['smoothed'], TOLERANCE, 'smoothed')
    fused = fuse_pseudo_labels(pred_x0, psi, noise)
    assert_close(fused.denoiser_probs, arrays['smoothed'], TOLERANCE, 'vote')
    assert np.array_equal(fused.label.numpy(), arrays['pseudo_label'][:, 0])
