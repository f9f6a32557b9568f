"""Batches of three partly labelled sets, with their labels and with pseudo labels."""

import collections
import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from PIL import Image
from torch.utils.data import DataLoader
from torchvision import transforms as vision

from mmjoint.datasets import MultiSourceDataset
from mmjoint.datasets.samplers import MultiSourceSampler
from mmjoint.datasets.transforms import MultiBranch
from mmjoint.engine.loops import skip_batches
from mmjoint.models.data_preprocessors import MultiBranchDataPreprocessor
from mmjoint.registry import TRANSFORMS
from mmjoint.utils.errors import UserError
from mmjoint.utils.random import SeededIndex, local_seed

from .task_sets import SETS, write, write_map, write_sets

CONFIGS = Path(__file__).resolve().parents[2] / 'configs' / '_base_' / 'datasets'
CROP, SIZE = 16, 32  # in place of 512 and 1024
MEAN, STD = [95.523, 57.776, 25.422], [58.273, 35.645, 16.790]
# Branch -> set and tasks.
BRANCHES = dict(
    reta=('reta', {'vessel'}),
    ddr=('ddr', {'lesion'}),
    refuge=('refuge', {'odoc'}),
    reta_pseudo=('reta', {'lesion', 'odoc'}),
    ddr_pseudo=('ddr', {'vessel', 'odoc'}),
    refuge_pseudo=('refuge', {'vessel'}),
)


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp('fundus')
    write_sets(folder)
    return folder


def load(name='fundus-tasks-pseudo_512x512'):
    """The config with small sizes."""
    config = Config.fromfile(CONFIGS / f'{name}.py')

    def shrink(node):
        if isinstance(node, dict):
            if node.get('type') == 'mmcv.RandomResize':
                assert node['scale'] == (1024, 1024)
                node['scale'] = (SIZE, SIZE)
            elif node.get('type') == 'mmseg.Resize':
                assert node['scale'] == (1024, 1024)
                node['scale'] = (SIZE, SIZE)
            elif node.get('type') == 'mmseg.RandomCrop':
                assert node['crop_size'] == (512, 512)
                node['crop_size'] = (CROP, CROP)
            node = list(node.values())
        if isinstance(node, (list, tuple)):
            for item in node:
                shrink(item)

    for key in ('train', 'val', 'test'):
        shrink(config[f'{key}_dataloader'])
    return config


def sources(root, config):
    configs = config.train_dataloader.dataset.datasets
    for name, source in configs.items():
        name = name.removesuffix('_pseudo')
        # The set with disc and cup alone is another than the one with glaucoma, too.
        assert source.data_root == f'data/{name}{"_tasks" if name == "refuge" else ""}/'
        source.data_root = str(root / name)
    return configs


@pytest.fixture(scope='module')
def dataset(root):
    return MultiSourceDataset(sources(root, load()))


def loader_of(dataset, **options):
    train = load().train_dataloader
    sampler = dict(train.sampler)
    assert sampler.pop('type') == 'MultiSourceSampler'
    return DataLoader(
        dataset,
        batch_size=train.batch_size,
        sampler=MultiSourceSampler(dataset, **sampler, seed=3),
        collate_fn=pseudo_collate,
        **options,
    )


def preprocessed(batch):
    ordinary = dict(type='JointDataPreprocessor', mean=MEAN, std=STD, size=(CROP, CROP))
    return MultiBranchDataPreprocessor(ordinary)(batch, training=True)


def rows(batch):
    """What the model gets of a batch: branch, file, image and label maps, in order."""
    batch = preprocessed(batch)
    return [
        (
            branch,
            sample.img_path,
            image.tolist(),
            {task: labels.tolist() for task, labels in sorted(sample.gt_tasks.items())},
        )
        for branch in batch['inputs']
        for image, sample in zip(
            batch['inputs'][branch], batch['data_samples'][branch], strict=True
        )
    ]


def test_what_the_model_gets(dataset):
    assert dataset.source_sizes == (3, 5, 4, 3, 5, 4)
    seen = collections.defaultdict(list)
    for raw in itertools.islice(loader_of(dataset), 30):
        batch = preprocessed(raw)
        inputs, samples = batch['inputs'], batch['data_samples']
        assert tuple(inputs) == tuple(samples) == tuple(BRANCHES)
        for branch, (name, tasks) in BRANCHES.items():
            assert inputs[branch].shape == (1, 3, CROP, CROP)
            assert inputs[branch].dtype == torch.float32
            assert inputs[branch][0, 2].min() >= -MEAN[2] / STD[2] - 1e-5
            (sample,) = samples[branch]
            assert sample.domain == name and 'gt_sem_seg' not in sample
            assert set(sample.gt_tasks.keys()) == tasks
            for labels in sample.gt_tasks.values():
                assert labels.shape == (1, CROP, CROP) and labels.dtype == torch.int64
            seen[branch].append(sample.img_path)
    # Each set is drawn as often, its images evenly, and the two draws of a set are independent.
    for branch, (name, _) in BRANCHES.items():
        counts = collections.Counter(seen[branch])
        assert len(counts) == SETS[name]['count'] and min(counts.values()) >= 3
    for name in SETS:
        same = np.mean([a == b for a, b in zip(seen[name], seen[f'{name}_pseudo'], strict=True)])
        assert 0 < same < 0.8


def test_workers_and_resuming_change_nothing(root, dataset):
    def batches(loader, start, stop):
        skip_batches(loader, start)
        return [rows(batch) for batch in itertools.islice(loader, stop - start)]

    whole = batches(loader_of(dataset), 0, 12)
    assert len(whole) == 12 and whole[0] != whole[5]
    assert batches(loader_of(dataset), 7, 12) == whole[7:]
    workers = dict(num_workers=2, multiprocessing_context='fork')
    assert batches(loader_of(dataset, **workers), 0, 6) == whole[:6]
    assert batches(loader_of(dataset, **workers), 5, 12) == whole[5:]
    configs = sources(root, load())
    for source in configs.values():
        source.cache = True
    assert batches(loader_of(MultiSourceDataset(configs)), 4, 12) == whole[4:]


def test_the_other_draws_of_a_run_do_not_matter(dataset):
    def visit(index, seed):
        packed = dataset[SeededIndex(index, seed)]
        (branch,) = [name for name, image in packed['inputs'].items() if image is not None]
        maps = packed['data_samples'][branch].gt_tasks
        return (packed['inputs'][branch], *(labels for _, labels in sorted(maps.items())))

    starts = np.cumsum((0, *dataset.source_sizes))[:-1].tolist()
    for index in starts:
        visits = [visit(index, seed) for seed in range(6)]
        np.random.rand(3), torch.rand(5)
        again = [visit(index, seed) for seed in range(6)]
        for one, two in zip(visits, again, strict=True):
            assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
        assert len({images[0].numpy().tobytes() for images in visits}) > 3


def part(name, branch):
    """The transforms of a branch without packing, and without loading."""
    datasets = load(name).train_dataloader.dataset.datasets
    pipeline = TRANSFORMS.build(datasets[branch].pipeline[-1]).pipelines[branch]
    return pipeline[:-1]


def run(pipeline, results, seed):
    with local_seed(seed):
        for transform in pipeline:
            results = transform(results)
    return results


@pytest.mark.parametrize(
    ('name', 'branch'),
    [
        ('fundus-tasks_512x512', 'reta'),
        ('fundus-tasks-pseudo_512x512', 'reta'),
        ('fundus-tasks-pseudo_512x512', 'reta_pseudo'),
    ],
)
def test_all_maps_move_with_the_image(name, branch):
    pattern = [[0, 1, 0, 1], [1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 0, 1]]
    labels = np.kron(pattern, np.ones((24, 24))).astype(np.uint8)
    moved = [
        transform
        for transform in part(name, branch)
        if type(transform).__name__
        in ('RandomResize', 'RandomCrop', 'RandomFlip', 'RandomRotateChoice')
    ]
    assert len(moved) == dict(reta=4 + (name == 'fundus-tasks_512x512'), reta_pseudo=3)[branch]
    agreement = []
    for seed in range(12):
        results = dict(
            img=np.stack([labels * 200] * 3, axis=-1),
            gt_task_a=labels,
            gt_task_b=1 - labels,
            seg_fields=['gt_task_a', 'gt_task_b'],
        )
        results = run(moved, results, seed)
        a, b = results['gt_task_a'], results['gt_task_b']
        inside = a != 255
        assert np.array_equal(inside, b != 255) and np.array_equal(a[inside], 1 - b[inside])
        agreement.append(((results['img'][..., 0] > 100) == a)[inside].mean())
    # Borders alone differ, between linear interpolation and nearest neighbours.
    assert min(agreement) > 0.8 and np.mean(agreement) > 0.93


def test_flips_of_each_pipeline():
    image = np.arange(4, dtype=np.uint8).reshape(2, 2, 1)
    expected = {
        ('fundus-tasks_512x512', 'ddr'): {(1, 1), (1, -1), (-1, 1), (-1, -1)},
        ('fundus-tasks-pseudo_512x512', 'ddr'): {(1, 1), (-1, 1)},
        ('fundus-tasks-pseudo_512x512', 'ddr_pseudo'): {(1, 1), (1, -1)},
    }
    for (name, branch), wanted in expected.items():
        flips = [t for t in part(name, branch) if type(t).__name__ == 'RandomFlip']
        found = collections.Counter()
        for seed in range(80):
            flipped = run(flips, dict(img=image), seed)['img']
            found[
                next(
                    key
                    for key in itertools.product((1, -1), repeat=2)
                    if np.array_equal(image[:: key[0], :: key[1]], flipped)
                )
            ] += 1
        assert set(found) == wanted and min(found.values()) > 80 / len(wanted) / 2


def test_angles_and_sizes():
    (rotation,) = (t for t in part('fundus-tasks_512x512', 'reta') if hasattr(t, 'degrees'))
    assert rotation.degrees == tuple(np.linspace(-15, 15, 9).tolist())
    assert (rotation.pad_val, rotation.seg_pad_val) == (0, 255)
    resize = part('fundus-tasks-pseudo_512x512', 'reta_pseudo')[0]
    sizes = []
    for seed in range(200):
        results = run([resize], dict(img=np.zeros((40, 40, 3), np.uint8)), seed)
        height, width = results['img'].shape[:2]
        assert height == width
        sizes.append(height / SIZE)
    assert 0.5 <= min(sizes) < 0.6 and 1.9 < max(sizes) <= 2
    assert np.mean(sizes) == pytest.approx(1.25, abs=0.1)


def test_colours_change_as_torchvision_changes_them():
    strong = part('fundus-tasks-pseudo_512x512', 'reta_pseudo')
    names = [type(transform).__name__ for transform in strong]
    first, last = names.index('NumpyToPIL'), names.index('PILToNumpy')
    image = np.random.RandomState(2).randint(0, 256, (12, 14, 3), np.uint8)
    changed, grey = 0, 0
    for seed in range(100):
        found = run(strong[first : last + 1], dict(img=image), seed)['img']
        with local_seed(seed):
            expected = Image.fromarray(image)  # RGB, as it is loaded
            if np.random.rand() < 0.8:
                expected = vision.ColorJitter(0.5, 0.5, 0.5, 0.25)(expected)
                changed += 1
            if torch.rand(1) < 0.2:
                expected = expected.convert('L').convert('RGB')
                grey += 1
        assert found.dtype == np.uint8 and np.array_equal(found, np.array(expected)), seed
    assert 65 < changed < 92 and 8 < grey < 34


def test_blur_and_cut_out():
    strong = part('fundus-tasks-pseudo_512x512', 'reta_pseudo')
    blur, cut = strong[-2:]
    with local_seed(0):
        radii = np.array([blur.random_magnitude() for _ in range(2000)])
        blurred = np.mean([not blur.random_disable() for _ in range(2000)])
    assert 0.1 <= radii.min() < 0.12 and 1.98 < radii.max() <= 2.0
    assert radii.mean() == pytest.approx(1.05, abs=0.03)
    assert blurred == pytest.approx(0.5, abs=0.04)
    assert (cut.prob, cut.area, cut.ratio, cut.seg_fill) == (0.5, (0.02, 0.4), (0.3, 1 / 0.3), 255)


def test_what_does_not_fill_the_crop_is_padded(root):
    """An image that is no square: black counts as the mean, labels tell nothing there."""
    image = np.full((8, 24, 3), 50, np.uint8)
    stem = root / 'odd' / 'a.png'
    write(stem, image)
    write_map(root / 'odd' / 'm.png', np.ones((8, 24), np.uint8))
    results = dict(
        img_path=str(stem),
        task_map_paths=dict(vessel=str(root / 'odd' / 'm.png')),
        tasks=dict(vessel=dict(vessel=(1,))),
        seg_fields=[],
    )
    config = load('fundus-tasks_512x512').train_dataloader.dataset.datasets.reta.pipeline
    branches = TRANSFORMS.build(config[-1])
    assert isinstance(branches, MultiBranch)
    for transform in (*(TRANSFORMS.build(item) for item in config[:-1]), branches):
        with local_seed(1):
            results = transform(results)
    packed = {
        key: {branch: [item] for branch, item in results[key].items() if item is not None}
        for key in results
    }
    batch = preprocessed(packed)
    inputs, (sample,) = batch['inputs']['reta'], batch['data_samples']['reta']
    labels = sample.gt_tasks.vessel
    assert inputs.shape == (1, 3, CROP, CROP) and labels.shape == (1, CROP, CROP)
    height = sample.img_shape[0]
    assert height < CROP
    assert not inputs[..., height:, :].any() and (labels[:, height:] == 255).all()
    assert (labels[:, :height] == 1).any()


def test_stage_one(root):
    dataset = MultiSourceDataset(sources(root, load('fundus-tasks_512x512')))
    assert dataset.source_sizes == (3, 5, 4)
    assert tuple(dataset.metainfo['tasks']) == ('vessel', 'lesion', 'odoc')
    batch = preprocessed(pseudo_collate([dataset[0], dataset[3], dataset[8]]))
    found = {
        branch: set(sample.gt_tasks.keys()) for branch, (sample,) in batch['data_samples'].items()
    }
    assert found == {name: BRANCHES[name][1] for name in SETS}


@pytest.mark.parametrize('key', ['val', 'test'])
def test_testing_keeps_the_stored_size_for_predictions(root, key):
    config = load()
    datasets = config[f'{key}_dataloader'].dataset.datasets
    expected = dict(
        val=['drive', 'stare', 'ddr', 'refuge'],
        test=['drive', 'stare', 'aria', 'ddr', 'idrid', 'refuge'],
    )
    assert list(datasets) == expected[key]
    for name in set(datasets) - set(SETS):
        datasets[name] = None
    for name, source in datasets.items():
        if source is not None:
            source.data_root = str(root / name)
    dataset = MultiSourceDataset(datasets)
    item = dataset[0]
    sample = item['data_samples']
    assert item['inputs'].shape == (3, SIZE, SIZE) and sample.img_shape == (SIZE, SIZE)
    assert sample.ori_shape == (30, 30) and sample.raw_shape == (40, 50)
    assert sample.gt_tasks.lesion.shape == (1, 30, 30)
    assert sample.frame['crop'] == [5, 0, 40, 40] and Path(sample.fov_path).is_file()


def test_tables_of_tasks_must_agree(root):
    configs = sources(root, load('fundus-tasks_512x512'))
    configs.reta.metainfo = dict(tasks=dict(vessel=dict(vessel=(1,))))
    with pytest.raises(UserError, match='expected the tasks .* of the first source in all of them'):
        MultiSourceDataset(configs)
