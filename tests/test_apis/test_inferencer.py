"""Prediction of single images from Python."""

import subprocess
import sys
import threading

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.infer import BaseInferencer
from mmengine.registry import DefaultScope
from PIL import Image

from mmjoint.apis.inferencer import IMAGE_SUFFIXES, JointInferencer, find_inputs
from mmjoint.engine.checkpoint import read_checkpoint
from mmjoint.registry import INFERENCERS
from mmjoint.utils.errors import UserError
from tests.test_apis.small_models import mc_unet, photographs, uml
from tests.test_models.tiny import build


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp('predict')


@pytest.fixture(scope='module')
def unet(folder):
    return mc_unet(folder)


@pytest.fixture(scope='module')
def joint(folder):
    return uml(folder)


@pytest.fixture(scope='module')
def paths(folder):
    return photographs(folder / 'images')


def same(a, b):
    assert a.keys() == b.keys()
    assert torch.equal(a.seg_logits.data, b.seg_logits.data)
    assert torch.equal(a.pred_sem_seg.data, b.pred_sem_seg.data)


def test_prediction_by_hand(unet, paths):
    """Pillow's resizing, the network, bilinear enlargement of the logits, softmax."""
    config, checkpoint, _ = unet
    samples = JointInferencer(config, checkpoint)(paths)
    model = build(Config.fromfile(config).model)
    model.load_state_dict(read_checkpoint(checkpoint)['state_dict'])
    model.eval()
    for path, sample in zip(paths, samples, strict=True):
        image = Image.open(path)
        small = np.asarray(image.resize((32, 24), Image.Resampling.BICUBIC))
        inputs = torch.from_numpy(small / 255.0).float().permute(2, 0, 1)[None]
        with torch.no_grad():
            logits = model.infer(inputs).seg_logits
        size = image.size[::-1]
        logits = F.interpolate(logits, size, mode='bilinear', align_corners=False)
        torch.testing.assert_close(sample.seg_logits.data, logits[0], rtol=1e-5, atol=1e-5)
        assert sample.pred_sem_seg.shape == size
        assert 0.02 < sample.pred_sem_seg.data.float().mean() < 0.98
        entropy = torch.distributions.Categorical(probs=logits[0].softmax(0).movedim(0, -1))
        torch.testing.assert_close(
            sample.seg_uncertainty.predictive_entropy[0], entropy.entropy(), rtol=1e-4, atol=1e-5
        )


def test_paths_arrays_and_folders_give_the_same(unet, paths):
    inferencer = JointInferencer(*unet[:2])
    expected = inferencer(paths)
    arrays = [np.asarray(Image.open(path)) for path in paths]
    for images in ([str(path) for path in paths], arrays, paths[0].parent, [paths[0], arrays[1]]):
        for a, b in zip(inferencer(images), expected, strict=True):
            same(a, b)
    for one in (paths[0], str(paths[0]), arrays[0]):
        (sample,) = inferencer(one)
        same(sample, expected[0])
    assert [sample.metainfo['sample_idx'] for sample in expected] == [0, 1]
    assert expected[0].metainfo['img_path'] == str(paths[0])


def test_kinds_of_arrays(unet):
    inferencer = JointInferencer(*unet[:2])
    grey = np.random.default_rng(0).integers(0, 256, (20, 30), dtype=np.uint8)
    rgb = np.repeat(grey[..., None], 3, axis=2)
    rgba = np.concatenate([rgb, grey[..., None]], axis=2)
    expected, *others = inferencer([rgb, grey, grey[..., None], rgba])
    for sample in others:
        same(sample, expected)
    for wrong in (rgb.astype(np.float32), grey.astype(np.uint16), rgb[..., :2], rgb[None], rgb[:0]):
        with pytest.raises(UserError, match=r'image 0: expected uint8, RGB \(H, W, 3\)'):
            inferencer(wrong)


def test_kinds_of_files(unet, tmp_path):
    """Grey, RGBA and 16-bit files become RGB of 8 bits."""
    rng = np.random.default_rng(1)
    rgb = rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)
    grey = np.ascontiguousarray(rgb[..., 0])
    files = {
        'rgb.png': (rgb, rgb),
        'rgb.bmp': (rgb, rgb),
        'rgb.TIFF': (rgb, rgb),
        'grey.png': (grey, grey),
        'rgba.png': (np.dstack([rgb, grey]), rgb),
        'sixteen.png': (rgb.astype(np.uint16) * 257, rgb),
        'grey_sixteen.tif': (grey.astype(np.uint16) * 257, grey),
    }
    inferencer = JointInferencer(*unet[:2])
    for name, (content, expected) in files.items():
        if content.ndim == 3:
            content = content[..., [2, 1, 0, *range(3, content.shape[2])]]
        assert cv2.imwrite(str(tmp_path / name), np.ascontiguousarray(content))
        same(*inferencer([tmp_path / name, expected]))


def test_estimators(unet, paths):
    config, first, second = unet
    plain = JointInferencer(config, first)(paths[0])[0]
    softmax = JointInferencer(config, first, uq='softmax')(paths[0])[0]
    probs = [s.seg_logits.data.softmax(0) for s in (plain, softmax)]
    torch.testing.assert_close(*probs, rtol=0, atol=1e-6)

    passes = []
    uq = dict(type='mc_dropout', num_samples=3, seed=5, keep_std=True)
    inferencer = JointInferencer(config, first, uq)
    (prediction,) = inferencer.iterate(paths[0], observer=lambda *seen: passes.append(seen))
    sample = prediction.sample
    assert [number for _, number, _ in passes] == [0, 1, 2]
    assert all(s.metainfo['sample_idx'] == 0 for s, _, _ in passes)
    stack = torch.stack([probs for _, _, probs in passes])
    assert stack.shape == (3, 2, 40, 56)
    mean = sample.seg_logits.data.softmax(0)
    torch.testing.assert_close(mean, stack.mean(0), rtol=0, atol=1e-6)
    std = stack.std(0, correction=0)
    torch.testing.assert_close(sample.seg_std.data, std, rtol=0, atol=1e-6)
    assert std.mean() > 0.01
    torch.testing.assert_close(sample.seg_uncertainty.variance, std[:1] ** 2, rtol=0, atol=1e-6)
    same(inferencer(paths[0])[0], JointInferencer(config, first, uq)(paths[0])[0])

    both = [JointInferencer(config, path)(paths[0])[0] for path in (first, second)]
    expected = torch.stack([s.seg_logits.data.softmax(0) for s in both]).mean(0)
    (pooled,) = JointInferencer(config, [first, second], 'ensemble')(paths[0])
    torch.testing.assert_close(pooled.seg_logits.data.softmax(0), expected, rtol=0, atol=1e-6)


def test_the_estimator_of_the_config(unet, paths):
    """Its name gives its settings of the config; the views of tta come from the image."""
    cfg = Config.fromfile(unet[0])
    assert JointInferencer(cfg, unet[1], 'mc_dropout').model.num_samples == 50
    cfg.uq = dict(type='MCDropout', num_samples=2)
    inferencer = JointInferencer(cfg, unet[1])
    assert inferencer.model.num_samples == 2 and inferencer.uq['type'] == 'MCDropout'
    seen = []
    tta = JointInferencer(cfg, unet[1], 'tta')
    (prediction,) = tta.iterate(paths[0], observer=lambda *found: seen.append(found[2]))
    assert len(seen) == 16
    mean = prediction.sample.seg_logits.data.softmax(0)
    torch.testing.assert_close(mean, torch.stack(seen).mean(0), rtol=0, atol=1e-5)
    assert 'view_images' not in prediction.sample


def test_joint_model(joint, tmp_path):
    """Evidence, three classes, an image class, batches of one size, and no resizing."""
    rng = np.random.default_rng(0)
    images = [
        rng.integers(0, 256, (h, w, 3), dtype=np.uint8) for h, w in [(32, 32)] * 3 + [(64, 32)]
    ]
    alone = JointInferencer(*joint)
    batched = JointInferencer(*joint, batch_size=2)
    sizes = []
    forward = batched.forward
    batched.forward = lambda data: sizes.append(len(data['inputs'])) or forward(data)
    for a, b in zip(alone(images), batched(images), strict=True):
        torch.testing.assert_close(a.seg_logits.data, b.seg_logits.data, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(a.pred_score, b.pred_score, rtol=1e-4, atol=1e-5)
        assert {'vacuity', 'dissonance'} <= set(a.seg_uncertainty.keys())
    assert sizes == [2, 1, 1]
    seen = []
    list(alone.iterate(images[0], observer=lambda *found: seen.append(found)))
    assert len(seen) == 1 and seen[0][1] == 0 and seen[0][2].shape == (3, 32, 32)
    assert alone.dataset_meta['classes'] == ('background', 'rim', 'cup')


def test_input_size(unet, joint, paths):
    shapes = []
    for model, size, expected in (
        (unet[:2], None, (24, 32)),
        (unet[:2], (48, 16), (16, 48)),
        (joint, (32, 64), (64, 32)),
    ):
        inferencer = JointInferencer(*model, input_size=size)
        inferencer.model.data_preprocessor.register_forward_hook(
            lambda module, args, out: shapes.append(tuple(out['inputs'].shape[2:]))
        )
        (sample,) = inferencer(paths[1])
        assert shapes.pop() == expected
        assert sample.pred_sem_seg.shape == (48, 36)
    image = np.asarray(Image.open(paths[1]))
    by_hand = cv2.resize(image, (32, 64), interpolation=cv2.INTER_LINEAR)
    (expected,) = JointInferencer(*joint)(by_hand)
    torch.testing.assert_close(sample.pred_score, expected.pred_score)


def test_pictures(unet, paths):
    inferencer = JointInferencer(*unet[:2], uq='softmax')
    predictions = list(inferencer.iterate(paths))
    pictures = inferencer.visualize([p.image for p in predictions], [p.sample for p in predictions])
    assert len(pictures) == 2 and all(picture.dtype == np.uint8 for picture in pictures)
    assert inferencer.postprocess([1]) == [1]


def test_errors_of_single_images(unet, paths, tmp_path):
    cut = tmp_path / 'cut.png'
    cut.write_bytes(paths[0].read_bytes()[:500])
    inferencer = JointInferencer(*unet[:2])
    with pytest.raises(UserError, match=r'cut\.png: expected a whole image file'):
        inferencer([paths[0], cut])
    failed = {}
    inputs = [cut, paths[0], tmp_path / 'none.png', tmp_path / 'a.nii.gz', paths[1]]
    done = list(inferencer.iterate(inputs, on_error=failed.__setitem__))
    assert [prediction.index for prediction in done] == [1, 4]
    assert sorted(failed) == [0, 2, 3]
    assert 'found a volume' in str(failed[3])
    forward = inferencer.forward

    def broken(data):
        if data['data_samples'][0].metainfo['sample_idx'] == 0:
            raise RuntimeError('out of memory')
        return forward(data)

    inferencer.forward = broken
    done = list(inferencer.iterate(paths, on_error=failed.__setitem__))
    assert [prediction.index for prediction in done] == [1]
    assert str(failed[0]) == 'out of memory'
    with pytest.raises(RuntimeError, match='out of memory'):
        inferencer(paths)


def test_mistakes(unet, joint, paths, tmp_path):
    config, checkpoint, other = unet
    with pytest.raises(UserError, match=r'joined\.py: no such config file'):
        JointInferencer(tmp_path / 'joined.py', checkpoint)
    with pytest.raises(UserError, match='weights of another model'):
        JointInferencer(config, joint[1])
    with pytest.raises(UserError, match='expected one checkpoint, found 2; .*ensemble'):
        JointInferencer(config, [checkpoint, other])
    with pytest.raises(UserError, match='ensemble: expected the checkpoints of all members'):
        JointInferencer(config, checkpoint, 'ensemble')
    with pytest.raises(UserError, match="found 'mc_droput'.*did you mean mc_dropout"):
        JointInferencer(config, checkpoint, 'mc_droput')
    with pytest.raises(UserError, match="no such setting: 'num_sample'.*num_samples"):
        JointInferencer(config, checkpoint, dict(type='mc_dropout', num_sample=3))
    with pytest.raises(UserError, match='evidential: expected a model that gives evidence'):
        JointInferencer(config, checkpoint, 'evidential')(paths)
    with pytest.raises(UserError, match='device abacus: cannot be used here'):
        JointInferencer(config, checkpoint, device='abacus')
    with pytest.raises(UserError, match='batch_size: expected a number >= 1, found 0'):
        JointInferencer(config, checkpoint, batch_size=0)
    with pytest.raises(UserError, match='input_size: expected width and height >= 1'):
        JointInferencer(config, checkpoint, input_size=(0, 4))
    cfg = Config.fromfile(config)
    cfg.model = None
    with pytest.raises(UserError, match='model is missing'):
        JointInferencer(cfg, checkpoint)
    cfg = Config.fromfile(config)
    cfg.model.colour = 'red'
    with pytest.raises(UserError, match='cannot build what it describes.*colour'):
        JointInferencer(cfg, checkpoint)
    cfg = Config.fromfile(config)
    cfg.test_dataloader.dataset.pipeline[0] = dict(type='PackJointInputs')
    with pytest.raises(UserError, match='expected LoadJointImage or LoadVolume at its start'):
        JointInferencer(cfg, checkpoint)
    cfg.test_dataloader = None
    with pytest.raises(UserError, match='test_dataloader.dataset.pipeline is missing'):
        JointInferencer(cfg, checkpoint)
    inferencer = JointInferencer(config, checkpoint)
    with pytest.raises(UserError, match='at least one image, found an empty list'):
        inferencer([])


@pytest.mark.skipif(torch.cuda.is_available(), reason='CUDA can be used here')
def test_a_device_that_is_not_there(unet):
    with pytest.raises(UserError, match='device cuda: cannot be used here'):
        JointInferencer(*unet[:2], device='cuda')


def test_find_inputs(tmp_path):
    for name in ('b.JPG', 'a.png', '.hidden.png', 'notes.txt', 'sub/c.Tif', 'sub/deep/d.bmp'):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()

    def names(**options):
        return [path.relative_to(tmp_path).as_posix() for path in find_inputs(tmp_path, **options)]

    assert names() == ['a.png', 'b.JPG']
    assert names(recursive=True) == ['a.png', 'b.JPG', 'sub/c.Tif', 'sub/deep/d.bmp']
    assert names(recursive=True, suffixes=['.bmp']) == ['sub/deep/d.bmp']
    with pytest.raises(UserError, match=r'expected images \(\.gif\), found 4 other files'):
        find_inputs(tmp_path, suffixes=['.gif'])
    (tmp_path / 'empty').mkdir()
    with pytest.raises(UserError, match='found no file'):
        find_inputs(tmp_path / 'empty')
    (tmp_path / 'empty/scan.nii.gz').touch()
    with pytest.raises(UserError, match=r'scan\.nii\.gz: expected an image .*, found a volume'):
        find_inputs(tmp_path / 'empty')
    assert {'.jpg', '.jpeg', '.png', '.tif', '.tiff', '.bmp'} == set(IMAGE_SUFFIXES)


def test_no_traces(unet, paths):
    """No global scope, no visualizer, no thread that goes on, no changed config."""
    cfg = Config.fromfile(unet[0])
    before = cfg.pretty_text, dict(DefaultScope._instance_dict)
    inferencer = JointInferencer(cfg, unet[1], 'mc_dropout')
    several = inferencer.iterate([paths[0]] * 20)
    next(several)
    several.close()
    assert not [t for t in threading.enumerate() if t.name.startswith('images')]
    assert (cfg.pretty_text, dict(DefaultScope._instance_dict)) == before
    assert inferencer.visualizer is None and inferencer.model.observer is None


def test_registered_and_light():
    assert INFERENCERS.get('JointInferencer') is JointInferencer
    assert issubclass(JointInferencer, BaseInferencer)
    code = (
        'import sys, mmjoint.apis\n'
        'assert not {"torch", "mmengine", "mmcv"} & sys.modules.keys()\n'
        'from mmjoint.apis import JointInferencer\n'
        'assert JointInferencer.__name__ in dir(sys.modules[JointInferencer.__module__])\n'
        'try:\n    mmjoint.apis.Jonit\nexcept AttributeError as error:\n    print(error)\n'
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    expected = "module 'mmjoint.apis' has no attribute 'Jonit'\n"
    assert (done.returncode, done.stdout) == (0, expected), done.stderr
