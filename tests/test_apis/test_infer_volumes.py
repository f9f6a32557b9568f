"""Raw volumes in, NIfTI files in their geometry out: ``tools/infer.py`` and ``JointInferencer``."""

import csv
import json
import re
import shutil

import h5py
import nibabel
import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

from mmjoint.apis.infer import main
from mmjoint.apis.inferencer import Frame, JointInferencer, find_inputs
from mmjoint.engine.checkpoint import write_checkpoint
from mmjoint.utils.cli import run_cli
from mmjoint.utils.errors import UserError
from mmjoint.utils.volume_files import write_nifti

from ..test_functional.test_geometry import random_affine
from .small_models import mc_unet

CLASSES = ('background', 'ventricle', 'muscle')


def toy(folder, loader=None, *, name='toy', classes=CLASSES, **model):
    """Config and checkpoint of a model that finds the class in the intensity."""
    cfg = dict(
        default_scope='mmjoint',
        custom_imports=dict(imports=['tests.test_apis.volume_toy']),
        model=dict(type='LevelModel', num_classes=len(classes), **model),
        test_dataloader=dict(
            dataset=dict(
                type='LADataset',
                metainfo=dict(classes=classes, palette=[]),
                pipeline=[
                    dict(type='LoadVolume'),
                    dict(type='LoadVolumeAnnotations'),
                    dict(type='PackJointInputs'),
                ],
            )
        ),
    )
    if loader is not None:
        cfg['infer_pipeline'] = [dict(type='LoadVolume', **loader), dict(type='PackJointInputs')]
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / f'{name}.py'
    Config(cfg).dump(config)
    checkpoint = folder / f'{name}.pth'
    from .volume_toy import LevelModel  # registers it, so not when tests are collected

    options = {key: value for key, value in cfg['model'].items() if key != 'type'}
    weights = LevelModel(**options).state_dict()
    write_checkpoint({'state_dict': weights, 'meta': {}}, checkpoint)
    return config, checkpoint


def blobs(rng, shape, num_classes=3):
    """A label map of blocks, whose volumes differ; corners hold all classes."""
    labels = rng.integers(0, num_classes, [-(-n // 2) for n in shape])
    for axis in range(len(shape)):
        labels = labels.repeat(2, axis)
    labels = labels[tuple(slice(n) for n in shape)]
    labels.flat[:num_classes] = range(num_classes)
    return labels.astype(np.int16)


def run(inputs, out, model, *options):
    words = [*(inputs if isinstance(inputs, list) else [inputs]), out]
    main([str(w) for w in (*words, '--config', model[0], '--checkpoint', model[1], *options)])
    return {path.relative_to(out).as_posix() for path in out.rglob('*') if path.is_file()}


def table(out):
    with open(out / 'predictions.csv', newline='') as stream:
        return list(csv.DictReader(stream))


def fail(inputs, out, model, *options, capsys):
    words = [*(inputs if isinstance(inputs, list) else [inputs]), out]
    words += ['--config', model[0], '--checkpoint', model[1], *options]
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        run_cli(main, [str(word) for word in words])
    assert stop.value.code == 1
    return capsys.readouterr().err.splitlines()


@pytest.mark.parametrize('seed', range(4))
@pytest.mark.parametrize('axes', ['file', 'reversed', 'body'])
def test_a_random_geometry_comes_back_exactly(seed, axes, tmp_path):
    rng = np.random.default_rng(seed)
    affine = random_affine(rng)
    raw = blobs(rng, rng.integers(4, 9, 3))
    write_nifti(tmp_path / 'a.nii.gz', raw * 100 - 50, affine)
    model = toy(tmp_path, dict(axes=axes))
    files = run(tmp_path / 'a.nii.gz', tmp_path / 'out', model)
    assert files == {
        *('a_pred.nii.gz', 'a_predictive_entropy.nii.gz', 'a_slices.png'),
        *('predictions.csv', 'infer.json'),
    }
    pred = nibabel.load(tmp_path / 'out/a_pred.nii.gz')
    assert np.array_equal(np.asanyarray(pred.dataobj), raw)
    assert np.allclose(pred.affine, affine, atol=1e-4)
    entropy = nibabel.load(tmp_path / 'out/a_predictive_entropy.nii.gz').get_fdata()
    assert entropy.shape == raw.shape and 0 <= entropy.min() and entropy.max() < 0.1
    (row,) = table(tmp_path / 'out')
    assert row['voxels'] == 'x'.join(map(str, raw.shape))
    spacing = [float(step) for step in row['spacing_mm'].split('x')]
    assert spacing == pytest.approx(np.linalg.norm(affine[:3, :3], axis=0), rel=1e-4)
    for number, name in enumerate(CLASSES[1:], 1):
        assert int(row[f'voxels_{name}']) == (raw == number).sum()
        ml = (raw == number).sum() * np.prod(spacing) / 1000
        assert float(row[f'ml_{name}']) == pytest.approx(ml, rel=1e-4)
    assert 'voxels_background' not in row and float(row['mean_confidence']) > 0.9
    assert row['predictive_entropy_mean'] != ''


def test_without_an_infer_pipeline_the_test_pipeline_reads_the_files(tmp_path):
    raw = blobs(np.random.default_rng(0), (5, 6, 7))
    write_nifti(tmp_path / 'a.nii', raw, np.diag([-1.0, 2, 3, 1]))
    run(tmp_path / 'a.nii', tmp_path / 'out', toy(tmp_path))
    pred = nibabel.load(tmp_path / 'out/a_pred.nii.gz')
    assert np.array_equal(np.asanyarray(pred.dataobj), raw)
    assert np.array_equal(pred.affine, np.diag([-1.0, 2, 3, 1]))


def test_uncertainty_probabilities_and_passes(tmp_path):
    """Maps of the chosen estimator, on the raw grid; arrays on that of the network."""
    raw = blobs(np.random.default_rng(1), (5, 6, 7))
    write_nifti(tmp_path / 'a.nii.gz', raw * 10, np.eye(4))
    model = toy(tmp_path, dict(axes='reversed'))
    member = shutil.copy(model[1], tmp_path / 'second.pth')
    options = ['--uq', 'ensemble', '--members', member, '--out-map', 'prob', '--class-index', '2']
    files = run(tmp_path / 'a.nii.gz', tmp_path / 'out', model, *options, '--save-prob')
    measures = ['predictive_entropy', 'expected_entropy', 'mutual_information', 'variance']
    kinds = ['pred', 'prob_c2', *measures]
    expected = {f'a_{kind}.nii.gz' for kind in kinds} | {'a_slices.png', 'a_probs.npy'}
    assert files == expected | {'predictions.csv', 'infer.json'}
    probs = nibabel.load(tmp_path / 'out/a_prob_c2.nii.gz').get_fdata()
    passes = np.load(tmp_path / 'out/a_probs.npy')
    assert passes.shape == (2, 3, 7, 6, 5)
    assert np.allclose(passes.mean(0)[2].transpose(), probs, atol=1e-6)
    assert (probs[raw == 2] > 0.9).all() and (probs[raw != 2] < 0.1).all()
    options = ['--no-save', '--overwrite', '--uq', 'softmax']
    assert run(tmp_path / 'a.nii.gz', tmp_path / 'no', model, *options) == {
        *('predictions.csv', 'infer.json')
    }
    run(tmp_path / 'a.nii.gz', tmp_path / 'npz', model, '--save-npz')
    arrays = np.load(tmp_path / 'npz/a.npz')
    assert np.array_equal(arrays['pred'].transpose(), raw)


def test_a_model_without_probabilities(tmp_path, capsys):
    """Windows in bounded memory give labels and their entropy alone."""
    raw = blobs(np.random.default_rng(1), (9, 8, 7))
    write_nifti(tmp_path / 'a.nii.gz', raw * 10, np.eye(4))
    windows = dict(mode='slide', roi_size=(6, 6, 6), stride=(3, 3, 3), bounded=True)
    model = toy(tmp_path, {}, test_cfg=windows)
    files = run(tmp_path / 'a.nii.gz', tmp_path / 'out', model)
    assert {'a_pred.nii.gz', 'a_predictive_entropy.nii.gz', 'a_slices.png'} <= files
    pred = nibabel.load(tmp_path / 'out/a_pred.nii.gz')
    assert np.array_equal(np.asanyarray(pred.dataobj), raw)
    assert 'mean_confidence' not in table(tmp_path / 'out')[0]
    for number, options in enumerate([['--save-npz'], ['--out-map', 'prob'], ['--save-prob']]):
        out = tmp_path / f'no{number}'
        lines = fail(tmp_path / 'a.nii.gz', out, model, *options, capsys=capsys)
        assert len(lines) == 1
        assert re.search(rf'{options[0]}.*expected probabilities of all classes', lines[0])
        assert not out.exists()


def test_a_folder_of_hdf5_files(tmp_path):
    """As LA lies on disk: one name, many folders; the files do not tell their spacing."""
    rng = np.random.default_rng(2)
    raws = {}
    for name in ('XY1', 'AB2'):
        (tmp_path / 'la' / name).mkdir(parents=True)
        raws[name] = blobs(rng, (6, 5, 4))
        with h5py.File(tmp_path / 'la' / name / 'mri_norm2.h5', 'w') as stored:
            stored['image'] = raws[name].astype(np.float32) - 1
    model = toy(tmp_path, dict(spacing=(0.625, 0.625, 1.25)))
    files = run(tmp_path / 'la', tmp_path / 'out', model, '--recursive')
    assert len(files) == 8
    for name, raw in raws.items():
        pred = nibabel.load(tmp_path / 'out' / name / 'mri_norm2_pred.nii.gz')
        assert np.array_equal(np.asanyarray(pred.dataobj), raw)
        assert np.array_equal(pred.affine, np.diag([0.625, 0.625, 1.25, 1]))
    assert [row['spacing_mm'] for row in table(tmp_path / 'out')] == ['0.625x0.625x1.25'] * 2
    run(tmp_path / 'la/XY1/mri_norm2.h5', tmp_path / 'unknown', toy(tmp_path, name='other'))
    (row,) = table(tmp_path / 'unknown')
    assert row['spacing_mm'] == row['ml_muscle'] == '' and int(row['voxels_muscle']) > 0


def cine(folder, name='cine.nii.gz'):
    rng = np.random.default_rng(3)
    raw = np.stack([blobs(rng, (12, 9, 5)) for _ in range(3)], axis=-1)
    folder.mkdir(parents=True, exist_ok=True)
    affine = random_affine(rng)
    write_nifti(folder / name, raw * 100, affine)
    return raw, affine


def test_all_frames_of_a_cine(tmp_path):
    """In the manner of M&Ms: the middle of each slice, resized, one file per frame."""
    raw, affine = cine(tmp_path / 'in')
    loader = dict(axes='reversed', central=(1, 2), size=(10, 12, 16), resizing='nearest')
    model = toy(tmp_path, dict(**loader, frames=True))
    files = run(tmp_path / 'in', tmp_path / 'out', model)
    assert {f'cine_t{k}_pred.nii.gz' for k in range(3)} <= files
    for k in range(3):
        pred = nibabel.load(tmp_path / 'out' / f'cine_t{k}_pred.nii.gz')
        # Enlarged by nearest voxels and back nothing is lost; outside the middle is background.
        middle = np.zeros_like(raw[..., k])
        middle[2:10, 1:7] = raw[2:10, 1:7, :, k]
        assert np.array_equal(np.asanyarray(pred.dataobj), middle)
        assert np.allclose(pred.affine, affine, atol=1e-4)
    entropy = nibabel.load(tmp_path / 'out/cine_t0_predictive_entropy.nii.gz').get_fdata()
    assert np.isnan(entropy[0]).all() and np.isfinite(entropy[2:10, 1:7]).all()
    assert [row['image'] for row in table(tmp_path / 'out')] == [
        f'{tmp_path / "in" / "cine.nii.gz"}, frame {k}' for k in range(3)
    ]
    inferencer = JointInferencer(*model)
    samples = inferencer(tmp_path / 'in')
    assert [sample.metainfo['geometry']['frame'] for sample in samples] == [0, 1, 2]
    (one,) = inferencer(Frame(tmp_path / 'in/cine.nii.gz', 2))
    assert one.pred_sem_seg.data.equal(samples[2].pred_sem_seg.data)
    with pytest.raises(UserError, match=r'cine\.nii\.gz: expected a frame 3, found the shape'):
        inferencer(Frame(tmp_path / 'in/cine.nii.gz', 3))
    cine(tmp_path / 'one')
    write_nifti(tmp_path / 'one/cine.nii.gz', raw[..., 0] * 100, affine)
    assert 'cine_pred.nii.gz' in run(tmp_path / 'one', tmp_path / 'single', model)


def test_from_python(tmp_path):
    raw = blobs(np.random.default_rng(0), (5, 6, 7))
    write_nifti(tmp_path / 'in/a.nii.gz', raw * 3, np.eye(4))
    write_nifti(tmp_path / 'in/b.nii', raw[::-1] * 3, np.eye(4))
    inferencer = JointInferencer(*toy(tmp_path, {}), batch_size=2)
    predictions = list(inferencer.iterate(tmp_path / 'in'))
    for prediction, labels in zip(predictions, (raw, raw[::-1]), strict=True):
        assert np.array_equal(prediction.sample.pred_sem_seg.data[0], labels)
        expected = np.round(labels * 127.5 + 1e-6)
        assert np.abs(prediction.image.astype(int) - expected).max() <= 1
    images, samples = zip(*[prediction[1:] for prediction in predictions], strict=True)
    pictures = inferencer.visualize(images, samples)
    assert all(picture.ndim == 3 and picture.dtype == np.uint8 for picture in pictures)


MISTAKES = {
    'damaged': ('cut.nii.gz', [], r'cut\.nii\.gz: expected a whole NIfTI file'),
    'no file': ('empty.nii', [], r'empty\.nii: expected a whole NIfTI file'),
    'NaN': ('nan.nii.gz', [], r'nan\.nii\.gz: expected finite values, found NaN .* 1 of 210'),
    'frames': ('cine.nii.gz', [], r'cine\.nii\.gz: expected a volume of 3 axes .*5, 3\)'),
    'an image as NIfTI': ('flat.nii', [], r'flat\.nii: expected volumes of 3 axes, .*\(5, 6\)'),
    'constant': ('constant.nii', [], r'constant\.nii: expected an image, found the one value 3'),
    'flat affine': ('affine.nii', [], r'affine\.nii: expected an affine that places the voxels'),
    'an image': ('photo.png', [], r'photo\.png: expected a volume .* found an image'),
    'another file': ('notes.md', [], r'notes\.md: expected a file of the kind'),
    'nothing': ('gone.nii', [], r'gone\.nii: expected a volume, .* found nothing there'),
    'an image among volumes': ('mixed', [], r'mixed/b\.png: expected a volume .* found an image'),
    'no volumes': ('none', [], r'none: expected volumes \(\.nii .*found no file'),
    'masks': ('a.nii.gz', ['--masks', 'none'], '--masks: is for images, but the config is for'),
    'pictures': ('a.nii.gz', ['--save-maps'], '--save-maps: is for images'),
    'input size': ('a.nii.gz', ['--input-size', '8', '8'], '--input-size: is for images'),
    'threshold': ('a.nii.gz', ['--mask-threshold', '0.2'], 'expected a model of two classes'),
}


@pytest.fixture(scope='module')
def wrong(tmp_path_factory):
    """A folder of all kinds of wrong inputs, and a model."""
    folder = tmp_path_factory.mktemp('wrong')
    raw = blobs(np.random.default_rng(0), (5, 6, 7))
    write_nifti(folder / 'a.nii.gz', raw, np.eye(4))
    data = (folder / 'a.nii.gz').read_bytes()
    (folder / 'cut.nii.gz').write_bytes(data[: len(data) // 2])
    (folder / 'empty.nii').touch()
    hole = raw.astype(np.float32)
    hole[1, 2, 3] = np.nan
    write_nifti(folder / 'nan.nii.gz', hole, np.eye(4))
    cine(folder)
    write_nifti(folder / 'flat.nii', raw[..., 0], np.eye(4))
    write_nifti(folder / 'constant.nii', np.full((4, 4, 4), 3, np.int16), np.eye(4))
    header = nibabel.Nifti1Header()
    header.set_sform(np.diag([1, 2, 0, 1]), code=1)
    nibabel.save(nibabel.Nifti1Image(raw, None, header), folder / 'affine.nii')
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(folder / 'photo.png')
    (folder / 'notes.md').touch()
    (folder / 'none').mkdir()
    (folder / 'mixed').mkdir()
    (folder / 'mixed/a.nii.gz').write_bytes(data)
    (folder / 'mixed/b.png').touch()
    return folder, toy(folder, {})


@pytest.mark.parametrize('name', MISTAKES)
def test_mistakes(name, wrong, tmp_path, monkeypatch, capsys):
    folder, model = wrong
    monkeypatch.chdir(folder)
    word, options, message = MISTAKES[name]
    lines = fail(word, tmp_path / 'out', model, *options, capsys=capsys)
    assert len(lines) <= 2 and re.search(message, lines[0]), lines
    if len(lines) == 2:
        assert lines[0].startswith('failed: ')
        assert re.search('^error: 1 of 1 volumes could not be predicted', lines[1])


def test_damage_does_not_stop_the_others(wrong, tmp_path, capsys):
    folder, model = wrong
    words = [folder / name for name in ('nan.nii.gz', 'a.nii.gz', 'cut.nii.gz')]
    lines = fail(words, tmp_path, model, capsys=capsys)
    assert len(lines) == 3
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names[:3] == ['a_pred.nii.gz', 'a_predictive_entropy.nii.gz', 'a_slices.png']
    record = json.loads((tmp_path / 'infer.json').read_text())
    assert len(record['failed']) == 2 and record['predicted'] == 1


def test_models_that_do_not_fit(wrong, tmp_path, capsys):
    folder, _ = wrong
    two = toy(tmp_path, {}, name='two', num_axes=2)
    lines = fail(folder / 'a.nii.gz', tmp_path / 'out', two, capsys=capsys)
    assert re.search(r'a\.nii\.gz: expected images of 2 axes, .* \(5, 6, 7\)', lines[0])
    unet = mc_unet(tmp_path, seeds=(0,))
    for word in (folder / 'a.nii.gz', folder / 'mixed'):
        (line,) = fail(word, tmp_path / 'out', unet, capsys=capsys)
        assert re.search(r'a\.nii\.gz: expected an image .* found a volume', line)
    classifier = toy(tmp_path, {}, name='cls', seg=False)
    lines = fail(folder / 'a.nii.gz', tmp_path / 'o', classifier, capsys=capsys)
    assert re.search(r'a\.nii\.gz: expected a mask, found none', lines[0])
    with pytest.raises(UserError, match='volume 0: expected the path of a file, found an array'):
        JointInferencer(*toy(tmp_path, {}))(np.zeros((4, 4, 4)))
    with pytest.raises(UserError, match='input_size is for images'):
        JointInferencer(*toy(tmp_path, {}), input_size=(4, 4))
    cfg = Config.fromfile(two[0])
    cfg.infer_pipeline = [dict(type='LoadVolume', axis='file'), dict(type='PackJointInputs')]
    with pytest.raises(UserError, match="cannot build what it describes.*'axis'"):
        JointInferencer(cfg, two[1])
    cfg.infer_pipeline = [dict(type='PackJointInputs')]
    with pytest.raises(UserError, match='infer_pipeline: expected LoadJointImage or LoadVolume'):
        JointInferencer(cfg, two[1])


def test_suffixes_can_be_chosen(wrong, tmp_path):
    folder, _ = wrong
    assert find_inputs(folder / 'mixed', suffixes=('.gz',)) == [folder / 'mixed/a.nii.gz']
    with pytest.raises(UserError, match=r'mixed/a\.nii\.gz: expected an image'):
        find_inputs(folder / 'mixed')


def test_images_without_probabilities(tmp_path, capsys):
    """A model of images whose windows give labels alone."""
    labels = blobs(np.random.default_rng(0), (20, 24)).astype(np.uint8)
    (tmp_path / 'in').mkdir()
    Image.fromarray(labels * 127).save(tmp_path / 'in/p.png')
    model = toy(
        tmp_path,
        num_axes=2,
        data_preprocessor=dict(type='JointDataPreprocessor', mean=[0.0], std=[254.0]),
        test_cfg=dict(mode='slide', roi_size=(16, 16), stride=(8, 8), bounded=True),
    )
    cfg = Config.fromfile(model[0])
    cfg.infer_pipeline = [dict(type='LoadJointImage'), dict(type='PackJointInputs')]
    cfg.dump(model[0])
    files = run(tmp_path / 'in', tmp_path / 'out', model, '--overlay', '--mask-values', *'012')
    assert {'p_OUT.png', 'p_overlay.png', 'p_mask_pred.png'} <= files
    assert np.array_equal(np.asarray(Image.open(tmp_path / 'out/p_OUT.png')), labels)
    (row,) = table(tmp_path / 'out')
    assert int(row['area_muscle']) == (labels == 2).sum() and 'mean_confidence' not in row
    assert row['predictive_entropy_mean'] != ''
    for option in ('--save-maps', '--save-mean-std', '--save-samples'):
        (line,) = fail(tmp_path / 'in', tmp_path / 'no', model, option, capsys=capsys)
        assert re.search(f'{option}: expected probabilities of all classes', line)
