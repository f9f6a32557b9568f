"""Synapse, MMWHS and M&Ms as the original code of A&D prepares and loads them."""

import re

import nibabel
import numpy as np
import pytest
import torch
from scipy import ndimage

from mmjoint.functional.intensity import normalize_volume

from ..test_prepare_dataset.scripts import mmwhs, mnms, mnms_layout, resizing, synapse
from .loader import assert_close, reference

METHOD = 'generic_ssl'
MMWHS_TOLERANCE, RESIZED_TOLERANCE = 1e-5, 1e-4
# What the training loader of the original does to volumes, per data set.
LOADED = {'synapse': dict(clip=(-75, 275)), 'mnms': dict(percentiles=(0.5, 99.5))}


def every(volume, step=8):
    """Every ``step``-th voxel of each axis, as the larger results are stored."""
    return volume[(slice(None, None, step),) * volume.ndim]


def full_shape(sampled, step=8):
    """Shape of a volume of which every ``step``-th voxel is stored; all of them divide evenly."""
    return tuple(step * length for length in sampled.shape)


def statistics(volume, name):
    values = np.asarray(volume, np.float64)
    known = dict(min=values.min(), max=values.max(), mean=values.mean(), std=values.std())
    return np.array([known[part] for part in name.split()])


def test_index_maps():
    arrays = reference(METHOD, 'preprocess_index_maps')
    for name in arrays:
        rule, old, new = re.fullmatch(r'(zoom0|torch_nearest)_(\d+)_to_(\d+)', name).groups()
        old, new = int(old), int(new)
        if rule == 'torch_nearest':
            index = resizing.floor_index(old, new)
            line = torch.arange(old, dtype=torch.float32)[None, None]
            independent = torch.nn.functional.interpolate(line, size=new)[0, 0].numpy()
        else:
            # Where scipy fills with 0, a map made by resizing 0, 1, 2, ... shows the index 0.
            index = np.maximum(resizing.zoom_index(old, new), 0)
            independent = ndimage.zoom(np.arange(old), new / old, order=0)
        assert np.array_equal(index, arrays[name]), name
        assert np.array_equal(index, independent), name


def mmwhs_cases(arrays):
    return sorted(match[1] for name in arrays if (match := re.fullmatch(r'(.+)_name', name)))


def test_mmwhs():
    arrays = reference(METHOD, 'preprocess_mmwhs')
    for case in mmwhs_cases(arrays):
        case_id = str(arrays[f'{case}_name'])
        image, label = (arrays[f'{case}_{kind}_raw_zyx'] for kind in ('image', 'label'))
        # Direction cosines are those of ITK: L, P, S positive, axes X, Y, Z.
        affine = np.diag([-1.0, -1.0, 1.0, 1.0])
        affine[:3, :3] = affine[:3, :3] @ arrays[f'{case}_direction'].reshape(3, 3)
        axes, flips = mmwhs.body_axes(affine)
        turned = [mmwhs.orient(array.transpose(), axes, flips) for array in (image, label)]
        assert np.array_equal(turned[0], arrays[f'{case}_reoriented']), case

        sampled = arrays[f'{case}_out_image_sub8']
        image, ids, _ = mmwhs.prepare_arrays(case_id, *turned, full_shape(sampled))
        # We store class ids as uint8, the original as they were read.
        dtypes = [np.dtype(str(dtype)) for dtype in arrays[f'{case}_out_dtypes']]
        assert image.dtype == dtypes[0] and np.issubdtype(dtypes[1], np.integer)
        assert_close(every(image), sampled, MMWHS_TOLERANCE, f'{case} image')
        expected = arrays[f'{case}_out_stat']
        assert_close(statistics(image, 'min max mean std'), expected, MMWHS_TOLERANCE, case)
        assert np.array_equal(every(ids), arrays[f'{case}_out_label_sub8']), case
        histogram = arrays[f'{case}_out_label_hist']
        assert len(histogram) == len(mmwhs.CLASSES)
        assert np.array_equal(np.bincount(ids.ravel(), minlength=len(histogram)), histogram), case


def test_synapse():
    arrays = reference(METHOD, 'preprocess_synapse')
    sampled = arrays['synapse_out_image_sub8']
    image, ids = synapse.resize_case(
        arrays['synapse_image_raw'], arrays['synapse_label_raw'], full_shape(sampled)
    )
    dtypes = [np.dtype(str(dtype)) for dtype in arrays['synapse_out_dtypes']]
    assert image.dtype == dtypes[0] and dtypes[1] == np.float32  # our class ids are integers
    assert_close(every(image), sampled, RESIZED_TOLERANCE, 'image')
    expected = arrays['synapse_out_stat']
    assert_close(statistics(image, 'min max mean std'), expected, RESIZED_TOLERANCE, 'statistics')
    assert np.array_equal(every(ids), arrays['synapse_out_label_sub8'])
    histogram = arrays['synapse_out_label_hist']
    assert len(histogram) == len(synapse.CLASSES)
    assert np.array_equal(np.bincount(ids.ravel(), minlength=len(histogram)), histogram)

    loaded = normalize_volume(image, **LOADED['synapse'])
    dtypes = [np.dtype(str(dtype)) for dtype in arrays['synapse_loader_dtypes']]
    assert loaded.dtype == dtypes[0] and np.issubdtype(dtypes[1], np.integer)
    assert_close(every(loaded), arrays['synapse_loader_image_sub8'], RESIZED_TOLERANCE, 'loaded')


@pytest.fixture(scope='module')
def mnms_arrays():
    return reference(METHOD, 'preprocess_mnms')


def stored_cases(arrays, kind):
    """All cases of the file list ``kind``, and the shape of those whose arrays are stored."""
    cases, shapes = set(), {}
    for file in map(str, arrays[f'{kind}_files']):
        case, what = re.fullmatch(r'(.+)_(image|label)\.npy', file).groups()
        cases.add(case)
        if f'{kind}_shape/{file}' in arrays:
            shape = tuple(arrays[f'{kind}_shape/{file}'].tolist())
            assert shapes.setdefault(case, shape) == shape
            dtype = np.dtype(str(arrays[f'{kind}_dtype/{file}']))
            assert what == 'label' or dtype == np.float32
    assert shapes
    return cases, shapes


def written_cases(arrays, kind, folder, *, two_d):
    """What our script writes for the subject of the file: case -> (image, class ids)."""
    cases, shapes = stored_cases(arrays, kind)
    (code,) = {re.sub(r'_sa(_\d+)+$', '', case) for case in cases}
    # The stored array has the axes (T, Z, Y, X), a file (X, Y, Z, T).
    for name, array in (('sa', 'image'), ('sa_gt', 'label')):
        data = arrays[f'mnms_{array}_raw_tzyx'].transpose()
        nibabel.save(nibabel.Nifti1Image(data, np.eye(4)), folder / f'{code}_{name}.nii.gz')
    subject = mnms_layout.Subject(
        code, 'A', folder / f'{code}_sa.nii.gz', folder / f'{code}_sa_gt.nii.gz', ()
    )
    (shape,) = set(shapes.values())  # all frames and slices of a subject have one size
    sizes = dict(short_side=min(shape)) if two_d else dict(shape=shape)
    records = mnms.convert_subject(subject, folder / 'out', raw_root=folder, two_d=two_d, **sizes)
    assert set(records) == cases
    read = {
        case: [np.load(folder / 'out' / record[key]) for key in ('img_path', 'seg_map_path')]
        for case, record in records.items()
    }
    assert all(image.shape == ids.shape == shape for image, ids in read.values())
    return read


def check_written(arrays, kind, written):
    for case in stored_cases(arrays, kind)[1]:
        image, ids = written[case]
        assert image.dtype == np.float32
        expected = arrays[f'{kind}_out/{case}_image.npy']
        assert_close(every(image), expected, RESIZED_TOLERANCE, f'{case} image')
        assert np.array_equal(every(ids), arrays[f'{kind}_out/{case}_label.npy']), case


def test_mnms_volumes(mnms_arrays, tmp_path):
    written = written_cases(mnms_arrays, 'mnms3d', tmp_path, two_d=False)
    check_written(mnms_arrays, 'mnms3d', written)
    # Which of the volumes was loaded is not said; its percentiles tell.
    limits = mnms_arrays['mnms3d_percentiles']
    (image,) = [
        image
        for image, _ in written.values()
        if np.allclose(np.percentile(image, LOADED['mnms']['percentiles']), limits)
    ][:1]
    loaded = normalize_volume(image, **LOADED['mnms'])
    assert loaded.dtype == np.float32
    expected = mnms_arrays['mnms3d_normalized_sub8']
    assert_close(every(loaded), expected, RESIZED_TOLERANCE, 'loaded')


def test_mnms_slices(mnms_arrays, tmp_path):
    written = written_cases(mnms_arrays, 'mnms2d', tmp_path, two_d=True)
    check_written(mnms_arrays, 'mnms2d', written)
    # The original also writes pictures to look at, which are scaled so; we write none.
    name = str(mnms_arrays['mnms2d_png_name'])
    image = written[name.removesuffix('_image.png')][0]
    picture = (image / image.max() * 255).astype(np.uint8)
    away = np.abs(every(picture).astype(int) - mnms_arrays['mnms2d_png_sub8'])
    assert away.max() <= 1
