# REFUGE at 256x256, as UML trains on it: RGB in [0, 255], no augmentation, no normalisation here.
# Made by: python prepare_dataset/refuge.py RAW data/refuge
dataset_type = 'REFUGEJointDataset'
data_root = 'data/refuge/'

train_pipeline = [
    dict(type='LoadJointImage'),
    dict(type='LoadJointAnnotations'),
    dict(type='PackJointInputs'),
]
test_pipeline = [
    dict(type='LoadJointImage'),
    dict(type='LoadJointAnnotations'),
    dict(type='PackJointInputs'),
]

# With `cache` the decoded images stay in memory, and a sample takes 0.2 ms: no workers needed.
# The published batch of 8 is 2 on each of 4 processes; with N processes set
# --cfg-options train_dataloader.batch_size=(8 / N). The last, smaller batch of an epoch is kept.
train_dataloader = dict(
    batch_size=2,
    num_workers=0,
    sampler=dict(type='ResumableSampler', shuffle=True),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        split='train',
        cache=True,
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=4,
    num_workers=0,
    sampler=dict(type='ResumableSampler', shuffle=False, round_up=False),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        split='val',
        cache=True,
        test_mode=True,
        pipeline=test_pipeline,
    ),
)
test_dataloader = dict(
    batch_size=4,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='ResumableSampler', shuffle=False, round_up=False),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        split='test',
        test_mode=True,
        pipeline=test_pipeline,
    ),
)

val_evaluator = dict(
    type='JointEvaluator',
    metrics=[
        dict(type='SegmentationMetric', unions=dict(disc=(1, 2))),
        dict(type='ClassificationMetric'),
        dict(type='CalibrationMetric', task='cls'),
    ],
)
test_evaluator = val_evaluator
