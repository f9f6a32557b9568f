# ISIC 2016, Task 1 at 128x128 as the MC-dropout U-Net trains on it: RGB in [0, 255], resized by
# Pillow (bicubic; masks nearest), the aspect not kept, no augmentation, no normalisation here.
# Made by: python prepare_dataset/isic2016.py RAW data/isic2016
dataset_type = 'ISIC2016Dataset'
data_root = 'data/isic2016/'

train_pipeline = [
    dict(type='LoadJointImage'),
    dict(type='LoadJointAnnotations'),
    dict(type='PillowResize', size=(128, 128)),
    dict(type='PackJointInputs'),
]
# Validation judges at 128x128, as the published training does; with `cache` it decodes nothing.
val_pipeline = train_pipeline
# In testing the mask is read after the resizing and keeps its own size, to which the prediction is
# brought back, so metrics refer to the original pixels.
test_pipeline = [
    dict(type='LoadJointImage'),
    dict(type='PillowResize', size=(128, 128)),
    dict(type='LoadJointAnnotations'),
    dict(type='PackJointInputs'),
]

# With `cache` the resized images and masks stay in memory (59 MB for the 900 training images) and
# no file is read after the first epoch: no workers needed.
train_dataloader = dict(
    batch_size=4,
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
# All images count, also those of the last, smaller batch, which the published code leaves out.
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
        pipeline=val_pipeline,
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
        dict(type='SegmentationMetric'),
        dict(type='CalibrationMetric', task='seg'),
    ],
)
test_evaluator = val_evaluator
