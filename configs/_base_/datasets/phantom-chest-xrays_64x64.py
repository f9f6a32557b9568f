# Small made-up chest X-rays of four devices: of 111 images with lung masks 10 are labelled, of 894
# with a class 100. Made by, in less than two minutes on one core (P is data/phantoms):
#   python prepare_dataset/make_phantoms.py jsrt P/raw/jsrt --num-cases 247 --size 128
#   python prepare_dataset/jsrt.py P/raw/jsrt P/jsrt --size 64
#   python prepare_dataset/make_phantoms.py chest_xray_pneumonia P/raw/chest_xray_pneumonia \
#       --num-cases 1400 --size 128 --split-ratio 10 0.1 4
#   python prepare_dataset/chest_xray_pneumonia.py P/raw/chest_xray_pneumonia \
#       P/chest_xray_pneumonia --size 64 --labelled 100
#   python prepare_dataset/make_phantoms.py montgomery P/raw/montgomery --num-cases 138 --size 128
#   python prepare_dataset/montgomery.py P/raw/montgomery P/montgomery --size 64
#   python prepare_dataset/make_phantoms.py nih_pneumonia P/raw/nih_pneumonia \
#       --num-cases 400 --size 128
#   python prepare_dataset/nih_pneumonia.py P/raw/nih_pneumonia P/nih_pneumonia --size 64
# All images come in [-1, 1], as in chest-xrays-one-range_256x256.py; shifts are those of 256x256
# divided by 4.
load = [
    dict(type='LoadJointImage'),
    dict(type='LoadJointAnnotations'),
    dict(type='PillowGrey'),
    dict(type='PillowResize', size=(64, 64), interpolation='bilinear'),
]
# In testing the mask is read after the resizing and keeps its own size.
load_for_test = [
    dict(type='LoadJointImage'),
    dict(type='PillowGrey'),
    dict(type='PillowResize', size=(64, 64), interpolation='bilinear'),
    dict(type='LoadJointAnnotations'),
]
weak_aug = [
    dict(type='mmcv.RandomFlip', prob=0.5),
    dict(type='RandomReflectCrop', padding=8),
]
strong_aug = [
    dict(type='mmcv.RandomFlip', prob=0.5),
    dict(type='RandomReflectCrop', padding=1),
    dict(type='PillowRandAugment'),
]
signed = [dict(type='ToUnitRange', signed=True), dict(type='PackJointInputs')]

branches = ('seg_labelled', 'seg_unlabelled', 'cls_labelled', 'cls_weak', 'cls_strong')
seg_labelled_pipeline = [
    *load,
    dict(type='MultiBranch', branches=branches, pipelines=dict(seg_labelled=signed)),
]
seg_unlabelled_pipeline = [
    *load,
    dict(type='MultiBranch', branches=branches, pipelines=dict(seg_unlabelled=signed)),
]
cls_labelled_pipeline = [
    *load,
    dict(
        type='MultiBranch',
        branches=branches,
        pipelines=dict(cls_labelled=[*weak_aug, *signed]),
    ),
]
cls_unlabelled_pipeline = [
    *load,
    dict(
        type='MultiBranch',
        branches=branches,
        pipelines=dict(
            cls_weak=[*weak_aug, *signed],
            cls_strong=[*strong_aug, *signed],
        ),
    ),
]
test_pipeline = [*load_for_test, *signed]
# What `tools/infer.py` does with raw files.
infer_pipeline = [
    dict(type='LoadJointImage'),
    dict(type='PillowGrey'),
    dict(type='PillowResize', size=(64, 64), interpolation='bilinear'),
    *signed,
]

# An epoch goes once through the unlabelled images with a class: 79 batches.
train_dataloader = dict(
    batch_size=40,
    num_workers=0,
    persistent_workers=False,
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
                data_root='data/phantoms/jsrt/',
                split='labelled_10',
                cache=True,
                pipeline=seg_labelled_pipeline,
            ),
            seg_unlabelled=dict(
                type='JSRTDataset',
                data_root='data/phantoms/jsrt/',
                split='unlabelled_10',
                labelled=False,
                cache=True,
                pipeline=seg_unlabelled_pipeline,
            ),
            cls_labelled=dict(
                type='ChestXrayPneumoniaDataset',
                data_root='data/phantoms/chest_xray_pneumonia/',
                split='labelled_100',
                cache=True,
                pipeline=cls_labelled_pipeline,
            ),
            cls_unlabelled=dict(
                type='ChestXrayPneumoniaDataset',
                data_root='data/phantoms/chest_xray_pneumonia/',
                split='unlabelled_100',
                labelled=False,
                cache=True,
                pipeline=cls_unlabelled_pipeline,
            ),
        ),
    ),
)
val_dataloader = dict(
    batch_size=32,
    num_workers=0,
    persistent_workers=False,
    sampler=dict(type='ResumableSampler', shuffle=False, round_up=False),
    dataset=dict(
        type='MultiSourceDataset',
        datasets=dict(
            jsrt=dict(
                type='JSRTDataset',
                data_root='data/phantoms/jsrt/',
                split='val',
                test_mode=True,
                pipeline=test_pipeline,
            ),
            kermany=dict(
                type='ChestXrayPneumoniaDataset',
                data_root='data/phantoms/chest_xray_pneumonia/',
                split='val',
                test_mode=True,
                pipeline=test_pipeline,
            ),
        ),
    ),
)
test_dataloader = dict(
    batch_size=32,
    num_workers=0,
    persistent_workers=False,
    sampler=dict(type='ResumableSampler', shuffle=False, round_up=False),
    dataset=dict(
        type='MultiSourceDataset',
        datasets=dict(
            jsrt=dict(
                type='JSRTDataset',
                data_root='data/phantoms/jsrt/',
                split='test',
                test_mode=True,
                pipeline=test_pipeline,
            ),
            montgomery=dict(
                type='MontgomeryDataset',
                data_root='data/phantoms/montgomery/',
                split='test',
                test_mode=True,
                pipeline=test_pipeline,
            ),
            kermany=dict(
                type='ChestXrayPneumoniaDataset',
                data_root='data/phantoms/chest_xray_pneumonia/',
                split='test',
                test_mode=True,
                pipeline=test_pipeline,
            ),
            nih=dict(
                type='ChestXrayPneumoniaDataset',
                data_root='data/phantoms/nih_pneumonia/',
                split='test',
                test_mode=True,
                pipeline=test_pipeline,
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
