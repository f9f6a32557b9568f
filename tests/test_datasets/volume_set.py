"""A prepared set of tiny volumes on disk."""

import json

import numpy as np

from mmjoint.utils.volume_grid import VolumeGrid

CLASSES = ('background', 'left atrium')
SHAPES = [(9, 12, 11), (8, 10, 14), (12, 9, 10), (7, 11, 12), (10, 10, 10), (9, 13, 8)]
NUM_LABELLED = 2


def affine_of(number):
    """Unequal spacing, and X running to the left."""
    return np.array([[-0.5, 0, 0, number], [0, 0.75, 0, -5], [0, 0, 2, 30], [0, 0, 0, 1.0]])


def grid_of(number, shape):
    """A crop out of a raw volume of two more voxels on each side, Z first."""
    return VolumeGrid(
        raw_path=f'{number}.nii.gz',
        raw_shape=tuple(length + 4 for length in reversed(shape)),
        affine=tuple(map(tuple, affine_of(number).tolist())),
        axes=(2, 1, 0),
        flips=(False, True, False),
        crop=tuple((2, length + 2) for length in shape),
        shape=shape,
    )


class VolumeSet:
    """Six volumes with blocks of class 1, the first two of them labelled; made for LADataset."""

    def __init__(self, root):
        self.root = root
        rng = np.random.default_rng(0)
        self.images, self.masks, self.records = [], [], []
        for number, shape in enumerate(SHAPES):
            mask = np.zeros(shape, np.uint8)
            mask[2:6, 3:7, 2 : 5 + number % 3] = 1
            image = (rng.normal(size=shape) + 3 * mask + number).astype(np.float32)
            self.images.append(image)
            self.masks.append(mask)
            paths = {'img_path': f'images/c{number}.npy', 'seg_map_path': f'masks/c{number}.npy'}
            for path, array in zip(paths.values(), (image, mask), strict=True):
                (root / path).parent.mkdir(parents=True, exist_ok=True)
                np.save(root / path, array)
            grid = grid_of(number, shape)
            self.records.append(
                {
                    **paths,
                    'patient_id': f'p{number}',
                    'domain': 'mr',
                    'spacing': list(grid.spacing),
                    'ori_shape': list(grid.raw_shape),
                    'geometry': grid.to_dict(),
                }
            )
        self.annotate(self.records[:NUM_LABELLED], 'labelled')
        self.annotate(self.records[NUM_LABELLED:], 'unlabelled')
        self.annotate(self.records, 'all')

    def annotate(self, records, split):
        path = self.root / 'annotations' / f'{split}.json'
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(records))
