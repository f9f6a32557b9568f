# I-SPY1 slices at 256x256. UML's published code feeds slices at the size of their volume, which is
# 256x256 in most series. Others are resized here: networks of this toolbox need sides that are
# multiples of 8, and a batch needs one size. A slice of 256x256 passes `mmcv.Resize` unchanged.
# In testing the mask is read after the resizing and keeps its own size, to which the prediction is
# brought back, so metrics refer to the original pixels.
# Made by: python prepare_dataset/ispy1.py RAW data/ispy1
dataset_type = 'ISPY1Dataset'
data_root = 'data/ispy1/'

train_pipeline = [
    dict(type='LoadJointImage'),
    dict(type='LoadJointAnnotations'),
    dict(type='mmcv.Resize', scale=(256, 256)),
    dict(type='PackJointInputs'),
]
test_pipeline = [
    dict(type='LoadJointImage'),
    dict(type='mmcv.Resize', scale=(256, 256)),
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

# Per slice and, with the slices of a patient together, per case.
val_evaluator = dict(
    type='JointEvaluator',
    metrics=[
        dict(type='SegmentationMetric', group_by='patient_id'),
        dict(type='ClassificationMetric', group_by='patient_id'),
        dict(type='CalibrationMetric', task='cls'),
    ],
)
test_evaluator = val_evaluator
