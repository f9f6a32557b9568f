"""Used by the tests of the scripts for volumes."""

import json

import nibabel
import numpy as np

from mmjoint.utils.volume_grid import VolumeGrid


def records_of(out, split):
    return json.loads((out / 'annotations' / f'{split}.json').read_text())


def ids_of(out, split):
    """Names of the cases of a split."""
    return [
        record['img_path'].removeprefix('images/').removesuffix('.npy')
        for record in records_of(out, split)
    ]


def all_records(out):
    """Case id -> record, over all splits; a case has the same record in each."""
    records = {}
    for path in sorted((out / 'annotations').iterdir()):
        for case_id, record in zip(ids_of(out, path.stem), records_of(out, path.stem), strict=True):
            assert records.setdefault(case_id, record) == record
    return records


def load(out, record):
    """Image, class ids and grid of a record; their form is checked."""
    image, ids = (np.load(out / record[key], mmap_mode='r') for key in ('img_path', 'seg_map_path'))
    grid = VolumeGrid.from_dict(record['geometry'])
    assert image.dtype == np.float32 and ids.dtype == np.uint8
    assert image.shape == ids.shape and image.flags.c_contiguous
    assert np.isfinite(image).all()
    assert record['ori_shape'] == list(grid.raw_shape)
    np.testing.assert_allclose(record['spacing'], grid.spacing[-image.ndim :], rtol=1e-4)
    return image, ids, grid


def nifti(name, change=None, affine=None):
    """Replace a volume by ``change`` of it, or move it by ``affine`` of its affine."""

    def spoil(raw):
        stored = nibabel.load(raw / name)
        data = np.asarray(stored.dataobj)
        data = data if change is None else change(data.copy())
        moved = stored.affine if affine is None else affine(stored.affine.copy())
        nibabel.save(nibabel.Nifti1Image(data, moved), raw / name)

    return spoil


def set_to(value, count=1):
    """Set the first voxels along the last axis."""

    def change(data):
        data = data.astype(np.float32)
        data.reshape(-1)[:count] = value
        return data

    return change


def moved(affine):
    affine[0, 3] += 1000
    return affine


def ids_file(raw, name, ids):
    """Write a split file into ``<raw>/../splits`` and give the folder."""
    folder = raw.parent / 'splits'
    folder.mkdir(exist_ok=True)
    (folder / f'{name}.txt').write_text(''.join(f'{line}\n' for line in ids))
    return folder
