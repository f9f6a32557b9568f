"""PSSNet without any saving: what the original computes, by its formulas and in its order."""

import re
from collections import defaultdict
from copy import deepcopy

import torch
import torch.nn.functional as F
from mmcv.cnn import ConvModule
from torch import nn

from mmjoint.models.adversarial import MultiTaskModel, PSSNet, TaskLogits
from mmjoint.models.adversarial.pssnet import AUX_CRITICS, CRITICS
from mmjoint.structures import stack_task_maps


def packed(convs):
    """One grouped convolution in place of several, with a norm of as many times the groups."""
    number, conv = len(convs), convs[0].conv
    norm_cfg = dict(type='GN', num_groups=number * convs[0].norm.num_groups)
    joint = ConvModule(
        number * conv.in_channels,
        number * conv.out_channels,
        conv.kernel_size,
        padding=conv.padding,
        groups=number,
        norm_cfg=norm_cfg,
        inplace=False,
    ).to(conv.weight)
    states = [own.state_dict() for own in convs]
    joint.load_state_dict({name: torch.cat([s[name] for s in states]) for name in states[0]})
    return joint


def replace_by_packed(module, others):
    """Let the convolutions of a decoder hold those of others, too."""
    for name, child in module.named_children():
        twins = [other.get_submodule(name) for other in others]
        if isinstance(child, ConvModule):
            setattr(module, name, packed([child, *twins]))
        else:
            replace_by_packed(child, twins)


class PackedHead(nn.Module):
    """The decoders of a ``TaskDecodeHead`` as groups of one decoder, with 3x channels."""

    def __init__(self, head):
        super().__init__()
        first, *others = head.decoders.values()
        self.number = 1 + len(others)
        self.classifiers = nn.ModuleDict({t: d.conv_seg for t, d in head.decoders.items()})
        self.decoder = deepcopy(first)
        del self.decoder.conv_seg
        replace_by_packed(self.decoder, others)
        self.is_pyramid = hasattr(first, 'psp_modules')
        self.dropout = head.dropout
        self.attention = head.attention
        for block in self.attention.blocks if self.attention else ():
            block.fused = False

    def forward(self, feats):
        """Logits by task, of maps ``(B, T * C_i, H_i, W_i)``."""
        feats = [feats[i] for i in self.indices]
        maps = self.pyramid(feats) if self.is_pyramid else self.decoder.convs(feats[0])
        maps = [self.dropout(x) for x in maps.chunk(self.number, 1)]
        if self.attention is not None:
            maps = self.attend(maps)
        return {t: conv(x) for (t, conv), x in zip(self.classifiers.items(), maps, strict=True)}

    @property
    def indices(self):
        index = self.decoder.in_index
        return [index] if isinstance(index, int) else index

    def join(self, maps):
        """Channels of several packed maps, of task after task."""
        sizes = [(self.number, x.shape[1] // self.number) for x in maps]
        parts = [x.unflatten(1, size) for x, size in zip(maps, sizes, strict=True)]
        return torch.cat(parts, 2).flatten(1, 2)

    def pyramid(self, feats):
        """UPerNet up to its classifier."""
        decoder, top = self.decoder, feats[-1]
        pooled = [enlarged(pool(top), top) for pool in decoder.psp_modules]
        levels = [conv(x) for conv, x in zip(decoder.lateral_convs, feats, strict=False)]
        levels.append(decoder.bottleneck(self.join([top, *pooled])))
        for i in range(len(levels) - 1, 0, -1):
            levels[i - 1] = levels[i - 1] + enlarged(levels[i], levels[i - 1])
        for i, conv in enumerate(decoder.fpn_convs):
            levels[i] = conv(levels[i])
        return decoder.fpn_bottleneck(self.join([enlarged(x, levels[0]) for x in levels]))

    def attend(self, maps):
        """Every pair of tasks computes all of its own."""
        attention, results = self.attention, []
        for i, own in enumerate(maps):
            last = own.permute(0, 2, 3, 1)
            pairs = []
            for other in (maps[j] for j in range(self.number) if j != i):
                number = i * (self.number - 1) + len(pairs)
                block = attention.blocks[number % len(attention.blocks)]
                query = block.query(block.norm1(attention._partition(own)))
                key_value = block.key_value(block.norm1(attention._partition(other)))
                attended = block.attend(query, *key_value, block.bias())
                pairs.append(block.transform(last + attention._merge(attended, last.shape)))
            results.append(own + attention.fuse(torch.cat(pairs, -1).permute(0, 3, 1, 2)))
        return results


def enlarged(x, target):
    return F.interpolate(x, target.shape[2:], mode='bilinear', align_corners=False)


def dice(logits, label, channels):
    """Of one image, channel by channel."""
    terms = []
    for p, values in zip(logits[0].sigmoid(), channels.values(), strict=True):
        g = sum((label == value).to(p) for value in values)
        terms.append(1 - (2 * (p * g).sum() + 1e-5) / ((p * p).sum() + (g * g).sum() + 1e-5))
    return sum(terms) / len(terms)


def cross(scores, constant):
    return F.binary_cross_entropy_with_logits(scores, torch.full_like(scores, constant))


class PlainGenerator:
    """What both plain models share: the generator with packed heads."""

    def __init__(self, **settings):
        super().__init__(**settings)
        self.pack()

    @classmethod
    def of(cls, model):
        """Turn a model into its plain form."""
        model.__class__ = cls
        model.pack()
        return model

    def pack(self):
        generator = self.generator
        generator.decode_head = PackedHead(generator.decode_head)
        generator.auxiliary_head = PackedHead(generator.auxiliary_head)

    def decode(self, feats, size):
        """Main and auxiliary logits at a size, of packed maps."""
        heads = (self.generator.decode_head, self.generator.auxiliary_head)
        return TaskLogits(
            *(
                {task: F.interpolate(x, size, mode='bilinear') for task, x in head(feats).items()}
                for head in heads
            )
        )

    def unpacked(self, tensors):
        """Name parts of packed tensors as the default form does."""
        found = {}
        for name, value in tensors.items():
            head, decoder, end = name.partition('_head.decoder.')
            if decoder:
                parts = value.chunk(len(self.tasks))
                for task, part in zip(self.tasks, parts, strict=True):
                    found[f'{head}_head.decoders.{task}.{end}'] = part
            else:
                found[re.sub(r'classifiers\.(\w+)', r'decoders.\1.conv_seg', name)] = value
        return found


class PlainMultiTaskModel(PlainGenerator, MultiTaskModel):
    """Stage 1: images of all sets through the backbone together, then as groups of channels.

    As in the original, set i labels task i alone, and all sets give the same number of images.
    """

    def loss(self, inputs, data_samples):
        branch_of = {task: branch for branch, row in self.weights.items() for task in row}
        images = torch.cat([inputs[branch_of[task]] for task in self.tasks])
        feats = self.generator.backbone(images)
        feats = [torch.cat(x.chunk(len(self.tasks)), 1) for x in feats]
        outputs = self.decode(feats, images.shape[2:])
        losses = {}
        for task, channels in self.tasks.items():
            branch = branch_of[task]
            labels = stack_task_maps(data_samples[branch], task, device=images.device)
            for logits, factor, end in zip(
                outputs, (1, self.aux_weight), ('', '_aux'), strict=True
            ):
                terms = [
                    dice(one[None], label, channels)
                    for one, label in zip(logits[task], labels, strict=True)
                ]
                weight = factor * self.weights[branch][task]
                losses[f'{branch}.loss_{task}{end}'] = weight * sum(terms) / len(terms)
        return losses


class PlainPSSNet(PlainGenerator, PSSNet):
    """Stage 2: every image alone, all tasks of each, and every map alone through its critics."""

    def outputs(self, image):
        feats = [x.repeat(1, len(self.tasks), 1, 1) for x in self.generator.backbone(image)]
        return self.decode(feats, image.shape[2:])

    def generator_losses(self, inputs, data_samples):
        outputs = {
            branch: [self.outputs(image[None]) for image in images]
            for branch, images in inputs.items()
        }
        losses = defaultdict(float)
        for kind, weights in (('sup', self.weights), ('pseudo', self.pseudo_weights)):
            for branch, row in weights.items():
                for task, weight in row.items():
                    labels = stack_task_maps(data_samples[branch], task)
                    share = weight / len(labels)
                    for (main, aux), label in zip(outputs[branch], labels, strict=True):
                        term = dice(main[task], label, self.tasks[task])
                        term = term + self.aux_weight * dice(aux[task], label, self.tasks[task])
                        losses[f'{task}.loss_{kind}'] += share * term
        kept = {}
        for name, index in ((CRITICS, 0), (AUX_CRITICS, 1)):
            probs = {
                task: {
                    branch: [one[index][task].sigmoid() for one in outputs[branch]]
                    for branch in self.weights
                }
                for task in self.tasks
            }
            for task, by_branch in probs.items():
                weight = self.adversarial_weights[name][task]
                for branch, maps in by_branch.items():
                    if task not in self.weights[branch]:
                        terms = [cross(getattr(self, name)[task](m), 1.0) for m in maps]
                        losses[f'{task}.loss_adv'] += weight * sum(terms) / len(terms)
            kept[name] = {
                task: {branch: [m.detach() for m in maps] for branch, maps in by_branch.items()}
                for task, by_branch in probs.items()
            }
        return dict(losses), kept

    def critic_losses(self, name, kept):
        kind = 'aux_critic' if name == AUX_CRITICS else 'critic'
        losses = defaultdict(float)
        for task, by_branch in kept[name].items():
            real = [branch for branch in by_branch if task in self.weights[branch]]
            for branch, maps in by_branch.items():
                number = len(real) if branch in real else len(by_branch) - len(real)
                scores = [getattr(self, name)[task](m) for m in maps]
                terms = [cross(score, 1.0 if branch in real else 0.0) for score in scores]
                losses[f'{task}.loss_{kind}'] += 0.5 / number * sum(terms) / len(terms)
        return dict(losses)
