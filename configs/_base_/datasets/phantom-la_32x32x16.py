# Small made-up volumes in the manner of LA, 2 of 80 labelled:
#     python prepare_dataset/make_phantoms.py la data/phantoms/raw/la --num-cases 100 --size 48
#     python prepare_dataset/la.py data/phantoms/raw/la data/phantoms/la --ratios 0.025
# An epoch has 10 batches.
_base_ = ['./strong-augmentation_3d.py']
dataset_type = 'LADataset'
data_root = 'data/phantoms/la/'

labelled_pipeline = [
    dict(type='LoadVolume'),
    dict(type='LoadVolumeAnnotations'),
    dict(type='RandomCropPatch', size=(32, 32, 16)),
    _base_.augmentation,
    dict(
        type='MultiBranch',
        branches=('labelled', 'unlabelled'),
        pipelines=dict(labelled=[dict(type='PackJointInputs')]),
    ),
]
unlabelled_pipeline = [
    dict(type='LoadVolume'),
    dict(type='RandomCropPatch', size=(32, 32, 16)),
    _base_.augmentation,
    dict(
        type='MultiBranch',
        branches=('labelled', 'unlabelled'),
        pipelines=dict(unlabelled=[dict(type='PackJointInputs')]),
    ),
]
# For a source that trains a model without branches.
supervised_pipeline = [
    dict(type='LoadVolume'),
    dict(type='LoadVolumeAnnotations'),
    dict(type='RandomCropPatch', size=(32, 32, 16)),
    _base_.augmentation,
    dict(type='PackJointInputs'),
]
# Validation judges one patch from the middle, as the published training does.
val_pipeline = [
    dict(type='LoadVolume'),
    dict(type='LoadVolumeAnnotations'),
    dict(type='CenterCropPatch', size=(32, 32, 16)),
    dict(type='PackJointInputs'),
]
test_pipeline = [
    dict(type='LoadVolume'),
    dict(type='LoadVolumeAnnotations'),
    dict(type='PackJointInputs'),
]
# What `tools/infer.py` does with raw files.
infer_pipeline = [
    dict(type='LoadVolume', spacing=(0.625, 0.625, 0.625)),
    dict(type='PackJointInputs'),
]

train_dataloader = dict(
    batch_size=4,
    num_workers=0,
    persistent_workers=False,
    sampler=dict(type='MultiSourceSampler', counts=(2, 2), num_batches=10),
    dataset=dict(
        type='MultiSourceDataset',
        datasets=dict(
            labelled=dict(
                type=dataset_type,
                data_root=data_root,
                split='labeled_0.025',
                pipeline=labelled_pipeline,
            ),
            unlabelled=dict(
                type=dataset_type,
                data_root=data_root,
                split='unlabeled_0.025',
                labelled=False,
                pipeline=unlabelled_pipeline,
            ),
        ),
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=0,
    persistent_workers=False,
    sampler=dict(type='ResumableSampler', shuffle=False, round_up=False),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        split='eval_0.025',
        test_mode=True,
        pipeline=val_pipeline,
    ),
)
test_dataloader = dict(
    batch_size=1,
    num_workers=0,
    persistent_workers=False,
    sampler=dict(type='ResumableSampler', shuffle=False, round_up=False),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        split='test',
        test_mode=True,
        pipeline=test_pipeline,
    ),
)

# A class that neither mask holds counts as a Dice of 0.5 here, as in the published training.
val_evaluator = dict(
    type='JointEvaluator',
    metrics=[dict(type='SegmentationMetric', measures=('Dice',), empty_dice=0.5)],
)
# First the published figures: on the prepared grid, in voxels, ASD from prediction to reference,
# 128 where one mask is empty, a Dice of 0.01 where both are. Then symmetric ones in mm, without
# the cases where a class is empty in either mask.
test_evaluator = dict(
    type='JointEvaluator',
    metrics=[
        dict(
            type='SegmentationMetric',
            measures=('Dice', 'IoU', 'HD95', 'ASD'),
            empty_dice=0.01,
            empty_distance=128.0,
            both_empty_distance=0.0,
        ),
        dict(
            type='SegmentationMetric',
            prefix='seg_mm',
            distance_unit='mm',
            measures=('Dice', 'ASSD', 'HD95', 'NSD'),
            nsd_tolerance=2.0,
        ),
    ],
)
