"""``tools/infer.py``: every file it writes, and every mistake it tells."""

import csv
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmjoint.apis.infer import gather, main, parse_args
from mmjoint.apis.infer_outputs import PassFile, mask_values, read_mask
from mmjoint.apis.inferencer import JointInferencer
from mmjoint.functional.aggregation import AGGREGATIONS
from mmjoint.utils.cli import run_cli
from mmjoint.utils.errors import UserError
from tests.test_apis.small_models import mc_unet, photographs, uml

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp('infer')


@pytest.fixture(scope='module')
def unet(folder):
    return mc_unet(folder)


@pytest.fixture(scope='module')
def joint(folder):
    return uml(folder)


@pytest.fixture(scope='module')
def images(folder):
    """A folder of two photographs; masks beside it."""
    photographs(folder / 'images', suffix='.jpg')
    return folder / 'images'


def run(inputs, out, model, *options):
    words = [*(inputs if isinstance(inputs, list) else [inputs]), out]
    main([str(w) for w in (*words, '--config', model[0], '--checkpoint', model[1], *options)])
    return {path.relative_to(out).as_posix() for path in Path(out).rglob('*') if path.is_file()}


def fail(inputs, out, model, *options, capsys):
    """Run what must fail; gives the exit code and the lines on stderr."""
    words = [*(inputs if isinstance(inputs, list) else [inputs]), out]
    words += ['--config', model[0], '--checkpoint', model[1], *options]
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        run_cli(main, [str(word) for word in words])
    return stop.value.code, capsys.readouterr().err.splitlines()


def assert_one_line(outcome, message):
    code, lines = outcome
    assert code == 1 and len(lines) == 1, lines
    assert re.search(message, lines[0]), lines[0]


def table(out):
    with open(out / 'predictions.csv', newline='') as stream:
        return list(csv.DictReader(stream))


def pixels(path):
    with Image.open(path) as image:
        return image.mode, np.asarray(image)


def test_masks_alone(unet, images, tmp_path):
    out = tmp_path / 'new' / 'out'
    files = run(images, out, unet)
    assert files == {'p0_OUT.png', 'p1_OUT.png', 'predictions.csv', 'infer.json'}
    samples = JointInferencer(*unet[:2])(images)
    rows = table(out)
    for number, (sample, row) in enumerate(zip(samples, rows, strict=True)):
        mode, mask = pixels(out / f'p{number}_OUT.png')
        pred = sample.pred_sem_seg.data[0].numpy()
        assert mode == 'L' and np.array_equal(mask, pred * 255)
        assert row['image'] == str(images / f'p{number}.jpg')
        assert (int(row['height']), int(row['width'])) == pred.shape
        assert int(row['area_lesion']) == pred.sum()
        assert float(row['share_background']) == pytest.approx((pred == 0).mean())
        confidence = sample.seg_logits.data.softmax(0).max(0).values.mean()
        assert float(row['mean_confidence']) == pytest.approx(confidence.item(), rel=1e-5)
        entropy = sample.seg_uncertainty.predictive_entropy[0].numpy()
        mean = float(row['predictive_entropy_mean'])
        assert mean == pytest.approx(entropy.mean(), rel=1e-5)
        mean = float(row['predictive_entropy_mean_foreground'])
        assert mean == pytest.approx(entropy[pred == 1].mean(), rel=1e-5)
        names = [n for n in row if n.startswith('predictive_entropy_')]
        assert names == [f'predictive_entropy_{name}' for name in AGGREGATIONS]
    record = json.loads((out / 'infer.json').read_text())
    assert record['mask_values'] == [0, 255] and record['predicted'] == 2
    assert record['failed'] == {} and record['classes'] == ['background', 'lesion']


def test_everything_of_mc_dropout(unet, images, tmp_path):
    """All files follow from the passes, which are reproduced through the Python API."""
    options = '--save-prob --save-npz --save-samples --save-mean-std --save-maps --overlay'.split()
    masks = images.parent / 'images_masks'
    uq = ['--uq', 'mc_dropout', '--samples', '3', '--seed', '7']
    files = run(images, tmp_path, unet, *uq, *options, '--masks', masks)
    endings = ['OUT', 'avg_probability_map', 'overlay', 'mask_pred', 'mask_true', 'mask_disagree']
    measures = ['predictive_entropy', 'expected_entropy', 'mutual_information', 'variance']
    endings += measures + [f'{name}_c{c}' for name in ('mean', 'std') for c in (0, 1)]
    endings += [f'mc{t:02d}_c{c}' for t in range(3) for c in (0, 1)]
    expected = {f'p{n}_{ending}.png' for n in (0, 1) for ending in endings}
    expected |= {f'p{n}{ending}' for n in (0, 1) for ending in ('.npz', '_probs.npy')}
    assert files == expected | {'predictions.csv', 'infer.json'}

    passes = {0: [], 1: []}
    inferencer = JointInferencer(*unet[:2], dict(type='mc_dropout', num_samples=3, seed=7))
    predictions = list(
        inferencer.iterate(
            images, observer=lambda s, t, p: passes[s.metainfo['sample_idx']].append(p.numpy())
        )
    )
    for n, (_, image, sample) in enumerate(predictions):
        stack = np.stack(passes[n])
        stored = np.load(tmp_path / f'p{n}_probs.npy', mmap_mode='r')
        assert stored.dtype == np.float32 and np.array_equal(stored, stack)
        for t in range(3):
            for c in (0, 1):
                mode, drawn = pixels(tmp_path / f'p{n}_mc{t:02d}_c{c}.png')
                assert mode == 'L'
                assert np.array_equal(drawn, np.floor(255 * np.clip(stack[t, c], 0, 1)))
        arrays = np.load(tmp_path / f'p{n}.npz')
        mean = stack.mean(0)
        np.testing.assert_allclose(arrays['mean_probs'], mean, atol=1e-6)
        np.testing.assert_allclose(arrays['std'], stack.std(0), atol=1e-6)
        entropy = -(mean * np.log(mean)).sum(0)
        np.testing.assert_allclose(arrays['predictive_entropy'], entropy, atol=1e-5)
        bits = -(mean * np.log2(mean)).sum(0)
        np.testing.assert_allclose(arrays['predictive_entropy_bits'], bits, atol=1e-5)
        np.testing.assert_allclose(arrays['variance'], stack.var(0).mean(0), atol=1e-6)
        assert arrays['pred'].dtype == np.uint8
        pred = arrays['pred']
        assert np.array_equal(pred, sample.pred_sem_seg.data[0])
        for c in (0, 1):
            for name, values in (('mean', mean[c]), ('std', stack.std(0)[c])):
                drawn = pixels(tmp_path / f'p{n}_{name}_c{c}.png')[1].astype(int)
                assert np.abs(drawn - np.floor(255 * values)).max() <= 1  # rounding of the mean
        truth = pixels(masks / f'p{n}_Segmentation.png')[1] > 0
        drawn = pixels(tmp_path / f'p{n}_mask_disagree.png')[1]
        assert np.array_equal(drawn, 255 * (truth != pred))
        row = table(tmp_path)[n]
        dice = 2 * (truth & (pred == 1)).sum() / (truth.sum() + pred.sum())
        assert float(row['dice_lesion']) == pytest.approx(dice)
        assert float(row['error_share']) == pytest.approx((truth != pred).mean())
        order = [name for name in row if name.endswith('_patch_max')]
        assert order == [f'{measure}_patch_max' for measure in measures]
        for measure in (*measures, 'avg_probability_map'):
            mode, drawn = pixels(tmp_path / f'p{n}_{measure}.png')
            assert mode == 'RGB' and drawn.shape == image.shape
        # The image under 60 % of a colour where the mask is set, untouched elsewhere.
        for name, mask, colour in (
            ('mask_pred', pred == 1, (0x0F, 0x75, 0x2E)),
            ('mask_true', truth, (0x2F, 0x6E, 0xAD)),
        ):
            drawn = pixels(tmp_path / f'p{n}_{name}.png')[1]
            assert np.array_equal(drawn[~mask], image[~mask])
            blended = np.floor(0.4 * image[mask] + 0.6 * np.array(colour) + 0.5)
            assert np.array_equal(drawn[mask], blended)


def test_entropy_is_coloured_on_its_whole_range(unet, images, tmp_path):
    """For two classes the bits in [0, 1] run through the palette."""
    run(images, tmp_path, unet, '--save-maps', '--save-npz')
    bits = np.load(tmp_path / 'p0.npz')['predictive_entropy_bits']
    drawn = pixels(tmp_path / 'p0_predictive_entropy.png')[1].astype(int).sum(2)
    place = [np.unravel_index(at(bits), bits.shape) for at in (np.argmin, np.argmax)]
    assert 0 <= bits.min() < 0.2 and 0.99 < bits.max() <= 1 + 1e-6
    # The brightest colour of inferno is (252, 255, 164).
    assert drawn[place[0]] < drawn[place[1]] and drawn[place[1]] > 640


def test_probability_maps(unet, images, tmp_path):
    probs = JointInferencer(*unet[:2])(images)[0].seg_logits.data.softmax(0).numpy()
    for number, (options, expected) in enumerate(
        [
            ((), np.floor(255 * probs[1])),
            (('--class-index', '0'), np.floor(255 * probs[0])),
            (('--rounding', 'nearest'), np.rint(255 * probs[1])),
            (('--bits', '16'), np.floor(65535 * probs[1])),
        ]
    ):
        out = tmp_path / str(number)
        run(images, out, unet, '--out-map', 'prob', *options)
        assert np.array_equal(pixels(out / 'p0_OUT.png')[1], expected.astype(int)), options


def test_how_masks_are_written(unet, images, tmp_path):
    sample = JointInferencer(*unet[:2])(images)[0]
    p1 = sample.seg_logits.data.softmax(0)[1].numpy()
    pred = sample.pred_sem_seg.data[0].numpy()
    threshold = float(np.quantile(p1, 0.7))
    for options, mode, expected in [
        (('--mask-values', '0', '1'), '1', pred == 1),
        (('--mask-values', '7', '9'), 'L', np.where(pred == 1, 9, 7)),
        (('--mask-values', '0,0,0', '255,0,10'), 'RGB', pred[..., None] * [255, 0, 10]),
        (('--mask-threshold', str(threshold)), 'L', 255 * (p1 > threshold)),
    ]:
        run(images, tmp_path, unet, *options, '--overwrite')
        found = pixels(tmp_path / 'p0_OUT.png')
        assert found[0] == mode and np.array_equal(found[1], expected), options
    assert int(table(tmp_path)[0]['area_lesion']) == (p1 > threshold).sum()


def test_mask_values_of_the_checkpoint(images, tmp_path):
    model = mc_unet(tmp_path / 'model', seeds=(0,), meta={'mask_values': [10, 20]})
    run(images, tmp_path / 'a', model)
    assert set(np.unique(pixels(tmp_path / 'a' / 'p0_OUT.png')[1])) == {10, 20}
    run(images, tmp_path / 'b', model, '--mask-values', '0', '3')
    assert set(np.unique(pixels(tmp_path / 'b' / 'p0_OUT.png')[1])) == {0, 3}


def test_spread_mask_values():
    assert [mask_values(None, n) for n in (2, 3, 4)] == [[0, 255], [0, 128, 255], [0, 85, 170, 255]]


def test_a_single_pass_is_one_sample(unet, images, tmp_path):
    """Without an estimator, and with the softmax of one pass, there is one sample, mc00."""
    for uq in ((), ('--uq', 'softmax')):
        out = tmp_path / '-'.join(('out', *uq))
        files = run(images, out, unet, '--save-prob', '--save-samples', '--save-mean-std', *uq)
        assert {'p0_mc00_c1.png', 'p0_std_c1.png'} <= files and 'p0_mc01_c1.png' not in files
        assert np.load(out / 'p0_probs.npy').shape == (1, 2, 40, 56)
        assert not pixels(out / 'p0_std_c1.png')[1].any()
        assert np.array_equal(*(pixels(out / f'p0_{n}_c1.png')[1] for n in ('mc00', 'mean')))


def test_one_logit_head(images, tmp_path):
    """A sigmoid head has two classes too."""
    model = mc_unet(tmp_path / 'model', seeds=(0,), single_logit=True)
    files = run(images, tmp_path / 'out', model, '--save-samples')
    assert {'p0_mc00_c0.png', 'p0_mc00_c1.png', 'p0_OUT.png'} <= files


def test_ensemble_and_tta(unet, images, tmp_path):
    run(images, tmp_path / 'a', unet, unet[2], '--uq', 'ensemble', '--save-prob')
    first, second = np.load(tmp_path / 'a' / 'p0_probs.npy')
    assert not np.array_equal(first, second)
    for path, probs in ((unet[1], first), (unet[2], second)):
        sample = JointInferencer(unet[0], path)(images)[0]
        np.testing.assert_allclose(sample.seg_logits.data.softmax(0), probs, atol=1e-5)
    record = json.loads((tmp_path / 'a' / 'infer.json').read_text())
    assert record['uq']['checkpoints'] == [str(unet[2])]
    run(images, tmp_path / 'b', unet, '--uq', 'tta', '--save-prob')
    assert np.load(tmp_path / 'b' / 'p0_probs.npy').shape == (16, 2, 40, 56)


def test_joint_model(joint, tmp_path):
    """Three mask classes, an image class, and the measures of an opinion."""
    photographs(tmp_path / 'images', sizes=((32, 32), (32, 64)))
    options = ['--save-maps', '--overlay', '--save-npz']
    files = run(tmp_path / 'images', tmp_path / 'out', joint, *options)
    assert {'p0_vacuity.png', 'p1_dissonance.png', 'p0_overlay.png', 'p0_mask_pred.png'} <= files
    assert set(np.unique(pixels(tmp_path / 'out' / 'p0_OUT.png')[1])) <= {0, 128, 255}
    row = table(tmp_path / 'out')[0]
    total = sum(int(row[f'area_{name}']) for name in ('background', 'rim', 'cup'))
    assert total == 32 * 32
    sample = JointInferencer(*joint)(tmp_path / 'images')[0]
    probabilities = [float(v) for k, v in row.items() if k.startswith('probability_')]
    assert probabilities == pytest.approx(sample.pred_score.tolist(), rel=1e-6)
    assert sum(probabilities) == pytest.approx(1)
    vacuity = sample.cls_uncertainty.vacuity.item()
    assert float(row['class_vacuity']) == pytest.approx(vacuity, rel=1e-6)
    names = [k.removeprefix('probability_') for k in row if k.startswith('probability_')]
    assert row['class'] == names[int(sample.pred_label)] and len(names) == 2


def test_no_save(unet, images, tmp_path):
    files = run(images, tmp_path, unet, '--no-save', '--uq', 'mc_dropout', '--samples', '2')
    assert files == {'predictions.csv', 'infer.json'}
    assert len(table(tmp_path)) == 2


def test_undefined_values_are_empty_cells(unet, images, tmp_path):
    """Where nothing is predicted there is no foreground to average over."""
    run(images, tmp_path, unet, '--mask-threshold', '1')
    row = table(tmp_path)[0]
    assert row['area_lesion'] == '0' and row['predictive_entropy_mean_foreground'] == ''


def test_temperature(unet, images, tmp_path, capsys):
    record = dict(
        seg_temperature=2.0, cls_temperature=None, uq=dict(type='softmax'), checkpoints={}
    )
    (tmp_path / 't.json').write_text(json.dumps(record))
    run(images, tmp_path / 'out', unet, '--temperature', tmp_path / 't.json', '--save-npz')
    assert 'fitted to other weights' in capsys.readouterr().err
    logits = JointInferencer(*unet[:2])(images)[0].seg_logits.data
    found = np.load(tmp_path / 'out' / 'p0.npz')['mean_probs']
    np.testing.assert_allclose(found, (logits / 2).softmax(0), atol=1e-5)
    outcome = fail(
        images,
        tmp_path / 'other',
        unet,
        *('--temperature', tmp_path / 't.json', '--uq', 'mc_dropout'),
        capsys=capsys,
    )
    assert_one_line(outcome, 'expected temperatures of the estimator mc_dropout')


def test_inputs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ('d/a.jpg', 'd/b.PNG', 'd/c.gif', 'd/sub/a.tif', 'x.bmp', 'x y.weird'):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()
    Path('list.txt').write_text('x.bmp\r\n\nd/b.PNG\n')

    def names(*words, **options):
        return [item.name for item in gather(words, **options)]

    assert names('d') == ['a', 'b']
    assert names('d', recursive=True) == ['a', 'b', 'sub/a']
    assert names('d', suffixes=['.gif']) == ['c']
    assert names('x.bmp', 'x y.weird') == ['x', 'x y']
    assert names('list.txt') == ['x', 'b']
    assert names('list.txt', 'd/a.jpg') == ['x', 'b', 'a']
    args = parse_args('a out --config c --checkpoint k --ext JPG .Tif'.split())
    assert args.ext == ['.jpg', '.tif'] and args.inputs == ['a'] and args.out == 'out'


def test_folders_are_kept(unet, tmp_path):
    photographs(tmp_path / 'in', sizes=((30, 30),))
    photographs(tmp_path / 'in' / 'deep' / 'er', sizes=((30, 40),), suffix='.bmp')
    masks = tmp_path / 'masks'
    masks.mkdir()
    (tmp_path / 'in_masks').rename(masks / 'top')
    (tmp_path / 'in' / 'deep' / 'er_masks').rename(masks / 'other')
    (masks / 'deep' / 'er').mkdir(parents=True)
    (masks / 'other' / 'p0_Segmentation.png').rename(masks / 'deep/er/p0_Segmentation.png')
    (masks / 'top' / 'p0_Segmentation.png').rename(masks / 'p0_Segmentation.png')
    files = run(tmp_path / 'in', tmp_path / 'out', unet, '--recursive', '--masks', masks)
    assert {'p0_OUT.png', 'deep/er/p0_OUT.png', 'deep/er/p0_mask_disagree.png'} <= files
    assert [row['dice_lesion'] != '' for row in table(tmp_path / 'out')] == [True, True]


def test_bad_images_do_not_stop_the_others(unet, images, tmp_path, capsys):
    folder = tmp_path / 'in'
    folder.mkdir()
    whole = (images / 'p0.jpg').read_bytes()
    (folder / 'a_cut.jpg').write_bytes(whole[: len(whole) // 2])
    (folder / 'b.jpg').write_bytes(whole)
    (folder / 'c_text.png').write_text('no image')
    masks = tmp_path / 'masks'
    masks.mkdir()
    mask = (images.parent / 'images_masks' / 'p0_Segmentation.png').read_bytes()
    for name in ('a_cut', 'b', 'c_text', 'd'):
        (masks / f'{name}_Segmentation.png').write_bytes(mask)
    (folder / 'd.jpg').write_bytes((images / 'p1.jpg').read_bytes())  # its mask has another size
    options = ['--masks', masks, '--save-prob']
    code, lines = fail(folder, tmp_path / 'out', unet, *options, capsys=capsys)
    assert code == 1 and len(lines) == 4, lines
    assert re.search(r'^failed: .*a_cut\.jpg: expected a whole image file', lines[0])
    assert re.search(r'^failed: .*c_text\.png: expected a readable image', lines[1])
    wrong = r'^failed: .*d_Segmentation\.png: expected a mask of the size of its image .*d\.jpg, '
    assert re.search(wrong + '36 x 48, found 56 x 40', lines[2])
    assert re.search('^error: 3 of 4 images could not be predicted', lines[3])
    found = sorted(path.name for path in (tmp_path / 'out').iterdir())
    expected = ['b_OUT.png', 'b_mask_disagree.png', 'b_probs.npy', 'infer.json', 'predictions.csv']
    assert found == expected  # nothing hidden, nothing of those that failed
    record = json.loads((tmp_path / 'out' / 'infer.json').read_text())
    assert len(record['failed']) == 3 and record['predicted'] == 1


MISTAKES = {
    'missing input': (['none.jpg'], [], r'none\.jpg: expected an image, .* found nothing there'),
    'empty folder': (['empty'], [], r'empty: expected images .*, found no file'),
    'no image': (['other'], [], r'other: expected images \(\.jpg .*\), found 1 other files'),
    'extension': (['images'], ['--ext', 'gif'], r'expected images \(\.gif\)'),
    'volume': (['scan.nii.gz'], [], r'scan\.nii\.gz: expected an image .* found a volume'),
    'empty list': (['empty.txt'], [], r'empty\.txt: expected one path per line'),
    'missing in list': (['list.txt'], [], r'list\.txt, line 2: gone\.png: expected an image'),
    'missing list': (['gone.txt'], [], r'gone\.txt: expected a text list'),
    'one name twice': (['images', 'p0.png'], [], r'both would be written as p0_OUT\.png; rename'),
    'unknown estimator': (['images'], ['--uq', 'mc'], r"--uq: expected one of .*found 'mc'"),
    'samples without': (['images'], ['--uq', 'tta', '--samples', '3'], r'--samples: the estimator'),
    'samples without estimator': (['images'], ['--samples', '3'], r'--samples: needs an estimator'),
    'zero samples': (['images'], ['--uq', 'mc_dropout', '--samples', '0'], 'num_samples must be'),
    'class': (['images'], ['--class-index', '2'], r'--class-index 2: expected 0 to 1'),
    'class of passes': (
        ['images'],
        ['--class-index', '-1', '--save-samples', '--uq', 'softmax'],
        r'--class-index -1: expected 0 to 1',
    ),
    'mask values': (['images'], ['--mask-values', '0', '1', '2'], r'--mask-values: expected 2 '),
    'no masks': (['images'], ['--masks', 'nowhere'], r'--masks nowhere: expected a folder'),
    'masks missing': (['images'], ['--masks', 'empty'], r'expected one mask p0_Segmentation\.\*'),
    'config': (['images'], ['--config', 'no.py'], r'no\.py: no such config file'),
    'checkpoint': (['images'], ['--checkpoint', 'no.pth'], r'no\.pth: no such checkpoint file'),
    'evidence': (['images'], ['--uq', 'evidential'], 'evidential: expected a model that gives'),
    'device': (['images'], ['--device', 'abacus'], 'device abacus: cannot be used here'),
    'option': (['images'], ['--cfg-options', 'modle.x=1'], 'modle is no key'),
}


@pytest.mark.parametrize('name', MISTAKES)
def test_mistakes(name, unet, images, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path('empty').mkdir()
    Path('other').mkdir()
    Path('other/readme.md').touch()
    Path('scan.nii.gz').touch()
    Path('empty.txt').write_text('\n')
    Path('list.txt').write_text(f'{images / "p0.jpg"}\ngone.png\n')
    Path('p0.png').touch()
    Path('images').symlink_to(images)
    words, options, message = MISTAKES[name]
    assert_one_line(fail(words, 'out', unet, *options, capsys=capsys), message)
    assert not Path('out').exists()


def test_output_folders(unet, images, tmp_path, capsys):
    (tmp_path / 'file').touch()
    outcome = fail(images, tmp_path / 'file', unet, capsys=capsys)
    assert_one_line(outcome, r'file: expected a folder for the outputs \(OUT\), found a file')
    outcome = fail(images, tmp_path / 'file' / 'out', unet, capsys=capsys)
    assert_one_line(outcome, 'folder for the outputs .*/file is a file; choose another')
    outcome = fail(images, images, unet, capsys=capsys)
    assert_one_line(outcome, 'expected OUT outside of the folder of the images')
    outcome = fail(images, images / 'out', unet, '--recursive', capsys=capsys)
    assert_one_line(outcome, 'expected OUT outside of the folder of the images')
    out = tmp_path / 'out'
    run(images, out, unet)
    outcome = fail(images, out, unet, capsys=capsys)
    assert_one_line(outcome, r'holds the results of an earlier run .*--overwrite')
    run(images, out, unet, '--overwrite', '--out-map', 'prob')
    assert len(np.unique(pixels(out / 'p0_OUT.png')[1])) > 10


def test_errors_have_lines_of_their_own(unet, images, tmp_path, capfd):
    """Not behind the bar of progress, which ends without a line break."""
    capfd.readouterr()
    with pytest.raises(UserError, match='--class-index 5'):
        run(images, tmp_path / 'out', unet, '--class-index', '5', '--save-maps')
    assert capfd.readouterr().out.endswith('\n')


def test_models_that_do_not_fit(unet, joint, images, tmp_path, capsys):
    outcome = fail(images, tmp_path, (unet[0], joint[1]), capsys=capsys)
    assert_one_line(outcome, 'weights of another model')
    outcome = fail(images, tmp_path, unet, unet[2], capsys=capsys)
    assert_one_line(outcome, '--checkpoint: expected one, found 2; .*--uq ensemble')
    outcome = fail(images, tmp_path, unet, '--uq', 'ensemble', capsys=capsys)
    assert_one_line(outcome, 'ensemble: expected a list of checkpoints of further members')
    images = photographs(tmp_path / 'small', sizes=((32, 32),))
    outcome = fail(images, tmp_path / 'out', joint, '--mask-threshold', '0.3', capsys=capsys)
    assert_one_line(outcome, '--mask-threshold: expected a model of two classes, found 3')


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        ('in --config c --checkpoint k', 'required: OUT'),
        ('in out --checkpoint k', 'required: --config'),
        ('in out --config c --checkpoint k --no-save --save-prob', '--no-save: cannot go with'),
        ('in out --config c --checkpoint k --mask-threshold 2', r'a number in \[0, 1\], found 2'),
        ('in out --config c --checkpoint k --mask-values 0 256', 'invalid number 0..255 or R,G,B'),
        ('in out --config c --checkpoint k --mask-values 0 1,2,3', 'numbers or R,G,B, found both'),
        ('in out --config c --checkpoint k --mask-values 5 5', 'found one twice'),
        ('in out --config c --checkpoint k --input-size 0 5', '--input-size: expected numbers'),
        ('in out --config c --checkpoint k --bits 12', 'invalid choice: 12'),
    ],
)
def test_impossible_arguments(words, message, capsys):
    with pytest.raises(SystemExit) as stop:
        parse_args(words.split())
    assert stop.value.code == 2
    assert re.search(message, capsys.readouterr().err)


def test_read_mask(tmp_path):
    labels = np.array([[0, 1, 2], [2, 1, 0]], np.uint8)
    colours = [[0, 0, 0], [255, 0, 10], [0, 255, 0]]
    palette = Image.fromarray(labels, 'P')
    palette.putpalette(sum(colours, []))
    for name, image, values in [
        ('grey', Image.fromarray(np.array([0, 128, 255], np.uint8)[labels]), [0, 128, 255]),
        ('bits', Image.fromarray(labels > 0), [0, 1]),
        ('palette', palette, [0, 1, 2]),
        ('rgb', Image.fromarray(np.array(colours, np.uint8)[labels]), colours),
    ]:
        image.save(tmp_path / f'{name}.png')
        found = read_mask(tmp_path / f'{name}.png', values)
        assert found.dtype == np.uint8
        assert np.array_equal(found, labels > 0 if name == 'bits' else labels), name
    with pytest.raises(UserError, match=r'grey\.png: expected the values 0 255, found 128; give'):
        read_mask(tmp_path / 'grey.png', [0, 255])
    with pytest.raises(UserError, match=r'rgb\.png: expected a mask of mode 1 or L or P'):
        read_mask(tmp_path / 'rgb.png', [0, 255])
    (tmp_path / 'cut.png').write_bytes((tmp_path / 'rgb.png').read_bytes()[:40])
    with pytest.raises(UserError, match=r'cut\.png: expected a readable mask'):
        read_mask(tmp_path / 'cut.png', [0, 255])


def test_files_of_passes(tmp_path):
    """They grow pass by pass, are standard files, and are whole or absent."""
    stack = np.random.default_rng(0).random((120, 2, 3, 5), np.float32)
    file = PassFile(tmp_path / 'a.npy', (2, 3, 5))
    for array in stack:
        file.append(array)
    assert not (tmp_path / 'a.npy').exists()
    file.close()
    assert np.array_equal(np.load(tmp_path / 'a.npy', mmap_mode='r'), stack)
    file = PassFile(tmp_path / 'b.npy', (2, 3, 5))
    file.append(stack[0])
    with pytest.raises(ValueError, match='expected an array'):
        file.append(stack[0, 0])
    file.abandon()
    assert [path.name for path in tmp_path.iterdir()] == ['a.npy']


def test_as_a_user_runs_it(unet, images, tmp_path):
    command = [sys.executable, ROOT / 'tools/infer.py', images / 'p0.jpg', images / 'p1.jpg']
    command += [tmp_path / 'out', '--config', unet[0], '--checkpoint', unet[1]]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ''
    assert f'2 images and predictions.csv are in {tmp_path / "out"}' in done.stdout
    assert 'ETA' in done.stdout


def test_an_interrupted_run_leaves_nothing_half_written(unet, images, tmp_path, monkeypatch):
    append = PassFile.append

    def interrupted(self, array):
        append(self, array)
        if self.count == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(PassFile, 'append', interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(images, tmp_path, unet, '--uq', 'mc_dropout', '--samples', '3', '--save-prob')
    assert list(tmp_path.iterdir()) == []
