"""Small models on random weights, as files that a user would name, and images for them."""

import json
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


def multimix(folder, *, name='multimix', data=None, **model):
    """A MultiMix of five levels on 32 x 32 pixels, tested on lungs and on classes.

    Its two test sets are those of ``chest_sets(data)``.
    """
    cfg = Config.fromfile(ROOT / 'configs/_base_/default_runtime.py')
    cfg.merge_from_dict(dict(Config.fromfile(ROOT / 'configs/_base_/models/multimix.py')))
    cfg.model.backbone.channels = (2, 2, 4, 4, 4)
    cfg.model.decode_head.update(in_channels=(2, 2, 4, 6, 4), channels=(2, 2, 4, 4))
    cfg.model.cls_head.in_channels = 4
    cfg.model.update(model)
    read = [
        dict(type='LoadJointImage'),
        dict(type='PillowGrey'),
        dict(type='PillowResize', size=(32, 32), interpolation='bilinear'),
    ]
    pack = [dict(type='ToUnitRange', signed=True), dict(type='PackJointInputs')]
    pipeline = [*read, dict(type='LoadJointAnnotations'), *pack]
    options = dict(split='test', test_mode=True, pipeline=pipeline)
    root = 'nowhere' if data is None else str(data)
    jsrt = dict(type='JSRTDataset', data_root=f'{root}/jsrt', **options)
    kermany = dict(type='ChestXrayPneumoniaDataset', data_root=f'{root}/kermany', **options)
    cfg.merge_from_dict(
        dict(
            infer_pipeline=[*read, *pack],
            test_dataloader=dict(
                batch_size=2,
                num_workers=0,
                sampler=dict(type='ResumableSampler', shuffle=False, round_up=False),
                dataset=dict(type='MultiSourceDataset', datasets=dict(jsrt=jsrt, kermany=kermany)),
            ),
            test_evaluator=[
                dict(type='SegmentationMetric', measures=('Dice',), domain='jsrt'),
                dict(type='ClassificationMetric', domain='kermany'),
            ],
            test_cfg={},
        )
    )

    @torch.no_grad()
    def decide(model):
        model.cls_head.fc.weight.mul_(20)

    return write_model(folder, name, cfg, prepare=decide)


def chest_sets(folder, number=3):
    """Prepared chest X-rays of two sizes: ``jsrt`` with lungs, ``kermany`` with classes."""
    for index, domain in enumerate(('jsrt', 'kermany')):
        root = folder / domain
        shape = ((40, 40), (36, 60))[index]
        records = []
        for k in range(number):
            rng = np.random.default_rng(10 * index + k)
            image = cv2.GaussianBlur(rng.integers(0, 256, shape).astype(np.uint8), (0, 0), 2)
            (root / 'images').mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(root / f'images/{domain}{k}.png'), image)
            record = dict(img_path=f'images/{domain}{k}.png', domain=domain, ori_shape=shape)
            if domain == 'jsrt':
                (root / 'masks').mkdir(exist_ok=True)
                record['seg_map_path'] = f'masks/{k}.png'
                mask = np.zeros(shape, np.uint8)
                mask[8:30, 5:18] = mask[8:30, 22:35] = 1
                cv2.imwrite(str(root / record['seg_map_path']), mask)
            else:
                record['gt_label'] = k % 2
            records.append(record)
        (root / 'annotations').mkdir(exist_ok=True)
        (root / 'annotations/test.json').write_text(json.dumps(records))
    return folder
