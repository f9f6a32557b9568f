"""A chain of two tiny trainings on tiny fundus sets, of which each labels one task."""

from pathlib import Path

from ..test_datasets.task_sets import read_map, write_map, write_sets
from ..test_engine.helpers import ROOT

BASE = """
_base_ = ['{root}/configs/_base_/default_runtime.py']
custom_imports = dict(imports=['tests.test_engine.toy', 'tests.test_engine.adversarial_toy'])
tasks = dict(
    vessel=dict(vessel=(1,)),
    lesion=dict(EX=(1,), HE=(2,), SE=(3,), MA=(4,)),
    odoc=dict(disc=(1, 2), cup=(2,)),
)
model = dict(
    type='MultiTaskModel',
    data_preprocessor=dict(
        type='MultiBranchDataPreprocessor',
        data_preprocessor=dict(type='JointDataPreprocessor', mean=[128] * 3, std=[64] * 3)),
    tasks=tasks,
    generator=dict(type='ToyGenerator'),
    weights=dict(reta=dict(vessel=1.0), ddr=dict(lesion=1.0), refuge=dict(odoc=1.0)),
    loss=dict(type='TaskDiceLoss'),
    aux_weight=0.4,
)
load = [
    dict(type='LoadJointImage'),
    dict(type='LoadTaskMaps'),
    dict(type='mmseg.RandomCrop', crop_size=(16, 16)),
]
branches = {branches}
train = dict(type='FundusTasksDataset', split='train')
train_dataloader = dict(
    batch_size={count},
    num_workers=0,
    sampler=dict(type='MultiSourceSampler', counts=(1,) * {count}, endless=True),
    dataset=dict(type='MultiSourceDataset', datasets={sources}),
)
test_pipeline = [
    dict(type='LoadJointImage'), dict(type='LoadTaskMaps'), dict(type='PackJointInputs')]
test = dict(type='FundusTasksDataset', split='test', test_mode=True, pipeline=test_pipeline)
test_dataloader = dict(
    batch_size=1,
    num_workers=0,
    sampler=dict(type='ResumableSampler', shuffle=False, round_up=False),
    dataset=dict(
        type='MultiSourceDataset',
        datasets=dict(
            reta=dict(data_root='{data}/reta', **test),
            ddr=dict(data_root='{data}/ddr', **test),
        ),
    ),
)
test_evaluator = dict(type='JointEvaluator', metrics=[
    dict(type='TaskMetric', domain='reta', task='vessel', measures=('IoU', 'AUC')),
    dict(type='TaskMetric', domain='ddr', task='lesion', measures=('IoU',)),
])
unlabelled = dict(
    type='FundusTasksDataset', split='train', labelled=False, test_mode=True,
    pipeline=test_pipeline)
test_sets = dict(
    OD=dict(
        dataset=dict(
            data_root='{data}/ddr', annotated_tasks=(), extra_maps=dict(odoc='od'), **test),
        evaluator=dict(type='TaskMetric', domain='ddr', task='odoc', channels=('disc',),
            background=True, measures=('IoU', 'Dice')),
    ),
    reta_train=dict(dataset=dict(data_root='{data}/reta', **unlabelled)),
    ddr_train=dict(dataset=dict(data_root='{data}/ddr', **unlabelled)),
)
task_labels = dict(sources=dict(refuge='odoc', ddr='lesion', reta='vessel'))
test_cfg = dict()
train_cfg = dict(type='JointIterBasedTrainLoop', max_iters=6)
optim_wrapper = dict(optimizer=dict(type='Adam', lr=0.01))
default_hooks = dict(
    logger=dict(interval=2), prediction_images=dict(num_samples=0),
    checkpoint=dict(interval=2, by_epoch=False, max_keep_ckpts=2))
log_processor = dict(by_epoch=False)
visualizer = dict(_delete_=True, type='Visualizer', vis_backends=[dict(type='LocalVisBackend')])
"""
SOURCE = """
        {branch}=dict(
            type='FundusTasksDataset', split='train', data_root='{data}/{name}', {extra},
            pipeline=[*load, dict(type='MultiBranch', branches=branches, pipelines=dict(
                {branch}=[dict(type='PackJointInputs')]))]),"""
CHAIN = """
defaults = dict(label=dict(threshold=0.5))
stages = dict(
    first=dict(type='train', config='first.py'),
    reta_odoc=dict(type='label', checkpoint='first', test_set='reta_train', source='refuge'),
    ddr_vessel=dict(type='label', checkpoint='first', test_set='ddr_train', source='reta'),
    second=dict(
        type='train',
        config='second.py',
        inputs={
            'train_dataloader.dataset.datasets.reta_pseudo.extra_maps.odoc': 'reta_odoc',
            'train_dataloader.dataset.datasets.ddr_pseudo.extra_maps.vessel': 'ddr_vessel',
        },
        seed=5,
    ),
    test_first=dict(type='test', checkpoint='first'),
    test_first_disc=dict(type='test', checkpoint='first', test_set='OD'),
    test_second=dict(type='test', checkpoint='second'),
)
"""
SECOND = """
_base_ = ['second_base.py']
model = dict(weights=dict(reta_pseudo=dict(odoc=0.5), ddr_pseudo=dict(vessel=0.5)))
train_cfg = dict(max_iters=4)
randomness = dict(seed=7)
"""


def write_chain(folder: Path) -> Path:
    """Write data and configs; gives the config of the chain."""
    data = folder / 'data'
    write_sets(data)
    for path in (data / 'ddr' / 'lesion').glob('test-*.png'):
        write_map(data / 'ddr' / 'od' / path.name, (read_map(path) > 2).astype('uint8'))
    names = ('reta', 'ddr', 'refuge')
    plain = [
        SOURCE.format(branch=name, name=name, data=data, extra='labelled=True') for name in names
    ]
    pseudo = [
        SOURCE.format(
            branch=f'{name}_pseudo',
            name=name,
            data=data,
            extra=f"labelled=False, extra_maps=dict({task}='nowhere')",
        )
        for name, task in (('reta', 'odoc'), ('ddr', 'vessel'))
    ]
    for file, branches, sources in (
        ('first', names, plain),
        ('second_base', (*names, 'reta_pseudo', 'ddr_pseudo'), [*plain, *pseudo]),
    ):
        text = BASE.format(
            root=ROOT,
            data=data,
            branches=branches,
            count=len(branches),
            sources=f'dict({"".join(sources)})',
        )
        (folder / f'{file}.py').write_text(text)
    (folder / 'second.py').write_text(SECOND)
    (folder / 'chain.py').write_text(CHAIN)
    return folder / 'chain.py'
