# Small made-up fundus photographs of seven sets, of which each labels one task: crops of 96x96
# from images resized to 192x192 times 0.75 to 1.5. One image of each set in a batch. Made by, in
# less than a minute on one core (P is data/phantoms):
#   for set in "reta 60" "ddr 100" "refuge_tasks 90" "idrid 60" "drive 40" "stare 20" "aria 20"; do
#     set -- $set
#     python prepare_dataset/make_phantoms.py $1 P/raw/$1 --num-cases $2 --size 192
#     python prepare_dataset/$1.py P/raw/$1 P/$1 --truth
#   done
# As fundus-tasks_512x512.py but for the sizes. --truth adds splits <split>_truth with the labels of
# all tasks, which the configs do not use.
dataset_type = 'FundusTasksDataset'

load = [dict(type='LoadJointImage'), dict(type='LoadTaskMaps')]
crop = [
    dict(
        type='mmcv.RandomResize',
        scale=(192, 192),
        ratio_range=(0.75, 1.5),
        resize_type='mmseg.Resize',
        keep_ratio=True,
    ),
    dict(type='mmseg.RandomCrop', crop_size=(96, 96)),
]
horizontal_flip = dict(type='mmseg.RandomFlip', prob=0.5, direction='horizontal')
vertical_flip = dict(type='mmseg.RandomFlip', prob=0.5, direction='vertical')
rotation = dict(
    type='RandomRotateChoice',
    degrees=(-15, -11.25, -7.5, -3.75, 0, 3.75, 7.5, 11.25, 15),
)
pack = dict(type='PackJointInputs')
flipped_aug = [*crop, horizontal_flip, vertical_flip, rotation, pack]
test_pipeline = [
    dict(type='LoadJointImage'),
    dict(type='mmseg.Resize', scale=(192, 192), keep_ratio=True),
    # Behind the resizing: the maps keep the stored size, to which predictions are brought back.
    dict(type='LoadTaskMaps'),
    pack,
]
# Of raw photographs, as tools/infer.py takes them: what the preparation does is done on the fly.
infer_pipeline = [
    dict(type='LoadJointImage'),
    dict(type='CropFieldOfView'),
    dict(type='mmseg.Resize', scale=(192, 192), keep_ratio=True),
    pack,
]

branches = ('reta', 'ddr', 'refuge')
reta_pipeline = [
    *load,
    dict(type='MultiBranch', branches=branches, pipelines=dict(reta=flipped_aug)),
]
ddr_pipeline = [
    *load,
    dict(type='MultiBranch', branches=branches, pipelines=dict(ddr=flipped_aug)),
]
refuge_pipeline = [
    *load,
    dict(type='MultiBranch', branches=branches, pipelines=dict(refuge=flipped_aug)),
]

train_dataloader = dict(
    batch_size=3,
    num_workers=0,
    persistent_workers=False,
    sampler=dict(type='MultiSourceSampler', counts=(1, 1, 1), endless=True),
    dataset=dict(
        type='MultiSourceDataset',
        datasets=dict(
            reta=dict(
                type=dataset_type,
                data_root='data/phantoms/reta/',
                split='train',
                annotated_tasks=('vessel',),
                cache=True,
                pipeline=reta_pipeline,
            ),
            ddr=dict(
                type=dataset_type,
                data_root='data/phantoms/ddr/',
                split='train',
                annotated_tasks=('lesion',),
                cache=True,
                pipeline=ddr_pipeline,
            ),
            refuge=dict(
                type=dataset_type,
                data_root='data/phantoms/refuge_tasks/',
                split='train',
                annotated_tasks=('odoc',),
                cache=True,
                pipeline=refuge_pipeline,
            ),
        ),
    ),
)
# A set that is set to None is left out, and so must be the metrics of its domain.
val_dataloader = dict(
    batch_size=1,
    num_workers=0,
    persistent_workers=False,
    sampler=dict(type='ResumableSampler', shuffle=False, round_up=False),
    dataset=dict(
        type='MultiSourceDataset',
        datasets=dict(
            drive=dict(
                type=dataset_type,
                data_root='data/phantoms/drive/',
                split='test',
                test_mode=True,
                pipeline=test_pipeline,
            ),
            stare=dict(
                type=dataset_type,
                data_root='data/phantoms/stare/',
                split='test',
                test_mode=True,
                pipeline=test_pipeline,
            ),
            ddr=dict(
                type=dataset_type,
                data_root='data/phantoms/ddr/',
                split='test',
                test_mode=True,
                pipeline=test_pipeline,
            ),
            refuge=dict(
                type=dataset_type,
                data_root='data/phantoms/refuge_tasks/',
                split='test',
                test_mode=True,
                pipeline=test_pipeline,
            ),
        ),
    ),
)
test_dataloader = dict(
    batch_size=1,
    num_workers=0,
    persistent_workers=False,
    sampler=dict(type='ResumableSampler', shuffle=False, round_up=False),
    dataset=dict(
        type='MultiSourceDataset',
        datasets=dict(
            drive=dict(
                type=dataset_type,
                data_root='data/phantoms/drive/',
                split='test',
                test_mode=True,
                pipeline=test_pipeline,
            ),
            stare=dict(
                type=dataset_type,
                data_root='data/phantoms/stare/',
                split='test',
                test_mode=True,
                pipeline=test_pipeline,
            ),
            aria=dict(
                type=dataset_type,
                data_root='data/phantoms/aria/',
                split='test',
                test_mode=True,
                pipeline=test_pipeline,
            ),
            ddr=dict(
                type=dataset_type,
                data_root='data/phantoms/ddr/',
                split='test',
                test_mode=True,
                pipeline=test_pipeline,
            ),
            idrid=dict(
                type=dataset_type,
                data_root='data/phantoms/idrid/',
                split='test',
                test_mode=True,
                pipeline=test_pipeline,
            ),
            refuge=dict(
                type=dataset_type,
                data_root='data/phantoms/refuge_tasks/',
                split='test',
                test_mode=True,
                pipeline=test_pipeline,
            ),
        ),
    ),
)

# As published, with the same inside the field of view and by all thresholds beside it.
vessel_measures = (
    'IoU',
    'Dice',
    'precision',
    'recall',
    'ACC',
    'AUC',
    'AUPR',
    'clDice',
    'otsu_sensitivity',
    'otsu_specificity',
    'otsu_precision',
)
lesion_measures = ('IoU', 'Dice', 'precision', 'recall', 'AUPR_11', 'AUPR', 'AUC', 'MAE')
odoc_measures = ('IoU', 'Dice', 'precision', 'recall')
drive_metric = dict(
    type='TaskMetric', domain='drive', task='vessel', background=True, measures=vessel_measures
)
stare_metric = dict(
    type='TaskMetric', domain='stare', task='vessel', background=True, measures=vessel_measures
)
aria_metric = dict(
    type='TaskMetric', domain='aria', task='vessel', background=True, measures=vessel_measures
)
ddr_metric = dict(type='TaskMetric', domain='ddr', task='lesion', measures=lesion_measures)
idrid_metric = dict(type='TaskMetric', domain='idrid', task='lesion', measures=lesion_measures)
refuge_metric = dict(type='TaskMetric', domain='refuge', task='odoc', measures=odoc_measures)
val_evaluator = dict(
    type='JointEvaluator', metrics=[drive_metric, stare_metric, ddr_metric, refuge_metric]
)
test_evaluator = dict(
    type='JointEvaluator',
    metrics=[drive_metric, stare_metric, aria_metric, ddr_metric, idrid_metric, refuge_metric],
)

# Other sets, for tools/test.py --test-set NAME: the optic disc of IDRiD alone, by --OD for short,
# and the training images that lack labels of some tasks.
train_part = dict(
    type=dataset_type, split='train', labelled=False, test_mode=True, pipeline=test_pipeline
)
test_sets = dict(
    OD=dict(
        dataset=dict(
            data_root='data/phantoms/idrid/',
            annotated_tasks=(),
            extra_maps=dict(odoc='od'),
            type=dataset_type,
            split='test',
            test_mode=True,
            pipeline=test_pipeline,
        ),
        evaluator=dict(
            type='JointEvaluator',
            metrics=[
                dict(
                    type='TaskMetric',
                    domain='idrid',
                    task='odoc',
                    channels=('disc',),
                    background=True,
                    measures=('IoU', 'Dice'),
                ),
            ],
        ),
    ),
    reta_train=dict(dataset=dict(data_root='data/phantoms/reta/', **train_part)),
    ddr_train=dict(dataset=dict(data_root='data/phantoms/ddr/', **train_part)),
    refuge_train=dict(dataset=dict(data_root='data/phantoms/refuge_tasks/', **train_part)),
)
# What tools/test.py --vis --source MODE writes label maps of: the task that a set labels.
task_labels = dict(sources=dict(refuge='odoc', ddr='lesion', reta='vessel'))
