import h5py
import nibabel
import numpy as np
import pytest
import SimpleITK

from mmjoint.datasets.transforms import LoadVolume, LoadVolumeAnnotations, PackJointInputs
from mmjoint.functional.geometry import restore_labels
from mmjoint.utils.errors import UserError
from mmjoint.utils.volume_files import write_nifti

from ...test_prepare_dataset.scripts import mmwhs, mnms, synapse

CLASSES = ('background', 'left atrium')


def info(volumes, number):
    record = volumes.records[number]
    paths = {key: str(volumes.root / record[key]) for key in ('img_path', 'seg_map_path')}
    return {**record, **paths, 'classes': CLASSES, 'seg_fields': []}


def save(tmp_path, array, name='a.npy'):
    np.save(tmp_path / name, array)
    return str(tmp_path / name)


def test_a_prepared_volume(volumes):
    results = LoadVolumeAnnotations()(LoadVolume()(info(volumes, 1)))
    image = volumes.images[1]
    expected = (image - image.min()) / (image.max() - image.min())
    assert results['img'].shape == (*image.shape, 1)
    assert results['img'].dtype == np.float32 and results['img'].flags.writeable
    assert not isinstance(results['img'], np.memmap)
    assert np.allclose(results['img'][..., 0], expected, atol=1e-6)
    assert results['img_shape'] == results['ori_shape'] == image.shape
    assert np.array_equal(results['gt_seg_map'], volumes.masks[1])
    assert results['seg_fields'] == ['gt_seg_map']
    sample = PackJointInputs()(results)['data_samples']
    assert sample.geometry == volumes.records[1]['geometry']
    assert sample.gt_sem_seg.data.shape == (1, *image.shape)


def test_limits(tmp_path):
    path = save(tmp_path, np.array([[-1000, -75], [100, 3000]], np.int16))
    image = LoadVolume(clip=(-75, 275))(dict(img_path=path))['img']
    assert image[..., 0].tolist() == [[0, 0], [0.5, 1]]
    values = np.random.default_rng(0).normal(size=(5, 6, 7))
    path = save(tmp_path, values, 'b.npy')
    image = LoadVolume(percentiles=(10, 90))(dict(img_path=path))['img'][..., 0]
    low, high = np.percentile(values, (10, 90))
    assert np.allclose(image, (np.clip(values, low, high) - low) / (high - low), atol=1e-6)


def test_the_range_is_looked_for_once(volumes, monkeypatch):
    from mmjoint.datasets.transforms import volume_loading

    calls = []
    find = volume_loading.intensity_range
    load = LoadVolume(percentiles=(1, 99))
    monkeypatch.setattr(
        volume_loading, 'intensity_range', lambda *a, **k: calls.append(1) or find(*a, **k)
    )
    first, again = (load(info(volumes, 0))['img'] for _ in range(2))
    assert np.array_equal(first, again)
    load(info(volumes, 1))
    assert len(calls) == 2


@pytest.mark.parametrize(
    ('array', 'options', 'message'),
    [
        (np.full((3, 4), 7.0), {}, 'found the one value 7 in all voxels'),
        (np.array([[300, 400]]), dict(clip=(-75, 275)), 'the one value 275 after clipping'),
        (np.array([[0, np.nan], [1, np.inf]]), {}, 'NaN or infinity in 2 of 4 voxels'),
    ],
)
def test_volumes_that_cannot_be_scaled(tmp_path, array, options, message):
    path = save(tmp_path, array)
    with pytest.raises(UserError, match=rf'a\.npy: expected .*{message}'):
        LoadVolume(**options)(dict(img_path=path))


@pytest.mark.parametrize('axes', ['file', 'reversed', 'body'])
def test_a_raw_nifti_file_and_the_way_back(tmp_path, axes):
    rng = np.random.default_rng(0)
    raw = rng.integers(-1000, 1000, (4, 5, 6)).astype(np.int16)
    labels = rng.integers(0, 2, raw.shape).astype(np.int16)
    rotation, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    affine = np.eye(4)
    affine[:3, :3] = rotation * (0.7, 1.1, 3)
    write_nifti(tmp_path / 'a.nii.gz', raw, affine)
    write_nifti(tmp_path / 'l.nii.gz', labels, affine)
    results = dict(
        img_path=str(tmp_path / 'a.nii.gz'),
        seg_map_path=str(tmp_path / 'l.nii.gz'),
        classes=CLASSES,
    )
    results = LoadVolumeAnnotations(axes=axes)(LoadVolume(axes=axes)(results))
    stored = SimpleITK.ReadImage(str(tmp_path / 'l.nii.gz'))
    expected = {
        'file': labels,
        'reversed': SimpleITK.GetArrayFromImage(stored),
        'body': SimpleITK.GetArrayFromImage(SimpleITK.DICOMOrient(stored, 'LPS')),
    }[axes]
    assert np.array_equal(results['gt_seg_map'], expected)
    assert results['gt_seg_map'].dtype == np.uint8
    assert np.array_equal(restore_labels(results['gt_seg_map'], results['geometry']), labels)
    steps = np.linalg.norm(nibabel.load(tmp_path / 'a.nii.gz').affine[:3, :3], axis=0)
    order = results['geometry']['axes']
    assert results['spacing'] == pytest.approx([steps[axis] for axis in order])


def test_a_raw_file_is_resized_as_the_script_does(tmp_path):
    """One pipeline for raw and prepared files of Synapse."""
    raw = np.random.default_rng(0).integers(-500, 500, (9, 8, 7)).astype(np.int16)
    affine = np.diag([0.8, 0.8, 3.0, 1.0])
    write_nifti(tmp_path / 'img0001.nii.gz', raw, affine)
    prepared, _ = synapse.resize_case(raw.transpose(), np.zeros((7, 8, 9), np.int16), (10, 6, 6))
    load = LoadVolume(clip=(-75, 275), axes='reversed', size=(10, 6, 6))
    results = load(dict(img_path=str(tmp_path / 'img0001.nii.gz')))
    expected = load(dict(img_path=save(tmp_path, prepared, '0001.npy')))['img']
    assert np.allclose(results['img'], expected, atol=1e-5)
    assert results['ori_shape'] == (10, 6, 6)
    assert results['spacing'] == pytest.approx((3 * 7 / 10, 0.8 * 8 / 6, 0.8 * 9 / 6))
    flat = restore_labels(np.ones((10, 6, 6), np.uint8), results['geometry'])
    assert flat.shape == raw.shape and flat.all()
    small = np.arange(24.0).reshape(2, 3, 4)
    assert load(dict(img_path=save(tmp_path, small)))['img'].shape == (2, 3, 4, 1)


@pytest.mark.parametrize('resizing', ['linear', 'nearest'])
def test_resizing_hides_no_hole(tmp_path, resizing):
    """The voxel is skipped by both ways of shrinking."""
    raw = np.random.default_rng(0).random((9, 9, 9), np.float32)
    raw[1, 1, 1] = np.nan
    write_nifti(tmp_path / 'a.nii', raw, np.eye(4))
    with pytest.raises(UserError, match=r'a\.nii: expected finite values, found NaN .* 1 of 729'):
        LoadVolume(size=(3, 3, 3), resizing=resizing)(dict(img_path=str(tmp_path / 'a.nii')))


def test_hdf5(tmp_path):
    with h5py.File(tmp_path / 'mri_norm2.h5', 'w') as stored:
        stored['image'] = np.arange(24.0).reshape(2, 3, 4)
        stored['label'] = np.ones((2, 3, 4), np.uint8)
    path = str(tmp_path / 'mri_norm2.h5')
    results = LoadVolume()(dict(img_path=path, seg_map_path=path, classes=CLASSES))
    assert results['img'].max() == 1
    # The file does not tell where its voxels lie: the affine counts them, and no mm are claimed.
    assert results['geometry']['affine'] == np.eye(4).tolist() and 'spacing' not in results
    assert LoadVolumeAnnotations()(results)['gt_seg_map'].sum() == 24
    turned = LoadVolume(axes='reversed', spacing=(0.5, 0.5, 2))(dict(img_path=path))
    assert turned['spacing'] == (2, 0.5, 0.5)
    assert np.array_equal(turned['img'][..., 0], results['img'][..., 0].transpose())
    with pytest.raises(UserError, match=r"mri_norm2\.h5: expected .* as axes='body' needs"):
        LoadVolume(axes='body')(dict(img_path=path))


def test_a_frame_of_a_cine_is_read_as_the_script_does(tmp_path):
    """All but the choice of slices, which the script makes by the labels."""
    raw = np.random.default_rng(0).integers(0, 900, (13, 11, 5, 3)).astype(np.int16)
    affine = np.diag([1.5, 1.5, 8.0, 1.0])
    write_nifti(tmp_path / 'a_sa.nii.gz', raw, affine)
    frame = raw[..., 1].transpose()
    label = np.ones(frame.shape, np.uint8)
    ((_, prepared, _, box),) = mnms.frame_cases(frame, label, shape=(8, 9, 10), inclusive=True)
    assert prepared.std() > 0
    load = LoadVolume(
        percentiles=(0.5, 99.5),
        axes='reversed',
        central=(1, 2),
        size=(8, 9, 10),
        resizing='nearest',
        frames=True,
    )
    results = load(dict(img_path=str(tmp_path / 'a_sa.nii.gz'), frame=1))
    expected = load(dict(img_path=save(tmp_path, prepared)))['img']
    assert np.array_equal(results['img'], expected)
    geometry = results['geometry']
    assert [tuple(bounds) for bounds in geometry['crop']] == list(box)
    assert (geometry['frame'], geometry['alignment']) == (1, 'corners')
    other = load(dict(img_path=str(tmp_path / 'a_sa.nii.gz'), frame=0))['img']
    assert not np.array_equal(other, expected)
    for options, frame in ((dict(frames=True), None), ({}, 1)):
        with pytest.raises(UserError, match=r'expected a volume of 3 axes'):
            LoadVolume(**options)(dict(img_path=str(tmp_path / 'a_sa.nii.gz'), frame=frame))
    tiny = str(tmp_path / 'tiny.nii.gz')
    write_nifti(tiny, raw[:2, :2, :, 0], affine)
    with pytest.raises(UserError, match=r'tiny\.nii\.gz: expected at least 3 voxels'):
        load(dict(img_path=tiny))


def test_a_heart_is_read_as_the_script_does(tmp_path):
    """All but the crop, which the script makes by the labels: here they fill the volume."""
    rng = np.random.default_rng(0)
    raw = rng.gamma(1, 300, (13, 12, 11)).astype(np.float32) - 100
    affine = np.diag([1.0, -1.5, 2.0, 1.0])
    write_nifti(tmp_path / 'a.nii.gz', raw, affine)
    stored = SimpleITK.ReadImage(str(tmp_path / 'a.nii.gz'))
    turned = SimpleITK.GetArrayFromImage(SimpleITK.DICOMOrient(stored, 'LPS'))
    label = np.full(turned.shape, 205)
    prepared, _, box = mmwhs.prepare_arrays('ct_train_1001', turned, label, (24, 26, 28))
    assert box == tuple((0, length) for length in turned.shape)
    expected = LoadVolume()(dict(img_path=save(tmp_path, prepared)))['img']
    load = LoadVolume(
        clip=(0, None),
        percentiles=(None, 98),
        axes='body',
        size=(24, 26, 28),
        resizing='nearest',
    )
    found = load(dict(img_path=str(tmp_path / 'a.nii.gz')))['img']
    # Enlarging repeats voxels unevenly, which moves the percentile a little.
    assert np.allclose(found, expected, atol=0.02) and expected.std() > 0.2
    assert np.array_equal(found == 0, expected == 0)


def test_unlabelled_and_partly_annotated_volumes(volumes):
    results = LoadVolume()(info(volumes, 0))
    bare = {key: value for key, value in results.items() if key != 'seg_map_path'}
    assert 'gt_seg_map' not in LoadVolumeAnnotations()(bare)
    results['annotated_classes'] = (0,)
    assert not LoadVolumeAnnotations()(results)['gt_seg_map'].any()


@pytest.mark.parametrize(
    ('labels', 'message'),
    [
        (np.zeros((3, 4), np.uint8), r'expected the shape of the image .*found \(3, 4\)'),
        (np.full((3, 5), 2, np.uint8), r'class numbers 0 to 1 .* found 2'),
        (np.full((3, 5), -1, np.int8), 'negative, too large or not whole'),
        (np.full((3, 5), 0.5), 'negative, too large or not whole'),
    ],
)
def test_wrong_label_maps(tmp_path, labels, message):
    image = save(tmp_path, np.arange(15.0).reshape(3, 5))
    results = LoadVolume()(dict(img_path=image, classes=CLASSES))
    results['seg_map_path'] = save(tmp_path, labels, 'l.npy')
    with pytest.raises(UserError, match=message):
        LoadVolumeAnnotations()(results)


def test_ignored_voxels_stay(tmp_path):
    image = save(tmp_path, np.arange(15.0).reshape(3, 5))
    labels = np.array([[0, 1, 255, 0, 1]] * 3)
    results = LoadVolume()(dict(img_path=image, classes=CLASSES))
    results['seg_map_path'] = save(tmp_path, labels, 'l.npy')
    results['annotated_classes'] = (0,)
    assert LoadVolumeAnnotations()(results)['gt_seg_map'][0].tolist() == [0, 0, 255, 0, 0]


def test_a_geometry_of_another_shape(volumes):
    results = info(volumes, 0)
    results['geometry'] = volumes.records[1]['geometry']
    with pytest.raises(UserError, match=r'expected the shape \(8, 10, 14\) that its record tells'):
        LoadVolume()(results)
    results['geometry'] = {'axes': [0, 1, 2]}
    with pytest.raises(UserError, match='wrong geometry'):
        LoadVolume()(results)


def test_options():
    with pytest.raises(ValueError, match='axes must be one of'):
        LoadVolume(axes='zyx')
    with pytest.raises(ValueError, match='axes must be one of'):
        LoadVolumeAnnotations(axes='zyx')
    with pytest.raises(ValueError, match='clip must rise'):
        LoadVolume(clip=(1, 0))
    with pytest.raises(ValueError, match='size must be three lengths'):
        LoadVolume(size=(4, 4))
    with pytest.raises(ValueError, match="resizing must be 'linear' or 'nearest', got 'cubic'"):
        LoadVolume(resizing='cubic')
    with pytest.raises(ValueError, match='central must name axes 0, 1 or 2'):
        LoadVolume(central=(3,))
    with pytest.raises(ValueError, match='spacing must be three lengths > 0'):
        LoadVolume(spacing=(1, 0, 1))
    assert repr(LoadVolume(clip=(0, 1))) != repr(LoadVolume())
