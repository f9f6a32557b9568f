"""Small models on random weights, as files that a user would name, and images for them."""

from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.config import Config

from mmjoint.engine.checkpoint import write_checkpoint
from mmjoint.phantoms.dermoscopy import render_dermoscopy
from tests.test_models.tiny import build, uml_config, vary_norms

ROOT = Path(__file__).resolve().parents[2]
MC_UNET = 'configs/mc_unet/mc-unet_isic2016-128x128.py'


def write_model(folder, name, cfg, *, seeds=(0,), meta=None, prepare=lambda model: None):
    """Write config and checkpoints; gives their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / f'{name}.py'
    cfg.dump(config)
    checkpoints = []
    for seed in seeds:
        torch.manual_seed(seed)
        model = vary_norms(build(cfg.model), seed)
        prepare(model)
        checkpoints.append(folder / f'{name}_{seed}.pth')
        write_checkpoint({'state_dict': model.state_dict(), 'meta': meta or {}}, checkpoints[-1])
    return config, *checkpoints


def mc_unet(folder, *, size=(32, 24), name='mc_unet', seeds=(0, 1), meta=None, **head):
    """An MC-dropout U-Net of width 2 whose probabilities spread over [0, 1]."""
    cfg = Config.fromfile(ROOT / MC_UNET)
    cfg.model.backbone.base_channels = 2
    cfg.model.decode_head.update(in_channels=2, channels=2, **head)
    cfg.test_dataloader.dataset.pipeline[1].size = size
    cfg.test_dataloader.dataset.data_root = 'nowhere'
    return write_model(folder, name, cfg, seeds=seeds, meta=meta, prepare=spread_probabilities)


@torch.no_grad()
def spread_probabilities(model):
    """Give the norms statistics of images, and the last convolution a fitting scale."""
    images = [render_dermoscopy(np.random.default_rng(n), (24, 32)).image for n in range(4)]
    inputs = torch.from_numpy(np.stack(images) / 255.0).float().movedim(-1, 1)
    for norm in model.modules():
        if isinstance(norm, torch.nn.BatchNorm2d):
            norm.momentum = 1.0
    model.train()
    model.infer(inputs)
    model.eval()
    logits = model.infer(inputs).seg_logits
    last = model.decode_head.conv_seg
    last.weight.mul_(2 / (logits - logits[:, :1]).std())
    logits = model.infer(inputs).seg_logits
    last.bias[-1] -= (logits[:, 1] - logits[:, 0]).mean()


def uml(folder, *, name='uml'):
    """A UML of width 4: three mask classes, two image classes, evidence, no resizing."""
    cfg = Config.fromfile(ROOT / 'configs/uml/uml_res2net_refuge.py')
    cfg.model = uml_config(width=4)
    return write_model(folder, name, cfg)


def photographs(folder, sizes=((40, 56), (48, 36)), suffix='.png'):
    """Dermoscopy phantoms ``p0``, ``p1``, ... with masks 0/255 in ``<folder>_masks``."""
    folder.mkdir(parents=True, exist_ok=True)
    masks = folder.parent / f'{folder.name}_masks'
    masks.mkdir(exist_ok=True)
    paths = []
    for number, shape in enumerate(sizes):
        phantom = render_dermoscopy(np.random.default_rng(number), shape)
        paths.append(folder / f'p{number}{suffix}')
        cv2.imwrite(str(paths[-1]), phantom.image[..., ::-1])
        cv2.imwrite(str(masks / f'p{number}_Segmentation.png'), phantom.mask * 255)
    return paths
