"""Tiny prepared sets of fundus photographs on disk, of which each labels one task."""

import json

import cv2
import numpy as np
from PIL import Image

# Image size and number of each set's training images, and the values of its label maps.
SETS = dict(
    reta=dict(size=24, count=3, task='vessel', values=2),
    ddr=dict(size=20, count=5, task='lesion', values=5),
    refuge=dict(size=28, count=4, task='odoc', values=3),
)
VALUES = {entry['task']: entry['values'] for entry in SETS.values()}
# What a model has labelled later.
PSEUDO = dict(reta=('lesion', 'odoc'), ddr=('vessel', 'odoc'), refuge=('vessel',))


def write_sets(root, test_shape=(30, 30)):
    """Write images, label maps, pseudo labels and annotations of the splits train and test."""
    for number, (name, entry) in enumerate(SETS.items()):
        rng = np.random.RandomState(number)
        for split, shape, count in (
            ('train', (entry['size'],) * 2, entry['count']),
            ('test', test_shape, 2),
        ):
            records = []
            for index in range(count):
                stem = f'{split}-{index}'
                image = rng.randint(0, 256, (*shape, 3), np.uint8)
                write(root / name / 'images' / f'{stem}.png', image)
                labels = rng.randint(0, entry['values'], shape, np.uint8)
                path = f'{entry["task"]}/{stem}.png'
                write_map(root / name / path, labels)
                write(root / name / 'fov' / f'{stem}.png', np.ones(shape, np.uint8))
                if split == 'train':
                    for task in PSEUDO[name]:
                        labels = rng.randint(0, VALUES[task], shape, np.uint8)
                        write_map(root / name / 'pseudo' / task / f'{stem}.png', labels)
                records.append(
                    dict(
                        img_path=f'images/{stem}.png',
                        task_map_paths={entry['task']: path},
                        patient_id=stem,
                        spacing=None,
                        domain=name,
                        ori_shape=[40, 50],
                        raw_path=f'{stem}.jpg',
                        fov_path=f'fov/{stem}.png',
                        frame=dict(crop=[5, 0, 40, 40], pad=[0, 0, 0, 0]),
                    )
                )
            annotate(root / name, split, records)


def annotate(root, split, records):
    path = root / 'annotations' / f'{split}.json'
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(records))


def write(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), array)


def write_map(path, labels):
    """Write an index map with a palette, as the prepared sets have it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(labels)
    image.putpalette([channel for colour in range(256) for channel in (255 - colour, colour, 9)])
    image.save(path)


def read_map(path):
    return np.array(Image.open(path))
