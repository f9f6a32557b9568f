# Small made-up volumes in the manner of M&Ms, vendor C unseen.
_base_ = ['./strong-augmentation_3d.py']
dataset_type = 'MnMsDataset'
data_root = 'data/phantoms/mnms/'

labelled_pipeline = [
    dict(type='LoadVolume', percentiles=(0.5, 99.5)),
    dict(type='LoadVolumeAnnotations'),
    dict(type='RandomCropPatch', size=(16, 32, 32)),
    _base_.augmentation,
    dict(
        type='MultiBranch',
        branches=('labelled', 'unlabelled'),
        pipelines=dict(labelled=[dict(type='PackJointInputs')]),
    ),
]
unlabelled_pipeline = [
    dict(type='LoadVolume', percentiles=(0.5, 99.5)),
    dict(type='RandomCropPatch', size=(16, 32, 32)),
    _base_.augmentation,
    dict(
        type='MultiBranch',
        branches=('labelled', 'unlabelled'),
        pipelines=dict(unlabelled=[dict(type='PackJointInputs')]),
    ),
]
# For a source that trains a model without branches.
supervised_pipeline = [
    dict(type='LoadVolume', percentiles=(0.5, 99.5)),
    dict(type='LoadVolumeAnnotations'),
    dict(type='RandomCropPatch', size=(16, 32, 32)),
    _base_.augmentation,
    dict(type='PackJointInputs'),
]
# Validation judges one patch from the middle, as the published training does.
val_pipeline = [
    dict(type='LoadVolume', percentiles=(0.5, 99.5)),
    dict(type='LoadVolumeAnnotations'),
    dict(type='CenterCropPatch', size=(16, 32, 32)),
    dict(type='PackJointInputs'),
]
test_pipeline = [
    dict(type='LoadVolume', percentiles=(0.5, 99.5)),
    dict(type='LoadVolumeAnnotations'),
    dict(type='PackJointInputs'),
]
# What `tools/infer.py` does with raw files: as the preparation, but with all slices; of a cine each
# frame.
infer_pipeline = [
    dict(
        type='LoadVolume',
        percentiles=(0.5, 99.5),
        axes='reversed',
        central=(1, 2),
        size=(16, 36, 36),
        resizing='nearest',
        frames=True,
    ),
    dict(type='PackJointInputs'),
]

train_dataloader = dict(
    batch_size=4,
    num_workers=0,
    persistent_workers=False,
    sampler=dict(type='MultiSourceSampler', counts=(2, 2), num_batches=15),
    dataset=dict(
        type='MultiSourceDataset',
        datasets=dict(
            labelled=dict(
                type=dataset_type,
                data_root=data_root,
                split='train_toC_labeled_0.02',
                pipeline=labelled_pipeline,
            ),
            unlabelled=dict(
                type=dataset_type,
                data_root=data_root,
                split='train_toC_unlabeled_0.02',
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
        split='eval_toC_0.02',
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
        split='test_toC_0.02',
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
