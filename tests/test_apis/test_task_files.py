"""Models of several tasks in tools/test.py and tools/infer.py, and back in the raw frame."""

import csv
import json

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.structures import PixelData

from mmjoint.apis import infer, test
from mmjoint.apis.inferencer import JointInferencer
from mmjoint.apis.task_files import TaskWriter, in_raw_frame, tasks_of
from mmjoint.models.uncertainty import Softmax
from mmjoint.structures import JointDataSample
from mmjoint.utils.errors import UserError
from mmjoint.utils.index_png import read_index_png

from ..test_datasets.task_sets import annotate, write, write_map
from ..test_datasets.test_transforms.test_field_of_view import photograph
from ..test_models.tiny import build

TASKS = dict(
    vessel=dict(vessel=(1,)),
    lesion=dict(EX=(1,), HE=(2,), SE=(3,), MA=(4,)),
    odoc=dict(disc=(1, 2), cup=(2,)),
)
FRAME = dict(crop=[3, 1, 4, 2], pad=[1, 1, 0, 0])


def make_sample(**metainfo):
    """Maps of 4 x 4 of a photograph of 5 x 8, of which 4 x 2 pixels were cut out."""
    sample = JointDataSample(metainfo=dict(img_path='a.jpg', ori_shape=(4, 4), **metainfo))
    values = torch.arange(32.0).reshape(2, 4, 4) / 40
    sample.pred_tasks = PixelData(odoc=values)
    sample.seg_uncertainty = PixelData(predictive_entropy_odoc=values[:1] / 2)
    return sample


def test_a_prediction_returns_to_the_frame_of_the_raw_file():
    sample = make_sample(frame=FRAME, raw_shape=(5, 8))
    back = in_raw_frame(sample)
    assert back.metainfo['ori_shape'] == (5, 8)
    inner = sample.pred_tasks.odoc[:, 1:3]  # without the padding
    assert torch.equal(back.pred_tasks.odoc[:, 1:3, 3:7], inner)
    assert back.pred_tasks.odoc.count_nonzero() == inner.count_nonzero() == 16
    entropy = back.seg_uncertainty.predictive_entropy_odoc
    assert torch.equal(entropy[:, 1:3, 3:7], inner[:1] / 2)
    assert entropy.isnan().sum() == 5 * 8 - 2 * 4
    # Nothing in the sample itself has changed, and one of a raw size stays.
    assert sample.pred_tasks.odoc.shape == (2, 4, 4)
    assert in_raw_frame(make_sample()).pred_tasks.odoc.shape == (2, 4, 4)
    # A set that was resized has no frame.
    assert in_raw_frame(make_sample(raw_shape=(8, 12))).pred_tasks.odoc.shape == (2, 8, 12)


def test_mistakes_of_frames():
    with pytest.raises(UserError, match=r'a\.jpg: the frame .* does not fit .*prepare'):
        in_raw_frame(make_sample(frame=dict(FRAME, pad=[0, 0, 0, 0]), raw_shape=(5, 8)))
    with pytest.raises(UserError, match=r'a\.jpg: the frame .* does not fit .*prepare'):
        in_raw_frame(make_sample(frame=FRAME, raw_shape=(2, 8)))
    sample = JointDataSample(metainfo=dict(frame=FRAME, raw_shape=(5, 8)))
    with pytest.raises(UserError, match='expected a model of tasks behind CropFieldOfView'):
        in_raw_frame(sample)


def test_files(tmp_path):
    sample = make_sample(frame=FRAME, raw_shape=(5, 8))
    files = TaskWriter(tmp_path, TASKS).write(sample, 'x')
    assert sorted(path.name for path in files.values()) == [
        'x_odoc.png',
        'x_odoc_cup_prob.png',
        'x_odoc_disc_prob.png',
        'x_predictive_entropy_odoc.npy',
    ]
    labels = np.zeros((5, 8), np.uint8)
    # Of the disc at most 11/40, of the cup 20/40 (not above the threshold) to 27/40.
    labels[1:3, 3:7] = [[0, 2, 2, 2], [2, 2, 2, 2]]
    assert np.array_equal(read_index_png(files['odoc']), labels)
    cup = cv2.imread(str(files['odoc_cup_prob']), cv2.IMREAD_UNCHANGED)
    assert cup.dtype == np.uint16 and cup.shape == (5, 8)
    assert cup[1, 3] == round(20 / 40 * 65535) and cup[0].max() == 0
    assert np.isnan(np.load(files['predictive_entropy_odoc'])).sum() == 32
    with pytest.raises(UserError, match='expected the 2 channels of the task odoc'):
        TaskWriter(tmp_path, {}).write(sample, 'y')


# Runs -----------------------------------------------------------------------------------------

CONFIG = """
default_scope = 'mmjoint'
GN = dict(type='GN', num_groups=1)
model = dict(
    type='MultiTaskModel',
    tasks=dict(
        vessel=dict(vessel=(1,)),
        lesion=dict(EX=(1,), HE=(2,), SE=(3,), MA=(4,)),
        odoc=dict(disc=(1, 2), cup=(2,)),
    ),
    data_preprocessor=dict(
        type='MultiBranchDataPreprocessor',
        data_preprocessor=dict(
            type='JointDataPreprocessor', mean=[90.0], std=[60.0], size_divisor=8,
            test_cfg=dict(size_divisor=8),
        ),
    ),
    generator=dict(
        type='MultiTaskGenerator',
        backbone=dict(
            type='mmseg.ResNetV1c', depth=18, stem_channels=4, base_channels=4, norm_cfg=GN,
            out_indices=(0,), num_stages=1, strides=(1,), dilations=(1,),
        ),
        decode_head=dict(
            type='TaskDecodeHead',
            decoder=dict(
                type='mmseg.FCNHead', in_channels=4, in_index=0, channels=4, num_convs=1,
                concat_input=False, norm_cfg=GN,
            ),
        ),
    ),
)
pack = dict(type='PackJointInputs')
pipeline = [
    dict(type='LoadJointImage'),
    dict(type='mmseg.Resize', scale=(24, 24), keep_ratio=True),
    dict(type='LoadTaskMaps'),
    pack,
]
infer_pipeline = [
    dict(type='LoadJointImage'),
    dict(type='CropFieldOfView'),
    dict(type='mmseg.Resize', scale=(24, 24), keep_ratio=True),
    pack,
]
test_dataloader = dict(
    batch_size=1,
    num_workers=0,
    sampler=dict(type='ResumableSampler', shuffle=False, round_up=False),
    dataset=dict(
        type='MultiSourceDataset',
        datasets=dict(
            one=dict(
                type='FundusTasksDataset', data_root='ROOT/one', split='test', test_mode=True,
                pipeline=pipeline,
            ),
            other=dict(
                type='FundusTasksDataset', data_root='ROOT/other', split='test', test_mode=True,
                pipeline=pipeline,
            ),
        ),
    ),
)
test_evaluator = dict(
    type='JointEvaluator', metrics=[dict(type='TaskMetric', domain='one', task='vessel')]
)
test_cfg = dict()
default_hooks = dict(prediction_images=dict(type='PredictionImageHook'))
visualizer = dict(type='JointVisualizer', vis_backends=[])
"""


@pytest.fixture(scope='module')
def place(tmp_path_factory):
    """Two raw photographs, the sets that they become, a config and its untrained weights."""
    root = tmp_path_factory.mktemp('tasks')
    rng = np.random.default_rng(0)
    for name, task in (('one', 'vessel'), ('other', 'odoc')):
        raw = photograph(centre=(8 if name == 'one' else 18, 35))
        write(root / 'raw' / f'{name}.png', raw[..., ::-1])
        inferred = Config.fromstring(CONFIG, '.py').infer_pipeline[1]
        from mmjoint.registry import TRANSFORMS

        framed = TRANSFORMS.build(inferred)(dict(img=raw))
        write(root / name / 'images' / f'{name}.png', framed['img'][..., ::-1])
        shape = framed['img'].shape[:2]
        write_map(root / name / task / f'{name}.png', rng.integers(0, 2, shape, np.uint8))
        write(root / name / 'fov' / f'{name}.png', np.ones(shape, np.uint8))
        record = dict(
            img_path=f'images/{name}.png',
            task_map_paths={task: f'{task}/{name}.png'},
            fov_path=f'fov/{name}.png',
            patient_id=name,
            spacing=None,
            domain=name,
            ori_shape=list(raw.shape[:2]),
            raw_path=f'{name}.png',
            frame=framed['frame'],
        )
        annotate(root / name, 'test', [record])
    (root / 'cfg.py').write_text(CONFIG.replace('ROOT', str(root)))
    torch.manual_seed(0)
    model = build(Config.fromfile(root / 'cfg.py').model)
    assert tasks_of(Softmax(model)) == tasks_of(model) == TASKS
    for seed in (0, 1):
        torch.manual_seed(seed)
        for parameter in model.generator.decode_head.parameters():
            torch.nn.init.normal_(parameter, std=0.5)
        torch.save(dict(state_dict=model.state_dict(), meta={}), root / f'{seed}.pth')
    return root


def run_test(place, out, *words):
    files = [str(place / 'cfg.py'), str(place / '0.pth'), '--work-dir', str(out / 'work')]
    test.main([*files, *words])


@pytest.mark.parametrize(
    'words',
    [
        (),
        ('--uq', 'mc_dropout', '--samples', '3'),
        ('--uq', 'ensemble', '--members', '{place}/1.pth'),
        ('--uq', 'tta', '--cfg-options', 'uq_options.tta.source=image'),
    ],
    ids=['model', 'mc_dropout', 'ensemble', 'tta'],
)
def test_a_prepared_and_a_raw_photograph_give_the_same(place, tmp_path, words):
    """By tools/test.py, with drawings and a report, and by tools/infer.py."""
    words = [word.format(place=place) for word in words]
    run_test(place, tmp_path, '--pred-dir', str(tmp_path / 'pred'), *words)
    line = [str(place / 'raw'), str(tmp_path / 'out'), '--config', str(place / 'cfg.py')]
    line += ['--checkpoint', str(place / '0.pth'), '--save-npz', '--device', 'cpu', *words]
    if '--members' in words:
        at = line.index('--members')
        line[at : at + 2] = []
        line[line.index('--save-npz') : line.index('--save-npz')] = [words[-1]]
    infer.main(line)
    with np.load(tmp_path / 'out' / 'one.npz') as arrays:
        arrays = dict(arrays)
    assert arrays['vessel'].shape == (1, 40, 60) and arrays['lesion'].shape == (4, 40, 60)
    measures = 4 if words else 1
    assert len([name for name in arrays if name.endswith('_odoc')]) == 1 + measures
    for task, channels in TASKS.items():
        labels = read_index_png(tmp_path / 'pred' / f'one_{task}.png')
        assert labels.shape == (40, 60)
        assert np.array_equal(labels, read_index_png(tmp_path / 'out' / f'one_{task}.png'))
        assert np.array_equal(labels, arrays[f'pred_{task}'])
        for number, channel in enumerate(channels):
            path = tmp_path / 'pred' / f'one_{task}_{channel}_prob.png'
            found = cv2.imread(str(path), cv2.IMREAD_UNCHANGED) / 65535
            assert np.abs(found - arrays[task][number]).max() < 1e-5
        name = f'predictive_entropy_{task}'
        entropy = np.load(tmp_path / 'pred' / f'one_{name}.npy')
        np.testing.assert_allclose(entropy, arrays[name], atol=1e-6)
        assert np.isnan(entropy[0, 0]) and np.nanmax(entropy) > 0


def test_all_files_of_a_run(place, tmp_path):
    line = [str(place / 'raw'), str(tmp_path), '--config', str(place / 'cfg.py')]
    line += ['--checkpoint', str(place / '0.pth'), '--device', 'cpu', '--out-map', 'prob']
    line += ['--save-npz', '--save-prob', '--save-samples', '--save-mean-std', '--save-maps']
    infer.main([*line, '--overlay', '--uq', 'mc_dropout', '--samples', '2'])
    channels = [f'{task}_{name}' for task, names in TASKS.items() for name in names]
    measures = ('predictive_entropy', 'expected_entropy', 'mutual_information', 'variance')
    expected = {f'one_{task}.png' for task in TASKS} | {'one.npz', 'one_probs.npy'}
    expected |= {'one_overlay.png', 'one_tasks.png'}
    expected |= {f'one_{measure}_{task}.png' for measure in measures for task in TASKS}
    for name in channels:
        endings = ('prob', 'probability_map')
        expected |= {f'one_{name}_{ending}.png' for ending in endings}
        expected |= {f'one_{kind}_{name}.png' for kind in ('mean', 'std', 'mc00', 'mc01')}
    assert {path.name for path in tmp_path.glob('one*')} == expected
    passes = np.load(tmp_path / 'one_probs.npy')
    with np.load(tmp_path / 'one.npz') as arrays:
        assert passes.shape == (2, 7, 40, 60)
        np.testing.assert_allclose(passes.mean(0)[5:], arrays['odoc'], atol=1e-6)
        np.testing.assert_allclose(passes.std(0)[5:], arrays['std_odoc'], atol=1e-6)
        labels = arrays['pred_odoc']
    with (tmp_path / 'predictions.csv').open() as file:
        row = next(row for row in csv.DictReader(file) if row['image'].endswith('one.png'))
    assert int(row['area_odoc_cup']) == (labels == 2).sum()
    assert int(row['area_odoc_disc']) == (labels > 0).sum()
    assert 0.5 <= float(row['mean_confidence_odoc']) <= 1
    assert 0 <= float(row['predictive_entropy_odoc_mean']) <= np.log(2)
    assert cv2.imread(str(tmp_path / 'one_tasks.png')).shape == (40, 60, 3)


@pytest.mark.parametrize('uq', [None, 'mc_dropout'])
def test_drawings_and_report(place, tmp_path, uq):
    words = () if uq is None else ('--uq', uq, '--samples', '2')
    run_test(place, tmp_path, '--show-dir', str(tmp_path / 'show'), '--report', *words)
    assert {path.name for path in (tmp_path / 'show').iterdir()} == {'one.png', 'other.png'}
    (report,) = (tmp_path / 'work').glob('*/report.html')
    text = report.read_text()
    for words in (
        'vessel: ground truth',
        'vessel: prediction',
        'odoc: predictive entropy',
        'prediction, all tasks',
        'Dice <b>',
        'not annotated',
        'No case has both an image-level label and a prediction.',
    ):
        assert words in text or words == 'Dice <b>', words
    cases = json.loads((report.parent / 'cases' / 'cases.json').read_text())
    one, other = cases['cases']
    assert set(one['dice']) == {'vessel'} and set(other['dice']) == {'disc', 'cup'}
    assert cases['info']['tasks']['odoc'] == dict(disc=[1, 2], cup=[2])


def test_pseudo_labels_go_where_the_passes_disagree(place, tmp_path):
    hook = dict(
        type='TaskLabelHook',
        task='odoc',
        out_dir=str(tmp_path / 'labels'),
        uncertainty='variance_odoc',
        max_uncertainty=1e-3,
    )
    config = tmp_path / 'cfg.py'
    config.write_text((place / 'cfg.py').read_text() + f'custom_hooks = [{hook!r}]\n')
    members = ['--uq', 'ensemble', '--members', str(place / '1.pth')]
    words = ['--pred-dir', str(tmp_path / 'pred'), *members]
    test.main([str(config), str(place / '0.pth'), '--work-dir', str(tmp_path / 'work'), *words])
    labels = read_index_png(tmp_path / 'labels' / 'other.png')
    # This photograph lies whole in its file, so nothing was padded.
    variance = np.load(tmp_path / 'pred' / 'other_variance_odoc.npy')[4:33, 21:50]
    plain = read_index_png(tmp_path / 'pred' / 'other_odoc.png')[4:33, 21:50]
    unsure = variance > 1e-3
    assert unsure.any()
    assert np.array_equal(labels, np.where(unsure, 255, plain))


@pytest.mark.parametrize(
    'words, message',
    [
        (['--uq', 'evidential'], 'evidential: expected a model that gives evidence'),
        (['--mask-values', '0', '1'], '--mask-values: is for models of one mask'),
        (['--class-index', '2'], '--class-index: is for models of one mask'),
        (['--explain'], 'explain: expected a model with a class head'),
    ],
)
def test_what_does_not_fit_is_said_in_one_line(place, tmp_path, words, message):
    line = [str(place / 'raw'), str(tmp_path), '--config', str(place / 'cfg.py')]
    with pytest.raises(UserError, match=message) as caught:
        infer.main([*line, '--checkpoint', str(place / '0.pth'), '--device', 'cpu', *words])
    assert '\n' not in str(caught.value)


def test_from_python(place):
    inferencer = JointInferencer(place / 'cfg.py', place / '0.pth', device='cpu')
    assert inferencer.tasks == TASKS
    image = photograph()
    (sample,) = inferencer(image)
    assert sample.pred_tasks.lesion.shape == (4, 40, 60)
    (drawn,) = inferencer.visualize([image], [sample])
    assert drawn.dtype == np.uint8 and drawn.shape[2] == 3
