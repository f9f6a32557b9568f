# Chest X-rays at 256x256 as MultiMix is published: lungs of JSRT with 10 labelled images, pneumonia
# of Kermany et al. with 100. Test sets of other devices, too: Montgomery (lungs), NIH (pneumonia).
# Made by, each with RAW its download:
#   python prepare_dataset/jsrt.py RAW data/jsrt
#   python prepare_dataset/chest_xray_pneumonia.py RAW data/chest_xray_pneumonia
#   python prepare_dataset/montgomery.py RAW data/montgomery
#   python prepare_dataset/nih_pneumonia.py RAW data/nih_pneumonia
# As published, images with masks come in [-1, 1], those with a class in [0, 1];
# chest-xrays-one-range_256x256.py mends it.
load = [
    dict(type='LoadJointImage'),
    dict(type='LoadJointAnnotations'),
    dict(type='PillowGrey'),
    dict(type='PillowResize', size=(256, 256), interpolation='bilinear'),
]
# In testing the mask is read after the resizing and keeps its own size.
load_for_test = [
    dict(type='LoadJointImage'),
    dict(type='PillowGrey'),
    dict(type='PillowResize', size=(256, 256), interpolation='bilinear'),
    dict(type='LoadJointAnnotations'),
]
weak_aug = [
    dict(type='mmcv.RandomFlip', prob=0.5),
    dict(type='RandomReflectCrop', padding=32),
]
strong_aug = [
    dict(type='mmcv.RandomFlip', prob=0.5),
    dict(type='RandomReflectCrop', padding=4),
    dict(type='PillowRandAugment'),
]
seg_input = [dict(type='ToUnitRange', signed=True), dict(type='PackJointInputs')]
cls_input = [dict(type='ToUnitRange'), dict(type='PackJointInputs')]

branches = ('seg_labelled', 'seg_unlabelled', 'cls_labelled', 'cls_weak', 'cls_strong')
seg_labelled_pipeline = [
    *load,
    dict(type='MultiBranch', branches=branches, pipelines=dict(seg_labelled=seg_input)),
]
seg_unlabelled_pipeline = [
    *load,
    dict(type='MultiBranch', branches=branches, pipelines=dict(seg_unlabelled=seg_input)),
]
cls_labelled_pipeline = [
    *load,
    dict(
        type='MultiBranch',
        branches=branches,
        pipelines=dict(cls_labelled=[*weak_aug, *cls_input]),
    ),
]
cls_unlabelled_pipeline = [
    *load,
    dict(
        type='MultiBranch',
        branches=branches,
        pipelines=dict(
            cls_weak=[*weak_aug, *cls_input],
            cls_strong=[*strong_aug, *cls_input],
        ),
    ),
]
seg_test_pipeline = [*load_for_test, *seg_input]
cls_test_pipeline = [*load_for_test, *cls_input]
seg_test = dict(test_mode=True, pipeline=seg_test_pipeline)
cls_test = dict(test_mode=True, pipeline=cls_test_pipeline)
# What `tools/infer.py` does with raw files: the range of the images with masks.
infer_pipeline = [
    dict(type='LoadJointImage'),
    dict(type='PillowGrey'),
    dict(type='PillowResize', size=(256, 256), interpolation='bilinear'),
    *seg_input,
]

# An epoch goes once through the unlabelled images with a class. With `cache` the images stay in
# memory (400 MB per worker).
train_dataloader = dict(
    batch_size=40,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(
        type='MultiSourceSampler',
        counts=(10, 10, 10, 10),
        epoch_source=3,
        whole_passes=True,
    ),
    dataset=dict(
        type='MultiSourceDataset',
        datasets=dict(
            seg_labelled=dict(
                type='JSRTDataset',
                data_root='data/jsrt/',
                split='labelled_10',
                cache=True,
                pipeline=seg_labelled_pipeline,
            ),
            seg_unlabelled=dict(
                type='JSRTDataset',
                data_root='data/jsrt/',
                split='unlabelled_10',
                labelled=False,
                cache=True,
                pipeline=seg_unlabelled_pipeline,
            ),
            cls_labelled=dict(
                type='ChestXrayPneumoniaDataset',
                data_root='data/chest_xray_pneumonia/',
                split='labelled_100',
                cache=True,
                pipeline=cls_labelled_pipeline,
            ),
            cls_unlabelled=dict(
                type='ChestXrayPneumoniaDataset',
                data_root='data/chest_xray_pneumonia/',
                split='unlabelled_100',
                labelled=False,
                cache=True,
                pipeline=cls_unlabelled_pipeline,
            ),
        ),
    ),
)
val_dataloader = dict(
    batch_size=16,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='ResumableSampler', shuffle=False, round_up=False),
    dataset=dict(
        type='MultiSourceDataset',
        datasets=dict(
            jsrt=dict(type='JSRTDataset', data_root='data/jsrt/', split='val', **seg_test),
            kermany=dict(
                type='ChestXrayPneumoniaDataset',
                data_root='data/chest_xray_pneumonia/',
                split='val',
                **cls_test,
            ),
        ),
    ),
)
# Both devices of either task in one test; a set that is set to None is left out, and so must be
# the metrics of its domain.
test_dataloader = dict(
    batch_size=16,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='ResumableSampler', shuffle=False, round_up=False),
    dataset=dict(
        type='MultiSourceDataset',
        datasets=dict(
            jsrt=dict(type='JSRTDataset', data_root='data/jsrt/', split='test', **seg_test),
            montgomery=dict(
                type='MontgomeryDataset', data_root='data/montgomery/', split='test', **seg_test
            ),
            kermany=dict(
                type='ChestXrayPneumoniaDataset',
                data_root='data/chest_xray_pneumonia/',
                split='test',
                **cls_test,
            ),
            nih=dict(
                type='ChestXrayPneumoniaDataset',
                data_root='data/nih_pneumonia/',
                split='test',
                **cls_test,
            ),
        ),
    ),
)

seg_val_metrics = [dict(type='SegmentationMetric', measures=('Dice',))]
cls_val_metrics = [dict(type='ClassificationMetric')]
val_evaluator = dict(
    type='JointEvaluator',
    metrics=[*seg_val_metrics, *cls_val_metrics],
    selection_score=('seg/mean_Dice', 'cls/ACC'),
    selection_reduce='mean',
)
# 'AHD' is the average Hausdorff distance in pixels; 'Jaccard' is another name of IoU.
measures = ('Dice', 'IoU', 'SSIM', 'AHD', 'precision', 'recall')
seg_test_metrics = [
    dict(type='SegmentationMetric', domain='jsrt', measures=measures),
    dict(type='CalibrationMetric', domain='jsrt', task='seg'),
    dict(type='SegmentationMetric', domain='montgomery', measures=measures),
    dict(type='CalibrationMetric', domain='montgomery', task='seg'),
]
cls_test_metrics = [
    dict(type='ClassificationMetric', domain='kermany'),
    dict(type='CalibrationMetric', domain='kermany', task='cls'),
    dict(type='ClassificationMetric', domain='nih'),
    dict(type='CalibrationMetric', domain='nih', task='cls'),
]
test_evaluator = dict(type='JointEvaluator', metrics=[*seg_test_metrics, *cls_test_metrics])
