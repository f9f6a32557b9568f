"""MultiMix without any saving: one batch of all images through everything, as the original."""

import torch
import torch.nn.functional as F

from mmjoint.models.semi import MultiMix
from mmjoint.models.semi.multimix import BRANCHES
from mmjoint.structures import stack_labels, stack_seg_maps


class PlainMultiMix(MultiMix):
    """The same model, every formula written out; of a built fast one it takes the parts."""

    def __init__(self, **settings):
        super().__init__(**settings)
        self.branches = BRANCHES

    @classmethod
    def of(cls, model):
        """Turn a model into its plain form."""
        model.__class__ = cls
        model.branches = BRANCHES
        return model

    def saliency(self, inputs):
        """By a whole backward pass, whose gradients of the weights are thrown away."""
        before = self.backbone.training
        self.backbone.eval()
        x = inputs.detach().clone().requires_grad_()
        best = self.cls_head(self.backbone(x)).max(1).values
        best.backward(torch.ones_like(best))
        self.zero_grad()
        self.backbone.train(before)
        return x.grad.abs()

    def loss(self, inputs, data_samples):
        sizes = [len(inputs[branch]) for branch in BRANCHES]
        joint = torch.cat([inputs[branch] for branch in BRANCHES])
        saliency = self.saliency(joint)
        feats = self.extract_feat(joint)
        classes = self.cls_head(feats)
        masks = self.decode_head(self.bridge(feats, joint, saliency))[:, 1]
        z_s, z_u, *_ = masks.split(sizes)
        *_, c, w, t = classes.split(sizes)

        target = stack_seg_maps(data_samples['seg_labelled']).to(z_s)
        p = z_s.sigmoid()
        overlap = (p * target).sum((1, 2))
        dice = 1 - (2 * overlap + 1) / (p.sum((1, 2)) + target.sum((1, 2)) + 1)
        q_s, q_u = (torch.stack([1 - z.sigmoid(), z.sigmoid()], 1) for z in (z_s, z_u))
        # Computed over one channel whatever comes of it.
        one_s, one_u = (z.unsqueeze(1).softmax(1) for z in (z_s, z_u))
        kl = one_s * (one_s.log() - one_u.log())
        if self.kl == 'bernoulli':
            kl = q_s * (q_s.log() - q_u.log())
        (t.softmax(1) * (t.softmax(1).log() - c.softmax(1).log())).mean()  # which nothing uses
        confidence, label = w.softmax(1).max(1)
        accepted = (confidence >= self.loss_pseudo.threshold).to(t)
        pseudo = (F.cross_entropy(t, label, reduction='none') * accepted).mean()
        labels, _ = stack_labels(data_samples['cls_labelled'])
        return {
            'seg_labelled.loss_dice': self.decode_head.loss_decode[0].loss_weight * dice.mean(),
            'seg_unlabelled.loss_kl': self.kl_weight * kl.mean(),
            'cls_labelled.loss_ce': F.cross_entropy(c, labels),
            'cls_strong.loss_pseudo': self.loss_pseudo.loss_weight * pseudo,
            'cls_weak.accepted': accepted.mean(),
        }
