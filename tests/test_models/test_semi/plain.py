"""A&D without any saving: every formula as the original computes it, step by step."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from mmjoint.functional.pseudo_label import FusedLabels
from mmjoint.models.semi import AggregateDecouple
from mmjoint.structures import stack_seg_maps


def plain_average(theta, xi, psi, keep):
    """Tensor by tensor, each time with state dicts made anew."""
    for name, parameter in theta.named_parameters():
        if name in xi.state_dict():
            first, second = xi.state_dict()[name], psi.state_dict()[name]
            parameter.data = keep * parameter.data + (1 - keep) * (first + second) / 2


def one_hot(target, num_classes, dtype=torch.float32):
    maps = torch.zeros(len(target), num_classes, *target.shape[1:], dtype=dtype)
    return maps.to(target.device).scatter_(1, target.unsqueeze(1), 1)


def plain_dice(probs, target, smooth):
    """Per class, from all four counts."""
    target = one_hot(target, probs.shape[1], probs.dtype)
    axes = (0, *range(2, probs.dim()))
    true_positive = (probs * target).sum(axes)
    false_positive = (probs * (1 - target)).sum(axes)
    false_negative = ((1 - probs) * target).sum(axes)
    ((1 - probs) * (1 - target)).sum(axes)  # true negatives, which nothing needs
    total = 2 * true_positive + false_positive + false_negative + smooth
    return (2 * true_positive + smooth) / (total + 1e-8)


class PlainLoss(nn.Module):
    def forward(self, logits, target, class_weight=None, ignore_index=None):
        weight = None if class_weight is None else class_weight.to(logits)
        dice = plain_dice(logits.softmax(1), target, 1.0)[1:]
        if weight is not None:
            dice = dice * weight[1:]
        return F.cross_entropy(logits, target, weight) - dice.mean()


class PlainTracker(nn.Module):
    """From one-hot maps."""

    def __init__(self, num_classes, num_iters=50):
        super().__init__()
        self.num_classes = num_classes
        self.momentum = (num_iters - 1) / num_iters
        self.register_buffer('last', torch.full((num_classes,), 1e-8))
        self.register_buffer('learn', torch.zeros(num_classes))
        self.register_buffer('unlearn', torch.zeros(num_classes))
        self.register_buffer('undice', torch.ones(num_classes))

    def forward(self, pred, target):
        dice = plain_dice(one_hot(pred, self.num_classes), target, 1e-8)
        change = dice - self.last
        speed = change * torch.log(dice / self.last)
        self.last = dice
        self.learn = self._mean(self.learn, torch.where(change > 0, speed, 0.0))
        self.unlearn = self._mean(self.unlearn, torch.where(change <= 0, speed, 0.0))
        self.undice = self._mean(self.undice, 1 - dice)
        difficulty = torch.pow((self.unlearn + 1e-8) / (self.learn + 1e-8), 1 / 5)
        return self.num_classes * difficulty * self.undice

    def _mean(self, old, new):
        return self.momentum * old + (1 - self.momentum) * new


def plain_smooth(maps):
    """One kernel of all axes, built anew."""
    axes, num_classes = maps.dim() - 2, maps.shape[1]
    grid = torch.stack(torch.meshgrid(*[torch.arange(-1.0, 2.0)] * axes, indexing='ij'))
    kernel = torch.exp(-grid.square().sum(0) / 2)
    kernel = (kernel / kernel.sum()).to(maps).expand(num_classes, 1, *kernel.shape)
    return (F.conv3d if axes == 3 else F.conv2d)(maps, kernel, padding=1, groups=num_classes)


def spread(table, index, like):
    """The value of a table at every voxel."""
    value = torch.from_numpy(table).to(like.device)[index].float()
    return value.expand(like.shape)


class PlainAggregateDecouple(AggregateDecouple):
    """The same model; of a built fast one it takes the parts."""

    def __init__(self, **settings):
        super().__init__(**settings)
        self._make_plain()

    @classmethod
    def of(cls, model):
        """Turn a model into its plain form."""
        model.__class__ = cls
        model._make_plain()
        return model

    def _make_plain(self):
        self.loss_decode = PlainLoss()
        if self.difficulty is not None:
            self.difficulty = PlainTracker(self.num_classes)

    def average_decoders(self, keep):
        plain_average(self.decode_head, self.denoising_head, self.supervised_head, keep)

    def loss_by_gt(self, inputs, data_samples):
        target = stack_seg_maps(data_samples, shape=inputs.shape[2:], device=inputs.device)
        xi_logits = self.denoise_labels(inputs, target)
        psi_logits = self.segment(inputs, self.supervised_head)
        losses = {'loss_denoise': self.loss_decode(xi_logits, target)}
        weight = None
        if self.difficulty is not None:
            weight = self.difficulty(xi_logits.detach().argmax(1), target)
            losses.update({f'class_weight.{c}': value for c, value in enumerate(weight)})
        losses['loss_difficulty'] = self.loss_decode(psi_logits, target, weight)
        return losses

    def denoise_labels(self, image, target):
        if self.diffusion is None:
            return self.segment(image, self.denoising_head)
        x_0 = one_hot(target, self.num_classes, image.dtype) * 2 - 1
        t = self.random_source.times(len(image), self.diffusion.num_steps, image.device)
        x_t = self.diffusion.add_noise(x_0, self.random_source.forward_noise(x_0), t)
        return self.denoise(x_t, t, image)

    def loss_by_pseudo(self, inputs):
        """Without a look at how healthy the labels are."""
        label = self.make_pseudo_labels(inputs).label
        loss = self.loss_decode(self.segment(inputs, self.decode_head), label)
        return {
            'loss_pseudo': self.consistency_weight * loss,
            'unweighted_pseudo': loss.detach(),
            'consistency_weight': loss.new_tensor(self.consistency_weight),
        }

    def sample_x0(self, image):
        """Keep everything of every step, and compute what no one uses, voxel by voxel."""
        level = self.diffusion.visited_alphas_cumprod
        below = np.append(1.0, level[:-1])
        betas = 1 - level / below
        x_t = image.new_empty(len(image), self.num_classes, *image.shape[2:])
        x_t, kept = self.random_source.start(x_t), []
        for i in reversed(range(len(level))):
            t = torch.tensor([self.diffusion.timesteps[i]] * len(image), device=image.device)
            output = self.denoise(x_t, t, image)
            pred_x0 = output.clamp(-1, 1)
            first = spread(betas * np.sqrt(below) / (1 - level), i, x_t)
            second = spread((1 - below) * np.sqrt(1 - betas) / (1 - level), i, x_t)
            first * pred_x0 + second * x_t  # mean of the posterior
            noise = (spread(np.sqrt(1 / level), i, x_t) * x_t - pred_x0) / spread(
                np.sqrt(1 / level - 1), i, x_t
            )
            here, next_ = spread(level, i, x_t), spread(below, i, x_t)
            sigma = 0.0 * torch.sqrt((1 - next_) / (1 - here)) * torch.sqrt(1 - here / next_)
            drawn = torch.randn_like(x_t)
            mean = pred_x0 * torch.sqrt(next_) + torch.sqrt(1 - next_ - sigma**2) * noise
            x_t = mean + float(i > 0) * sigma * drawn
            kept.append((pred_x0.cpu(), output.cpu()))
        return pred_x0

    @torch.no_grad()
    def make_pseudo_labels(self, image):
        pred_x0 = self.sample_x0(image)
        noise = self.random_source.gumbel(pred_x0)
        denoiser = plain_smooth((pred_x0 + noise).softmax(1))
        psi = self.segment(image, self.supervised_head).softmax(1)
        return FusedLabels((denoiser + psi).argmax(1), denoiser, psi)
