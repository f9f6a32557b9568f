import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from .volume_set import VolumeSet


class PreparedSet:
    """A prepared set on disk: three images of 16x24, all labelled."""

    def __init__(self, root: Path):
        self.root = root
        rng = np.random.RandomState(0)
        self.images, self.masks, self.records = [], [], []
        for number in range(3):
            image = rng.randint(0, 256, (16, 24, 3), np.uint8)
            mask = rng.randint(0, 3, (16, 24)).astype(np.uint8)
            mask[0, 0] = 255
            self.images.append(image)
            self.masks.append(mask)
            record = dict(
                img_path=f'images/train/p{number}.png',
                seg_map_path=f'masks/train/p{number}.png',
                gt_label=number % 2,
                patient_id=f'p{number}',
                spacing=[0.5, 0.25],
                domain='zeiss',
                ori_shape=[160, 240],
            )
            self.records.append(record)
            self.write(record['img_path'], image[..., ::-1])
            self.write(record['seg_map_path'], mask)
        self.annotate()

    def write(self, name, array):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(path), array)

    def annotate(self, records=None, split='train'):
        path = self.root / 'annotations' / f'{split}.json'
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(self.records if records is None else records))
        return path


@pytest.fixture
def prepared(tmp_path):
    return PreparedSet(tmp_path / 'refuge')


@pytest.fixture(scope='session')
def volumes(tmp_path_factory):
    """A set that no test changes."""
    return VolumeSet(tmp_path_factory.mktemp('la'))
