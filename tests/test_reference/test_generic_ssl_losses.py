"""Losses of the diffusion V-Net's training against the original's."""

import torch
import torch.nn.functional as F

from mmjoint.functional.class_counts import class_counts, hard_dice
from mmjoint.functional.soft_overlap import soft_dice
from mmjoint.models.losses import DiceCELoss, MaskedCrossEntropyLoss, one_hot_map

from .loader import assert_close, reference

METHOD = 'generic_ssl'
TOLERANCE = 1e-6
IGNORED = 255


def load():
    arrays = reference(METHOD, 'losses')
    logits = arrays.tensor('logits', torch.float64)
    return arrays, logits, arrays.tensor('target', torch.int64)[:, 0]


def dice_vector(logits, target, *, per_image=False):
    axes = list(range(2, logits.dim())) if per_image else [0, *range(2, logits.dim())]
    one_hot = one_hot_map(target, logits.shape[1], logits)
    return soft_dice(logits.softmax(1), one_hot, axes=axes, smooth=1.0)


def test_cross_entropy():
    arrays, logits, target = load()
    weight = arrays.tensor('weight', torch.float64)
    loss = MaskedCrossEntropyLoss()
    assert_close(loss(logits, target), arrays['ce'], TOLERANCE, 'ce')
    weighted = loss(logits, target, weight[target])
    assert_close(weighted, arrays['ce_weighted'], TOLERANCE, 'ce_weighted')


def test_soft_dice():
    arrays, logits, target = load()
    weight = arrays.tensor('weight', torch.float64)
    vector = dice_vector(logits, target)
    assert_close(vector, arrays['dice_vec_bg'], TOLERANCE, 'bg')
    assert_close(vector[1:], arrays['dice_vec_nobg'], TOLERANCE, 'nobg')
    assert_close(-vector[1:].mean(), arrays['dice_loss'], TOLERANCE, 'loss')
    per_image = dice_vector(logits, target, per_image=True)[:, 1:]
    assert_close(per_image, arrays['dice_vec_perimage'], TOLERANCE, 'per image')
    weighted = vector[1:] * weight[1:]
    assert_close(weighted, arrays['dice_vec_weighted'], TOLERANCE, 'weighted vector')
    assert_close(-weighted.mean(), arrays['dice_loss_weighted'], TOLERANCE, 'weighted')


def test_the_loss_and_its_gradient():
    arrays, logits, target = load()
    weight = arrays.tensor('weight', torch.float64)
    for name, class_weight in (('dcce', None), ('dcce_weighted', weight)):
        for ignore_index in (IGNORED, None):
            x = logits.clone().requires_grad_()
            loss = DiceCELoss()(x, target, class_weight, ignore_index=ignore_index)
            loss.backward()
            assert_close(loss, arrays[name], TOLERANCE, name)
            assert_close(x.grad, arrays[f'{name}_grad'], TOLERANCE, f'{name}_grad')


def test_masked_dice():
    """What the original leaves out by a mask is ignored in ours; its cross-entropy has none."""
    arrays, logits, target = load()
    kept = arrays.tensor('loss_mask')[:, 0] > 0
    ignored = target.masked_fill(~kept, IGNORED)
    entropy = MaskedCrossEntropyLoss()(logits, ignored)
    dice = DiceCELoss()(logits, ignored) - entropy
    assert_close(dice, arrays['dice_loss_masked'], TOLERANCE, 'masked')


def test_forms_that_the_scripts_do_not_use():
    """Put together from the same functions."""
    arrays, logits, target = load()
    vector, entropy = dice_vector(logits, target), F.cross_entropy(logits, target)
    dice = vector[1:].mean()
    assert_close(entropy - vector.mean(), arrays['dcce_do_bg'], TOLERANCE, 'do_bg')
    assert_close(entropy - dice.log(), arrays['dcce_log_dice'], TOLERANCE, 'log')
    assert_close(0.5 * entropy - 2 * dice, arrays['dcce_wd2_wce05'], TOLERANCE, 'wd2')
    each = F.cross_entropy(logits, target, reduction='none')
    weight_map = arrays.tensor('weight_map', torch.float64)
    assert_close((each * weight_map).mean(), arrays['unused_weighted_ce_map'], TOLERANCE, 'map')
    assert_close(entropy, arrays['unused_weighted_ce_nomap'], TOLERANCE, 'nomap')
    shrunk = F.cross_entropy(0.7 * logits, target)
    assert_close(shrunk, arrays['unused_classdep_ce'], TOLERANCE, 'classdep')
    probs, one_hot = logits.softmax(1), one_hot_map(target, logits.shape[1], logits)
    axes = (0, *range(2, logits.dim()))
    sizes = (probs.square() + one_hot).sum(axes)  # of squares
    dice = (2 * (probs * one_hot).sum(axes) + 1e-5) / (sizes + 1e-5)
    assert_close(1 - dice.mean(), arrays['unused_diceloss_on_probs'], TOLERANCE, 'squares')


def test_hard_dice():
    arrays, logits, target = load()
    num_classes = logits.shape[1]
    dice = hard_dice(class_counts(logits.argmax(1), target, num_classes))
    assert_close(dice, arrays['hard_dice_s1e8_bg'], TOLERANCE, 'bg')
    assert_close(dice[1:], arrays['hard_dice_s1e8_nobg'], TOLERANCE, 'nobg')
    nothing = torch.zeros_like(target)
    dice = hard_dice(class_counts(nothing, nothing, num_classes))
    assert_close(dice, arrays['hard_dice_all_background'], TOLERANCE, 'all background')
