"""Maps that explain the class, from the command lines and from Python."""

import csv
import json
import re

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config

from mmjoint.apis import infer, test
from mmjoint.apis.explain import choose_explanations
from mmjoint.apis.infer_volumes import check_options
from mmjoint.apis.inferencer import JointInferencer
from mmjoint.engine.checkpoint import read_checkpoint
from mmjoint.functional.explanation_scale import explanation_upper
from mmjoint.models.explanations import explain
from mmjoint.utils.case_archive import read_case_archive
from mmjoint.utils.cli import run_cli
from mmjoint.utils.errors import UserError
from mmjoint.visualization.drawing import overlay_heat
from tests.test_apis.small_models import chest_sets, mc_unet, multimix, uml
from tests.test_models.tiny import build

BOTH = ('saliency', 'class_activation')


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp('explain')


@pytest.fixture(scope='module')
def data(folder):
    return chest_sets(folder / 'data')


@pytest.fixture(scope='module')
def model(folder, data):
    return multimix(folder, data=data)


@pytest.fixture(scope='module')
def class_model(folder, data):
    return multimix(folder, name='class_only', data=data, class_only=True)


def run_infer(data, out, model, *options):
    words = [data / 'kermany/images', out, '--config', model[0], '--checkpoint', model[1]]
    infer.main([str(word) for word in (*words, *options)])
    return {path.name for path in out.iterdir()}


def pixels(path):
    return cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)


def test_maps_of_the_inferencer(model, data):
    """Those of the network's input, enlarged to the image; nothing else changes."""
    path = data / 'kermany/images/kermany0.png'
    inferencer = JointInferencer(*model, explain='class_activation')
    (sample,) = inferencer(path)
    (plain,) = JointInferencer(*model)(path)
    assert sample.explanations.keys() == ['class_activation'] and 'explanations' not in plain
    assert torch.equal(sample.pred_score, plain.pred_score)
    network = build(Config.fromfile(model[0]).model).eval()
    network.load_state_dict(read_checkpoint(model[1])['state_dict'])
    grey = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    packed = inferencer.pipeline(
        dict(img=np.repeat(grey[..., None], 3, 2), img_shape=(36, 60), ori_shape=(36, 60))
    )
    maps = explain(network, packed['inputs'][None].float(), ['class_activation'])
    expected = torch.nn.functional.interpolate(
        maps['class_activation'], size=(36, 60), mode='bilinear', align_corners=False
    )
    torch.testing.assert_close(sample.explanations.class_activation, expected[0])


def test_with_an_estimator_and_an_observer(model, data):
    seen = []
    inferencer = JointInferencer(
        *model, uq=dict(type='mc_dropout', num_samples=3), explain=BOTH, batch_size=2
    )
    found = list(inferencer.iterate(data / 'kermany/images', observer=lambda *a: seen.append(a)))
    assert len(found) == 3 and len(seen) == 9
    assert all(sorted(one.sample.explanations.keys()) == sorted(BOTH) for one in found)
    assert all('mutual_information' in one.sample.cls_uncertainty for one in found)
    (picture,) = inferencer.visualize([found[0].image], [found[0].sample])
    without = found[0].sample.clone()
    del without.explanations
    (narrow,) = inferencer.visualize([found[0].image], [without])
    assert picture.shape[1] > narrow.shape[1] + 2 * 320


@pytest.mark.parametrize('uq', [None, 'evidential', 'tta'])
def test_of_an_evidential_model(folder, uq):
    image = np.random.default_rng(0).integers(0, 256, (32, 64, 3), dtype=np.uint8)
    (sample,) = JointInferencer(*uml(folder), uq=uq, explain='class_activation')(image)
    values = sample.explanations.class_activation
    assert values.shape == (1, 32, 64) and values.min() >= 0


def test_the_classes_of_several_test_sets_have_names(model):
    meta = JointInferencer(*model).dataset_meta
    assert meta['classes'] == ('background', 'lung') and meta['cls_classes'][0] == 'normal'


def test_choice(model):
    cfg = Config(dict(explain=('saliency',)))
    assert choose_explanations(cfg, None) == ('saliency',)
    assert choose_explanations(cfg, ()) == () == choose_explanations(Config({}), None)
    assert choose_explanations(cfg, ['class_activation', 'saliency']) == BOTH[::-1]
    assert choose_explanations(Config(dict(explain='saliency')), None) == ('saliency',)
    with pytest.raises(UserError, match=r"explain: expected saliency and class_act.*found 'cam'"):
        choose_explanations(cfg, 'cam')
    assert JointInferencer(Config.fromfile(model[0]), model[1], explain=BOTH).explain == BOTH


def test_files(model, data, tmp_path):
    files = run_infer(data, tmp_path / 'out', model, '--explain', '--overlay', '--save-npz')
    endings = ('_saliency.png', '_class_activation.png', '_overlay.png', '.npz')
    assert {f'kermany0{ending}' for ending in endings} <= files
    sample = JointInferencer(*model, explain=BOTH)(data / 'kermany/images/kermany0.png')[0]
    image = pixels(data / 'kermany/images/kermany0.png')
    with np.load(tmp_path / 'out/kermany0.npz') as arrays:
        for name in BOTH:
            values = sample.explanations.get(name)[0].numpy()
            np.testing.assert_array_equal(arrays[name], values)
            drawn = overlay_heat(image, values, explanation_upper(values))
            assert np.array_equal(pixels(tmp_path / f'out/kermany0_{name}.png'), drawn)
        assert 'mean_probs' in arrays
    record = json.loads((tmp_path / 'out/infer.json').read_text())
    assert record['explain'] == list(BOTH)


def test_files_of_one_map(model, data, tmp_path):
    files = run_infer(data, tmp_path / 'out', model, '--explain', 'saliency')
    assert {name for name in files if name.startswith('kermany0')} == {
        'kermany0_OUT.png', 'kermany0_saliency.png',
    }  # fmt: skip


def test_files_of_a_model_without_masks(class_model, data, tmp_path):
    options = ('--explain', '--overlay', '--save-npz', '--uq', 'softmax')
    files = run_infer(data, tmp_path / 'out', class_model, *options)
    assert {name for name in files if name.startswith('kermany0')} == {
        'kermany0_saliency.png', 'kermany0_class_activation.png', 'kermany0_overlay.png',
        'kermany0.npz',
    }  # fmt: skip
    with np.load(tmp_path / 'out/kermany0.npz') as arrays:
        assert sorted(arrays) == sorted(BOTH) and arrays['saliency'].shape == (36, 60)
    with (tmp_path / 'out/predictions.csv').open() as stream:
        row = next(csv.DictReader(stream))
    assert float(row['class_predictive_entropy']) > 0 and row['class'] in ('normal', 'pneumonia')


def run_test(model, folder, *options):
    words = [*model, '--work-dir', folder / 'work', '--report', '--show-dir', folder / 'show']
    test.main([str(word) for word in (*words, *options)])
    (log,) = [path for path in (folder / 'work').iterdir() if path.is_dir()]
    return log, (log / 'report.html').read_text(encoding='utf-8')


@pytest.mark.parametrize('uq', [[], ['--uq', 'mc_dropout', '--samples', '2']])
def test_report_of_sets_with_masks_and_sets_with_classes(model, tmp_path, runner_state, uq):
    log, page = run_test(model, tmp_path, '--explain', *uq)
    archive = read_case_archive(log / 'cases')
    assert [case['domain'] for case in archive.cases].count('kermany') == 3
    for index, case in enumerate(archive.cases):
        kinds = set(archive.pictures[index])
        assert kinds - {'gt'} == {'image', 'pred', 'uncertainty', *BOTH}
        assert ('gt' in kinds) == (case['domain'] == 'jsrt') == (case['gt_label'] is None)
        assert case['cls_uncertainty']['predictive_entropy'] > 0
        # Pictures have the shape of the file, not that of the network's input.
        shape = (36, 60) if case['domain'] == 'kermany' else (40, 40)
        for kind, picture in archive.pictures[index].items():
            decoded = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_UNCHANGED)
            assert decoded.shape[:2] == shape, kind
    assert page.count('alt="saliency of') == page.count('alt="class activation of') == 6
    assert len(re.findall('data-domain="jsrt"', page)) == 3 and '>kermany (3)<' in page
    assert 'id="domains"' in page and 'of the class 0.' in page
    assert len(list((tmp_path / 'show').glob('*.png'))) == 6


def test_report_of_classes_alone(class_model, tmp_path, runner_state):
    """The config's key; without masks the pictures are image and map."""
    options = ('explain=saliency', 'test_dataloader.dataset.datasets.jsrt=None')
    config = Config.fromfile(class_model[0])
    config.test_evaluator = config.test_evaluator[1:]
    config.dump(tmp_path / 'cfg.py')
    log, page = run_test((tmp_path / 'cfg.py', class_model[1]), tmp_path, '--cfg-options', *options)
    archive = read_case_archive(log / 'cases')
    assert all(set(found) == {'image', 'saliency'} for found in archive.pictures.values())
    assert page.count('<figure><img') == 6 and 'id="domains"' not in page
    assert 'id="domain"' not in page
    assert 'explain' in (log / 'vis_data/config.py').read_text()


def fail(main, words, capsys):
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        run_cli(main, [str(word) for word in words])
    lines = capsys.readouterr().err.splitlines()
    return stop.value.code, lines[-1]


def test_mistakes(folder, model, data, tmp_path, capsys, runner_state):
    unet = mc_unet(folder)[:2]
    words = [data / 'kermany/images', tmp_path / 'out', '--config']
    code, line = fail(infer.main, [*words, unet[0], '--checkpoint', unet[1], '--explain'], capsys)
    assert code == 1 and re.search('explain: expected a model with a class head', line)
    words += [model[0], '--checkpoint', model[1]]
    code, line = fail(infer.main, [*words, '--explain', 'cam'], capsys)
    assert code == 1 and '--explain: expected saliency and class_activation, or one' in line
    code, line = fail(infer.main, [*words, '--explain', '--no-save'], capsys)
    assert code == 2 and '--no-save: cannot go with --explain' in line
    code, line = fail(test.main, [*model, '--cfg-options', 'explain=[cam]'], capsys)
    assert code == 1 and 'explain: expected saliency and class_activation' in line
    args = infer.parse_args('a b --config c --checkpoint d --explain'.split())
    with pytest.raises(UserError, match='--explain: is for images'):
        check_options(args)
