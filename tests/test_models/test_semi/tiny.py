"""A small A&D, and batches for it, in 2-D and 3-D."""

import torch
from mmengine.structures import PixelData

from mmjoint.structures import JointDataSample, VolumeData
from tests.test_reference.generic_ssl_model import build

WIDTH, CLASSES = 4, 3
SPACE = {2: (32, 32), 3: (16, 32, 16)}
DATA = {2: PixelData, 3: VolumeData}


def parts(num_axes=3, **changes):
    """Settings of a small A&D, part by part."""
    settings = dict(
        backbone=dict(base_channels=WIDTH),
        decode_head=dict(base_channels=WIDTH, num_classes=CLASSES),
        denoising_stem=dict(base_channels=WIDTH, num_classes=CLASSES),
        diffusion=dict(sampling_steps=3),
        difficulty=dict(num_classes=CLASSES),
        ramp_up_epochs=0,
    )
    return {**settings, **changes}


def make(num_axes=3, *, seed=0, **changes):
    torch.manual_seed(seed)
    return build(num_axes, **parts(num_axes, **changes)).train()


def batch(num_axes=3, *, seed=0, labels=True):
    """Inputs and samples of both branches."""
    generator = torch.Generator().manual_seed(seed)
    space = SPACE[num_axes]

    def images():
        return torch.rand(2, 1, *space, generator=generator)

    samples = [JointDataSample(metainfo=dict(ori_shape=space, img_shape=space)) for _ in range(4)]
    for sample in samples[:2] if labels else ():
        seg_map = torch.randint(CLASSES, (1, *space), generator=generator)
        sample.gt_sem_seg = DATA[num_axes](data=seg_map)
    return (
        {'labelled': images(), 'unlabelled': images()},
        {'labelled': samples[:2], 'unlabelled': samples[2:]},
    )


def step(model, data, optimizer, *, keep=None, seed=0):
    """One training iteration."""
    torch.manual_seed(seed)
    if keep is not None:
        model.average_decoders(keep)
    loss, log = model.parse_losses(model(*data, mode='loss'))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return log
