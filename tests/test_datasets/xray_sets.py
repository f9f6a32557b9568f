"""Two tiny prepared sets on disk, one with masks and one with classes, and five streams of them."""

import json

import cv2
import numpy as np

BRANCHES = ('seg_labelled', 'seg_unlabelled', 'cls_labelled', 'cls_weak', 'cls_strong')
# Images of each split; the last one makes the epoch.
SIZES = dict(seg_labelled=2, seg_unlabelled=5, cls_labelled=4, cls_unlabelled=9)
COUNTS = (2, 1, 2, 2)
NUM_BATCHES = 4
SIDE = 16


def write_sets(root):
    """Write images (grey or RGB, of several sizes), masks and annotations of all splits."""
    rng = np.random.RandomState(0)
    for split, size in SIZES.items():
        task = split.split('_')[0]
        records = []
        for number in range(size):
            shape = (24, 24) if task == 'seg' else (20 + number, 30)
            image = rng.randint(0, 256, shape).astype(np.uint8)
            if number % 2:
                image = np.stack([image, image // 2, image // 3], axis=-1)
            record = dict(
                img_path=f'images/{split}{number}.png', patient_id=f'p{number}', domain='xray'
            )
            write(root / task / record['img_path'], image)
            if task == 'seg':
                record['seg_map_path'] = f'masks/{split}{number}.png'
                write(root / task / record['seg_map_path'], rng.randint(0, 2, shape, np.uint8))
            else:
                record['gt_label'] = number % 2
            records.append(record)
        path = root / task / 'annotations' / f'{split}.json'
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(records))


def write(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), array)


def sources(root, cache=False):
    """Configs of the four data sets that give five streams."""
    start = [
        dict(type='LoadJointImage'),
        dict(type='LoadJointAnnotations'),
        dict(type='PillowGrey'),
        dict(type='PillowResize', size=(SIDE, SIDE), interpolation='bilinear'),
    ]
    seg = [dict(type='ToUnitRange', signed=True), dict(type='PackJointInputs')]
    end = [dict(type='ToUnitRange'), dict(type='PackJointInputs')]
    flip = dict(type='mmcv.RandomFlip', prob=0.5)
    weak = [flip, dict(type='RandomReflectCrop', padding=4), *end]
    strong = [
        flip,
        dict(type='RandomReflectCrop', padding=1),
        dict(type='PillowRandAugment'),
        *end,
    ]
    pipelines = dict(
        seg_labelled=dict(seg_labelled=seg),
        seg_unlabelled=dict(seg_unlabelled=seg),
        cls_labelled=dict(cls_labelled=weak),
        cls_unlabelled=dict(cls_weak=weak, cls_strong=strong),
    )
    metainfo = dict(
        seg=dict(classes=('background', 'lung'), palette=[[0, 0, 0], [9, 9, 9]]),
        cls=dict(cls_classes=('normal', 'pneumonia')),
    )
    return {
        split: dict(
            type='BaseJointDataset',
            data_root=str(root / split.split('_')[0]),
            split=split,
            labelled=not split.endswith('unlabelled'),
            metainfo=metainfo[split.split('_')[0]],
            cache=cache,
            pipeline=[
                *start,
                dict(type='MultiBranch', branches=BRANCHES, pipelines=pipelines[split]),
            ],
        )
        for split in SIZES
    }
