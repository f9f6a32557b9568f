"""Estimators in testing: chosen, put around the model, calibrated."""

import argparse
import json

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from torch import nn

from mmjoint.apis import calibrate, test
from mmjoint.apis.checks import check_config
from mmjoint.apis.config import load_config
from mmjoint.apis.temperatures import doubts, read_temperatures, with_temperatures
from mmjoint.apis.uncertainty import (
    adapt_metrics,
    build_estimator,
    choose_uq,
    measures_of,
    settings_of,
    uq_from_args,
    uq_names,
)
from mmjoint.engine.checkpoint import load_weights, read_checkpoint
from mmjoint.models.uncertainty import MCDropout, Softmax
from mmjoint.phantoms.dermoscopy import render_dermoscopy
from mmjoint.utils.errors import UserError
from mmjoint.utils.io import atomic_write_json
from tests.test_models.tiny import build

from .small_models import mc_unet, uml

NAMES = ['ensemble', 'evidential', 'mc_dropout', 'softmax', 'tta']


def config(**keys):
    return Config(keys, filename=None)


def options(**given):
    keys = ('uq', 'samples', 'seed', 'members', 'temperature')
    return argparse.Namespace(**{**dict.fromkeys(keys), 'checkpoint': 'none.pth', **given})


# Choosing -------------------------------------------------------------------------------------


def test_names():
    assert uq_names() == NAMES


def test_what_goes_before_what():
    own = dict(type='MCDropout', seed=3)
    presets = dict(mc_dropout=dict(num_samples=50, seed=1), tta=dict(views='flips'))
    cfg = config(uq=own, uq_options=presets)
    assert choose_uq(config(), None) is None
    assert choose_uq(config(uq=None), None) is None
    assert choose_uq(cfg, None) == dict(type='MCDropout', num_samples=50, seed=3)
    # The config's own settings belong to its estimator, by whichever of its names.
    assert choose_uq(cfg, 'mc_dropout') == dict(type='mc_dropout', num_samples=50, seed=3)
    assert choose_uq(cfg, 'tta') == dict(type='tta', views='flips')
    assert choose_uq(cfg, 'softmax') == dict(type='softmax')
    given = dict(num_samples=7, seed=None)
    assert choose_uq(cfg, None, given) == dict(type='MCDropout', num_samples=7, seed=3)
    assert cfg.uq == own and cfg.uq_options == presets


def test_wrong_names_and_settings():
    listed = f"expected one of {', '.join(NAMES)}, found 'mcdropout'; did you mean mc_dropout"
    with pytest.raises(UserError, match=listed):
        choose_uq(config(), 'mcdropout')
    with pytest.raises(UserError, match="uq.type: expected one of .*, found 'UML'"):
        choose_uq(config(uq=dict(type='UML')), None)
    with pytest.raises(UserError, match="--uq tta: no such setting: 'view'; did you mean views"):
        choose_uq(config(uq_options=dict(tta=dict(view='flips'))), 'tta')


@pytest.mark.parametrize(
    ('given', 'message'),
    [
        (dict(samples=5), '--samples: needs an estimator of the uncertainty; add --uq NAME'),
        (
            dict(uq='tta', samples=5),
            r'--samples: the estimator tta has no such setting .* one of mc_dropout$',
        ),
        (dict(uq='softmax', seed=0), '--seed: the estimator softmax has no such setting'),
        (dict(uq='tta', members=['a.pth']), 'no such setting .* one of ensemble$'),
        (dict(uq='ensemble'), 'ensemble: expected a list of checkpoints .* found none'),
        (dict(uq='ensemble', members=['none.pth']), 'none.pth is given twice'),
        (dict(uq='ensemble', members=['no.pth']), 'no.pth: no such checkpoint file'),
    ],
)
def test_options_that_do_not_fit(given, message):
    with pytest.raises(UserError, match=message) as told:
        uq_from_args(config(), options(**given))
    assert '\n' not in str(told.value)


def test_options_reach_the_settings():
    assert uq_from_args(config(), options()) is None
    uq = uq_from_args(config(), options(uq='mc_dropout', samples=9, seed=4))
    assert uq == dict(type='mc_dropout', num_samples=9, seed=4)
    settings = settings_of(uq)
    assert settings['type'] == 'mc_dropout' and settings['num_samples'] == 9
    assert settings['seg_temperature'] == 1.0 and 'model' not in settings
    json.dumps(settings)


CHECKED = {
    "uq=dict(type='tta', shrinks=0.8)": 'uq.shrinks: tta has no such argument; did you mean shrink',
    "uq=dict(type='tte')": 'uq.type: tte is not a known uncertainty',
    'uq=dict(num_samples=3)': "uq: expected a dict with a type, found {'num_samples': 3}",
    "uq='tta'": "uq: expected a dict with a type, found 'tta'",
    'uq_options=dict(tta=0.8)': 'uq_options.tta: expected a dict of settings, found 0.8',
    'uq_options=dict(mc_dropout=dict(sample=3))': 'uq_options.mc_dropout.sample: mc_dropout has no',
    'uq_options=dict(dropout=dict())': 'uq_options.dropout.type: dropout is not a known',
    'uq_option=dict()': 'uq_option is unknown; did you mean uq_options',
}


@pytest.mark.parametrize('line', CHECKED)
def test_mistakes_in_a_config(line, tmp_path):
    file, *_ = mc_unet(tmp_path)
    file.write_text(f'{file.read_text()}\n{line}\n')
    with pytest.raises(UserError, match=CHECKED[line]):
        check_config(load_config(str(file)), training=True)


# Metrics --------------------------------------------------------------------------------------


def test_metrics_ask_for_what_there_is():
    vacuity, entropy = (
        dict(type='UncertaintyMetric', task='seg', measure=measure)
        for measure in ('vacuity', 'predictive_entropy')
    )
    other = dict(type='SegmentationMetric')
    assert adapt_metrics([vacuity, other], dict(type='evidential')) == ([vacuity, other], [])
    metrics, lines = adapt_metrics([other, vacuity], dict(type='tta'))
    assert metrics == [other, entropy]
    assert lines == [
        'UncertaintyMetric: tta does not give vacuity; predictive_entropy is evaluated in its place'
    ]
    # Not twice; the metric's default counts as asked for.
    default = dict(type='UncertaintyMetric', task='seg')
    assert adapt_metrics([vacuity, entropy, default], dict(type='tta'))[0] == [entropy]
    whole = dict(type='JointEvaluator', metrics=[vacuity])
    assert adapt_metrics(whole, dict(type='tta'))[0] == {**whole, 'metrics': [entropy]}
    assert adapt_metrics(vacuity, dict(type='tta'))[0] == entropy


def test_without_the_spread_only_the_entropy_is_measured():
    assert 'variance' in measures_of(dict(type='tta'))
    assert measures_of(dict(type='tta', spread=False)) == ('predictive_entropy',)
    assert {'vacuity', 'dissonance'} < set(measures_of(dict(type='evidential')))


# Building -------------------------------------------------------------------------------------


def test_members_are_loaded_into_copies(tmp_path):
    file, first, second = mc_unet(tmp_path)
    model = build(Config.fromfile(file).model)
    load_weights(model, read_checkpoint(first), first, strict=True)
    estimator = build_estimator(dict(type='ensemble', checkpoints=[str(second)]), model)
    assert not estimator.training and not any(m.training for m in estimator.members)
    for member, path in zip(estimator.members, (first, second), strict=True):
        stored = read_checkpoint(path)['state_dict']
        assert all(torch.equal(value, stored[key]) for key, value in member.state_dict().items())


def test_what_cannot_be_built(tmp_path):
    file, _ = mc_unet(tmp_path, seeds=(0,))
    _, foreign = uml(tmp_path)
    model = build(Config.fromfile(file).model)
    with pytest.raises(UserError, match='uml_0.pth: weights of another model'):
        build_estimator(dict(type='ensemble', checkpoints=[str(foreign)]), model)
    with pytest.raises(UserError, match='estimator ensemble: expected at least 2 members'):
        build_estimator(dict(type='ensemble'), model)
    with pytest.raises(UserError, match=r'estimator tta: shrink needs source='):
        build_estimator(dict(type='tta', shrink=0.5), model)
    with pytest.raises(UserError, match='expected a model of this toolbox .* found Linear'):
        build_estimator(dict(type='softmax'), nn.Linear(1, 1))


# Runs -----------------------------------------------------------------------------------------


def write_set(folder, counts=(1, 3, 2)):
    """Dermoscopy phantoms as prepared sets are: train, val and test."""
    number = 0
    for split, count in zip(('train', 'val', 'test'), counts, strict=True):
        records = []
        for _ in range(count):
            phantom = render_dermoscopy(np.random.default_rng(number), (40, 54 + number % 2))
            record = dict(img_path=f'images/{number}.png', seg_map_path=f'masks/{number}.png')
            for path, array in zip(
                record.values(), (phantom.image[..., ::-1], phantom.mask), strict=True
            ):
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(folder / path), array)
            records.append(record)
            number += 1
        atomic_write_json(folder / 'annotations' / f'{split}.json', records)


@pytest.fixture(scope='module')
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp('uncertainty')
    write_set(folder / 'data')
    file, *checkpoints = mc_unet(folder, size=(32, 32))
    text = file.read_text()
    text += f"""
for loader in (test_dataloader, val_dataloader):
    loader['dataset']['data_root'] = '{folder}/data'
    loader.update(num_workers=0, batch_size=2)
    loader.pop('persistent_workers', None)
uq_options = dict(mc_dropout=dict(num_samples=3), tta=dict(source='image', shrink=0.8))
"""
    file.write_text(text)
    return file, *checkpoints


def run(main, prepared, tmp_path, *words, checkpoint=0):
    file, *checkpoints = prepared
    out = tmp_path / 'out.json'
    arguments = [file, checkpoints[checkpoint], '--work-dir', tmp_path / 'w', '--out', out, *words]
    main([str(word) for word in arguments])
    return json.loads(out.read_text())


def test_every_estimator_in_a_test_run(prepared, tmp_path, runner_state):
    plain = run(test.main, prepared, tmp_path)
    assert 'uq' not in plain
    softmax = run(test.main, prepared, tmp_path, '--uq', 'softmax')
    assert softmax.pop('uq')['type'] == 'softmax'
    undefined = {name for name, value in plain.items() if value is None}  # NaN, in JSON
    assert undefined == {name for name, value in softmax.items() if value is None}
    defined = plain.keys() - undefined
    assert {name: softmax[name] for name in defined} == pytest.approx(
        {name: plain[name] for name in defined}, rel=1e-4
    )
    assert softmax.keys() == plain.keys()
    seen = {}
    for name, words in (
        ('tta', []),
        ('mc_dropout', ['--samples', 4, '--seed', 1]),
        ('ensemble', ['--members', prepared[2]]),
    ):
        seen[name] = run(test.main, prepared, tmp_path, '--uq', name, *words)
        assert seen[name]['seg/NLL'] != pytest.approx(plain['seg/NLL'], rel=1e-4)
        assert seen[name]['seg/num_samples'] == 2
    assert seen['tta']['uq']['source'] == 'image' and seen['tta']['uq']['shrink'] == 0.8
    assert (seen['mc_dropout']['uq']['num_samples'], seen['mc_dropout']['uq']['seed']) == (4, 1)
    assert seen['ensemble']['uq']['checkpoints'] == [str(prepared[2])]


def test_the_config_s_own_estimator(prepared, tmp_path, runner_state, capsys):
    file = tmp_path / 'own.py'
    file.write_text(f"{prepared[0].read_text()}\nuq = dict(type='tta', views='flips')\n")
    seen = run(test.main, (file, *prepared[1:]), tmp_path, '--report')
    assert seen['uq']['views'] == 'flips' and seen['uq']['shrink'] == 0.8
    assert 'estimator: tta (' in capsys.readouterr().out
    report = next((tmp_path / 'w').glob('*/report.html')).read_text()
    assert 'shrink=0.8' in report


def test_a_measure_that_an_estimator_lacks_is_replaced(prepared, tmp_path, runner_state, capsys):
    words = ['--uq', 'tta', '--cfg-options', 'test_evaluator.metrics.2.measure=vacuity']
    seen = run(test.main, prepared, tmp_path, *words, '--eval', 'error_AUROC')
    assert [key for key in seen if key != 'uq'] == ['seg/error_AUROC.predictive_entropy']
    assert 'tta does not give vacuity; predictive_entropy is' in capsys.readouterr().out


@pytest.mark.parametrize('name', ['softmax', 'tta'])
def test_calibrated_probabilities(name, prepared, tmp_path, runner_state, capsys):
    (tmp_path / 'fit').mkdir()
    record = run(calibrate.main, prepared, tmp_path / 'fit', '--uq', name)
    file = tmp_path / 'fit' / 'out.json'
    assert record['cls_temperature'] is None and record['seg_temperature'] > 0
    assert record['uq']['type'] == name and list(record['checkpoints']) == [str(prepared[1])]
    assert record['results']['seg/NLL_after'] < record['results']['seg/NLL_before']
    # On the data of the fit the test gives what the fit has promised.
    on_validation = ['--cfg-options', 'test_dataloader.dataset.split=val']
    estimator = [] if name == 'softmax' else ['--uq', name]
    words = [*estimator, '--temperature', file, *on_validation]
    scaled = run(test.main, prepared, tmp_path, *words)
    assert scaled['seg/NLL'] == pytest.approx(record['results']['seg/NLL_after'], rel=1e-4)
    assert scaled['uq']['seg_temperature'] == record['seg_temperature']
    before = run(test.main, prepared, tmp_path, '--uq', name, *on_validation)
    assert before['seg/NLL'] == pytest.approx(record['results']['seg/NLL_before'], rel=1e-4)
    assert before['seg/mDice'] == pytest.approx(scaled['seg/mDice'])
    # A temperature that the settings hold already does not count twice.
    again = run(
        calibrate.main,
        prepared,
        tmp_path,
        *['--uq', name, '--cfg-options', f'uq_options.{name}.seg_temperature=3.0'],
    )
    assert again['seg_temperature'] == pytest.approx(record['seg_temperature'], rel=1e-6)
    capsys.readouterr()
    run(test.main, prepared, tmp_path, *words, checkpoint=1)
    assert 'out.json: fitted to other weights' in capsys.readouterr().out


def test_another_split_of_the_validation_set(prepared, tmp_path, runner_state):
    record = run(calibrate.main, prepared, tmp_path, '--split', 'train')
    assert record['split'] == 'train'
    assert record['results']['seg/num_predictions'] == 40 * 54
    assert record['uq']['type'] == 'softmax'


def test_nothing_to_fit(prepared, tmp_path, runner_state):
    words = ['--cfg-options', 'val_dataloader.dataset.labelled=False']
    with pytest.raises(UserError, match='expected validation samples with labels'):
        run(calibrate.main, prepared, tmp_path, *words)
    assert not (tmp_path / 'out.json').exists()


# Files of temperatures ------------------------------------------------------------------------


def stored(tmp_path, **changes):
    record = {
        'seg_temperature': 1.5,
        'cls_temperature': None,
        'uq': settings_of(dict(type='tta', views='flips')),
        'checkpoints': {'a.pth': '0'},
        **changes,
    }
    path = tmp_path / 't.json'
    atomic_write_json(path, {key: value for key, value in record.items() if value != 'absent'})
    return path


def test_temperatures_go_to_the_estimator_of_their_fit(tmp_path):
    path = stored(tmp_path)
    uq = with_temperatures(dict(type='TestTimeAugmentation', views='flips'), path)
    assert uq == dict(type='TestTimeAugmentation', views='flips', seg_temperature=1.5)
    with pytest.raises(UserError, match='of the estimator softmax, found those of tta; add --uq t'):
        with_temperatures(dict(type='softmax'), path)
    (tmp_path / 'b.pth').write_bytes(b'weights')
    lines = doubts(dict(type='tta', batch_size=2), path, str(tmp_path / 'b.pth'))
    assert lines == [
        f'{path}: fitted to other weights (a.pth)',
        f"{path}: fitted with views='flips', this test has None",
    ]


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(uq='absent'), 'found one without uq'),
        (dict(uq={}), 'found one without uq.type'),
        (dict(seg_temperature=-1), 'seg_temperature: expected a number > 0 or null, found -1'),
        (
            dict(cls_temperature='hot'),
            "cls_temperature: expected a number > 0 or null, found 'hot'",
        ),
    ],
)
def test_files_that_are_none(changes, message, tmp_path):
    with pytest.raises(UserError, match=message):
        read_temperatures(stored(tmp_path, **changes))


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(UserError, match='no.json: cannot read the temperatures'):
        read_temperatures(tmp_path / 'no.json')
    (tmp_path / 'x.json').write_text('{')
    with pytest.raises(UserError, match='expected a JSON file of tools/calibrate.py'):
        read_temperatures(tmp_path / 'x.json')
    (tmp_path / 'x.json').write_text('[1]')
    with pytest.raises(UserError, match='found one without seg_temperature'):
        read_temperatures(tmp_path / 'x.json')


def test_estimators_by_either_name(tmp_path):
    file, first, _ = mc_unet(tmp_path)
    model = build(Config.fromfile(file).model)
    assert type(build_estimator(dict(type='MCDropout'), model)) is MCDropout
    assert type(build_estimator(dict(type='softmax'), model)) is Softmax
