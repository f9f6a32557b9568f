"""A&D without any saving: every formula as the original computes it, step by step."""

import torch
import torch.nn.functional as F
from torch import nn

from mmjoint.functional.pseudo_label import FusedLabels
from mmjoint.models.semi import AggregateDecouple


def plain_average(theta, xi, psi, keep):
    """Tensor by tensor, each time from all state dicts anew."""
    for name in dict(theta.named_parameters()):
        old, first, second = (dict(head.state_dict()) for head in (theta, xi, psi))
        mean = (first[name] + second[name]) / 2
        new = keep * old[name] + (1 - keep) * mean
        theta.state_dict()[name].copy_(new)


def one_hot(target, num_classes):
    return F.one_hot(target, num_classes).movedim(-1, 1)


def plain_dice(probs, target, smooth):
    """Per class, from all four counts."""
    target = one_hot(target, probs.shape[1]).to(probs)
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
    """Class by class, from one-hot maps."""

    def __init__(self, num_classes, num_iters=50):
        super().__init__()
        self.num_classes = num_classes
        self.momentum = (num_iters - 1) / num_iters
        self.last = torch.full((num_classes,), 1e-8)
        self.learn, self.unlearn = torch.zeros(num_classes), torch.zeros(num_classes)
        self.undice = torch.ones(num_classes)

    def forward(self, pred, target):
        dice = plain_dice(one_hot(pred, self.num_classes).float(), target, 1e-8)
        keep = self.momentum
        for c in range(self.num_classes):
            change = dice[c] - self.last[c]
            speed = change * torch.log(dice[c] / self.last[c])
            rise, fall = (speed, 0.0) if change > 0 else (0.0, speed)
            self.learn[c] = keep * self.learn[c] + (1 - keep) * rise
            self.unlearn[c] = keep * self.unlearn[c] + (1 - keep) * fall
        self.last = dice
        self.undice = keep * self.undice + (1 - keep) * (1 - dice)
        difficulty = torch.pow((self.unlearn + 1e-8) / (self.learn + 1e-8), 1 / 5)
        return self.num_classes * difficulty * self.undice


def plain_smooth(maps):
    """One kernel of all axes, built anew."""
    axes, num_classes = maps.dim() - 2, maps.shape[1]
    grid = torch.stack(torch.meshgrid(*[torch.arange(-1.0, 2.0)] * axes, indexing='ij'))
    kernel = torch.exp(-grid.square().sum(0) / 2)
    kernel = (kernel / kernel.sum()).to(maps).expand(num_classes, 1, *kernel.shape)
    return (F.conv3d if axes == 3 else F.conv2d)(maps, kernel, padding=1, groups=num_classes)


class PlainAggregateDecouple(AggregateDecouple):
    """The same model; of a built fast one it takes the parts."""

    @classmethod
    def of(cls, model):
        """Turn a model into its plain form."""
        model.__class__ = cls
        model.loss_decode = PlainLoss()
        if model.difficulty is not None:
            model.difficulty = PlainTracker(model.num_classes)
        return model

    def average_decoders(self, keep):
        plain_average(self.decode_head, self.denoising_head, self.supervised_head, keep)

    def sample_x0(self, image):
        """Keep everything of every step, and compute what no one uses."""
        diffusion = self.diffusion
        level = torch.from_numpy(diffusion.visited_alphas_cumprod).to(image.device)
        below = torch.cat([level.new_ones(1), level[:-1]])
        betas = 1 - level / below
        like = image.new_empty(len(image), self.num_classes, *image.shape[2:])
        x_t, kept = self.random_source.start(like), []
        for i in reversed(range(len(level))):
            t = torch.full((len(image),), diffusion.timesteps[i], device=image.device)
            output = self.denoise(x_t, t, image)
            pred_x0 = output.clamp(-1, 1)
            first = (betas[i] * below[i].sqrt() / (1 - level[i])).float()
            second = ((1 - below[i]) * (1 - betas[i]).sqrt() / (1 - level[i])).float()
            mean = first * pred_x0 + second * x_t
            variance = torch.full_like(mean, float(betas[i]))
            noise = ((1 / level[i]).sqrt().float() * x_t - pred_x0) / (
                1 / level[i] - 1
            ).sqrt().float()
            alpha = below[i].float()
            drawn = torch.randn_like(x_t)
            x_t = pred_x0 * alpha.sqrt() + (1 - alpha).sqrt() * noise + 0.0 * drawn
            kept.append((pred_x0.cpu().clone(), output.cpu().clone(), mean, variance))
            kept[-1] = kept[-1][:2]
        return pred_x0

    @torch.no_grad()
    def make_pseudo_labels(self, image):
        pred_x0 = self.sample_x0(image)
        noise = self.random_source.gumbel(pred_x0)
        denoiser = plain_smooth((pred_x0 + noise).softmax(1))
        psi = self.segment(image, self.supervised_head).softmax(1)
        return FusedLabels((denoiser + psi).argmax(1), denoiser, psi)
