"""Every config loads; every model in one is built small and makes one step on a made-up batch."""

import copy
from pathlib import Path
from types import SimpleNamespace as Namespace

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import OptimWrapperDict, build_optim_wrapper
from mmengine.registry import DefaultScope, init_default_scope
from mmengine.structures import PixelData

from mmjoint.apis.chain import read_chain
from mmjoint.apis.config import load_config
from mmjoint.apis.named_sets import use_test_set
from mmjoint.models.adversarial import AdversarialModel
from mmjoint.registry import (
    DATASETS,
    EVALUATOR,
    HOOKS,
    LOOPS,
    MODELS,
    PARAM_SCHEDULERS,
    TRANSFORMS,
    UNCERTAINTY,
)
from mmjoint.structures import JointDataSample, VolumeData

from .test_models.tiny import PARTS, make_samples

ROOT = Path(__file__).resolve().parents[1] / 'configs'
FILES = sorted(str(file.relative_to(ROOT)) for file in ROOT.rglob('*.py'))
LOADED = {name: load_config(str(ROOT / name)) for name in FILES}


def load(name):
    """A config of one's own to change."""
    return copy.deepcopy(LOADED[name])


BASES = [name for name in FILES if name.startswith('_base_')]
# Chains of stages, which train by other configs.
CHAINS = [name for name in FILES if 'stages' in LOADED[name]]
FULL = [name for name in FILES if not name.startswith('_base_') and name not in CHAINS]
MODELS_ALONE = [name for name in BASES if name.startswith('_base_/models/')]
WIDTH = 4


def distinct_models(names):
    """The first name of each model: many configs differ in their data alone."""
    return list({repr(LOADED[name].model): name for name in reversed(names)}.values())


WITH_MODEL = distinct_models(MODELS_ALONE + FULL)
# They train on branches of labelled and unlabelled images.
SEMI = [
    name
    for name in WITH_MODEL
    if LOADED[name].model.data_preprocessor.type == 'MultiBranchDataPreprocessor'
]
SUPERVISED = [name for name in WITH_MODEL if name not in SEMI]
# Of these, those whose branches are of several tasks.
MULTI_TASK = [name for name in SEMI if LOADED[name].model.type == 'MultiMix']
# Those whose branches each train some of the tasks.
PARTIAL = [name for name in SEMI if 'tasks' in LOADED[name].model]
SEMI = [name for name in SEMI if name not in (*MULTI_TASK, *PARTIAL)]


@pytest.fixture(autouse=True)
def scope():
    init_default_scope('mmjoint')
    yield
    DefaultScope._instance_dict.clear()


def shrunk(model):
    """The model with its published width, and its window, brought down."""
    model = copy.deepcopy(model)
    if model.get('test_cfg'):
        model.test_cfg.roi_size = (16,) * len(model.test_cfg.roi_size)
    backbone = model.backbone
    if backbone.type == 'mmseg.SwinTransformer':
        # Of its 3 heads each gets `WIDTH` channels.
        old, new = backbone.embed_dims, 3 * WIDTH
        backbone.update(embed_dims=new, depths=(1, 1, 1, 1))
    elif backbone.type == 'mmpretrain.ResNet':
        old, new = 64, WIDTH
        backbone.update(base_channels=new, stem_channels=new)
    else:
        old, new = backbone.base_channels, WIDTH
        backbone.base_channels = new

    def scaled(value):
        if isinstance(value, (list, tuple)):
            return tuple(scaled(v) for v in value)
        return value if value is None else value * new // old

    for part in set(PARTS) - {'backbone'}:
        for key in model.get(part) or {}:
            if key.endswith('channels'):
                model[part][key] = scaled(model[part][key])
    return model


def num_classes(cfg):
    """Numbers of pixel and image classes; of a lone model file, those that it was written for."""
    if 'train_dataloader' not in cfg:
        heads = (cfg.model.get(part) for part in ('decode_head', 'cls_head'))
        return tuple(0 if head is None else head.num_classes for head in heads)
    meta = DATASETS.get(sources(cfg.train_dataloader.dataset)[0].type).METAINFO
    return len(meta['classes']), len(meta['cls_classes'])


def sources(dataset):
    """The data sets that a config's data set draws from."""
    parts = dataset.get('datasets')
    return [dataset] if parts is None else [part for part in parts.values() if part is not None]


def make_images(cfg, space_2d=(32, 32)):
    """Two images of the kind that the config's network takes."""
    num_axes = cfg.model.backbone.get('num_axes')
    if num_axes is None:
        return list(torch.randint(0, 256, (2, 3, *space_2d), dtype=torch.uint8))
    return list(torch.rand(2, 1, *[32] * num_axes))


def make_semi_samples(space, num_classes):
    """Two samples per branch, labelled in the one that says so."""
    samples = {'labelled': [], 'unlabelled': []}
    kind = VolumeData if len(space) == 3 else PixelData
    for branch, found in samples.items():
        for _ in range(2):
            found.append(JointDataSample())
            if branch == 'labelled':
                found[-1].gt_sem_seg = kind(data=torch.randint(num_classes, (1, *space)))
    return samples


@pytest.mark.parametrize('name', FILES)
def test_loads_and_can_be_dumped(name):
    cfg = load(name)
    if name not in BASES:  # what a run writes into its folder
        assert Config.fromstring(cfg.pretty_text, '.py').to_dict() == cfg.to_dict()


@pytest.mark.parametrize('name', SUPERVISED)
def test_one_training_step(name):
    cfg = load(name)
    torch.manual_seed(0)
    pixel_classes, image_classes = num_classes(cfg)
    for part in ('mutual_head', 'decode_head', 'cls_head'):
        if part in cfg.model:
            expected = image_classes if part == 'cls_head' else pixel_classes
            assert cfg.model[part].num_classes == expected, part
    model = MODELS.build(shrunk(cfg.model)).train()
    settings = cfg.get('optim_wrapper') or dict(
        type='OptimWrapper', optimizer=dict(type='SGD', lr=0.1)
    )
    wrapper = build_optim_wrapper(model, copy.deepcopy(settings))
    before = {key: value.clone() for key, value in model.named_parameters()}
    images = make_images(cfg)
    space = tuple(images[0].shape[1:])
    samples = make_samples(2, space, num_classes=pixel_classes, num_cls_classes=image_classes or 1)
    log = model.train_step({'inputs': images, 'data_samples': samples}, wrapper)
    assert torch.isfinite(log['loss']) and log['loss'] > 0
    moved = {key for key, value in model.named_parameters() if not torch.equal(value, before[key])}
    assert {key.split('.')[0] for key in moved} == {name for name, _ in model.named_children()} - {
        'data_preprocessor'
    }
    with torch.no_grad():
        results = model.eval().test_step({'inputs': images, 'data_samples': samples})
    for sample in results:
        assert sample.pred_sem_seg.data.shape == (1, *space)
        if image_classes:
            assert sample.pred_score.shape == (image_classes,)
        else:
            assert 'pred_score' not in sample


@pytest.mark.parametrize('name', SEMI)
def test_one_semi_supervised_step(name):
    cfg = load(name)
    torch.manual_seed(0)
    network = cfg.model.get('segmentor', cfg.model)
    if name in FULL:
        pixel_classes = num_classes(cfg)[0]
        for part in (
            network.decode_head,
            cfg.model.get('denoising_stem'),
            cfg.model.get('difficulty'),
        ):
            assert part is None or part.num_classes == pixel_classes
    for part in (network.backbone, network.decode_head, cfg.model.get('denoising_stem')):
        if part is not None:
            part.base_channels = WIDTH
    model = MODELS.build(cfg.model).train()
    for hook in cfg.get('custom_hooks', []):
        HOOKS.build(copy.deepcopy(hook)).before_train_iter(Namespace(model=model), 0)
    wrapper = build_optim_wrapper(
        model, dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.1))
    )
    before = {key: value.clone() for key, value in model.named_parameters()}
    space = (32,) * network.backbone.num_axes
    samples = make_semi_samples(space, network.decode_head.num_classes)
    inputs = {branch: torch.rand(2, 1, *space) for branch in samples}
    log = model.train_step({'inputs': inputs, 'data_samples': samples}, wrapper)
    assert torch.isfinite(log['loss'])
    still = [key for key, p in model.named_parameters() if torch.equal(p, before[key])]
    assert {key.split('.')[0] for key in still} <= {'teacher'}  # it follows after the step


@pytest.mark.parametrize('name', MULTI_TASK)
def test_one_step_of_several_tasks(name):
    cfg = load(name)
    torch.manual_seed(0)
    model = MODELS.build(cfg.model).train()
    wrapper = build_optim_wrapper(
        model, dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.1))
    )
    before = {key: value.clone() for key, value in model.named_parameters()}
    channels, space = cfg.model.backbone.get('in_channels', 3), (32, 32)
    inputs = {branch: list(torch.rand(2, channels, *space)) for branch in model.branches}
    samples = {branch: [JointDataSample(), JointDataSample()] for branch in model.branches}
    for branch, made in samples.items():
        for label, sample in enumerate(made):
            if branch == 'seg_labelled':
                seg_map = torch.randint(model.decode_head.num_classes, (1, *space))
                sample.gt_sem_seg = PixelData(data=seg_map)
            elif branch == 'cls_labelled':
                sample.set_gt_label(label)
    log = model.train_step({'inputs': inputs, 'data_samples': samples}, wrapper)
    assert torch.isfinite(log['loss']) and log['loss'] > 0
    still = [key for key, p in model.named_parameters() if torch.equal(p, before[key])]
    assert all(key.endswith('.bias') for key in still)  # a norm takes them away again
    assert not [key for key in still if 'blocks' not in key]


@pytest.mark.parametrize('name', PARTIAL)
def test_one_step_of_partially_labelled_sets(name):
    cfg = load(name)
    torch.manual_seed(0)
    generator = cfg.model.generator
    if generator.backbone.type == 'mmseg.SwinTransformer':
        generator.backbone.update(embed_dims=3 * WIDTH, depths=(1, 1, 1, 1), drop_path_rate=0)
        generator.decode_head.decoder.in_channels = [3 * WIDTH * 2**i for i in range(4)]
        generator.auxiliary_head.decoder.in_channels = 3 * WIDTH * 4
    for part in (generator.decode_head, generator.auxiliary_head):
        if part is not None:
            part.decoder.channels = 4 * WIDTH
            part.dropout_ratio = 0  # a task that is dropped in all samples would stay as it is
    model = MODELS.build(cfg.model).train()
    sgd = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.1))
    wrapper = build_optim_wrapper(model.generator, sgd)
    if isinstance(model, AdversarialModel):
        parts = {name: model.get_submodule(name) for name in ('generator', *model.critic_names)}
        wrapper = OptimWrapperDict(
            **{name: build_optim_wrapper(part, sgd) for name, part in parts.items()}
        )
    before = {key: value.clone() for key, value in model.named_parameters()}
    space = (64, 64)
    tables = {**cfg.model.weights, **(cfg.model.get('pseudo_weights') or {})}
    samples = {branch: [JointDataSample(), JointDataSample()] for branch in tables}
    for branch, made in samples.items():
        for sample in made:
            sample.gt_tasks = PixelData(
                **{task: torch.randint(2, (1, *space)) for task in tables[branch]}
            )
    inputs = {branch: list(torch.rand(2, 3, *space)) for branch in tables}
    log = model.train_step({'inputs': inputs, 'data_samples': samples}, wrapper)
    assert torch.isfinite(log['loss']) and log['loss'] > 0
    assert not [key for key, p in model.named_parameters() if torch.equal(p, before[key])]
    sample = JointDataSample(metainfo=dict(img_shape=space, ori_shape=(48, 48)))
    with torch.no_grad():
        (result,) = model.eval().test_step(
            {'inputs': [torch.rand(3, *space)], 'data_samples': [sample]}
        )
    for task, channels in cfg.model.tasks.items():
        pred = result.pred_tasks.get(task)
        assert pred.shape == (len(channels), 48, 48) and 0 <= pred.min() <= pred.max() <= 1


@pytest.mark.parametrize('name', FULL)
def test_everything_else_that_it_names_can_be_built(name):
    cfg = load(name)
    assert cfg.default_scope == 'mmjoint'
    for split in ('train', 'val', 'test'):
        dataset = cfg[f'{split}_dataloader'].dataset
        assert DATASETS.get(dataset.type), dataset.type
        for part in sources(dataset):
            assert DATASETS.get(part.type), part.type
            transforms = [TRANSFORMS.build(copy.deepcopy(item)) for item in part.pipeline]
            assert type(transforms[-1]).__name__ in ('PackJointInputs', 'MultiBranch')
        if split != 'train':
            evaluator = EVALUATOR.build(copy.deepcopy(cfg[f'{split}_evaluator']))
            assert evaluator.metrics
            assert all(metric.eval_names for metric in evaluator.metrics)
    for hook in [*cfg.default_hooks.values(), *cfg.get('custom_hooks', [])]:
        assert HOOKS.build(copy.deepcopy(hook))
    assert LOOPS.get(cfg.train_cfg.type)
    for scheduler in cfg.param_scheduler:
        assert PARAM_SCHEDULERS.get(scheduler.type), scheduler.type
    for uq in [*cfg.get('uq_options', {}), *([cfg.uq.type] if cfg.get('uq') else [])]:
        assert UNCERTAINTY.get(uq), uq


@pytest.mark.parametrize('name', FULL)
def test_name_follows_the_convention(name):
    """``{algorithm}_{backbone}_{dataset}``: the folder's method first, the data set last."""
    parts = Path(name).stem.split('_')
    method = Path(name).parts[0].replace('_', '-')  # `_` stands between fields
    assert f'{parts[0]}-'.startswith(f'{method}-')
    dataset = sources(load(name).train_dataloader.dataset)[0].type
    dataset = dataset.removesuffix('Dataset').removesuffix('Joint').removesuffix('Volume')
    assert any(dataset.lower() in part for part in parts), f'{name} trains on {dataset}'


@pytest.mark.parametrize('name', CHAINS)
def test_stages_of_a_chain_fit_their_configs(name):
    assert Path(name).stem.endswith('_chain')
    stages = read_chain(str(ROOT / name))
    assert {stage.kind for stage in stages.values()} == {'train', 'label', 'test'}
    for stage in stages.values():
        cfg = stage.prepare()
        for key, maker in stage.inputs.items():
            # Each names a path that the config has, so that another one is put in its place.
            node = cfg
            for part in key.split('.'):
                node = node[part]
            assert isinstance(node, str)
            task = key.rpartition('.')[2]
            assert stages[maker].settings['source'] == task
        if stage.kind == 'label':
            (hook,) = [h for h in cfg.custom_hooks if h['type'] == 'TaskLabelHook']
            assert hook['task'] in cfg.model.tasks and hook['threshold'] == 0.5


@pytest.mark.parametrize('name', FULL)
def test_named_test_sets_can_be_built(name):
    cfg = load(name)
    for key, own in (cfg.get('test_sets') or {}).items():
        if own is None:  # of the base, left out
            continue
        chosen = copy.deepcopy(cfg)
        use_test_set(chosen, key)
        assert DATASETS.get(own.dataset.type)
        assert EVALUATOR.build(copy.deepcopy(chosen.test_evaluator)) is not None
    for task in ((cfg.get('task_labels') or {}).get('sources') or {}).values():
        tasks = DATASETS.get(sources(cfg.train_dataloader.dataset)[0].type).METAINFO['tasks']
        assert task in tasks
