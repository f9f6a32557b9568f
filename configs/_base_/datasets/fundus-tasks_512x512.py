# Fundus photographs of three sets, of which each labels one task: crops of 512x512 from images
# resized to 1024x1024 times 0.5 to 2. One image of each set in a batch. Made by, each with RAW its
# download:
#   python prepare_dataset/reta.py RAW data/reta
#   python prepare_dataset/ddr.py RAW data/ddr
#   python prepare_dataset/refuge_tasks.py RAW data/refuge_tasks
# and, to test on, idrid.py, drive.py, stare.py and aria.py likewise.
# Images come as RGB in [0, 255]; the model's preprocessor has the mean and the deviation.
dataset_type = 'FundusTasksDataset'

load = [dict(type='LoadJointImage'), dict(type='LoadTaskMaps')]
crop = [
    dict(
        type='mmcv.RandomResize',
        scale=(1024, 1024),
        ratio_range=(0.5, 2.0),
        resize_type='mmseg.Resize',
        keep_ratio=True,
    ),
    dict(type='mmseg.RandomCrop', crop_size=(512, 512)),
]
horizontal_flip = dict(type='mmseg.RandomFlip', prob=0.5, direction='horizontal')
vertical_flip = dict(type='mmseg.RandomFlip', prob=0.5, direction='vertical')
# From outside comes black, and 255 into the label maps.
rotation = dict(
    type='RandomRotateChoice',
    degrees=(-15, -11.25, -7.5, -3.75, 0, 3.75, 7.5, 11.25, 15),
)
pack = dict(type='PackJointInputs')
# Both flips work, as was meant; in the published training the second undid the first.
flipped_aug = [*crop, horizontal_flip, vertical_flip, rotation, pack]
test_pipeline = [
    dict(type='LoadJointImage'),
    dict(type='mmseg.Resize', scale=(1024, 1024), keep_ratio=True),
    # Behind the resizing: the maps keep the stored size, to which predictions are brought back.
    dict(type='LoadTaskMaps'),
    pack,
]
# Of raw photographs, as tools/infer.py takes them: what the preparation does is done on the fly.
infer_pipeline = [
    dict(type='LoadJointImage'),
    dict(type='CropFieldOfView'),
    dict(type='mmseg.Resize', scale=(1024, 1024), keep_ratio=True),
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

# Each iteration draws one image of each set, whatever their sizes.
train_dataloader = dict(
    batch_size=3,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='MultiSourceSampler', counts=(1, 1, 1), endless=True),
    dataset=dict(
        type='MultiSourceDataset',
        datasets=dict(
            reta=dict(
                type=dataset_type,
                data_root='data/reta/',
                split='train',
                annotated_tasks=('vessel',),
                pipeline=reta_pipeline,
            ),
            ddr=dict(
                type=dataset_type,
                data_root='data/ddr/',
                split='train',
                annotated_tasks=('lesion',),
                pipeline=ddr_pipeline,
            ),
            refuge=dict(
                type=dataset_type,
                data_root='data/refuge_tasks/',
                split='train',
                annotated_tasks=('odoc',),
                pipeline=refuge_pipeline,
            ),
        ),
    ),
)
test_part = dict(type=dataset_type, split='test', test_mode=True, pipeline=test_pipeline)
# A set that is set to None is left out, and so must be the metrics of its domain.
val_dataloader = dict(
    batch_size=1,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='ResumableSampler', shuffle=False, round_up=False),
    dataset=dict(
        type='MultiSourceDataset',
        datasets=dict(
            drive=dict(data_root='data/drive/', **test_part),
            stare=dict(data_root='data/stare/', **test_part),
            ddr=dict(data_root='data/ddr/', **test_part),
            refuge=dict(data_root='data/refuge_tasks/', **test_part),
        ),
    ),
)
test_dataloader = dict(
    batch_size=1,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='ResumableSampler', shuffle=False, round_up=False),
    dataset=dict(
        type='MultiSourceDataset',
        datasets=dict(
            drive=dict(data_root='data/drive/', **test_part),
            stare=dict(data_root='data/stare/', **test_part),
            aria=dict(data_root='data/aria/', **test_part),
            ddr=dict(data_root='data/ddr/', **test_part),
            idrid=dict(data_root='data/idrid/', **test_part),
            refuge=dict(data_root='data/refuge_tasks/', **test_part),
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
            data_root='data/idrid/',
            annotated_tasks=(),
            extra_maps=dict(odoc='od'),
            **test_part,
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
    reta_train=dict(dataset=dict(data_root='data/reta/', **train_part)),
    ddr_train=dict(dataset=dict(data_root='data/ddr/', **train_part)),
    refuge_train=dict(dataset=dict(data_root='data/refuge_tasks/', **train_part)),
)
# What tools/test.py --vis --source MODE writes label maps of: the task that a set labels.
task_labels = dict(sources=dict(refuge='odoc', ddr='lesion', reta='vessel'))
